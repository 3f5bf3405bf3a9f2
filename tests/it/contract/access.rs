//! Who may see and do what: strangers, participants, owners.

use serde_json::json;

use super::{conversation, workspace};
use crate::harness::{Client, Cluster, User, assert_error, assert_has};

#[actix::test]
async fn a_strangers_workspace_does_not_exist() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (cluster.core.of(&User::new("ann")), cluster.core.of(&User::new("bob")));
    let workspace = workspace(&ann).await;
    let id = workspace["id"].as_str().unwrap();
    for prefix in ["/config", "/v1", "/v1/config"] {
        for id in [id, "unknown"] {
            let path = format!("{prefix}/workspace/{id}");
            let expected = json!({"entity_type": "workspace", "entity_id": id});
            for answer in [
                bob.get(&path).await,
                bob.put(&path, json!({"name": "Mine"})).await,
                bob.delete(&path).await,
            ] {
                assert_error(&answer, 404, "resource_not_found");
                assert_eq!(answer.json()["error"]["details"], expected);
            }
            let path = format!("{prefix}/conversation");
            let inside = json!({"workspace_id": id, "topic": "t"});
            assert_error(&bob.post(&path, inside).await, 404, "resource_not_found");
            let list = bob.get(&format!("{path}?workspace_id={id}")).await;
            assert_error(&list, 404, "resource_not_found");
        }
    }
    assert_eq!(bob.get("/config/workspace").await.ok()["total"], 0);
    let untouched = ann.get(&format!("/config/workspace/{id}")).await.ok();
    assert_eq!(untouched["workspace"], workspace);
    cluster.stop().await;
}

/// What anyone may try with a conversation, and how it ends.
async fn check(who: &Client, id: &str, take: u16, update: u16, delete: u16) {
    let said = json!({"content": "hello", "conversation_id": id});
    let path = format!("/config/conversation/{id}");
    let code = |status| if status == 403 { "permission_denied" } else { "resource_not_found" };
    for (answer, status) in [
        (who.get(&path).await, take),
        (who.get(&format!("/v1/conversation/{id}")).await, take),
        (who.post("/input", said.clone()).await, take),
        (who.post(&format!("/v1/conversation/{id}/messages"), said).await, take),
        (who.put(&path, json!({"topic": "Boats"})).await, update),
        (who.delete(&path).await, delete),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text());
        if status >= 400 {
            assert_error(&answer, status, code(status));
        }
    }
    for path in [
        format!("/output/stream?conversation_id={id}"),
        format!("/v1/conversation/{id}/messages/stream"),
    ] {
        let (answer, _) = who.ask(actix_web::http::Method::GET, &path).open().await;
        assert_eq!(answer.status, if delete == 204 { 404 } else { take }, "{path}");
    }
}

#[actix::test]
async fn a_conversation_is_its_participants_to_use_and_its_owners_to_remove() {
    let cluster = Cluster::start().await;
    let (bob, eve) = (User::new("bob"), User::new("eve"));
    let ann = cluster.core.of(&User::new("ann"));
    let id = conversation(&ann, &[&bob.id]).await;
    check(&cluster.core.of(&eve), &id, 403, 403, 403).await;
    check(&cluster.core.of(&bob), &id, 200, 200, 403).await;
    check(&cluster.core.of(&bob), "unknown", 404, 404, 404).await;
    check(&ann, &id, 200, 200, 204).await;
    cluster.stop().await;
}

#[actix::test]
async fn the_default_conversation_is_everyones_own() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    for user in [&ann, &bob] {
        let said = json!({"content": user.name, "conversation_id": "default"});
        cluster.core.of(user).post("/input", said).await.ok();
    }
    let items = cluster.memory.of(&ann).resource("conversation/default").await;
    assert_has(&items, json!([{"content": "ann"}]));
    cluster.stop().await;
}

#[actix::test]
async fn memory_gives_a_user_their_own_items_only() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let of_ann = cluster.memory.of(&ann);
    let stored = of_ann.tool("store_input", json!({"input_data": {"content": "secret"}})).await;
    let id = stored["item_id"].as_str().unwrap();
    let of_bob = cluster.memory.of(&bob);
    for path in [
        format!("history/{}", ann.id),
        format!("history/{}/limit/5", ann.id),
        format!("history/{}/stream", ann.id),
        format!("item/{id}/{}", ann.id),
        format!("facts/{}", ann.id),
        format!("facts/{}/subject/s", ann.id),
    ] {
        let answer = of_bob.get(&format!("/resource/{path}")).await;
        assert_error(&answer, 403, "permission_denied");
    }
    for path in [format!("item/{id}"), format!("message/{id}")] {
        let answer = of_bob.get(&format!("/resource/{path}")).await;
        assert_error(&answer, 404, "resource_not_found");
    }
    for (tool, further) in [
        ("store_input", json!({"input_data": {"content": "x"}})),
        ("update_message", json!({"updates": {"content": "x"}})),
        ("update_item", json!({"data": {"content": "x"}})),
        ("delete_message", json!({})),
        ("delete_item", json!({})),
        ("get_message", json!({})),
        ("get_item", json!({})),
        ("forget_user", json!({})),
        ("remember", json!({"subject": "s", "text": "x"})),
        ("recall", json!({})),
        ("forget", json!({"fact_id": "f"})),
        ("export_user", json!({})),
    ] {
        let mut arguments = json!({"user_id": ann.id, "message_id": id});
        arguments.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        let answer = of_bob.post(&format!("/tool/{tool}"), arguments).await;
        assert_error(&answer, 403, "permission_denied");
    }
    assert!(of_bob.tool("get_message", json!({"message_id": id})).await.is_null());
    let whole = of_ann.resource(&format!("history/{}", ann.id)).await;
    assert_has(&whole, json!([{"content": "secret", "id": id}]));
    cluster.stop().await;
}

#[actix::test]
async fn cognition_answers_a_user_about_themselves_only() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let of_bob = cluster.cognition.of(&bob);
    for tool in ["get_context", "analyze_conversation", "search_history", "summarize_history"] {
        let arguments = json!({"user_id": ann.id, "query": "x", "conversation_id": "c"});
        let answer = of_bob.post(&format!("/tool/{tool}"), arguments).await;
        assert_error(&answer, 403, "permission_denied");
    }
    for path in ["context", "entities"] {
        let answer = of_bob.get(&format!("/resource/{path}/{}", ann.id)).await;
        assert_error(&answer, 403, "permission_denied");
    }
    cluster.stop().await;
}

#[actix::test]
async fn core_asks_cognition_about_the_caller_whatever_the_body_says() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    cluster.core.of(&ann).post("/input", json!({"content": "secret"})).await.ok();
    let asked = json!({"user_id": ann.id, "query": "secret"});
    for path in ["/cognition/context", "/cognition/search", "/v1/context", "/v1/search"] {
        let told = cluster.core.of(&bob).post(path, asked.clone()).await.ok();
        assert_has(&told["data"], json!({"user_id": bob.id, "count": 0}));
    }
    cluster.stop().await;
}
