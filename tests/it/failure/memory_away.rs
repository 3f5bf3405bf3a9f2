//! Memory away, slow or lying: clear answers, an open breaker, recovery, and nothing lost.

use futures_util::future::join_all;
use serde_json::json;

use super::{NO_OUTBOX, memory_endpoint, post, stored};
use crate::harness::{Cluster, User, assert_error, eventually, proxy::Mode};

/// Quick enough for a test, with every mechanism at work.
const QUICK: [&str; 6] =
    ["--max-retries", "0", "--probe-interval", "0.05", "--health-check-interval", "0.2"];

#[actix::test]
async fn a_dead_memory_opens_the_breaker_and_a_passed_check_closes_it_without_a_restart() {
    let builder = Cluster::builder().with_memory_proxy().core_args(&QUICK);
    let cluster = builder.core_args(&NO_OUTBOX).start().await;
    let proxy = cluster.memory_proxy.as_ref().unwrap();
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let mut acknowledged = vec![post(&core, "before").await.unwrap()];

    proxy.set(Mode::Refuse);
    let mut last = None;
    for number in 0..50 {
        let refused = post(&core, &format!("lost {number}")).await.unwrap_err();
        let code = refused.json()["error"]["code"].as_str().unwrap().to_owned();
        assert!(code == "connection" || code == "circuit_open", "{code}");
        let opened = code == "circuit_open";
        last = Some(refused);
        if opened {
            break;
        }
    }
    let refused = last.unwrap();
    assert_error(&refused, 503, "circuit_open");
    let body = refused.json();
    assert_eq!(body["error"]["details"]["service"], "memory");
    assert!(body["detail"].as_str().unwrap().contains("memory"), "{body}");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    assert_eq!(memory_endpoint(&core).await["breaker"]["state"], "open");
    assert_eq!(core.get("/health").await.ok()["status"], "degraded");
    assert_eq!(core.get("/health/ready").await.status, 200);
    let found = core.post("/config/workspace", json!({"name": "n", "description": "d"})).await;
    assert_eq!(found.status, 201, "what needs no memory goes on");

    proxy.set(Mode::Pass);
    eventually("inputs are taken again", || async { post(&core, "after").await.is_ok() }).await;
    acknowledged.push("after".to_owned());
    let breaker = &memory_endpoint(&core).await["breaker"];
    assert_eq!(breaker["state"], "closed");
    assert_eq!(breaker["transitions"][0]["reason"], "consecutive failures", "{breaker}");
    let stored = stored(&cluster, &ann).await;
    assert!(acknowledged.iter().all(|text| stored.get(text) == Some(&1)), "{stored:?}");
    cluster.stop().await;
}

#[actix::test]
async fn a_memory_that_swallows_calls_is_a_timeout_that_names_it() {
    let args = ["--max-retries", "0", "--call-timeout", "0.2"];
    let builder = Cluster::builder().with_memory_proxy().core_args(&args);
    let cluster = builder.core_args(&NO_OUTBOX).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    cluster.memory_proxy.as_ref().unwrap().set(Mode::BlackHole);
    let refused = post(&core, "swallowed").await.unwrap_err();
    assert_error(&refused, 504, "timeout");
    assert_eq!(refused.json()["error"]["details"]["service"], "memory");
    for _ in 0..4 {
        post(&core, "swallowed").await.unwrap_err();
    }
    let refused = post(&core, "refused at once").await.unwrap_err();
    assert_error(&refused, 503, "circuit_open");
    cluster.stop().await;
}

#[actix::test]
async fn a_write_whose_answer_was_lost_is_repeated_and_stored_once() {
    let args = ["--max-retries", "20", "--retry-max-backoff", "0.05"];
    let cluster = Cluster::builder().with_memory_proxy().core_args(&args).start().await;
    let proxy = cluster.memory_proxy.as_ref().unwrap();
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    // A fresh connection for the call, cut in the middle of its answer.
    proxy.set(Mode::Refuse);
    proxy.set(Mode::CutAfter(20));
    let posting = post(&core, "once");
    let mending = async {
        eventually("it is stored", || async { stored(&cluster, &ann).await.len() == 1 }).await;
        proxy.set(Mode::Pass);
    };
    let (posted, ()) = futures_util::join!(posting, mending);
    assert_eq!(posted.unwrap(), "once");
    assert_eq!(stored(&cluster, &ann).await.get("once"), Some(&1));
    cluster.stop().await;
}

