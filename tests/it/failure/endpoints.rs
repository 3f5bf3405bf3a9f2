//! Calls to a service with several endpoints, or with one that misbehaves: whom they reach, whom
//! they spare, how soon they end.

use std::time::Duration;

use actix_web::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    memory_endpoint, post,
    scripted::{Scripted, answer},
    stored,
};
use crate::harness::{
    API_KEY, Client, Cluster, User, assert_error, eventually,
    proxy::{ChaosProxy, Mode},
};

/// Breakers that recover through checks alone, which come often.
const CHECKED: [&str; 4] = ["--circuit-breaker-reset-timeout", "3600", "--probe-interval", "0.1"];
/// No checks at all but the first.
const UNCHECKED: [&str; 4] = ["--health-check-interval", "3600", "--probe-interval", "3600"];

/// A cluster whose core reaches memory at two endpoints: two proxies before the same process.
async fn two_endpoints(args: &[&str]) -> (Cluster, ChaosProxy) {
    let cluster = Cluster::builder().with_memory_proxy().core_args(args).start().await;
    let second = ChaosProxy::start(cluster.memory.address()).await;
    change(&cluster, Method::POST, &second.url()).await;
    eventually("both endpoints are healthy", || async {
        let endpoints = endpoints(&cluster.core.anonymous()).await;
        endpoints.len() == 2 && endpoints.iter().all(|endpoint| endpoint["status"] == "healthy")
    })
    .await;
    (cluster, second)
}

/// Adds an endpoint of memory, or takes it out.
async fn change(cluster: &Cluster, method: Method, url: &str) {
    let path = format!("/services/memory?endpoint={url}");
    let core = cluster.core.anonymous();
    let question = core.ask(method, &path).header("x-api-key", API_KEY);
    assert_eq!(question.send().await.status, 200);
}

async fn endpoints(core: &Client) -> Vec<Value> {
    let mut health = core.get("/health").await.json();
    health["dependent_services"]["memory"]["endpoints"].as_array_mut().unwrap().split_off(0)
}

/// What core says of the endpoint at `url`.
async fn endpoint(core: &Client, url: &str) -> Value {
    let found = endpoints(core).await.into_iter().find(|endpoint| endpoint["url"] == url);
    found.unwrap_or_else(|| panic!("no endpoint {url}"))
}

