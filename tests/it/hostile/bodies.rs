//! Bodies that are broken, wrong, deep, large or odd.

use actix_web::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{assert_alive, assert_theirs};
use crate::harness::{Client, Cluster, User, assert_error, raw_exchange};

/// Every path of core that takes JSON.
const CORE_PATHS: [(Method, &str); 12] = [
    (Method::POST, "/auth/login"),
    (Method::POST, "/input"),
    (Method::POST, "/v1/conversation/default/messages"),
    (Method::POST, "/config/workspace"),
    (Method::PUT, "/config/workspace/x"),
    (Method::POST, "/config/conversation"),
    (Method::PUT, "/config/conversation/x"),
    (Method::POST, "/cognition/context"),
    (Method::POST, "/cognition/analyze"),
    (Method::POST, "/cognition/search"),
    (Method::POST, "/v1/workspace"),
    (Method::POST, "/v1/context"),
];
const MEMORY_TOOLS: [&str; 12] = [
    "store_input",
    "update_message",
    "update_item",
    "delete_message",
    "delete_item",
    "get_message",
    "get_item",
    "forget_user",
    "remember",
    "recall",
    "forget",
    "export_user",
];
const COGNITION_TOOLS: [&str; 5] = [
    "get_context",
    "analyze_conversation",
    "search_history",
    "summarize_history",
    "extract_entities",
];

/// Bodies that are no JSON at all.
fn broken() -> Vec<Bytes> {
    let deep = |open: &str, close: &str| Bytes::from(open.repeat(10_000) + &close.repeat(10_000));
    vec![
        Bytes::from_static(b"{"),
        Bytes::from_static(b"{\"content\": }"),
        Bytes::from_static(b"{\"content\": \"x\"} trailing"),
        Bytes::from_static(b"{'content': 'x'}"),
        Bytes::from_static(b"{\"content\": \"\xff\xfe\"}"),
        Bytes::from_static(b"{\"content\": \"\\ud800\"}"),
        Bytes::from_static(b"{\"content\": \"x\ny\"}"),
        Bytes::from_static(b"{\"content\": 1e999}"),
        Bytes::from_static(b"{\"content\": NaN}"),
        Bytes::from_static(b"{\"limit\": 1e999, \"query\": \"x\", \"name\": \"x\"}"),
        Bytes::from_static(b"\x00\x01\x02"),
        Bytes::from_static(b"\xef\xbb\xbf{\"content\": \"x\"}"),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        Bytes::from_static(b"<?xml version=\"1.0\"?>"),
    ]
}

async fn send(client: &Client, method: &Method, path: &str, body: Bytes) -> crate::harness::Answer {
    client.ask(method.clone(), path).body("application/json", body).send().await
}

