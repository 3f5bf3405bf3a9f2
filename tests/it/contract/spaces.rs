//! Workspaces and conversations on the plain paths.

use serde_json::{Value, json};

use super::{conversation, workspace};
use crate::harness::{Client, Cluster, User, assert_error, assert_has, assert_json};

#[actix::test]
async fn a_workspace_is_made_read_changed_listed_and_removed() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let mut golden = json!({
        "id": "<uuid>", "name": "Work", "description": "All of it", "owner_id": ann.id,
        "metadata": {"a": 1}, "created_at": "<time>", "updated_at": "<time>",
    });
    let wanted = json!({"name": "Work", "description": "All of it", "metadata": {"a": 1}});
    let made = core.post("/config/workspace", wanted).await;
    assert_eq!(made.status, 201);
    assert_json(&made.json(), json!({"status": "workspace created", "workspace": golden}));
    golden["id"] = made.json()["workspace"]["id"].clone();
    let path = format!("/config/workspace/{}", golden["id"].as_str().unwrap());
    let read = core.get(&path).await;
    assert_json(&read.ok(), json!({"status": "workspace retrieved", "workspace": golden}));
    golden["name"] = json!("Play");
    let changed = core.put(&path, json!({"name": "Play"})).await;
    assert_json(&changed.ok(), json!({"status": "workspace updated", "workspace": golden}));
    let list = core.get("/config/workspace").await.ok();
    assert_json(&list, json!({"workspaces": [golden], "total": 1}));
    let removed = core.delete(&path).await;
    assert_eq!((removed.status, removed.text().as_str()), (204, ""));
    assert_error(&core.get(&path).await, 404, "resource_not_found");
    assert_error(&core.delete(&path).await, 404, "resource_not_found");
    cluster.stop().await;
}

#[actix::test]
async fn a_conversation_is_made_read_changed_listed_and_removed() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let workspace_id = workspace(&core).await["id"].take();
    let mut bare = json!({
        "id": "<uuid>", "workspace_id": workspace_id, "topic": "Kites",
        "participant_ids": ["bob", ann.id], "metadata": {}, "created_at": "<time>",
        "updated_at": "<time>",
    });
    let with_messages = |bare: &Value| {
        let mut whole = bare.clone();
        whole["messages"] = json!([]);
        whole
    };
    let wanted = json!({
        "workspace_id": workspace_id, "topic": "Kites", "participant_ids": ["bob"],
    });
    let made = core.post("/config/conversation", wanted).await;
    assert_eq!(made.status, 201);
    let golden = json!({"status": "conversation created", "conversation": with_messages(&bare)});
    assert_json(&made.json(), golden);
    bare["id"] = made.json()["conversation"]["id"].clone();
    let path = format!("/config/conversation/{}", bare["id"].as_str().unwrap());
    let golden = json!({"status": "conversation retrieved", "conversation": with_messages(&bare)});
    assert_json(&core.get(&path).await.ok(), golden);
    bare["topic"] = json!("Boats");
    bare["participant_ids"] = json!(["eve", ann.id]);
    let change = json!({"topic": "Boats", "participant_ids": ["eve"]});
    let golden = json!({"status": "conversation updated", "conversation": with_messages(&bare)});
    assert_json(&core.put(&path, change).await.ok(), golden);
    let list = format!("/config/conversation?workspace_id={}", workspace_id.as_str().unwrap());
    let golden = json!({"conversations": [bare], "total": 1});
    assert_json(&core.get(&list).await.ok(), golden);
    let removed = core.delete(&path).await;
    assert_eq!((removed.status, removed.text().as_str()), (204, ""));
    assert_error(&core.get(&path).await, 404, "resource_not_found");
    cluster.stop().await;
}

#[actix::test]
async fn a_removed_workspace_takes_its_conversations_with_it() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    let id = conversation(&core, &[]).await;
    let path = format!("/config/conversation/{id}");
    let workspace_id = core.get(&path).await.ok()["conversation"]["workspace_id"].take();
    let workspace = format!("/config/workspace/{}", workspace_id.as_str().unwrap());
    assert_eq!(core.delete(&workspace).await.status, 204);
    assert_error(&core.get(&path).await, 404, "resource_not_found");
    cluster.stop().await;
}

