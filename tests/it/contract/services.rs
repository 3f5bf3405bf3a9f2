//! `/services`: seeing and changing what discovery knows.

use actix_web::http::Method;
use serde_json::json;

use crate::harness::{API_KEY, Cluster, User, assert_error, assert_has, assert_json, eventually};

#[actix::test]
async fn the_list_names_every_service_with_its_endpoints() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    let all_well = async || {
        let services = core.get("/services").await.ok();
        ["memory", "cognition"].iter().all(|name| services["services"][name]["healthy"] == true)
    };
    eventually("both were checked", all_well).await;
    let service = |url: String| {
        json!({
            "endpoint": url, "healthy": true,
            "endpoints": [{
                "url": url, "status": "healthy", "reason": "<any>", "source": "environment",
                "breaker": "closed",
            }],
        })
    };
    assert_json(
        &core.get("/services").await.ok(),
        json!({"services": {
            "memory": service(cluster.memory.url()), "cognition": service(cluster.cognition.url()),
        }}),
    );
    assert_error(&cluster.core.anonymous().get("/services").await, 401, "auth_error");
    cluster.stop().await;
}

#[actix::test]
async fn a_service_is_registered_by_token_and_by_key_and_taken_back() {
    let cluster = Cluster::start().await;
    let url = cluster.memory.url();
    let by_token = |method, path: &str| cluster.core.of_service().ask(method, path);
    let by_key = |method, path: &str| {
        cluster.core.anonymous().ask(method, path).header("x-api-key", API_KEY)
    };
    let names = async || {
        let services = cluster.core.of_service().get("/services").await.ok();
        services["services"].as_object().unwrap().contains_key("notes")
    };
    let registered = json!({"status": "registered", "service": "notes"});
    let deregistered = json!({"status": "deregistered", "service": "notes"});
    let query = format!("/services/notes?endpoint={url}");
    assert_json(&by_token(Method::POST, &query).send().await.ok(), registered.clone());
    assert!(names().await);
    let told = by_token(Method::DELETE, "/services/notes").send().await;
    assert_json(&told.ok(), deregistered.clone());
    assert!(!names().await);
    for body in [json!({"endpoint": url}), json!({"endpoints": [url]})] {
        let told = by_key(Method::POST, "/services/notes").json(&body).send().await;
        assert_json(&told.ok(), registered.clone());
        assert!(names().await);
        let told = by_key(Method::DELETE, &query).send().await;
        assert_json(&told.ok(), deregistered.clone());
        assert!(!names().await);
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_registered_service_is_checked_at_once() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of_service();
    let path = format!("/services/notes?endpoint={}", cluster.memory.url());
    core.post(&path, json!({})).await.ok();
    // Far sooner than the next round of checks, which comes every 30 s.
    eventually("notes is healthy", async || {
        core.get("/services").await.ok()["services"]["notes"]["healthy"] == true
    })
    .await;
    let services = core.get("/services").await.ok();
    let golden = json!([{"url": cluster.memory.url(), "source": "runtime"}]);
    assert_has(&services["services"]["notes"]["endpoints"], golden);
    cluster.stop().await;
}

#[actix::test]
async fn nobody_else_may_change_the_services() {
    let cluster = Cluster::start().await;
    let paths = [
        (Method::POST, "/services/notes?endpoint=http://127.0.0.1:1"),
        (Method::DELETE, "/services/memory"),
        (Method::POST, "/services/memory/breaker"),
    ];
    for (method, path) in paths {
        let ask = |client: crate::harness::Client| {
            client.ask(method.clone(), path).json(&json!({"state": "open"}))
        };
        assert_error(&ask(cluster.core.anonymous()).send().await, 401, "auth_error");
        let user = ask(cluster.core.of(&User::new("ann"))).send().await;
        assert_error(&user, 403, "permission_denied");
        for key in ["wrong", "", &API_KEY.replace('t', "x")] {
            let wrong = ask(cluster.core.of_service()).header("x-api-key", key).send().await;
            assert_error(&wrong, 403, "permission_denied");
        }
    }
    cluster.stop().await;
}

#[actix::test]
async fn an_endpoint_that_is_none_is_refused() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of_service();
    for endpoint in ["", "ftp://x", "x", "http://", "//x", "http://a%20b"] {
        let answer = core.post("/services/notes", json!({"endpoint": endpoint})).await;
        assert_error(&answer, 422, "validation_error");
    }
    assert_error(&core.post("/services/notes", json!({})).await, 422, "validation_error");
    let answer = core.post("/services/a%20b?endpoint=http://127.0.0.1:1", json!({})).await;
    assert_error(&answer, 422, "validation_error");
    let answer = core.delete("/services/unknown").await;
    assert_error(&answer, 404, "resource_not_found");
    cluster.stop().await;
}

#[actix::test]
async fn a_breaker_can_be_forced_and_given_back() {
    let cluster = Cluster::builder().core_args(&["--outbox-entries-max", "0"]).start().await;
    let core = cluster.core.of_service();
    let ann = cluster.core.of(&User::new("ann"));
    let say = async || ann.post("/input", json!({"content": "x"})).await;
    let order =
        async |state: &str| core.post("/services/memory/breaker", json!({ "state": state })).await;
    assert_json(&order("open").await.ok(), json!({"status": "ordered", "breakers": 1}));
    assert_error(&say().await, 503, "circuit_open");
    for state in ["auto", "closed"] {
        order(state).await.ok();
        say().await.ok();
    }
    assert_error(&order("ajar").await, 422, "validation_error");
    cluster.stop().await;
}
