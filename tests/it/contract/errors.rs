//! Failures: one format for every status, and the request's id in every answer.

use actix_web::http::Method;
use serde_json::json;

use super::workspace;
use crate::harness::{Cluster, User, assert_error, assert_has, assert_json};

#[actix::test]
async fn every_failure_has_the_one_format() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    let memory = cluster.memory.of_service();
    let garbage = memory.ask(Method::POST, "/tool/store_input").body("application/json", "{");
    assert_error(&garbage.send().await, 400, "invalid_request");
    assert_error(&cluster.core.anonymous().get("/auth/verify").await, 401, "auth_error");
    let register = core.post("/services/x?endpoint=http://127.0.0.1:1", json!({})).await;
    assert_error(&register, 403, "permission_denied");
    assert_error(&core.get("/nowhere").await, 404, "resource_not_found");
    assert_error(&core.delete("/input").await, 405, "method_not_allowed");
    let large = core.ask(Method::POST, "/input").body("application/json", vec![b'x'; 2_000_000]);
    assert_error(&large.send().await, 413, "request_too_large");
    let text = core.ask(Method::POST, "/auth/login").body("text/plain", "x").send().await;
    assert_error(&text, 415, "unsupported_media_type");
    assert_error(&core.post("/input", json!({})).await, 422, "validation_error");
    cluster.stop().await;
}

#[actix::test]
async fn every_process_answers_unknown_paths_and_methods_alike() {
    let cluster = Cluster::start().await;
    for node in [&cluster.core, &cluster.memory, &cluster.cognition] {
        let client = node.anonymous();
        let answer = client.get("/nowhere").await;
        assert_error(&answer, 404, "resource_not_found");
        let details = &answer.json()["error"]["details"];
        assert_json(details, json!({"entity_type": "path", "entity_id": "/nowhere"}));
        let answer = client.post("/health", json!({})).await;
        assert_error(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("GET"));
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_request_keeps_its_id_or_is_given_one() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for path in ["/auth/verify", "/nowhere", "/config/workspace?limit=0", "/health"] {
        let answer = core.ask(Method::GET, path).header("x-request-id", "mine-1").send().await;
        assert_eq!(answer.header("x-request-id"), Some("mine-1"), "{path}");
        if answer.status >= 400 {
            assert_eq!(answer.json()["request_id"], "mine-1", "{path}");
        }
        let given = core.get(path).await;
        assert_json(&json!(given.header("x-request-id")), json!("<uuid>"));
    }
    let wrapped = core.ask(Method::GET, "/v1/workspace").header("x-request-id", "mine-2");
    assert_eq!(wrapped.send().await.ok()["request_id"], "mine-2");
    for bad in ["a b", &"x".repeat(129)] {
        let answer = core.ask(Method::GET, "/health").header("x-request-id", bad).send().await;
        assert_json(&json!(answer.header("x-request-id")), json!("<uuid>"));
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_missing_service_is_named_and_says_when_to_try_again() {
    let builder = Cluster::builder();
    let core_args =
        &["--circuit-breaker-threshold", "1", "--max-retries", "0", "--outbox-entries-max", "0"];
    let mut cluster = builder.core_args(core_args).start().await;
    cluster.memory.stop().await;
    let core = cluster.core.of(&User::new("ann"));
    core.post("/input", json!({"content": "opens the breaker"})).await;
    let answer = core.post("/input", json!({"content": "is refused"})).await;
    assert_error(&answer, 503, "circuit_open");
    let details = &answer.json()["error"]["details"];
    assert_has(details, json!({"service": "memory", "retry_after_seconds": "<number>"}));
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    cluster.stop().await;
}

#[actix::test]
async fn the_same_workspace_twice_is_two_workspaces() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    assert_ne!(workspace(&core).await["id"], workspace(&core).await["id"]);
    cluster.stop().await;
}

#[actix::test]
async fn a_body_as_large_as_the_setting_is_taken_and_no_larger() {
    let cluster = Cluster::builder().core_args(&["--max-request-size", "1000"]).start().await;
    let core = cluster.core.of(&User::new("ann"));
    let frame = r#"{"content":""}"#.len();
    let fits = core.post("/input", json!({"content": "x".repeat(1000 - frame)})).await;
    assert_eq!(fits.status, 200);
    let over = core.post("/input", json!({"content": "x".repeat(1001 - frame)})).await;
    assert_error(&over, 413, "request_too_large");
    cluster.stop().await;
}
