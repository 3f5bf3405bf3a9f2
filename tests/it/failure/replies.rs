//! A service that misbehaves: what its replies do to the caller, to the retries and to the breaker.

use std::time::Duration;

use actix_web::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    NO_OUTBOX, memory_endpoint, post,
    scripted::{Scripted, answer},
};
use crate::harness::{Cluster, User, assert_error, eventually, proxy::Mode};

/// No checks at all but the first.
const UNCHECKED: [&str; 4] = ["--health-check-interval", "3600", "--probe-interval", "3600"];

fn metric(metrics: &str, start: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[actix::test]
async fn a_dead_memory_sees_only_the_allowed_calls_and_refusals_are_quick() {
    let sick = Scripted::start(|_, _| answer("500 Internal Server Error", "", "{}")).await;
    let mut args = vec!["--memory-service-url", ""];
    let url = sick.url();
    args[1] = &url;
    args.extend(UNCHECKED);
    let cluster =
        Cluster::builder().core_args(&args).core_args(&NO_OUTBOX).start_without_follower().await;
    let core = cluster.core.of(&User::new("ann"));
    eventually("the breaker is open", || async {
        post(&core, "x").await.unwrap_err().json()["error"]["code"] == "circuit_open"
    })
    .await;
    let asked = || sick.asked("/tool/") + sick.asked("/resource/");
    let (calls, before) = (asked(), core.get("/metrics").await.text());
    assert!(sick.asked("/tool/") <= 5, "{} calls opened it", sick.asked("/tool/"));
    for _ in 0..200 {
        assert_error(&post(&core, "x").await.unwrap_err(), 503, "circuit_open");
    }
    assert_eq!(asked(), calls, "not one call got through");
    let after = core.get("/metrics").await.text();
    let more = |start: &str| metric(&after, start) - metric(&before, start);
    let labels = "{service=\"memory\",tool=\"store_input\"";
    let quick = format!("mcp_request_duration_seconds_bucket{{le=\"0.001\",{}", &labels[1..]);
    assert!((more(&format!("mcp_requests_total{labels}")) - 200.0).abs() < 0.5);
    assert!(more(&quick) >= 190.0, "{} of 200 took less than a millisecond", more(&quick));
    assert!(more("mcp_retries_total").abs() < 0.5, "bug 5: a refusal is not repeated");
    cluster.stop().await;
}

#[actix::test]
async fn a_flood_of_header_fields_is_a_bad_reply_and_not_asked_for_again() {
    let floods = [
        "x-flood: x\r\n".repeat(50_000),
        format!("x-flood: {}\r\n", "x".repeat(60_000)),
        format!("x-flood: {}\r\n", "x".repeat(10_000_000)),
    ];
    for flood in floods {
        let memory = Scripted::start(move |_, _| answer("200 OK", &flood, "{}")).await;
        let args = ["--memory-service-url", &memory.url()];
        let cluster = Cluster::builder()
            .core_args(&args)
            .core_args(&NO_OUTBOX)
            .start_without_follower()
            .await;
        let core = cluster.core.of(&User::new("ann"));
        assert_error(&post(&core, "x").await.unwrap_err(), 502, "data_error");
        assert_eq!(memory.asked("/tool/"), 1);
        cluster.stop().await;
    }
}

#[actix::test]
async fn a_reply_may_forbid_to_ask_again_and_may_say_when() {
    let forbids = Scripted::start(|_, _| {
        answer("503 Service Unavailable", "x-cortex-retry: never\r\n", "{}")
    })
    .await;
    let args = ["--memory-service-url", &forbids.url()];
    let cluster =
        Cluster::builder().core_args(&args).core_args(&NO_OUTBOX).start_without_follower().await;
    let core = cluster.core.of(&User::new("ann"));
    assert_eq!(post(&core, "x").await.unwrap_err().status, 503);
    assert_eq!(forbids.asked("/tool/"), 1);
    cluster.stop().await;

    let busy = Scripted::start(|path, before| match before {
        0 if path.starts_with("/tool/") => {
            answer("503 Service Unavailable", "retry-after: 1\r\n", "{}")
        }
        _ => answer(
            "200 OK",
            "",
            r#"{"result": {"status": "stored", "user_id": "ann", "item_id": "1"}}"#,
        ),
    })
    .await;
    let args = ["--memory-service-url", &busy.url()];
    let cluster =
        Cluster::builder().core_args(&args).core_args(&NO_OUTBOX).start_without_follower().await;
    let core = cluster.core.of(&User::new("ann"));
    let begun = Instant::now();
    post(&core, "x").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(busy.asked("/tool/"), 2);
    cluster.stop().await;
}

#[actix::test]
async fn bug_09_retries_do_not_outlive_the_callers_deadline() {
    let sick = Scripted::start(|_, _| answer("502 Bad Gateway", "", "{}")).await;
    let url = sick.url();
    let args = [
        "--memory-service-url",
        &url,
        "--max-retries",
        "20",
        "--retry-initial-backoff",
        "5",
        "--circuit-breaker-threshold",
        "1000",
    ];
    let cluster =
        Cluster::builder().core_args(&args).core_args(&NO_OUTBOX).start_without_follower().await;
    let core = cluster.core.of(&User::new("ann"));
    let begun = Instant::now();
    let question = core.ask(Method::POST, "/input").header("x-cortex-timeout-ms", "700");
    let refused = question.json(&json!({"content": "x"})).send().await;
    assert!(refused.status >= 500, "{}", refused.text());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    cluster.stop().await;
}

#[actix::test]
async fn bug_11_a_stream_that_opens_does_not_close_a_breaker() {
    let cluster = Cluster::builder().core_args(&UNCHECKED).start().await;
    let admin = cluster.core.of_service();
    let first = memory_endpoint(&admin).await;
    assert_eq!(first["breaker"]["state"], "closed");
    // Core's own stream is open, and brought nothing into the window.
    assert_eq!(first["breaker"]["window_calls"], 0, "{first}");
    post(&cluster.core.of(&User::new("ann")), "x").await.unwrap();
    assert_eq!(memory_endpoint(&admin).await["breaker"]["window_calls"], 1);
    cluster.stop().await;
}

#[actix::test]
async fn a_service_that_hangs_holds_its_own_places_only() {
    let args = [
        "--calls-in-flight-max",
        "2",
        "--calls-waiting-max",
        "2",
        "--calls-wait-max",
        "0.1",
        "--call-timeout",
        "2",
    ];
    let cluster = Cluster::builder()
        .with_cognition_proxy()
        .core_args(&args)
        .core_args(&NO_OUTBOX)
        .start()
        .await;
    let core = cluster.core.of(&User::new("ann"));
    cluster.cognition_proxy.as_ref().unwrap().set(Mode::BlackHole);
    let search = || core.post("/cognition/search", json!({"query": "x"}));
    let asking = join_all((0..6).map(|_| search()));
    let posting = async {
        let begun = Instant::now();
        for number in 0..5 {
            post(&core, &format!("{number}")).await.unwrap();
        }
        begun.elapsed()
    };
    let (asked, took) = futures_util::join!(asking, posting);
    let busy = asked.iter().filter(|answer| answer.text().contains("busy")).count();
    assert!(busy >= 4, "{:?}", asked.iter().map(|a| a.text()).collect::<Vec<_>>());
    assert!(took < Duration::from_secs(2), "inputs do not wait for cognition: {took:?}");
    cluster.stop().await;
}

#[actix::test]
async fn what_an_operator_has_opened_no_passed_check_closes() {
    let args = ["--health-check-interval", "0.05", "--probe-interval", "0.05"];
    let cluster = Cluster::builder().core_args(&args).core_args(&NO_OUTBOX).start().await;
    let (core, admin) = (cluster.core.of(&User::new("ann")), cluster.core.of_service());
    admin.post("/services/memory/breaker", json!({"state": "open"})).await.ok();
    eventually("it is shown", || async {
        memory_endpoint(&core).await["breaker"]["forced"] == "open"
    })
    .await;
    let passed = memory_endpoint(&core).await["last_success"].take();
    eventually("another check passes", || async {
        memory_endpoint(&core).await["last_success"] != passed
    })
    .await;
    assert_error(&post(&core, "x").await.unwrap_err(), 503, "circuit_open");
    let shown = memory_endpoint(&core).await;
    assert_eq!(shown["breaker"]["next_probe_seconds"], Value::Null);
    cluster.stop().await;
}
