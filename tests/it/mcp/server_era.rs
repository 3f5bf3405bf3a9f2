//! Both eras of the protocol on one path.

use actix_web::http::Method;
use serde_json::json;

use super::server::{LEGACY, MODERN, Server, Session, ask, call, modern, next};
use crate::harness::{User, assert_error, assert_has};

#[actix_rt::test]
async fn a_call_of_2026_07_28_is_answered_whole_and_says_who_answered() {
    let server = Server::open(&[]);
    let answer = call(&server.client(), "show").send().await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let length = answer.header("content-length").unwrap().parse::<usize>().unwrap();
    assert_eq!(length, answer.body.len());
    assert!(answer.header("x-request-id").is_some());
    assert!(answer.header("mcp-session-id").is_none());
    assert_has(
        &answer.ok(),
        json!({
            "jsonrpc": "2.0",
            "id": 1,
            "result": {
                "resultType": "complete",
                "structuredContent": { "caller": null },
                "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "showing", "version": "1" } },
            },
        }),
    );
    server.stop().await;
}

#[actix_rt::test]
async fn discovery_is_truthful_and_lists_say_how_long_they_may_be_kept() {
    let server = Server::open(&["--mcp-list-ttl", "7"]);
    let found = ask(&server.client(), &modern(1, "server/discover", json!({}))).send().await.ok();
    let found = &found["result"];
    let versions = json!(["2025-03-26", "2025-06-18", LEGACY, MODERN]);
    assert_eq!(found["supportedVersions"], versions, "{found}");
    assert_eq!(found["ttlMs"], 7000, "{found}");
    assert!(found["capabilities"].get("prompts").is_none(), "{found}");
    let tools = ask(&server.client(), &modern(2, "tools/list", json!({}))).send().await.ok();
    assert_has(&tools["result"], json!({ "ttlMs": 7000, "cacheScope": "private" }));
    for method in ["prompts/list", "resources/list", "resources/templates/list"] {
        let answer = ask(&server.client(), &modern(3, method, json!({}))).send().await;
        assert_eq!(answer.status, 404, "{method}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], -32601, "{method}");
    }
    server.stop().await;
}

#[actix_rt::test]
async fn a_session_lives_from_initialize_to_delete() {
    let server = Server::open(&[]);
    let session = Session::begin(&server.client()).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    let mut events = session.post(&ping).try_open().await.unwrap();
    assert_eq!(next(&mut events).await.unwrap()["result"], json!({}));
    assert_eq!(next(&mut events).await, None);
    let mut events = session.call(3, "show").await;
    let shown = next(&mut events).await.unwrap();
    assert!(shown["result"].get("resultType").is_none(), "{shown}");
    assert!(shown["result"].get("_meta").is_none(), "{shown}");
    assert_eq!(session.ask(Method::DELETE).send().await.status, 204);
    assert_error(&session.post(&ping).send().await, 404, "resource_not_found");
    assert_error(&session.ask(Method::DELETE).send().await, 404, "resource_not_found");
    assert_error(&session.ask(Method::GET).send().await, 404, "resource_not_found");
    server.stop().await;
}

#[actix_rt::test]
async fn clients_of_2026_07_28_have_no_sessions_and_only_post() {
    let server = Server::open(&[]);
    for method in [Method::GET, Method::DELETE, Method::PUT, Method::PATCH] {
        let question = server.client().ask(method.clone(), "/mcp");
        let answer = question.header("mcp-protocol-version", MODERN).send().await;
        assert_error(&answer, 405, "method_not_allowed");
        assert!(answer.header("allow").unwrap().contains("POST"), "{method}");
    }
    let ignored = call(&server.client(), "show").header("mcp-session-id", "nobody's").send().await;
    assert_eq!(ignored.status, 200);
    server.stop().await;
}

#[actix_rt::test]
async fn without_sessions_older_clients_are_served_request_by_request() {
    let server = Server::open(&["--mcp-sessions", "false"]);
    let hello = Session::try_begin(&server.client()).await;
    assert!(hello.header("mcp-session-id").is_none());
    assert_eq!(hello.ok()["result"]["protocolVersion"], LEGACY);
    let call = json!({
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": { "name": "show", "arguments": {} },
    });
    let question = server.client().ask(Method::POST, "/mcp").json(&call);
    assert_eq!(question.send().await.ok()["result"]["isError"], false);
    server.stop().await;
}

#[actix_rt::test]
async fn handlers_see_who_calls_for_how_long_and_no_credentials() {
    let server = Server::guarded(&[]);
    let ann = User::new("ann");
    let client = server.client().with_token(&ann.token);
    let question = call(&client, "show").header("x-request-id", "r-1").header("cookie", "a=b");
    let shown = question.header("x-cortex-timeout-ms", "2000").send().await.ok();
    let shown = &shown["result"]["structuredContent"];
    assert!(shown["caller"].as_str().unwrap().contains(&ann.id), "{shown}");
    assert_eq!(shown["request"], "r-1");
    assert!((1..=2000).contains(&shown["left"].as_u64().unwrap()), "{shown}");
    let headers: Vec<&str> =
        shown["headers"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(headers.contains(&"mcp-method"));
    assert!(!headers.contains(&"authorization") && !headers.contains(&"cookie"), "{headers:?}");
    let session = Session::begin(&client).await;
    let shown = next(&mut session.call(2, "show").await).await.unwrap();
    let shown = &shown["result"]["structuredContent"];
    assert!(shown["caller"].as_str().unwrap().contains(&ann.id), "{shown}");
    // People answer slower than services: the time of a call, not of a request.
    assert!(shown["left"].as_u64().unwrap() > 200_000, "{shown}");
    server.stop().await;
}
