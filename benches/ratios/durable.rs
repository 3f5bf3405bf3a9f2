//! `POST /input` against what the disk allows, and the processor time of each process against an echo.

use super::{
    Figure, Terms, commits,
    rig::{Rig, Side, number},
};

/// `POST /input` at 64 connections, beside the limit of the group commit and a typed echo.
pub(crate) async fn measure(terms: &Terms) -> Vec<Figure> {
    let rig = Rig::start(terms).await;
    let echo = Side::start("echo", None).await;
    let (mut share, mut rates, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut core, mut memory, mut core_us, mut memory_us, mut echo_us) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut p99 = Vec::new();
    for _ in 0..terms.rounds {
        let report = rig.bench(terms, &["input", "--payload", "250"]).await;
        let limit = commits::grouped(terms, 64).await;
        let rate = number(&report, "/successes/per_second");
        let each = echo.cpu_each(terms).await;
        let of = |index: usize| number(&report, &format!("/servers/{index}/cpu_us_per_answer"));
        share.push(rate / limit);
        rates.push(rate);
        limits.push(limit);
        p99.push(number(&report, "/successes/latency_ms/p99"));
        core.push(of(0) / each);
        memory.push(of(1) / each);
        core_us.push(of(0));
        memory_us.push(of(1));
        echo_us.push(each);
    }
    rig.stop().await;
    vec![
        Figure::new("POST /input (64) / limit of the group commit (64)", "", share).at_least(0.7),
        Figure::new("  POST /input", "per s", rates),
        Figure::new("  p99 of it", "ms", p99),
        Figure::new("  limit of the group commit", "per s", limits),
        Figure::new("CPU of core for an input / of a typed echo", "", core).at_most(5.0),
        Figure::new("CPU of memory for an input / of a typed echo", "", memory).at_most(5.0),
        Figure::new("  core", "µs", core_us),
        Figure::new("  memory", "µs", memory_us),
        Figure::new("  echo", "µs", echo_us),
    ]
}

/// The client actor with everything round a call, over the bare hop.
pub(crate) async fn measure_stack(terms: &Terms) -> Vec<Figure> {
    let echo = Side::start("echo", None).await;
    let bare = Side::start("bare", Some(&echo.url)).await;
    let stack = Side::start("stack", Some(&echo.url)).await;
    let (mut more, mut bare_us, mut stack_us) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..terms.rounds {
        let without = bare.cpu_each(terms).await;
        let with = stack.cpu_each(terms).await;
        more.push((with / without - 1.0) * 100.0);
        bare_us.push(without);
        stack_us.push(with);
    }
    vec![
        Figure::new("CPU of the whole stack over the bare hop", "%", more).at_most(10.0),
        Figure::new("  bare hop", "µs", bare_us),
        Figure::new("  whole stack", "µs", stack_us),
    ]
}
