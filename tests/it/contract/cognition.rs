//! Cognition's tools: one superset reply for both families, with memory and without.

use serde_json::{Value, json};

use crate::harness::{Client, Cluster, User, assert_error, assert_has, assert_json};

/// What Ann said, two conversations, a minute apart.
async fn told(cluster: &Cluster) -> User {
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    for (minute, (conversation, content)) in (0..).zip([
        ("c", "The red kite is great"),
        ("c", "Mail bob@example.org"),
        ("d", "A blue boat"),
    ]) {
        let input = json!({
            "id": minute.to_string(), "content": content, "conversation_id": conversation,
            "timestamp": format!("2026-01-01T00:0{minute}:00Z"),
        });
        memory.tool("store_input", json!({"input_data": input})).await;
    }
    ann
}

fn summary_golden() -> Value {
    json!({
        "message_count": "<int>", "time_span": "<text>", "topics": "<any>", "key_points": "<any>",
        "participants": "<any>", "participant_counts": "<any>", "duration_seconds": "<number>",
    })
}

fn digest_golden(items: usize) -> Value {
    json!({
        "method": "extractive", "text": "<text>", "key_points": "<any>", "topics": "<any>",
        "items": items, "of": items,
    })
}

fn hit_golden(ann: &User, id: &str, conversation: &str, content: &str) -> Value {
    json!({
        "seq": "<int>", "id": id, "user_id": ann.id, "sender_id": ann.id, "role": "user",
        "conversation_id": conversation, "content": content, "content_type": "text",
        "timestamp": "<time>", "metadata": {}, "relevance_score": "<number>",
        "recency_score": "<number>", "matched_words": "<any>",
        "reasons": {"signals": "<any>", "terms": "<any>", "nearby": "<any>"},
    })
}

#[actix::test]
async fn a_context_satisfies_both_families() {
    let cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    let cognition = cluster.cognition.of(&ann);
    let kite = hit_golden(&ann, "0", "c", "The red kite is great");
    let arguments = json!({
        "user_id": ann.id, "query": "kite", "limit": 1, "recency_weight": 0.5, "conversation_id": "c",
    });
    let golden = json!({
        "context": [kite], "relevant_items": [kite], "count": 1, "user_id": ann.id,
        "query": "kite", "conversation_id": "c", "entities": {}, "summary": summary_golden(),
        "left_out": {"over_limit": "<int>", "over_budget": 0, "duplicates": 0},
        "index_seq": "<int>",
    });
    assert_json(&cognition.tool("get_context", arguments.clone()).await, golden.clone());
    assert_json(&cognition.post("/tool/get_context", arguments).await.ok(), golden);
    let newest = cognition.tool("get_context", json!({"user_id": ann.id})).await;
    assert_has(&newest, json!({"count": 3, "query": null}));
    assert_has(&newest["context"], json!([{"id": "2"}, {"id": "1"}, {"id": "0"}]));
    let mail = json!([{"type": "email", "value": "bob@example.org"}]);
    assert_eq!(newest["entities"]["email"], mail);
    cluster.stop().await;
}

#[actix::test]
async fn an_analysis_satisfies_both_families() {
    let cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    let cognition = cluster.cognition.of(&ann);
    let summary = json!({
        "message_count": 2, "participants": [ann.id], "duration_seconds": 60.0,
        "participant_counts": {&ann.id: 2},
    });
    let sentiment =
        json!({"sentiment_score": "<number>", "positive_count": 1, "negative_count": 0});
    let topics = json!({"keywords": "<any>", "word_count": "<int>"});
    for (kind, results) in [
        (None, summary.clone()),
        (Some("summary"), summary),
        (Some("topics"), topics),
        (Some("sentiment"), sentiment),
    ] {
        let arguments = json!({"user_id": ann.id, "conversation_id": "c", "analysis_type": kind});
        assert_json(
            &cognition.tool("analyze_conversation", arguments).await,
            json!({
                "type": kind.unwrap_or("summary"), "results": results, "conversation_id": "c",
                "user_id": ann.id, "message_count": 2,
                "entities": {"email": [{"type": "email", "value": "bob@example.org"}]},
                "summary": summary_golden(), "digest": digest_golden(2),
            }),
        );
    }
    cluster.stop().await;
}

