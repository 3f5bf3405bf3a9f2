//! What nobody should send: always an answer that says what is wrong, never a panic.

use std::fmt::Write as _;

use actix_web::http::Method;
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use super::server::{MODERN, Server, Session, ask, call, modern};
use crate::harness::{Answer, Client, assert_error, raw_exchange};

/// Inputs of each kind that are tried.
const TRIES: usize = 300;

/// The answer is in the words of the protocol.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: i64) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["jsonrpc"], "2.0", "{body}");
    assert_eq!(body["error"]["code"], code, "{body}");
}

fn post(client: &Client, body: impl Into<bytes::Bytes>) -> crate::harness::client::Question {
    client.ask(Method::POST, "/mcp").body("application/json", body)
}

#[actix_rt::test]
async fn what_is_no_message_is_refused_in_the_protocols_words() {
    let server = Server::open(&[]);
    let client = server.client();
    for bad in ["", "{", "nonsense", "{\"jsonrpc\":\"2.0\"", "\"\\ud800\"", "{\"a\":1}}"] {
        assert_refused(&post(&client, bad).send().await, 400, -32700);
    }
    let deep = "[".repeat(200_000);
    assert_refused(&post(&client, deep).send().await, 400, -32700);
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    for bad in [
        json!([ping]),
        json!([]),
        json!(null),
        json!(3),
        json!({}),
        json!({ "id": 1, "method": "ping" }),
        json!({ "jsonrpc": "1.0", "id": 1, "method": "ping" }),
        json!({ "jsonrpc": "2.0", "id": null, "method": "ping" }),
        json!({ "jsonrpc": "2.0", "id": 1.5, "method": "ping" }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": 7 }),
    ] {
        let answer = post(&client, bad.to_string()).send().await;
        assert_refused(&answer, 400, -32600);
        let id = bad.get("id").filter(|id| **id == 1);
        assert_eq!(answer.json().get("id"), id, "{bad}");
    }
    server.stop().await;
}

#[actix_rt::test]
async fn parameters_that_cannot_be_read_are_not_an_unknown_method() {
    let server = Server::open(&[]);
    let client = server.client();
    let mut call = modern(1, "tools/call", json!({ "name": 5 }));
    let answer = ask(&client, &call).header("mcp-name", "5").send().await;
    assert_eq!(answer.json()["error"]["code"], -32602, "{}", answer.text());
    call["method"] = json!("tools/shout");
    assert_refused(&ask(&client, &call).send().await, 404, -32601);
    for gone in ["initialize", "ping", "logging/setLevel", "resources/subscribe"] {
        let answer = ask(&client, &modern(1, gone, json!({}))).send().await;
        assert_refused(&answer, 404, -32601);
    }
    server.stop().await;
}

#[actix_rt::test]
async fn headers_that_contradict_the_body_are_refused() {
    let server = Server::open(&[]);
    let client = server.client();
    for (name, lie) in [
        ("mcp-method", "tools/list"),
        ("mcp-method", "Tools/Call"),
        ("mcp-name", "wait"),
        ("mcp-protocol-version", "2025-11-25"),
    ] {
        assert_refused(&call(&client, "show").header(name, lie).send().await, 400, -32020);
    }
    let mut unknown = modern(1, "tools/list", json!({}));
    unknown["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2031-01-01");
    let answer = ask(&client, &unknown).header("mcp-protocol-version", "2031-01-01").send().await;
    assert_refused(&answer, 400, -32022);
    let bare = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
    assert_refused(&ask(&client, &bare).send().await, 400, -32602);
    server.stop().await;
}

#[actix_rt::test]
async fn media_types_hosts_and_origins_are_held_to() {
    let server = Server::open(&["--public-url", "https://cortex.example.com"]);
    let client = server.client();
    for anything in ["*/*", "text/html, */*;q=0.1", "application/json, text/event-stream"] {
        assert_eq!(call(&client, "show").header("accept", anything).send().await.status, 200);
    }
    for narrow in ["application/json", "text/event-stream", "text/html", "*/*;q=0"] {
        let answer = call(&client, "show").header("accept", narrow).send().await;
        assert_error(&answer, 406, "not_acceptable");
    }
    let plain = client.ask(Method::POST, "/mcp").body("text/plain", "{}").send().await;
    assert_error(&plain, 415, "unsupported_media_type");
    for good in ["localhost", "127.0.0.1:1", "[::1]:8000", "cortex.example.com"] {
        assert_eq!(call(&client, "show").header("host", good).send().await.status, 200, "{good}");
    }
    for bad in ["evil.example.com", "localhost.evil.example.com", "10.0.0.1"] {
        let answer = call(&client, "show").header("host", bad).send().await;
        assert_error(&answer, 403, "permission_denied");
        assert!(answer.text().contains("MCP_ALLOWED_HOSTS"));
    }
    for good in ["http://localhost:3000", "http://127.0.0.1"] {
        assert_eq!(call(&client, "show").header("origin", good).send().await.status, 200, "{good}");
    }
    for bad in ["https://evil.example.com", "null", "http://localhost.evil.example.com"] {
        let answer = call(&client, "show").header("origin", bad).send().await;
        assert_error(&answer, 403, "permission_denied");
    }
    server.stop().await;
}

/// Values of a strategy, the same in every run.
fn tries<S: Strategy>(strategy: &S) -> Vec<S::Value> {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        prop::test_runner::TestRng::deterministic_rng(prop::test_runner::RngAlgorithm::ChaCha),
    );
    (0..TRIES).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z_/]{0,8}", inner, 0..5).prop_map(|map| json!(map)),
        ]
    })
}

