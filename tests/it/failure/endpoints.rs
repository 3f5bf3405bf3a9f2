//! Calls to a service with several endpoints: whom they reach, whom they spare, how soon they end.

use std::time::Duration;

use actix_web::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{NO_OUTBOX, memory_endpoint, post, stored};
use crate::harness::{
    API_KEY, Client, Cluster, User, eventually,
    proxy::{ChaosProxy, Mode},
};

/// Breakers that recover through checks alone, which come often.
const CHECKED: [&str; 6] = [
    "--circuit-breaker-reset-timeout",
    "3600",
    "--probe-interval",
    "0.1",
    "--health-check-timeout",
    "0.5",
];
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

/// Returns once no call goes to the endpoint: its breaker is open, or its checks have failed.
async fn until_kept_out(core: &Client, proxy: &ChaosProxy) {
    eventually("the endpoint is kept out", || async {
        post(core, "more").await.unwrap();
        let endpoint = endpoint(core, &proxy.url()).await;
        endpoint["breaker"]["state"] == "open" || endpoint["status"] == "unhealthy"
    })
    .await;
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

#[actix::test]
async fn a_hung_endpoint_of_two_delays_a_few_calls_and_fails_none() {
    let (cluster, second) = two_endpoints(&CHECKED).await;
    let core = cluster.core.of(&User::new("ann"));
    crowd(&core, 16, 3).await;
    second.set(Mode::BlackHole);
    crowd(&core, 32, 4).await;
    until_kept_out(&core, &second).await;
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
        let endpoint = endpoint(&core, &second.url()).await;
        endpoint["breaker"]["state"] == "closed" && endpoint["status"] == "healthy"
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
    until_kept_out(&core, first).await;
    post(&core, "the last").await.unwrap();
    while events.next_of_type("input").await["data"]["content"] != "the last" {}
    cluster.stop().await;
}

#[actix::test]
async fn a_memory_that_hung_is_used_again_within_two_seconds_of_its_return() {
    let args = ["--call-timeout", "0.3", "--max-retries", "0", CHECKED[0], CHECKED[1]];
    let cluster =
        Cluster::builder().with_memory_proxy().core_args(&args).core_args(&NO_OUTBOX).start().await;
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