#[actix::test]
async fn what_cannot_be_analysed_is_told_inside_a_200() {
    let cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    let cognition = cluster.cognition.of(&ann);
    for (conversation, kind, error) in [
        ("nowhere", "summary", "Conversation not found"),
        ("c", "mood", "Unknown analysis type: mood"),
    ] {
        let arguments = json!({"conversation_id": conversation, "analysis_type": kind});
        let told = cognition.tool("analyze_conversation", arguments).await;
        assert_has(&told, json!({"error": error, "type": kind, "conversation_id": conversation}));
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_search_tells_about_the_conversations_of_its_hits() {
    let cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    let cognition = cluster.cognition.of(&ann);
    let mut hit = hit_golden(&ann, "0", "c", "The red kite is great");
    let bare = json!({"results": [hit], "count": 1, "query": "kite", "user_id": ann.id, "index_seq": "<int>"});
    let arguments = json!({"user_id": ann.id, "query": "kite", "include_conversations": false});
    assert_json(&cognition.tool("search_history", arguments).await, bare.clone());
    hit["_conversation_data"] =
        json!({"message_count": 2, "participants": [ann.id], "first_message": "<any>"});
    let mut golden = bare;
    golden["results"] = json!([hit]);
    let told = cognition.tool("search_history", json!({"query": "kite", "limit": 5})).await;
    assert_json(&told, golden);
    let first = &told["results"][0]["_conversation_data"]["first_message"];
    assert_has(first, json!({"id": "0"}));
    let nothing = cognition.tool("search_history", json!({"query": "violet"})).await;
    let golden = json!({
        "results": [], "count": 0, "query": "violet", "user_id": ann.id, "index_seq": "<int>",
    });
    assert_json(&nothing, golden);
    cluster.stop().await;
}

#[actix::test]
async fn the_second_family_sums_up_and_finds_entities() {
    let cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    let cognition = cluster.cognition.of(&ann);
    let all = cognition.tool("summarize_history", json!({"user_id": ann.id})).await;
    let golden =
        json!({"user_id": ann.id, "summary": summary_golden(), "digest": digest_golden(3)});
    assert_json(&all, golden);
    assert_eq!(all["summary"]["message_count"], 3);
    let arguments = json!({"user_id": ann.id, "conversation_id": "c"});
    let one = cognition.tool("summarize_history", arguments).await;
    let golden = json!({
        "user_id": ann.id, "conversation_id": "c", "summary": summary_golden(),
        "digest": digest_golden(2),
    });
    assert_json(&one, golden);
    let point = json!({
        "text": "The red kite is great", "id": "0", "seq": "<int>", "speaker": ann.id,
        "timestamp": "<time>", "weight": "<number>", "supported_by": [],
    });
    assert_json(&one["digest"]["key_points"][0], point);
    let points = json!(["The red kite is great", "Mail bob@example.org"]);
    assert_eq!(one["summary"]["key_points"], points);
    let content = "see https://example.org or mail bob@example.org";
    let found = cognition.tool("extract_entities", json!({"content": content})).await;
    let entities = json!({
        "email": [{"type": "email", "value": "bob@example.org"}],
        "url": [{"type": "url", "value": "https://example.org"}],
    });
    let golden = json!({"user_id": ann.id, "content": content, "entities": entities});
    assert_json(&found, golden);
    cluster.stop().await;
}

#[actix::test]
async fn a_missing_argument_is_named() {
    let cluster = Cluster::start().await;
    let cognition = cluster.cognition.of(&User::new("ann"));
    for (tool, missing) in [
        ("analyze_conversation", "conversation_id"),
        ("search_history", "query"),
        ("extract_entities", "content"),
    ] {
        let answer = cognition.post(&format!("/tool/{tool}"), json!({})).await;
        assert!((400..500).contains(&answer.status), "{}", answer.text());
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(missing));
    }
    let answer = cluster.cognition.of_service().post("/tool/get_context", json!({})).await;
    assert!((400..500).contains(&answer.status), "{}", answer.text());
    cluster.stop().await;
}

async fn ask_all(client: &Client) -> Vec<Value> {
    vec![
        client.tool("get_context", json!({"query": "kite"})).await,
        client.tool("analyze_conversation", json!({"conversation_id": "c"})).await,
        client.tool("search_history", json!({"query": "kite"})).await,
        client.tool("summarize_history", json!({})).await,
    ]
}

#[actix::test]
async fn without_memory_every_answer_is_a_200_of_what_the_index_has_and_says_so() {
    let mut cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    // Seen by the index, whose answer would else be of what it had by then.
    assert_eq!(ask_all(&cluster.cognition.of(&ann)).await[0]["count"], 3);
    cluster.memory.stop().await;
    let mut answers = ask_all(&cluster.cognition.of(&ann)).await;
    let core = cluster.core.of(&ann);
    for (path, body) in [
        ("/cognition/context", json!({"query": "kite"})),
        ("/cognition/search", json!({"query": "kite"})),
        ("/cognition/analyze", json!({"conversation_id": "c"})),
    ] {
        let mut answer = core.post(path, body).await.ok();
        assert_eq!(answer["status"], "success");
        answers.push(answer["data"].take());
    }
    for answer in &answers {
        assert_has(answer, json!({"error": "memory_service_unavailable", "user_id": ann.id}));
    }
    assert_has(&answers[0], json!({"count": 3}));
    assert_has(&answers[0]["context"][0], json!({"id": "0"}));
    assert_has(&answers[2], json!({"count": 1, "results": [{"id": "0"}]}));
    assert_has(&answers[3], json!({"summary": {"message_count": 3}}));
    let cognition = cluster.cognition.of(&ann);
    let found = cognition.tool("extract_entities", json!({"content": "a@b.org"})).await;
    assert_eq!(found.get("error"), None, "this one needs no memory");
    cluster.stop().await;
}

#[actix::test]
async fn core_passes_on_what_cognition_says() {
    let cluster = Cluster::start().await;
    let ann = told(&cluster).await;
    let core = cluster.core.of(&ann);
    let told = core.post("/cognition/context", json!({"query": "kite", "limit": 1})).await.ok();
    assert_json(&told, json!({"status": "success", "data": "<any>"}));
    assert_has(&told["data"], json!({"count": 1, "context": [{"id": "0"}], "user_id": ann.id}));
    let told = core.post("/cognition/search", json!({"query": "kite"})).await.ok();
    assert_has(&told["data"], json!({"count": 1, "results": [{"id": "0"}]}));
    let body = json!({"conversation_id": "c", "analysis_type": "topics"});
    let told = core.post("/cognition/analyze", body).await.ok();
    assert_has(&told["data"], json!({"type": "topics", "conversation_id": "c"}));
    cluster.stop().await;
}

#[actix::test]
async fn core_holds_its_passthrough_within_its_bounds() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for (path, body) in [
        ("context", json!({"limit": 0})),
        ("context", json!({"limit": 101})),
        ("context", json!({"limit": "x"})),
        ("context", json!({"query": 5})),
        ("analyze", json!({})),
        ("search", json!({})),
        ("search", json!({"query": ""})),
        ("search", json!({"query": "x", "limit": 101})),
        ("search", json!({"query": "x", "include_conversations": "maybe"})),
    ] {
        for prefix in ["/cognition", "/v1"] {
            let answer = core.post(&format!("{prefix}/{path}"), body.clone()).await;
            assert_error(&answer, 422, "validation_error");
        }
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_cognition_that_is_away_is_told_inside_a_200() {
    let mut cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    cluster.cognition.stop().await;
    // Contract 3.2: "failures of the service stay 200 with `data.error`".
    let answer = core.post("/cognition/context", json!({"query": "kite"})).await;
    assert_has(&answer.ok(), json!({"status": "success", "data": {"error": "<text>"}}));
    cluster.stop().await;
}
