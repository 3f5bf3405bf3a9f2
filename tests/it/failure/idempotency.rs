//! Inputs with a key: however often they are sent, one item and one answer.

use actix_web::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::stored;
use crate::harness::{Answer, Client, Cluster, User, assert_error};

async fn post(core: &Client, key: &str, body: &Value) -> Answer {
    let question = core.ask(Method::POST, "/input");
    question.header("idempotency-key", key).json(body).send().await
}

#[actix::test]
async fn the_same_key_and_body_give_the_same_answer_and_one_item_also_after_restarts() {
    let mut cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let body = json!({"content": "hello", "metadata": {"a": 1}});
    let first = post(&core, "key-1", &body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (200, None));
    let second = post(&core, "\"key-1\"", &body).await;
    assert_eq!(second.json(), first.json());
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    cluster.core.stop().await;
    cluster.memory.stop().await;
    cluster.memory.start();
    cluster.core.start();
    let third = post(&cluster.core.of(&ann), "key-1", &body).await;
    assert_eq!(third.json(), first.json());
    assert_eq!(stored(&cluster, &ann).await.get("hello"), Some(&1));
    cluster.stop().await;
}

#[actix::test]
async fn another_body_under_a_key_is_refused_and_a_key_belongs_to_its_user() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let core = cluster.core.of(&ann);
    post(&core, "k", &json!({"content": "one"})).await.ok();
    for other in [json!({"content": "two"}), json!({"content": "one", "metadata": {"x": 1}})] {
        assert_error(&post(&core, "k", &other).await, 422, "validation_error");
    }
    post(&cluster.core.of(&bob), "k", &json!({"content": "two"})).await.ok();
    assert_eq!(stored(&cluster, &ann).await.len(), 1);
    assert_eq!(stored(&cluster, &bob).await.get("two"), Some(&1));
    for bad in ["", "\t", "ü", "x".repeat(256).as_str()] {
        assert_error(&post(&core, bad, &json!({"content": "x"})).await, 400, "invalid_request");
    }
    cluster.stop().await;
}

#[actix::test]
async fn many_at_once_with_one_key_are_one_item_and_without_keys_each_is_its_own() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let body = json!({"content": "at once"});
    let answers = join_all((0..20).map(|_| post(&core, "k", &body))).await;
    let first = answers[0].json();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.json() == first));
    for _ in 0..2 {
        core.post("/input", json!({"content": "keyless"})).await.ok();
    }
    let stored = stored(&cluster, &ann).await;
    assert_eq!((stored.get("at once"), stored.get("keyless")), (Some(&1), Some(&2)));
    cluster.stop().await;
}