#[actix::test]
async fn a_conversation_shows_its_newest_messages_first_and_at_most_a_hundred() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let id = conversation(&core, &[]).await;
    for number in 0..101 {
        let said = json!({"content": number.to_string(), "conversation_id": id});
        core.post("/input", said).await.ok();
    }
    let path = format!("/config/conversation/{id}");
    for answer in [core.get(&path).await, core.put(&path, json!({"topic": "Boats"})).await] {
        let messages = answer.ok()["conversation"]["messages"].take();
        let contents: Vec<_> =
            messages.as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
        assert_eq!(
            (contents.len(), contents.first(), contents.last()),
            (100, Some(&"100"), Some(&"1"))
        );
        let newest = json!({
            "id": "<uuid>", "conversation_id": id, "sender_id": ann.id, "user_id": ann.id,
            "content": "100", "timestamp": "<time>", "metadata": {},
        });
        assert_has(&messages[0], newest);
    }
    cluster.stop().await;
}

/// Changes the metadata of the thing at `path` and looks at it afterwards.
async fn check_merge(core: &Client, path: &str, kind: &str) {
    for (change, expected) in [
        (json!({"a": 1, "b": {"c": 1}}), json!({"a": 1, "b": {"c": 1}})),
        (json!({"a": 2, "d": 3}), json!({"a": 2, "b": {"c": 1}, "d": 3})),
        (json!({}), json!({"a": 2, "b": {"c": 1}, "d": 3})),
        (Value::Null, json!({"a": 2, "b": {"c": 1}, "d": 3})),
    ] {
        let changed = core.put(path, json!({ "metadata": change })).await.ok();
        assert_eq!(changed[kind]["metadata"], expected);
        assert_eq!(core.get(path).await.ok()[kind]["metadata"], expected);
    }
}

#[actix::test]
async fn metadata_is_merged() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    let workspace = workspace(&core).await;
    let path = format!("/config/workspace/{}", workspace["id"].as_str().unwrap());
    check_merge(&core, &path, "workspace").await;
    let id = conversation(&core, &[]).await;
    check_merge(&core, &format!("/config/conversation/{id}"), "conversation").await;
    cluster.stop().await;
}

#[actix::test]
async fn the_owner_takes_part_even_after_leaving() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let path = format!("/config/conversation/{}", conversation(&core, &[]).await);
    let changed = core.put(&path, json!({"participant_ids": []})).await.ok();
    assert_eq!(changed["conversation"]["participant_ids"], json!([ann.id]));
    cluster.stop().await;
}

#[actix::test]
async fn lists_are_paged_and_tell_the_total() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for _ in 0..3 {
        workspace(&core).await;
    }
    for (query, count) in
        [("", 3), ("?limit=2", 2), ("?limit=2&offset=2", 1), ("?offset=3", 0), ("?limit=1000", 3)]
    {
        let list = core.get(&format!("/config/workspace{query}")).await.ok();
        assert_eq!(list["workspaces"].as_array().unwrap().len(), count, "{query}");
        assert_eq!(list["total"], 3);
    }
    cluster.stop().await;
}

#[actix::test]
async fn paging_outside_its_bounds_is_refused() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1.5",
        "offset=-1",
        "offset=x",
    ] {
        let field = query.split('=').next().unwrap();
        for path in ["/config/workspace?", "/config/conversation?workspace_id=w&", "/v1/workspace?"]
        {
            let answer = core.get(&format!("{path}{query}")).await;
            assert_error(&answer, 422, "validation_error");
            assert_json(
                &answer.json()["error"]["details"]["validation_errors"],
                json!([{"loc": ["query", field], "msg": "<text>", "type": "<text>"}]),
            );
        }
    }
    assert_error(&core.get("/config/conversation").await, 422, "validation_error");
    cluster.stop().await;
}

#[actix::test]
async fn texts_have_their_bounds_in_characters() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    let workspace = workspace(&core).await;
    let id = workspace["id"].as_str().unwrap();
    let make = |name: usize, description: usize| json!({"name": "é".repeat(name), "description": "é".repeat(description)});
    for (body, status) in [
        (make(100, 500), 201),
        (make(1, 1), 201),
        (make(101, 1), 422),
        (make(1, 501), 422),
        (make(0, 1), 422),
    ] {
        assert_eq!(core.post("/config/workspace", body).await.status, status);
    }
    for (topic, status) in [(1, 201), (200, 201), (201, 422), (0, 422)] {
        let body = json!({"workspace_id": id, "topic": "é".repeat(topic)});
        assert_eq!(core.post("/config/conversation", body).await.status, status);
    }
    let path = format!("/config/workspace/{id}");
    assert_error(&core.put(&path, json!({"name": ""})).await, 422, "validation_error");
    let answer = core.post("/config/workspace", json!({})).await;
    let missing = |field| json!({"loc": ["body", field], "msg": "<text>", "type": "missing"});
    let problems = &answer.json()["error"]["details"]["validation_errors"];
    assert_json(problems, json!([missing("name"), missing("description")]));
    cluster.stop().await;
}
