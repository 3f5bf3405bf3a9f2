//! Memory's tools, both families of names, bare and wrapped.

use serde_json::{Value, json};

use crate::harness::{Cluster, User, assert_error, assert_has, assert_json};

#[actix::test]
async fn an_answer_mirrors_the_form_of_its_call() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let stored =
        json!({"status": "stored", "user_id": ann.id, "item_id": "<uuid>", "seq": "<int>"});
    for key in ["input_data", "data"] {
        let arguments = json!({"user_id": ann.id, key: {"content": "x"}});
        let bare = memory.post("/tool/store_input", arguments.clone()).await.ok();
        assert_json(&bare, stored.clone());
        let wrapped = memory.post("/tool/store_input", json!({ "arguments": arguments })).await;
        assert_json(&wrapped.ok(), json!({ "result": stored }));
    }
    cluster.stop().await;
}

#[actix::test]
async fn the_same_id_is_stored_once() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let memory = cluster.memory.of_service();
    let store = async |user: &User, content: &str| {
        let input = json!({"id": "mine", "content": content});
        memory.tool("store_input", json!({"user_id": user.id, "input_data": input})).await
    };
    let first = store(&ann, "first").await;
    assert_has(&first, json!({"status": "stored", "item_id": "mine"}));
    let golden = json!({
        "status": "already_exists", "user_id": ann.id, "item_id": "mine", "seq": first["seq"],
        "item": "<any>", "same_body": false,
    });
    let again = store(&ann, "second").await;
    assert_json(&again, golden);
    assert_has(&again["item"], json!({"id": "mine", "content": "first"}));
    let same = store(&ann, "first").await;
    assert_has(&same, json!({"status": "already_exists", "same_body": true}));
    assert_has(&store(&bob, "third").await, json!({"status": "stored"}));
    let items = memory.resource(&format!("history/{}", ann.id)).await;
    assert_has(&items, json!([{"content": "first"}]));
    cluster.stop().await;
}

#[actix::test]
async fn an_item_keeps_what_it_came_with_and_names_its_owner_twice() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let input = json!({
        "id": "m1", "content": "hello", "conversation_id": "c", "content_type": "text/markdown",
        "timestamp": "2026-11-20T12:33:05.276624+02:00", "metadata": {"a": 1}, "mood": "good",
    });
    memory.tool("store_input", json!({"input_data": input})).await;
    let golden = json!({
        "seq": "<int>", "id": "m1", "user_id": ann.id, "sender_id": ann.id, "role": "user",
        "conversation_id": "c", "content": "hello", "content_type": "text/markdown",
        "timestamp": "2026-11-20T10:33:05.276624Z", "metadata": {"a": 1}, "mood": "good",
    });
    assert_json(&memory.tool("get_message", json!({"message_id": "m1"})).await, golden.clone());
    assert_json(&memory.tool("get_item", json!({"item_id": "m1"})).await, golden);
    cluster.stop().await;
}

#[actix::test]
async fn an_input_with_nothing_but_a_text_gets_the_rest() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    for input in [json!({"content": "hello"}), json!({"message": "hello"})] {
        let stored = memory.tool("store_input", json!({"input_data": input})).await;
        assert_json(
            &memory.tool("get_item", json!({"item_id": stored["item_id"]})).await,
            json!({
                "seq": "<int>", "id": "<uuid>", "user_id": ann.id, "sender_id": ann.id,
                "role": "user", "content": "hello", "content_type": "text", "timestamp": "<time>",
                "metadata": {},
            }),
        );
    }
    cluster.stop().await;
}

#[actix::test]
async fn timestamps_of_earlier_generations_are_understood() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    // Seen on the wire: local time without zone.
    let input = json!({"content": "x", "timestamp": "2026-11-20T10:33:05.276624"});
    let stored = memory.tool("store_input", json!({"input_data": input})).await;
    let item = memory.tool("get_item", json!({"item_id": stored["item_id"]})).await;
    assert_json(&item["timestamp"], json!("<time>"));
    cluster.stop().await;
}

