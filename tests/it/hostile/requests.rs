//! Methods, paths, queries and headers that are odd, long or no HTTP at all.

use std::net::SocketAddr;

use actix_web::http::Method;
use serde_json::json;

use super::{assert_alive, assert_theirs};
use crate::harness::{Cluster, Node, User, assert_error, assert_has, raw_exchange};

/// Sends a request line with sound headers; the status.
async fn request_line(to: SocketAddr, line: &str) -> (u16, String) {
    let request = format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n");
    raw_exchange(to, request.as_bytes()).await
}

#[actix::test]
async fn a_method_nobody_knows_is_a_405_or_404() {
    let cluster = Cluster::start().await;
    for node in [&cluster.core, &cluster.memory, &cluster.cognition] {
        let client = node.of(&User::new("ann"));
        for method in ["BREW", "PATCH", "TRACE", "PROPFIND", "get"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = client.ask(method.clone(), "/health").send().await;
            assert_error(&answer, 405, "method_not_allowed");
            assert_theirs(&client.ask(method, "/nowhere").send().await, "/nowhere");
        }
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

#[actix::test]
async fn a_long_path_query_or_header_is_refused_or_answered() {
    let cluster = Cluster::start().await;
    for node in [&cluster.core, &cluster.memory, &cluster.cognition] {
        let client = node.of(&User::new("ann"));
        let long = "x".repeat(20_000);
        assert_theirs(&client.get(&format!("/{long}")).await, "a long path");
        let answer = client.get(&format!("/health?{long}={long}")).await;
        assert_eq!(answer.status, 200);
        let answer = client.ask(Method::GET, "/health").header("x-long", &long).send().await;
        assert_eq!(answer.status, 200);
        let answer = client.with_token(&long).get("/tools").await;
        assert_theirs(&answer, "a long token");
        for line in [
            format!("GET /{} HTTP/1.1", "x".repeat(200_000)),
            format!("GET /health HTTP/1.1\r\nx-long: {}", "x".repeat(200_000)),
            format!("GET /health HTTP/1.1{}", "\r\nx-many: x".repeat(1_000)),
        ] {
            let (status, text) = request_line(node.address(), &line).await;
            assert!((400..500).contains(&status), "{text}");
        }
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

#[actix::test]
async fn what_is_no_http_is_refused() {
    let cluster = Cluster::start().await;
    for node in [&cluster.core, &cluster.memory, &cluster.cognition] {
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
            b"hello\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET  HTTP/1.1\r\n\r\n",
            b"POST /input HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
            b"POST /input HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
            b"POST /input HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
            b"POST /input HTTP/1.1\r\ntransfer-encoding: nonsense\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        ] {
            let (status, text) = raw_exchange(node.address(), bytes).await;
            assert!((400..500).contains(&status), "{:?}: {text}", String::from_utf8_lossy(bytes));
        }
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

#[actix::test]
async fn headers_we_read_may_hold_anything() {
    let cluster = Cluster::start().await;
    for node in [&cluster.core, &cluster.memory, &cluster.cognition] {
        for header in [
            "x-request-id: \u{fc}",
            "x-request-id:",
            "x-cortex-attempt: x",
            "last-event-id: x",
            "accept: \u{fc}",
            "origin: \u{fc}",
            "authorization: Bearer",
            "authorization: Basic eDp4",
            "authorization: \u{fc}",
        ] {
            let line = format!("GET /health/live HTTP/1.1\r\n{header}");
            let (status, text) = request_line(node.address(), &line).await;
            assert_eq!(status, 200, "{header}: {text}");
        }
    }
    for node in [&cluster.core, &cluster.memory, &cluster.cognition] {
        for wrong in ["soon", "-1", "99999999999999999999999999", "", "1.5", "1, 2"] {
            let question = node.anonymous().ask(Method::GET, "/health/live");
            let answer = question.header("x-cortex-timeout-ms", wrong).send().await;
            assert_error(&answer, 400, "invalid_request");
        }
        let twice =
            "GET /health/live HTTP/1.1\r\nx-cortex-timeout-ms: 1000\r\nx-cortex-timeout-ms: 9";
        assert_eq!(request_line(node.address(), twice).await.0, 400);
        let once = "GET /health/live HTTP/1.1\r\nx-cortex-timeout-ms: 1000";
        assert_eq!(request_line(node.address(), once).await.0, 200);
    }
    let core = cluster.core.anonymous();
    for authorization in ["Bearer", "Bearer ", "Basic eDp4", "bearer", "Token x", "x"] {
        let question = core.ask(Method::GET, "/auth/verify");
        let answer = question.header("authorization", authorization).send().await;
        assert_error(&answer, 401, "auth_error");
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

/// Ids as paths write them, and what they stand for.
const ODD_IDS: [(&str, &str); 7] = [
    ("a%2Fb", "a/b"),
    ("a%252Fb", "a%2Fb"),
    ("%00", "\u{0}"),
    ("a%20b%3Fc%23d", "a b?c#d"),
    ("%C3%BC", "ü"),
    ("%2E%2E", ".."),
    ("%F0%9F%AA%81", "🪁"),
];

#[actix::test]
async fn a_user_id_may_hold_what_a_path_may_not() {
    let cluster = Cluster::start().await;
    for (written, id) in ODD_IDS {
        let user = User::with_id("odd", id);
        cluster.core.of(&user).post("/input", json!({"content": "hello"})).await.ok();
        for path in [
            format!("history/{written}"),
            format!("history/{written}/limit/5"),
            format!("history/{written}/conversation/default"),
            format!("conversation/default/user/{written}"),
        ] {
            let items = cluster.memory.of(&user).resource(&path).await;
            assert_has(&items, json!([{"content": "hello", "user_id": id}]));
        }
        let found = cluster.core.of(&user).post("/cognition/context", json!({})).await.ok();
        assert_has(&found["data"], json!({"count": 1, "user_id": id}));
        let context = cluster.cognition.of(&user).resource(&format!("context/{written}")).await;
        assert_has(&context[0], json!({"user_id": id, "count": 1}));
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

#[actix::test]
async fn an_odd_conversation_id_is_an_unknown_one() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for (written, id) in ODD_IDS {
        for path in
            [format!("/config/conversation/{written}"), format!("/config/workspace/{written}")]
        {
            let answer = core.get(&path).await;
            assert_error(&answer, 404, "resource_not_found");
        }
        let said = json!({"content": "x", "conversation_id": id});
        assert_error(&core.post("/input", said).await, 404, "resource_not_found");
        let path = format!("/v1/conversation/{written}/messages");
        let answer = core.post(&path, json!({"content": "x"})).await;
        assert_error(&answer, 404, "resource_not_found");
    }
    let long = "x".repeat(10_000);
    let said = json!({"content": "x", "conversation_id": long});
    assert_theirs(&core.post("/input", said).await, "a long id");
    for path in ["/resource/history/%ff", "/resource/history/%"] {
        let answer = cluster.memory.of_service().get(path).await;
        if answer.status != 200 {
            assert_theirs(&answer, path);
        }
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

/// Asks with every odd number in the place of `{}`.
async fn check_numbers(node: &Node, user: &User, template: &str) {
    for number in [
        "-1",
        "0",
        "-9223372036854775808",
        "9223372036854775807",
        "9223372036854775808",
        "99999999999999999999999999",
        "1e9",
        "1e999",
        "0x10",
        "1.0",
        "NaN",
        "%00",
        "+1",
        "%2B1",
        "1%0A",
        "",
        "%F0%9F%AA%81",
    ] {
        let path = template.replace("{}", number);
        let question = node.of(user).ask(Method::GET, &path);
        let answer = question.header("accept", "application/json").send().await;
        if answer.status != 200 {
            assert_theirs(&answer, &path);
        }
    }
}

#[actix::test]
async fn numbers_in_paths_and_queries_are_answered_or_refused() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let id = &ann.id;
    for template in [
        format!("/resource/history/{id}?limit={{}}"),
        format!("/resource/history/{id}?after={{}}"),
        format!("/resource/history/{id}?before={{}}"),
        format!("/resource/history/{id}/limit/{{}}"),
    ] {
        check_numbers(&cluster.memory, &ann, &template).await;
    }
    for name in ["limit", "recency_weight"] {
        let template = format!("/resource/context/{id}?{name}={{}}");
        check_numbers(&cluster.cognition, &ann, &template).await;
    }
    for template in
        ["/config/workspace?limit={}", "/config/workspace?offset={}", "/v1/workspace?offset={}"]
    {
        check_numbers(&cluster.core, &ann, template).await;
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

#[actix::test]
async fn a_content_type_that_is_wrong_or_missing_is_refused_or_read_as_json() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for kind in ["text/plain", "application/xml", "multipart/form-data; boundary=x", "x", "\u{fc}"]
    {
        for path in ["/input", "/auth/login", "/config/workspace", "/cognition/context"] {
            let answer = core.ask(Method::POST, path).body(kind, "<x/>").send().await;
            assert_theirs(&answer, &format!("{path} {kind}"));
        }
        if !kind.is_ascii() {
            continue; // Not text at all: as if it were not there.
        }
        let login = r#"{"username": "user@example.com", "password": "password123"}"#;
        let answer = core.ask(Method::POST, "/auth/login").body(kind, login).send().await;
        assert_error(&answer, 415, "unsupported_media_type");
    }
    for form in ["username=%ff&password=%ff", "&&&", "=", "username=x&username=y&password=z", "%"] {
        let question = core.ask(Method::POST, "/auth/login");
        let answer = question.body("application/x-www-form-urlencoded", form).send().await;
        assert_theirs(&answer, form);
    }
    assert_alive(&cluster).await;
    cluster.stop().await;
}

#[actix::test]
async fn a_password_of_a_megabyte_is_refused_without_hashing_it() {
    let cluster = Cluster::start().await;
    let login = json!({"username": "user@example.com", "password": "x".repeat(1_000_000)});
    let answer = cluster.core.anonymous().post("/auth/login", login).await;
    assert_error(&answer, 401, "invalid_credentials");
    cluster.stop().await;
}

#[actix::test]
async fn an_idempotency_key_is_one_word() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    for key in ["a b", "", "\"\"", "\"a b\"", "\t", &"x".repeat(256), "\u{fc}"] {
        let question = core.ask(Method::POST, "/input").header("idempotency-key", key);
        let answer = question.json(&json!({"content": "x"})).send().await;
        assert_error(&answer, 400, "invalid_request");
    }
    let body = r#"{"content": "x"}"#;
    let request = format!(
        "POST /input HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         idempotency-key: one\r\nidempotency-key: two\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        ann.token,
        body.len()
    );
    let (status, text) = raw_exchange(cluster.core.address(), request.as_bytes()).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("Idempotency-Key must be one key"), "{text}");
    cluster.stop().await;
}
