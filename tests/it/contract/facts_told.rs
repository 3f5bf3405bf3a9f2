//! Facts in what cognition tells, and what clients of the protocol are offered of them.

use serde_json::{Value, json};

use crate::harness::{Client, Cluster, User, assert_has, assert_json};

fn ids(told: &Value) -> Vec<&str> {
    told["context"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

async fn context(cognition: &Client, query: &str, further: Value) -> Value {
    let mut asked = json!({"query": query, "limit": 10});
    asked.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    cognition.tool("get_context", asked).await
}

/// Ann said something of a kite, and there is a fact of it and some that do not hold.
async fn stage(cluster: &Cluster) -> User {
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let said = json!({
        "id": "said", "content": "I let the kite go", "conversation_id": "c", "sender": "Ann",
        "metadata": {"a": 1}
    });
    memory.tool("store_input", json!({"input_data": said})).await;
    for fact in [
        json!({"id": "old", "key": "kite", "text": "has a blue kite"}),
        json!({
            "id": "now", "key": "kite", "text": "has a red kite", "source_item_id": "said",
        }),
        json!({
            "id": "over", "text": "had the flu and no kite", "valid_from": "2001-01-01T00:00:00Z",
            "valid_to": "2001-01-08T00:00:00Z",
        }),
        json!({"id": "one day", "text": "will buy a kite", "valid_from": "2900-01-01T00:00:00Z"}),
        json!({"id": "other", "text": "speaks Norwegian"}),
    ] {
        let mut fact = fact;
        fact["subject"] = json!("Ann");
        memory.tool("remember", fact).await;
    }
    ann
}

#[actix::test]
async fn a_context_has_the_facts_that_hold_and_says_what_they_are() {
    let cluster = Cluster::start().await;
    let ann = stage(&cluster).await;
    let cognition = cluster.cognition.of(&ann);
    let told = context(&cognition, "what of the kite?", json!({})).await;
    let mut both = ids(&told);
    both.sort_unstable();
    assert_eq!(both, ["now", "said"], "neither superseded nor over nor to come: {told}");
    let hits = told["context"].as_array().unwrap();
    let fact = hits.iter().find(|hit| hit["id"] == "now").unwrap();
    let golden = json!({
        "kind": "fact", "id": "now", "seq": "<int>", "user_id": ann.id, "sender_id": ann.id,
        "role": "user", "content": "has a red kite", "content_type": "text", "timestamp": "<time>",
        "metadata": {}, "subject": "Ann", "key": "kite", "source_item_id": "said",
        "valid_from": "<time>", "valid_to": null, "relevance_score": "<number>",
        "recency_score": "<number>", "matched_words": ["kite"],
        "reasons": {"signals": "<any>", "terms": ["kite"], "nearby": []},
    });
    assert_json(fact, golden);
    let item = hits.iter().find(|hit| hit["id"] == "said").unwrap();
    assert_has(item, json!({"kind": "item", "conversation_id": "c"}));
    // A fact is nothing that was said.
    assert_has(&told["summary"], json!({"message_count": 1, "participants": ["Ann"]}));
    let subject = context(&cognition, "what does Ann speak?", json!({})).await;
    assert_eq!(ids(&subject)[0], "other", "{subject}");
    cluster.stop().await;
}

#[actix::test]
async fn facts_are_left_out_on_demand_and_by_conditions_that_they_cannot_meet() {
    let cluster = Cluster::start().await;
    let ann = stage(&cluster).await;
    let cognition = cluster.cognition.of(&ann);
    for without in [
        json!({"include_facts": false}),
        json!({"role": "user"}),
        json!({"conversation_id": "c", "conversation_only": true}),
        json!({"metadata": {"a": 1}}),
        json!({"to": "2002-01-01T00:00:00Z"}),
    ] {
        let told = context(&cognition, "kite", without.clone()).await;
        let some = told["context"].as_array().unwrap().iter().any(|hit| hit["kind"] == "fact");
        assert!(!some, "{without} {told}");
    }
    let budget = context(&cognition, "kite", json!({"max_tokens": 100})).await;
    assert_eq!(ids(&budget).len(), 2);
    let newest = cognition.tool("get_context", json!({})).await;
    assert_eq!(ids(&newest), ["said"], "without a question nothing is to be known for it");
    let found = cognition.tool("search_history", json!({"query": "kite"})).await;
    assert_has(&found, json!({"count": 1, "results": [{"id": "said"}]}));
    let path = format!("context/{}/query/kite", ann.id);
    let listed = cognition.resource(&path).await;
    let kinds = |listed: &Value| {
        let hits = listed.as_array().unwrap().iter().filter(|entry| entry["type"] == "item");
        hits.filter(|hit| hit["kind"] == "fact").count()
    };
    assert_eq!(kinds(&listed), 1, "{listed}");
    assert_eq!(kinds(&cognition.resource(&format!("{path}?include_facts=false")).await), 0);
    let core = cluster.core.of(&ann).post("/cognition/context", json!({"query": "red kite"})).await;
    assert_eq!(core.ok()["data"]["context"][0]["kind"], "fact");
    cluster.stop().await;
}

#[actix::test]
async fn a_question_sees_the_facts_that_were_acknowledged_before_it() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let (memory, cognition) = (cluster.memory.of(&ann), cluster.cognition.of(&ann));
    for number in 0..100 {
        let text = format!("keeps {number} geese");
        let fact = json!({"subject": "Ann", "key": "geese", "text": text});
        let seq = memory.tool("remember", fact).await["seq"].take();
        let further = if number % 2 == 0 { json!({}) } else { json!({"min_seq": seq}) };
        let told = context(&cognition, "geese", further).await;
        assert_eq!(told["count"], 1, "{told}");
        assert_eq!(told["context"][0]["content"], json!(text));
    }
    cluster.stop().await;
}

/// What memory offers a client of the protocol for what it has typed.
async fn offered(client: &Client, variable: &str, beginning: &str) -> Value {
    let uri = match variable {
        "subject" => "memory://facts/{user_id}/subject/{subject}",
        _ => "memory://history/{user_id}/conversation/{conversation_id}",
    };
    let asked = json!({
        "jsonrpc": "2.0", "id": 1, "method": "completion/complete", "params": {
            "ref": {"type": "ref/resource", "uri": uri},
            "argument": {"name": variable, "value": beginning},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let question = client
        .ask(actix_web::http::Method::POST, "/mcp")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "completion/complete");
    question.json(&asked).send().await.ok()["result"]["completion"]["values"].take()
}

#[actix::test]
async fn what_is_typed_is_completed_with_the_callers_own_conversations_and_subjects() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    for (user, conversation, subject) in [
        (&ann, "trip-1", "Grandmother"),
        (&ann, "trip-2", "Grandfather"),
        (&ann, "work", "Zoe"),
        (&bob, "trip-3", "Graham"),
    ] {
        let memory = cluster.memory.of(user);
        for _ in 0..2 {
            let input = json!({"content": "x", "conversation_id": conversation});
            memory.tool("store_input", json!({"input_data": input})).await;
            memory.tool("remember", json!({"subject": subject, "text": "x"})).await;
        }
    }
    let of_ann = cluster.memory.of(&ann);
    assert_eq!(offered(&of_ann, "conversation_id", "trip").await, json!(["trip-1", "trip-2"]));
    assert_eq!(offered(&of_ann, "conversation_id", "").await, json!(["trip-1", "trip-2", "work"]));
    assert_eq!(offered(&of_ann, "subject", "gran").await, json!(["Grandfather", "Grandmother"]));
    assert_eq!(offered(&of_ann, "subject", "x").await, json!([]));
    let of_bob = cluster.memory.of(&bob);
    assert_eq!(offered(&of_bob, "subject", "G").await, json!(["Graham"]));
    assert_eq!(offered(&of_bob, "user_id", &bob.id[..4]).await, json!([bob.id]));
    assert_eq!(offered(&of_bob, "user_id", &ann.id).await, json!([]));
    let service = cluster.memory.of_service();
    assert_eq!(offered(&service, "conversation_id", "trip").await, json!([]));
    cluster.stop().await;
}