#[actix::test]
async fn a_sick_cognition_does_not_hurt_inputs() {
    let args = ["--max-retries", "0", "--call-timeout", "0.3"];
    let cluster = Cluster::builder().with_cognition_proxy().core_args(&args).start().await;
    cluster.cognition_proxy.as_ref().unwrap().set(Mode::BlackHole);
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let asking = async {
        let answer = core.post("/cognition/context", json!({})).await.ok();
        assert_eq!(answer["data"]["error"], "cognition_service_unavailable");
        assert_eq!(answer["data"]["context"], json!([]));
    };
    let posting = async {
        for number in 0..20 {
            post(&core, &format!("{number}")).await.unwrap();
        }
    };
    futures_util::join!(asking, posting);
    assert_eq!(memory_endpoint(&core).await["breaker"]["state"], "closed");
    cluster.stop().await;
}

#[actix::test]
async fn cognition_answers_empty_with_an_error_while_memory_is_away() {
    let cluster = Cluster::builder().with_memory_proxy().cognition_args(&QUICK).start().await;
    let ann = User::new("ann");
    cluster.memory_proxy.as_ref().unwrap().set(Mode::Refuse);
    let cognition = cluster.cognition.of(&ann);
    let found = cognition.tool("get_context", json!({"user_id": ann.id, "query": "x"})).await;
    assert_eq!(found["error"], "memory_service_unavailable", "{found}");
    assert_eq!((found["count"].as_i64(), &found["context"]), (Some(0), &json!([])));
    eventually("its health says so, with 200", || async {
        let health = cognition.get("/health").await;
        health.status == 200 && health.json()["status"] == "degraded"
    })
    .await;
    cluster.stop().await;
}

#[actix::test]
async fn many_stores_at_once_share_commits_and_each_is_there_once() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let texts: Vec<String> = (0..128).map(|number| format!("text {number}")).collect();
    let posted = join_all(texts.iter().map(|text| post(&core, text))).await;
    assert!(posted.iter().all(Result::is_ok));
    let stored = stored(&cluster, &ann).await;
    assert!(texts.iter().all(|text| stored.get(text) == Some(&1)));
    let metrics = cluster.memory.anonymous().get("/metrics").await.text();
    let count = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!((count("cortex_commit_batch_size_sum") - 128.0).abs() < 0.5);
    assert!(count("cortex_commit_batch_size_count") < 128.0, "nothing was grouped");
    cluster.stop().await;
}

#[actix::test]
async fn work_without_time_left_is_refused_and_not_done() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let body = json!({"user_id": ann.id, "input_data": {"content": "late"}});
    let answer = memory
        .ask(actix_web::http::Method::POST, "/tool/store_input")
        .header("x-cortex-timeout-ms", "0")
        .json(&body)
        .send()
        .await;
    assert!(answer.status >= 400, "{}", answer.text());
    assert!(stored(&cluster, &ann).await.is_empty());
    cluster.stop().await;
}

#[actix::test]
async fn an_operator_opens_and_closes_a_breaker() {
    let cluster = Cluster::builder().core_args(&NO_OUTBOX).start().await;
    let ann = User::new("ann");
    let (core, admin) = (cluster.core.of(&ann), cluster.core.of_service());
    let order = |state: &str| json!({ "state": state });
    admin.post("/services/memory/breaker", order("open")).await.ok();
    eventually("refused", || async { post(&core, "x").await.is_err() }).await;
    assert_error(&post(&core, "x").await.unwrap_err(), 503, "circuit_open");
    admin.post("/services/memory/breaker", order("auto")).await.ok();
    eventually("taken", || async { post(&core, "y").await.is_ok() }).await;
    let answer = core.post("/services/memory/breaker", order("open")).await;
    assert_error(&answer, 403, "permission_denied");
    cluster.stop().await;
}