/// So many callers post until all have posted so often; how long the slowest took.
async fn crowd(core: &Client, callers: usize, each: usize) -> Duration {
    let one = |caller: usize| async move {
        let mut slowest = Duration::ZERO;
        for number in 0..each {
            let begun = Instant::now();
            let posted = post(core, &format!("{caller} {number} {}", uuid::Uuid::now_v7())).await;
            assert!(posted.is_ok(), "{}", posted.unwrap_err().text());
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    join_all((0..callers).map(one)).await.into_iter().max().unwrap()
}

fn metric(metrics: &str, start: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[actix::test]
async fn a_hung_endpoint_of_two_delays_a_few_calls_and_fails_none() {
    let (cluster, second) = two_endpoints(&CHECKED).await;
    let core = cluster.core.of(&User::new("ann"));
    crowd(&core, 16, 3).await;
    second.set(Mode::BlackHole);
    crowd(&core, 32, 4).await;
    eventually("the hung endpoint is kept out", || async {
        endpoint(&core, &second.url()).await["breaker"]["state"] == "open" || {
            post(&core, "more").await.unwrap();
            false
        }
    })
    .await;
    let before = second.accepted();
    let slowest = crowd(&core, 16, 5).await;
    assert!(slowest < Duration::from_secs(5), "nobody waits for it: {slowest:?}");
    let health = endpoint(&core, &second.url()).await;
    assert_eq!(health["outstanding"], 0, "{health}");
    let checks = second.accepted() - before;
    assert!(checks <= 100, "{checks} connections: checks only");
    second.set(Mode::Pass);
    eventually("it is taken back", || async {
        post(&core, "again").await.unwrap();
        endpoint(&core, &second.url()).await["breaker"]["state"] == "closed"
    })
    .await;
    cluster.stop().await;
}

#[actix::test]
async fn a_refusing_endpoint_of_two_fails_no_call() {
    let (cluster, second) = two_endpoints(&CHECKED).await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    second.set(Mode::Refuse);
    crowd(&core, 8, 8).await;
    let stored = stored(&cluster, &ann).await;
    assert_eq!(stored.len(), 64);
    assert!(stored.values().all(|times| *times == 1), "each once, however often it was sent");
    cluster.stop().await;
}

#[actix::test]
async fn a_slow_endpoint_of_two_gets_few_calls() {
    let (cluster, second) = two_endpoints(&["--stall-timeout", "60"]).await;
    let core = cluster.core.of(&User::new("ann"));
    second.set(Mode::Delay(Duration::from_millis(400)));
    let mut slow = 0;
    for number in 0..40 {
        let begun = Instant::now();
        post(&core, &format!("{number}")).await.unwrap();
        slow += usize::from(begun.elapsed() >= Duration::from_millis(400));
    }
    assert!(slow <= 8, "{slow} of 40 went to the slow endpoint");
    cluster.stop().await;
}

#[actix::test]
async fn an_endpoint_that_is_taken_out_finishes_its_calls_and_gets_no_new_ones() {
    let (cluster, second) = two_endpoints(&["--stall-timeout", "60"]).await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let first = cluster.memory_proxy.as_ref().unwrap().url();
    second.set(Mode::Delay(Duration::from_millis(500)));
    let posting = crowd(&core, 16, 1);
    let removing = async {
        eventually("calls are under way there", || async {
            endpoint(&core, &second.url()).await["outstanding"].as_u64().unwrap() > 0
        })
        .await;
        change(&cluster, Method::DELETE, &second.url()).await;
    };
    let (_, ()) = futures_util::join!(posting, removing);
    assert_eq!(stored(&cluster, &ann).await.len(), 16, "none was cut");
    let left = endpoints(&core).await;
    assert_eq!((left.len(), &left[0]["url"]), (1, &json!(first)));
    let before = second.accepted();
    second.set(Mode::BlackHole);
    crowd(&core, 4, 2).await;
    assert_eq!(second.accepted(), before, "nothing new goes there");
    cluster.stop().await;
}

#[actix::test]
async fn a_stream_moves_from_an_endpoint_that_is_taken_out_without_a_gap() {
    let (cluster, second) = two_endpoints(&CHECKED).await;
    let core = cluster.core.of(&User::new("ann"));
    let mut events = core.events("/output/stream").await;
    post(&core, "before").await.unwrap();
    assert_eq!(events.next_of_type("input").await["data"]["content"], "before");
    let first = cluster.memory_proxy.as_ref().unwrap();
    change(&cluster, Method::DELETE, &first.url()).await;
    first.set(Mode::BlackHole);
    post(&core, "after").await.unwrap();
    assert_eq!(events.next_of_type("input").await["data"]["content"], "after");
    assert!(second.accepted() > 0);
    cluster.stop().await;
}

#[actix::test]
async fn a_stream_moves_from_an_endpoint_that_hangs() {
    let (cluster, _second) = two_endpoints(&CHECKED).await;
    let core = cluster.core.of(&User::new("ann"));
    let mut events = core.events("/output/stream").await;
    let first = cluster.memory_proxy.as_ref().unwrap();
    first.set(Mode::BlackHole);
    eventually("it is kept out", || async {
        post(&core, "more").await.unwrap();
        endpoint(&core, &first.url()).await["breaker"]["state"] == "open"
    })
    .await;
    post(&core, "the last").await.unwrap();
    while events.next_of_type("input").await["data"]["content"] != "the last" {}
    cluster.stop().await;
}

#[actix::test]
async fn a_dead_memory_sees_only_the_allowed_calls_and_refusals_are_quick() {
    let sick = Scripted::start(|_, _| answer("500 Internal Server Error", "", "{}")).await;
    let mut args = vec!["--memory-service-url", ""];
    let url = sick.url();
    args[1] = &url;
    args.extend(UNCHECKED);
    let cluster = Cluster::builder().core_args(&args).start_without_follower().await;
    let core = cluster.core.of(&User::new("ann"));
    eventually("the breaker is open", || async {
        post(&core, "x").await.unwrap_err().json()["error"]["code"] == "circuit_open"
    })
    .await;
    let (calls, before) = (sick.asked("/"), core.get("/metrics").await.text());
    assert!(sick.asked("/tool/") <= 5, "{} calls opened it", sick.asked("/tool/"));
    for _ in 0..200 {
        assert_error(&post(&core, "x").await.unwrap_err(), 503, "circuit_open");
    }
    assert_eq!(sick.asked("/"), calls, "not one call got through");
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
async fn a_memory_that_hung_is_used_again_within_two_seconds_of_its_return() {
    let args = ["--call-timeout", "0.3", "--max-retries", "0", CHECKED[0], CHECKED[1]];
    let cluster = Cluster::builder().with_memory_proxy().core_args(&args).start().await;
    let core = cluster.core.of(&User::new("ann"));
    let proxy = cluster.memory_proxy.as_ref().unwrap();
    proxy.set(Mode::BlackHole);
    eventually("the breaker is open", || async {
        post(&core, "x").await.unwrap_err().json()["error"]["code"] == "circuit_open"
    })
    .await;
    proxy.set(Mode::Pass);
    let begun = Instant::now();
    eventually("inputs are taken again", || async { post(&core, "y").await.is_ok() }).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(memory_endpoint(&core).await["breaker"]["state"], "closed");
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
        let cluster = Cluster::builder().core_args(&args).start_without_follower().await;
        let core = cluster.core.of(&User::new("ann"));
        assert_error(&post(&core, "x").await.unwrap_err(), 502, "bad_reply");
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
    let cluster = Cluster::builder().core_args(&args).start_without_follower().await;
    let core = cluster.core.of(&User::new("ann"));
    assert_eq!(post(&core, "x").await.unwrap_err().status, 503);
    assert_eq!(forbids.asked("/tool/"), 1);
    cluster.stop().await;

    let busy = Scripted::start(|path, before| match before {
        0 if path.starts_with("/tool/") => {
            answer("503 Service Unavailable", "retry-after: 1\r\n", "{}")
        }
        _ => answer("200 OK", "", r#"{"result": {"status": "stored", "item_id": "1"}}"#),
    })
    .await;
    let args = ["--memory-service-url", &busy.url()];
    let cluster = Cluster::builder().core_args(&args).start_without_follower().await;
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
    let cluster = Cluster::builder().core_args(&args).start_without_follower().await;
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
    let cluster = Cluster::builder().with_cognition_proxy().core_args(&args).start().await;
    let core = cluster.core.of(&User::new("ann"));
    cluster.cognition_proxy.as_ref().unwrap().set(Mode::BlackHole);
    let search = || core.post("/cognition/search", json!({"query": "x"}));
    let asking = join_all((0..6).map(|_| search()));
    let posting = crowd(&core, 2, 5);
    let (asked, slowest) = futures_util::join!(asking, posting);
    let busy = asked.iter().filter(|answer| answer.text().contains("busy")).count();
    assert!(busy >= 4, "{:?}", asked.iter().map(|a| a.text()).collect::<Vec<_>>());
    assert!(slowest < Duration::from_secs(2), "inputs do not wait for cognition: {slowest:?}");
    cluster.stop().await;
}

#[actix::test]
async fn what_an_operator_has_opened_no_passed_check_closes() {
    let args = ["--health-check-interval", "0.05", "--probe-interval", "0.05"];
    let cluster = Cluster::builder().core_args(&args).start().await;
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