#[actix::test]
async fn two_mistakes_are_told_inside_a_200() {
    let cluster = Cluster::start().await;
    let memory = cluster.memory.of_service();
    for (arguments, user, error) in [
        (json!({"input_data": {"content": "x"}}), "", "User ID is required"),
        (json!({"user_id": "", "input_data": {"content": "x"}}), "", "User ID is required"),
        (json!({"user_id": "u"}), "u", "Input data is required"),
        (json!({"user_id": "u", "input_data": {}}), "u", "Input data is required"),
    ] {
        let told = memory.tool("store_input", arguments).await;
        assert_json(&told, json!({"status": "error", "user_id": user, "error": error}));
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_message_is_changed_by_both_families() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let input = json!({"id": "m", "content": "old", "metadata": {"a": 1, "b": 1}});
    memory.tool("store_input", json!({"input_data": input})).await;
    let arguments = json!({
        "user_id": ann.id, "message_id": "m", "updates": {"content": "new", "metadata": {"b": 2}},
    });
    let told = memory.tool("update_message", arguments).await;
    assert_json(&told, json!({"status": "updated", "user_id": ann.id, "message_id": "m"}));
    let mut golden = json!({
        "seq": "<int>", "id": "m", "user_id": ann.id, "sender_id": ann.id, "role": "user",
        "content": "new", "content_type": "text", "timestamp": "<time>",
        "metadata": {"a": 1, "b": 2, "updated_at": "<time>"},
    });
    assert_json(&memory.tool("get_item", json!({"item_id": "m"})).await, golden.clone());
    let data = json!({"content": "newer", "conversation_id": "c", "mood": "good"});
    let arguments = json!({"user_id": ann.id, "item_id": "m", "data": data});
    let told = memory.tool("update_item", arguments).await;
    golden["content"] = json!("newer");
    golden["conversation_id"] = json!("c");
    golden["metadata"]["mood"] = json!("good");
    assert_json(&told, golden);
    cluster.stop().await;
}

#[actix::test]
async fn a_message_is_removed_by_both_families() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    for (tool, key) in [("delete_message", "message_id"), ("delete_item", "item_id")] {
        memory.tool("store_input", json!({"input_data": {"id": "m", "content": "x"}})).await;
        let arguments = json!({"user_id": ann.id, key: "m"});
        let told = memory.tool(tool, arguments.clone()).await;
        assert_json(&told, json!({"status": "deleted", "user_id": ann.id, key: "m"}));
        let again = memory.post(&format!("/tool/{tool}"), arguments).await;
        assert_error(&again, 404, "resource_not_found");
        assert_eq!(memory.tool("get_message", json!({"message_id": "m"})).await, Value::Null);
        let absent = memory.post("/tool/get_item", json!({"item_id": "m"})).await;
        assert_error(&absent, 404, "resource_not_found");
    }
    cluster.stop().await;
}

#[actix::test]
async fn only_the_owner_changes_and_removes() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let memory = cluster.memory.of_service();
    let input = json!({"id": "m", "content": "x"});
    memory.tool("store_input", json!({"user_id": ann.id, "input_data": input})).await;
    for (tool, further) in [
        ("update_message", json!({"updates": {"content": "y"}})),
        ("update_item", json!({"data": {"content": "y"}})),
        ("delete_message", json!({})),
        ("delete_item", json!({})),
    ] {
        let mut arguments = json!({"user_id": bob.id, "item_id": "m"});
        arguments.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        let answer = memory.post(&format!("/tool/{tool}"), arguments).await;
        assert_error(&answer, 404, "resource_not_found");
    }
    let item = memory.tool("get_item", json!({"user_id": ann.id, "item_id": "m"})).await;
    assert_has(&item, json!({"content": "x", "metadata": {}}));
    cluster.stop().await;
}

#[actix::test]
async fn a_user_is_forgotten_whole_and_alone() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    for user in [&ann, &ann, &bob] {
        let arguments = json!({"input_data": {"content": "x"}});
        cluster.memory.of(user).tool("store_input", arguments).await;
    }
    let told = cluster.memory.of(&ann).tool("forget_user", json!({"user_id": ann.id})).await;
    assert_json(&told, json!({"status": "forgotten", "user_id": ann.id, "deleted": 2, "facts": 0}));
    let left = async |user: &User| {
        let items = cluster.memory.of(user).resource(&format!("history/{}", user.id)).await;
        items.as_array().unwrap().len()
    };
    assert_eq!((left(&ann).await, left(&bob).await), (0, 1));
    cluster.stop().await;
}

#[actix::test]
async fn an_unknown_tool_and_a_body_that_is_no_object_are_refused() {
    let cluster = Cluster::start().await;
    for client in [cluster.memory.of_service(), cluster.cognition.of_service()] {
        assert_error(&client.post("/tool/nonsense", json!({})).await, 404, "tool_not_found");
        for body in [json!([]), json!("x"), json!(5), Value::Null] {
            let answer = client.post("/tool/store_input", body).await;
            assert_error(&answer, 400, "invalid_request");
        }
        let tools = client.get("/tools").await.ok();
        assert_has(&tools["tools"][0], json!({"name": "<text>", "description": "<text>"}));
        assert_has(&tools["resources"][0], json!({"template": "<text>"}));
    }
    cluster.stop().await;
}
