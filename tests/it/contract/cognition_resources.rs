//! Cognition's resources: the tools' answers as lists of typed objects.

use serde_json::{Value, json};

use crate::harness::{Cluster, User, assert_error, assert_has, assert_json};

async fn told(cluster: &Cluster) -> User {
    let ann = User::new("ann");
    for content in ["The red kite", "Mail bob@example.org"] {
        let input = json!({"content": content, "conversation_id": "c"});
        cluster.memory.of(&ann).tool("store_input", json!({"input_data": input})).await;
    }
    ann
}

fn types(entries: &[Value]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry["type"].as_str()).collect()
}

#[actix::test]
async fn a_context_is_told_object_by_object_with_an_end_mark() {
    let cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    let cognition = cluster.cognition.of(&ann);
    let id = &ann.id;
    for path in [
        format!("context/{id}"),
        format!("context/{id}?user_id={id}&query=kite&limit=10"),
        format!("context/{id}/query/red%20kite"),
        format!("context/{id}/conversation/c"),
        format!("context/{id}/conversation/c/stream"),
    ] {
        let mut entries = cognition.events(&format!("/resource/{path}")).await.rest().await;
        assert_eq!(entries.pop(), Some(json!({"end": true})), "{path}");
        assert_eq!(types(&entries), ["metadata", "summary", "entities", "item", "item"], "{path}");
        assert_has(entries.first().unwrap(), json!({"type": "metadata", "user_id": id}));
    }
    let entries = cognition.resource(&format!("context/{id}")).await;
    let newest = json!({
        "type": "item", "content": "Mail bob@example.org", "user_id": id, "sender_id": id,
        "data": {"content": "Mail bob@example.org", "relevance_score": "<number>"},
    });
    assert_has(&entries[3], newest);
    cluster.stop().await;
}

#[actix::test]
async fn entities_are_told_group_by_group() {
    let cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    let email = json!({
        "type": "entity_group", "entity_type": "email",
        "entities": [{"type": "email", "value": "bob@example.org"}],
    });
    for end in ["", "/conversation/c"] {
        let path = format!("entities/{}{end}", ann.id);
        assert_json(&cluster.cognition.of(&ann).resource(&path).await, json!([email]));
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_conversation_is_analysed_at_its_path() {
    let cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    let path = format!("conversation_analysis/c/summary?user_id={}", ann.id);
    for client in [cluster.cognition.of(&ann), cluster.cognition.of_service()] {
        let told = client.resource(&path).await;
        assert_has(&told[0], json!({"type": "summary", "results": {"message_count": 2}}));
    }
    let nobody = cluster.cognition.of_service();
    let answer = nobody.get("/resource/conversation_analysis/c/summary").await;
    assert_error(&answer, 400, "missing_parameter");
    cluster.stop().await;
}

#[actix::test]
async fn without_memory_a_resource_says_so_in_an_object() {
    let mut cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    cluster.memory.stop().await;
    let cognition = cluster.cognition.of(&ann);
    for path in ["context", "entities"] {
        let told = cognition.resource(&format!("{path}/{}", ann.id)).await;
        let errors: Vec<&Value> =
            told.as_array().unwrap().iter().filter(|entry| entry["type"] == "error").collect();
        let golden = json!([{
            "type": "error", "error": "memory_service_unavailable", "message": "<text>",
        }]);
        assert_json(&json!(errors), golden);
    }
    cluster.stop().await;
}

#[actix::test]
async fn parameters_that_make_no_sense_are_a_400() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    for query in ["limit=x", "recency_weight=x", "recency_weight=inf", "user_id=somebody"] {
        let path = format!("/resource/context/{}?{query}", ann.id);
        assert_error(&cluster.cognition.of(&ann).get(&path).await, 400, "invalid_parameter");
    }
    cluster.stop().await;
}
