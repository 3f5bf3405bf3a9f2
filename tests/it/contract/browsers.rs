//! What browsers need: preflights, origins, exposed headers.

use actix_web::http::Method;
use serde_json::json;

use crate::harness::{Answer, Client, Cluster, User, assert_error};

const PAGE: &str = "https://page.example";

async fn preflight(client: &Client, path: &str, origin: &str, method: &str) -> Answer {
    client
        .ask(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization,content-type,x-request-id")
        .send()
        .await
}

#[actix::test]
async fn a_preflight_is_granted_on_every_process_with_credentials() {
    let cluster = Cluster::start().await;
    for (node, path) in [
        (&cluster.core, "/input"),
        (&cluster.core, "/v1/workspace"),
        (&cluster.memory, "/tool/store_input"),
        (&cluster.cognition, "/tool/get_context"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let answer = preflight(&node.anonymous(), path, PAGE, method).await;
            assert_eq!(answer.status, 200, "{path}");
            for (name, value) in [
                ("access-control-allow-origin", PAGE),
                ("access-control-allow-credentials", "true"),
                ("access-control-max-age", "600"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{path} {name}");
            }
            let methods = answer.header("access-control-allow-methods").unwrap();
            assert!(methods.contains(method), "{methods}");
            let headers = answer.header("access-control-allow-headers").unwrap().to_lowercase();
            assert!(headers.contains("authorization") && headers.contains("content-type"));
        }
    }
    cluster.stop().await;
}

#[actix::test]
async fn an_answer_may_be_read_by_the_page_that_asked_even_when_it_is_a_failure() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for path in ["/auth/verify", "/nowhere", "/config/workspace?limit=0", "/output/stream"] {
        let (answer, _) = core.ask(Method::GET, path).header("origin", PAGE).open().await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{path}");
        let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
        assert!(exposed.contains("x-request-id"), "{exposed}");
    }
    let anonymous = cluster.core.anonymous().ask(Method::GET, "/auth/verify");
    let answer = anonymous.header("origin", PAGE).send().await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some(PAGE)));
    cluster.stop().await;
}

#[actix::test]
async fn with_a_list_of_origins_only_those_are_granted() {
    let builder = Cluster::builder();
    let list = "https://page.example, http://localhost:3000";
    let cluster = builder.core_args(&["--allow-origins", list]).start().await;
    let core = cluster.core.anonymous();
    for origin in [PAGE, "http://localhost:3000"] {
        let answer = preflight(&core, "/input", origin, "POST").await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    }
    let answer = preflight(&core, "/input", "https://evil.example", "POST").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_error(&answer, 400, "invalid_request");
    cluster.stop().await;
}

#[actix::test]
async fn clients_that_are_no_browsers_are_not_asked_for_an_origin() {
    let builder = Cluster::builder();
    let cluster = builder.core_args(&["--allow-origins", PAGE]).start().await;
    let core = cluster.core.of(&User::new("ann"));
    core.post("/input", json!({"content": "hello"})).await.ok();
    cluster.stop().await;
}
