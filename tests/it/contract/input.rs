//! Inputs: every way to send one, and what is confirmed.

use serde_json::{Value, json};

use super::conversation;
use crate::harness::{Client, Cluster, User, assert_error, assert_json};

/// Sends an input; the confirmation must be as expected, and memory must hold the same.
async fn check(cluster: &Cluster, ann: &User, path: &str, body: Value, data: Value) {
    let answer = cluster.core.of(ann).post(path, body).await;
    let mut expected = json!({
        "content": "hello", "conversation_id": "default", "timestamp": "<time>", "metadata": {},
        "message_id": "<uuid>",
    });
    expected.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    let mut whole = json!({"status": "received", "data": expected});
    if path.starts_with("/v1") {
        whole["request_id"] = answer.header("x-request-id").into();
        whole["timestamp"] = "<time>".into();
    }
    let told = answer.ok();
    assert_json(&told, whole);
    let told = &told["data"];
    let newest = cluster.memory.of(ann).resource(&format!("history/{}/limit/1", ann.id)).await;
    assert_json(
        &newest,
        json!([{
            "seq": "<int>", "id": told["message_id"], "user_id": ann.id, "sender_id": ann.id,
            "sender": ann.name, "conversation_id": told["conversation_id"], "role": "user",
            "content": told["content"], "content_type": "text", "timestamp": told["timestamp"],
            "metadata": told["metadata"],
        }]),
    );
}

#[actix::test]
async fn an_input_is_confirmed_with_or_without_a_conversation() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let id = conversation(&cluster.core.of(&ann), &[]).await;
    check(&cluster, &ann, "/input", json!({"content": "hello"}), json!({})).await;
    let body = json!({"content": "hello", "conversation_id": null, "metadata": null});
    check(&cluster, &ann, "/input", body, json!({})).await;
    let body = json!({"content": "hello", "conversation_id": id, "metadata": {"a": [1]}});
    let data = json!({"conversation_id": id, "metadata": {"a": [1]}});
    check(&cluster, &ann, "/input", body, data).await;
    cluster.stop().await;
}

#[actix::test]
async fn the_text_may_be_called_message_and_content_wins() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    check(&cluster, &ann, "/input", json!({"message": "hello"}), json!({})).await;
    let both = json!({"message": "no", "content": "hello"});
    check(&cluster, &ann, "/input", both, json!({})).await;
    cluster.stop().await;
}

#[actix::test]
async fn what_other_generations_send_besides_is_tolerated() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let body = json!({
        "content": "hello", "streaming": true, "timestamp": "2020-01-01T00:00:00", "mood": {},
    });
    check(&cluster, &ann, "/input", body, json!({})).await;
    let newest = cluster.memory.of(&ann).resource(&format!("history/{}", ann.id)).await;
    let said_at = newest[0]["timestamp"].as_str().unwrap();
    assert!(!said_at.starts_with("2020"), "the server's time wins");
    cluster.stop().await;
}

#[actix::test]
async fn every_path_of_every_generation_takes_an_input() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let id = conversation(&cluster.core.of(&ann), &[]).await;
    for path in ["/input", "/input/", "/v1/input"] {
        check(&cluster, &ann, path, json!({"content": "hello"}), json!({})).await;
    }
    let path = format!("/v1/conversation/{id}/messages");
    let data = json!({"conversation_id": id});
    check(&cluster, &ann, &path, json!({"content": "hello"}), data.clone()).await;
    let elsewhere = json!({"content": "hello", "conversation_id": "elsewhere"});
    check(&cluster, &ann, &path, elsewhere, data).await;
    cluster.stop().await;
}

#[actix::test]
async fn a_v1_input_may_bring_its_own_request_id() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    let body = json!({"content": "hello", "request_id": "mine-1"});
    let told = core.post("/v1/conversation/default/messages", body).await.ok();
    assert_eq!(told["request_id"], "mine-1");
    cluster.stop().await;
}

#[actix::test]
async fn an_empty_or_a_long_text_is_a_text() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let long = "ß".repeat(200_000);
    for content in ["", "\u{0}", "🪁\n\r\n data: x", long.as_str()] {
        let data = json!({"content": content});
        check(&cluster, &ann, "/input", json!({"content": content}), data).await;
    }
    cluster.stop().await;
}

async fn refused(core: &Client, body: Value, at: Value, kind: &str) {
    let answer = core.post("/input", body).await;
    assert_error(&answer, 422, "validation_error");
    assert_json(
        &answer.json()["error"]["details"]["validation_errors"],
        json!([{"loc": at, "msg": "<text>", "type": kind}]),
    );
}

#[actix::test]
async fn what_cannot_be_an_input_is_told_by_its_place() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    refused(&core, json!({}), json!(["body", "content"]), "missing").await;
    refused(&core, json!({"content": 5}), json!(["body", "content"]), "type_error").await;
    let body = json!({"content": "x", "metadata": []});
    refused(&core, body, json!(["body", "metadata"]), "type_error").await;
    let body = json!({"content": "x", "conversation_id": 1});
    refused(&core, body, json!(["body", "conversation_id"]), "type_error").await;
    cluster.stop().await;
}

#[actix::test]
async fn the_token_is_checked_before_the_body_and_the_body_before_the_conversation() {
    let cluster = Cluster::start().await;
    let body = json!({"conversation_id": "unknown"});
    let answer = cluster.core.anonymous().post("/input", body.clone()).await;
    assert_error(&answer, 401, "auth_error");
    let answer = cluster.core.of(&User::new("ann")).post("/input", body).await;
    assert_error(&answer, 422, "validation_error");
    cluster.stop().await;
}

#[actix::test]
async fn an_input_memory_cannot_take_is_pending() {
    let mut cluster = Cluster::start().await;
    cluster.memory.stop().await;
    let core = cluster.core.of(&User::new("ann"));
    let answer = core.post("/input", json!({"content": "hello", "metadata": {"a": 1}})).await;
    assert_json(
        &answer.ok(),
        json!({"status": "received_storage_pending", "data": {
            "content": "hello", "conversation_id": "default", "timestamp": "<time>",
            "metadata": {"a": 1}, "message_id": "<text>"}}),
    );
    let answer = core.post("/v1/input", json!({"content": "hello", "request_id": "r"})).await.ok();
    assert_eq!(answer["status"], "received_storage_pending");
    assert_eq!(answer["request_id"], "r");
    cluster.stop().await;
}

#[actix::test]
async fn without_an_outbox_an_input_memory_cannot_store_is_not_confirmed() {
    let mut cluster = Cluster::builder().core_args(&["--outbox-entries-max", "0"]).start().await;
    cluster.memory.stop().await;
    let core = cluster.core.of(&User::new("ann"));
    let answer = core.post("/input", json!({"content": "hello"})).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    let body = answer.json();
    let code = body["error"]["code"].as_str().unwrap();
    assert!(["connection", "circuit_open", "service_unavailable"].contains(&code), "{code}");
    assert_error(&answer, 503, code);
    assert_eq!(body["error"]["details"]["service"], "memory");
    cluster.stop().await;
}