/// A message of which any part may be anything.
fn nearly_a_message() -> impl Strategy<Value = Value> {
    let methods = prop::sample::select(vec![
        "initialize",
        "server/discover",
        "tools/list",
        "tools/call",
        "prompts/get",
        "resources/read",
        "completion/complete",
        "subscriptions/listen",
        "logging/setLevel",
        "tasks/get",
        "notifications/initialized",
        "notifications/cancelled",
    ]);
    let keys = prop::sample::select(vec![
        "name",
        "arguments",
        "uri",
        "cursor",
        "_meta",
        "ref",
        "argument",
        "requestState",
        "inputResponses",
        "notifications",
        "protocolVersion",
        "capabilities",
        "requestId",
    ]);
    let params = prop::collection::btree_map(keys, any_json(), 0..6);
    let id = prop_oneof![4 => any::<i64>().prop_map(Value::from), 1 => any_json()];
    let version = prop_oneof![4 => Just(json!("2.0")), 1 => any_json()];
    (version, id, methods, params, any::<bool>()).prop_map(
        |(version, id, method, params, whole)| {
            let mut params = json!(params);
            if whole {
                let meta = modern(1, "x", json!({}))["params"]["_meta"].take();
                params["_meta"] = meta;
            }
            json!({ "jsonrpc": version, "id": id, "method": method, "params": params })
        },
    )
}

/// The answer is one of those there are: a message or our one format, of a status that fits.
#[track_caller]
fn assert_answered(status: u16, answer: &str, sent: &dyn std::fmt::Debug) {
    assert!(matches!(status, 200 | 202 | 204 | 400..=499), "{status} for {sent:?}: {answer}");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let stream = answer.to_ascii_lowercase().contains("text/event-stream");
    if status >= 400 {
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| {
            panic!("{sent:?} has an answer that is no JSON ({error}): {answer}")
        });
        let in_words = body["error"]["code"].is_i64() && body["jsonrpc"] == "2.0";
        assert!(in_words || body["request_id"].is_string(), "{sent:?}: {answer}");
    } else if status == 200 && !stream {
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["jsonrpc"], "2.0", "{sent:?}: {answer}");
    }
}

/// Sends a request as bytes, with the body's true length.
async fn exchange(server: &Server, headers: &[u8], body: &[u8]) -> (u16, String) {
    let mut request = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".to_vec();
    request.extend_from_slice(headers);
    request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    request.extend_from_slice(body);
    raw_exchange(server.address, &request).await
}

const JSON: &[u8] = b"content-type: application/json\r\n";

#[actix_rt::test]
async fn any_bytes_as_a_body_get_an_answer() {
    let server = Server::open(&["--mcp-call-timeout", "100ms"]);
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    for body in tries(&bytes) {
        let (status, answer) = exchange(&server, JSON, &body).await;
        assert_answered(status, &answer, &body);
    }
    assert_eq!(call(&server.client(), "show").send().await.status, 200);
    server.stop().await;
}

#[actix_rt::test]
async fn anything_that_is_nearly_a_message_gets_an_answer_in_both_eras() {
    let server = Server::open(&[
        "--mcp-call-timeout",
        "50ms",
        "--mcp-sessions-max",
        "100000",
        "--mcp-sessions-per-user-max",
        "100000",
    ]);
    let session = Session::begin(&server.client()).await;
    for message in tries(&nearly_a_message()) {
        let method = message["method"].as_str().unwrap();
        let name = message["params"]["name"].as_str().or(message["params"]["uri"].as_str());
        let name = name.filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()));
        let modern = format!(
            "{}mcp-protocol-version: {MODERN}\r\nmcp-method: {method}\r\nmcp-name: {}\r\n",
            String::from_utf8_lossy(JSON),
            name.unwrap_or("x"),
        );
        let legacy = format!("{}mcp-session-id: {}\r\n", String::from_utf8_lossy(JSON), session.id);
        for headers in [modern, legacy, String::from_utf8_lossy(JSON).into_owned()] {
            if method == "subscriptions/listen" && headers.contains(MODERN) {
                continue; // may be granted, and then has no end
            }
            let body = message.to_string();
            let (status, answer) = exchange(&server, headers.as_bytes(), body.as_bytes()).await;
            assert_answered(status, &answer, &(headers, body));
        }
    }
    assert_eq!(call(&server.client(), "show").send().await.status, 200);
    server.stop().await;
}

#[actix_rt::test]
async fn any_headers_get_an_answer() {
    let server = Server::open(&["--mcp-call-timeout", "100ms"]);
    let names = prop::sample::select(vec![
        "accept",
        "content-type",
        "origin",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "mcp-param-value",
        "mcp-session-id",
        "last-event-id",
        "authorization",
        "x-request-id",
        "x-cortex-timeout-ms",
    ]);
    let value = prop_oneof![
        "[ -~]{0,40}",
        Just(MODERN.to_owned()),
        Just("=?base64?!!!?=".to_owned()),
        Just("\u{e4}\u{fc}".to_owned()),
    ];
    let headers = prop::collection::vec((names, value), 0..6);
    let body = modern(1, "tools/call", json!({ "name": "show", "arguments": {} })).to_string();
    for headers in tries(&headers) {
        let mut text = String::from_utf8_lossy(JSON).into_owned();
        for (name, value) in &headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        let (status, answer) = exchange(&server, text.as_bytes(), body.as_bytes()).await;
        assert_answered(status, &answer, &headers);
    }
    assert_eq!(call(&server.client(), "show").send().await.status, 200);
    server.stop().await;
}
