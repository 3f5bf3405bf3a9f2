//! The output stream: deliveries per second, memory of idle readers, and what a reader that never
//! reads does to the others.

use super::{
    Figure, Terms,
    rig::{Rig, number},
};

/// Inputs per second that are tried, each for a thousand readers.
const RATES: [&str; 5] = ["200", "350", "500", "700", "1000"];

pub(crate) async fn measure(terms: &Terms) -> Vec<Figure> {
    let (mut best, mut each, mut lost, mut with, mut without) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut many, mut lates) = (Vec::new(), Vec::new());
    for _ in 0..terms.rounds {
        let rig = Rig::start(terms).await;
        let idle = rig.bench(terms, &["fan-out", "--readers", "1000", "--idle"]).await;
        each.push(number(&idle, "/readers/bytes_per_reader/core") / 1024.0);
        rig.stop().await;
        let rig = Rig::start(terms).await;
        let idle = rig.bench(terms, &["fan-out", "--readers", "5000", "--idle"]).await;
        many.push(number(&idle, "/readers/bytes_per_reader/core") / 1024.0);
        let (mut most, mut missing, mut late) = (0.0_f64, 0.0, f64::NAN);
        for rate in RATES {
            let words = ["fan-out", "--readers", "1000", "--rate", rate, "--writers", "64"];
            let report = rig.bench(terms, &words).await;
            let delivered = number(&report, "/readers/per_second");
            if number(&report, "/readers/ended") == 0.0 && delivered > most {
                most = delivered;
                late = number(&report, "/readers/latency_ms/p99");
                missing = number(&report, "/readers/missing");
            }
        }
        best.push(most);
        lost.push(missing);
        lates.push(late);
        let words = ["fan-out", "--readers", "1", "--writers", "64"];
        let plain = rig.bench(terms, &words).await;
        let stuck = rig.bench(terms, &[&words[..], &["--stuck", "1"]].concat()).await;
        without.push(number(&plain, "/successes/latency_ms/p99"));
        with.push(number(&stuck, "/successes/latency_ms/p99"));
        rig.stop().await;
    }
    let ratio = with.iter().zip(&without).map(|(with, without)| with / without).collect();
    vec![
        Figure::new("deliveries to 1,000 readers, no stream ended", "per s", best)
            .at_least(300_000.0),
        Figure::new("  of these missing", "", lost).at_most(0.0),
        Figure::new("  p99 of these, from when the input was due", "ms", lates),
        Figure::new("memory of core for an idle reader, of 1,000", "KiB", each).at_most(16.0),
        Figure::new("memory of core for an idle reader, of 5,000", "KiB", many).at_most(16.0),
        Figure::new("p99 of POST /input with a stuck reader / without", "", ratio),
        Figure::new("  without", "ms", without),
        Figure::new("  with", "ms", with),
    ]
}
