//! Which store memory has: core keeps to the one it has followed, and says so.

use actix_web::http::Method;
use serde_json::json;

use super::{post, stored};
use crate::harness::{API_KEY, Client, Cluster, User, eventually, process::RealProcess};

/// Recovery within a test's patience.
const QUICK: [&str; 6] =
    ["--max-retries", "0", "--probe-interval", "0.05", "--outbox-retry-max", "0.05"];

async fn reasons(core: &Client) -> String {
    core.get("/health").await.json()["reasons"].to_string()
}

async fn store_of(memory: &Client) -> String {
    let health = memory.get("/health").await.json();
    health["components"]["database"]["store_id"].as_str().unwrap().to_owned()
}

#[actix::test]
async fn an_endpoint_with_another_store_is_named_and_given_nothing() {
    let cluster = Cluster::builder().core_args(&QUICK).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let data = tempfile::tempdir().unwrap();
    let mut other = RealProcess::start_role("memory", data.path(), &[]);
    let there = other.client().await;
    let url = other.url().await;
    let path = format!("/services/memory?endpoint={url}");
    let question = core.ask(Method::POST, &path).header("x-api-key", API_KEY);
    assert_eq!(question.send().await.status, 200);
    // Also before it was checked: what is meant for one store is refused by the other.
    for number in 0..40 {
        core.post("/input", json!({"content": format!("{number}")})).await.ok();
    }
    eventually("all are stored", || async { stored(&cluster, &ann).await.len() == 40 }).await;
    let of_ann = there.with_token(&ann.token);
    assert_eq!(of_ann.resource(&format!("history/{}", ann.id)).await, json!([]));
    let id = store_of(&there).await;
    assert_ne!(id, store_of(&cluster.memory.anonymous()).await);
    eventually("core says so", || async {
        let reasons = reasons(&core).await;
        reasons.contains(&url) && reasons.contains(&format!("MEMORY_STORE_ID={id}"))
    })
    .await;
    let health = core.get("/health").await;
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("degraded")));
    let memory = &health.json()["dependent_services"]["memory"];
    assert_eq!(memory["status"], "healthy", "the right one is used: {memory}");
    assert_eq!(other.terminate().await, Some(0));
    cluster.stop().await;
}

#[actix::test]
async fn what_is_meant_for_another_store_is_refused_before_it_is_done() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let body = json!({"user_id": ann.id, "input_data": {"content": "x"}});
    let meant = |id: &str| {
        let question = memory.ask(Method::POST, "/tool/store_input").header("x-cortex-store", id);
        question.json(&body).send()
    };
    let refused = meant("another").await;
    crate::harness::assert_error(&refused, 421, "wrong_store");
    assert!(stored(&cluster, &ann).await.is_empty());
    meant(&store_of(&memory).await).await.ok();
    let log = cluster.memory.of_service();
    let question = log.ask(Method::GET, "/resource/log/stream").header("x-cortex-store", "another");
    crate::harness::assert_error(&question.open().await.0, 421, "wrong_store");
    cluster.stop().await;
}

#[actix::test]
async fn a_new_store_in_memorys_place_is_followed_once_an_operator_says_so() {
    let mut cluster = Cluster::builder().core_args(&QUICK).start().await;
    let ann = User::new("ann");
    post(&cluster.core.of(&ann), "into the first").await.unwrap();
    let first = store_of(&cluster.memory.anonymous()).await;
    cluster.memory.stop().await;
    std::fs::rename(cluster.data().join("memory"), cluster.data().join("aside")).unwrap();
    cluster.memory.start();
    let core = cluster.core.of(&ann);
    eventually("core says that the store is another one", || async {
        reasons(&core).await.contains("MEMORY_STORE_ID=")
    })
    .await;
    let second = store_of(&cluster.memory.anonymous()).await;
    assert_ne!(first, second);
    // Also after core was started anew, nothing goes there.
    cluster.core.stop().await;
    cluster.core.start();
    let core = cluster.core.of(&ann);
    let answer = core.post("/input", json!({"content": "kept"})).await.ok();
    assert_eq!(answer["status"], "received_storage_pending");
    assert!(stored(&cluster, &ann).await.is_empty());
    cluster.core.stop().await;
    cluster.core.start_with(&["--memory-store-id", &second]);
    eventually("it is delivered", || async {
        stored(&cluster, &ann).await.get("kept") == Some(&1)
    })
    .await;
    post(&cluster.core.of(&ann), "into the second").await.unwrap();
    cluster.stop().await;
}

#[actix::test]
async fn a_memory_with_another_secret_is_named_in_cores_health() {
    let args = ["--jwt-secret-key", "another secret, which has thirty-two bytes too"];
    let builder = Cluster::builder().memory_args(&args).core_args(&QUICK);
    let cluster = builder.start_without_follower().await;
    let core = cluster.core.of(&User::new("ann"));
    let answer = core.post("/input", json!({"content": "kept"})).await.ok();
    assert_eq!(answer["status"], "received_storage_pending");
    eventually("core says why nothing is stored", || async {
        let reasons = reasons(&core).await;
        reasons.contains("the log of memory is not followed: memory refuses our token")
            && reasons.contains("inputs wait in the outbox")
    })
    .await;
    cluster.stop().await;
}