#[actix::test]
async fn a_body_that_is_no_json_is_refused_everywhere() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for body in broken() {
        let what = String::from_utf8_lossy(&body).chars().take(40).collect::<String>();
        for (method, path) in CORE_PATHS {
            let answer = send(&core, &method, path, body.clone()).await;
            assert_theirs(&answer, &format!("{path} {what}"));
        }
        for (node, tools) in
            [(&cluster.memory, &MEMORY_TOOLS[..]), (&cluster.cognition, &COGNITION_TOOLS)]
        {
            for tool in tools {
                let path = format!("/tool/{tool}");
                let answer = send(&node.of_service(), &Method::POST, &path, body.clone()).await;
                assert_theirs(&answer, &format!("{path} {what}"));
            }
        }
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

#[actix::test]
async fn a_value_of_the_wrong_type_is_refused() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for body in [json!([]), json!("x"), json!(5), json!(null), json!(true)] {
        for (method, path) in CORE_PATHS {
            let answer = send(&core, &method, path, body.to_string().into()).await;
            assert_theirs(&answer, &format!("{path} {body}"));
        }
    }
    for wrong in [json!(5), json!([]), json!({}), json!(true), json!(1e300)] {
        for (method, path, field) in [
            (Method::POST, "/input", "content"),
            (Method::POST, "/input", "conversation_id"),
            (Method::POST, "/config/workspace", "name"),
            (Method::POST, "/config/workspace", "description"),
            (Method::POST, "/config/conversation", "topic"),
            (Method::POST, "/auth/login", "password"),
            (Method::POST, "/cognition/search", "query"),
            (Method::POST, "/cognition/analyze", "conversation_id"),
        ] {
            let mut body = json!({
                "content": "x", "name": "x", "description": "x", "workspace_id": "x", "topic": "x",
                "username": "x", "password": "x", "query": "x", "conversation_id": "default",
            });
            body[field] = wrong.clone();
            let answer = send(&core, &method, path, body.to_string().into()).await;
            assert_error(&answer, 422, "validation_error");
        }
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

/// Arguments that fit no tool, and some that do.
fn odd_arguments() -> Vec<Value> {
    let mut odd = vec![json!({}), json!({"arguments": 5}), json!({"arguments": {"arguments": {}}})];
    for value in
        [json!(5), json!(-1), json!(1e300), json!([]), json!({}), json!(true), json!("\u{0}")]
    {
        for key in [
            "user_id",
            "input_data",
            "data",
            "updates",
            "item_id",
            "message_id",
            "query",
            "limit",
            "conversation_id",
            "analysis_type",
            "content",
            "recency_weight",
        ] {
            odd.push(json!({ "user_id": "u", key: value }));
        }
        for key in ["id", "content", "timestamp", "metadata", "role", "seq", "user_id"] {
            odd.push(json!({"user_id": "u", "input_data": {"content": "x", key: value}}));
        }
    }
    odd
}

#[actix::test]
async fn arguments_that_fit_no_tool_are_refused_or_answered() {
    let cluster = Cluster::start().await;
    for (node, tools) in
        [(&cluster.memory, &MEMORY_TOOLS[..]), (&cluster.cognition, &COGNITION_TOOLS)]
    {
        let client = node.of_service();
        for tool in tools {
            for arguments in odd_arguments() {
                let what = format!("{tool} {arguments}");
                let answer = client.post(&format!("/tool/{tool}"), arguments).await;
                if answer.status != 200 {
                    assert_theirs(&answer, &what);
                }
            }
        }
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

#[actix::test]
async fn an_empty_body_is_missing_its_fields() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for (method, path) in CORE_PATHS {
        let answer = send(&core, &method, path, Bytes::new()).await;
        assert_error(&answer, 422, "validation_error");
    }
    // No arguments at all.
    let memory = cluster.memory.of_service();
    let answer = send(&memory, &Method::POST, "/tool/get_item", Bytes::new()).await;
    assert_theirs(&answer, "get_item");
    assert_alive(&cluster).await;
    cluster.stop().await;
}

#[actix::test]
async fn a_body_of_two_megabytes_is_refused_everywhere() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    let large = Bytes::from(json!({"content": "x".repeat(2 * 1024 * 1024)}).to_string());
    for (method, path) in CORE_PATHS {
        let answer = send(&core, &method, path, large.clone()).await;
        assert_error(&answer, 413, "request_too_large");
    }
    for node in [&cluster.memory, &cluster.cognition] {
        let client = node.of_service();
        let answer = send(&client, &Method::POST, "/tool/x", large.clone()).await;
        assert_error(&answer, 413, "request_too_large");
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

#[actix::test]
async fn metadata_may_be_anything_json_can_hold() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let deep = (0..100).fold(json!(1), |inner, _| json!({ "a": inner }));
    for metadata in [
        json!({"": "", "\u{0}": "\u{0}", "__proto__": {}, "type": "end", "end": true}),
        json!({"big": u64::MAX, "small": i64::MIN, "float": 1e308}),
        json!({ "deep": deep }),
    ] {
        let body = json!({"content": "x", "metadata": metadata});
        let told = core.post("/input", body).await.ok();
        assert_eq!(told["data"]["metadata"], metadata);
        let path = format!("history/{}/limit/1", ann.id);
        let newest = cluster.memory.of(&ann).resource(&path).await;
        assert_eq!(newest[0]["metadata"], metadata);
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_body_that_comes_too_slowly_is_a_408_and_an_encoded_one_a_415() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    for (node, path) in [(&cluster.core, "/input"), (&cluster.memory, "/tool/store_input")] {
        // Ten bytes are announced, and two come.
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
             x-cortex-timeout-ms: 100\r\ncontent-type: application/json\r\n\
             content-length: 10\r\n\r\n{{\"",
            ann.token
        );
        let (status, text) = raw_exchange(node.address(), request.as_bytes()).await;
        assert_eq!(status, 408, "{text}");
        assert!(text.contains("request_timeout"), "{text}");
        for encoding in ["gzip", "deflate", "br", "x"] {
            let question = node.of(&ann).ask(Method::POST, path);
            let question = question.header("content-encoding", encoding);
            let answer = question.json(&json!({"content": "x"})).send().await;
            assert_error(&answer, 415, "unsupported_media_type");
            assert!(answer.text().contains("send it as it is"), "{}", answer.text());
        }
    }
    let question = cluster.core.of(&ann).ask(Method::POST, "/input");
    let plain = question.header("content-encoding", "identity");
    plain.json(&json!({"content": "x"})).send().await.ok();
    cluster.stop().await;
}
