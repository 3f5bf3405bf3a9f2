//! What callers see when there is too much, when memory is gone, and when one of two hangs.

use serde_json::Value;
use tokio::net::TcpListener;

use super::{
    Figure, Terms,
    rig::{Rig, kinds, number, role},
};

/// Four times the peak.
const OVERLOAD: f64 = 4.0;
/// Connections of a peak, and of an overload.
const PEAK: &str = "64";
const MANY: &str = "2000";
/// Requests per second where the latency of an idle machine is asked for.
const PACED: &str = "500";

/// Goodput, latency and refusals when four times as much is offered as can be done. The servers
/// share one processor and the load has the other, where `taskset` can arrange that: else the load
/// would starve what it measures.
pub(crate) async fn measure_overload(terms: &Terms) -> Vec<Figure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let has_taskset = std::process::Command::new("taskset").arg("--version").output().is_ok();
    let pinned = processors > 1 && has_taskset;
    let rig = Rig::start_pinned(terms, pinned.then_some(0)).await;
    let (mut goodput, mut slower, mut refused, mut offered) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut note = String::new();
    for _ in 0..terms.rounds {
        let peak = rig.bench(terms, &["input", "--connections", PEAK]).await;
        let (rate, p99) =
            (number(&peak, "/successes/per_second"), number(&peak, "/successes/latency_ms/p99"));
        let wished = format!("{:.0}", rate * OVERLOAD);
        // No warm-up: what could not be sent then would keep all that is measured from being sent.
        let words = ["input", "--connections", MANY, "--rate", &wished, "--warm-up", "0"];
        let over = rig.bench(terms, &words).await;
        goodput.push(number(&over, "/goodput_per_second") / rate);
        slower.push(number(&over, "/successes_from_sending/latency_ms/p99") / p99);
        refused.push(number(&over, "/refusals/latency_ms/p99"));
        let answered: f64 = ["successes", "refusals", "lost"]
            .iter()
            .map(|class| number(&over, &format!("/{class}/per_second")))
            .sum();
        offered.push(answered / rate);
        note = format!("peak {rate:.0}/s p99 {p99:.1} ms; then {}", kinds(&over));
    }
    rig.stop().await;
    vec![
        Figure::new("overload: goodput / peak", "", goodput).at_least(0.9).note(note),
        Figure::new("overload: p99 of the accepted, from sending / at peak", "", slower)
            .at_most(2.0),
        Figure::new("overload: p99 of refusals, from when due", "ms", refused).at_most(10.0),
        Figure::new("overload: answered / peak (4 is all that was offered)", "", offered),
    ]
}

/// Inputs, and calls that need memory, once memory is gone and its circuit open.
pub(crate) async fn measure_memory_gone(terms: &Terms) -> Vec<Figure> {
    let (mut inputs, mut inputs_p99, mut reads_p99) = (Vec::new(), Vec::new(), Vec::new());
    let (mut input_kinds, mut read_kinds) = (String::new(), String::new());
    for _ in 0..terms.rounds {
        let Rig { backplane, scratch } = Rig::start(terms).await;
        let cortex::cli::bench::own::Backplane { core, cognition, memory } = backplane;
        memory.kill().await;
        let data = scratch.path().display().to_string();
        let further = ["--url", &core.url, "--data-dir", &data];
        let report = super::rig::bench(terms, &[&["input"][..], &further].concat()).await;
        inputs.push(answered(&report));
        let words = [&["input", "--rate", PACED][..], &further].concat();
        let report = super::rig::bench(terms, &words).await;
        inputs_p99.push(longest_p99(&report));
        input_kinds = kinds(&report);
        let words = [&["history", "--at", "core", "--rate", PACED][..], &further].concat();
        let report = super::rig::bench(terms, &words).await;
        reads_p99.push(longest_p99(&report));
        read_kinds = kinds(&report);
        core.stop().await;
        cognition.stop().await;
    }
    vec![
        Figure::new("memory gone: POST /input answered", "per s", inputs).note(input_kinds),
        Figure::new("memory gone: p99 of POST /input at 500 per s", "ms", inputs_p99),
        Figure::new("memory gone: p99 of a conversation read, 500 per s", "ms", reads_p99)
            .note(read_kinds),
    ]
}

fn answered(report: &Value) -> f64 {
    number(report, "/successes/per_second") + number(report, "/refusals/per_second")
}

/// The p99 of whichever class was answered more.
fn longest_p99(report: &Value) -> f64 {
    let more = if number(report, "/successes/count") >= number(report, "/refusals/count") {
        "successes"
    } else {
        "refusals"
    };
    number(report, &format!("/{more}/latency_ms/p99"))
}

/// Inputs when one of two endpoints of memory takes connections and never answers.
pub(crate) async fn measure_hung(terms: &Terms) -> Vec<Figure> {
    let (mut rate, mut slower, mut note) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..terms.rounds {
        let rig = Rig::start(terms).await;
        let memory = rig.backplane.memory.url.clone();
        let healthy = rig.bench(terms, &["input"]).await;
        let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let both = format!("{memory},http://{}", hole.local_addr().unwrap());
        let swallowing = actix_rt::spawn(async move {
            let mut held = Vec::new();
            while let Ok((connection, _)) = hole.accept().await {
                held.push(connection);
            }
        });
        let data = rig.scratch.path().join("second");
        let secret = cortex::backplane::secrets::token_secret_path(rig.scratch.path());
        let copy = cortex::backplane::secrets::token_secret_path(&data);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(secret, copy).unwrap();
        let core = role(terms, "core", &data, &["--memory-service-url", &both]).await;
        core.ready().await.unwrap();
        let report = rig.bench_at(terms, &core.url, &["input", "--warm-up", "1s"]).await;
        rate.push(
            number(&report, "/successes/per_second") / number(&healthy, "/successes/per_second"),
        );
        slower.push(
            number(&report, "/successes/latency_ms/p99")
                / number(&healthy, "/successes/latency_ms/p99"),
        );
        note = kinds(&report);
        core.stop().await;
        rig.stop().await;
        swallowing.abort();
    }
    vec![
        Figure::new("one of two hung: rate / healthy, after 1 s", "", rate).note(note),
        Figure::new("one of two hung: p99 / healthy, after 1 s", "", slower),
    ]
}
