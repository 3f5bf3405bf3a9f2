//! Input nobody should send: always a 4xx in the one format or a right answer, and life goes on.

mod bodies;
mod requests;

use serde_json::json;

use crate::harness::{Answer, Cluster, User, assert_error};

/// Every process still does its work.
async fn assert_alive(cluster: &Cluster) {
    let ann = User::new("ann");
    cluster.core.of(&ann).post("/input", json!({"content": "still here"})).await.ok();
    let found = cluster.cognition.of(&ann).tool("get_context", json!({})).await;
    assert_eq!(found["count"], 1);
    for node in [&cluster.core, &cluster.memory, &cluster.cognition] {
        let health = node.anonymous().get("/health").await.ok();
        assert_eq!(health["reasons"], json!([]), "{health}");
    }
}

/// The answer is the client's fault, in the one format.
#[track_caller]
fn assert_theirs(answer: &Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    let body = answer.json();
    let code = body["error"]["code"].as_str().unwrap_or_else(|| panic!("{what}: {body}"));
    assert_error(answer, answer.status, code);
}
