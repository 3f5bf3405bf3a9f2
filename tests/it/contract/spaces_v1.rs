//! Workspaces and conversations under `/v1`: the same, wrapped.

use serde_json::{Value, json};

use crate::harness::{Answer, Cluster, User, assert_json};

/// The answer's `data`, after a look at what it is wrapped in.
#[track_caller]
fn data(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    let mut body = answer.json();
    let golden = json!({
        "status": "<text>", "request_id": answer.header("x-request-id"), "timestamp": "<time>",
        "data": "<any>",
    });
    assert_json(&body, golden);
    body["data"].take()
}

#[actix::test]
async fn everything_is_wrapped_on_both_v1_paths() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    for prefix in ["/v1", "/v1/config"] {
        let workspaces = format!("{prefix}/workspace");
        let wanted = json!({"name": "Work", "description": "All of it"});
        let made = data(&core.post(&workspaces, wanted).await, 201);
        let id = made["workspace"]["id"].as_str().unwrap().to_owned();
        let mut golden = json!({"workspace": {
            "id": id, "name": "Work", "description": "All of it", "owner_id": ann.id,
            "metadata": {}, "created_at": "<time>", "updated_at": "<time>",
        }});
        assert_json(&made, golden.clone());
        let one = format!("{workspaces}/{id}");
        assert_json(&data(&core.get(&one).await, 200), golden.clone());
        golden["workspace"]["metadata"] = json!({"a": 1});
        assert_json(
            &data(&core.put(&one, json!({"metadata": {"a": 1}})).await, 200),
            golden.clone(),
        );
        let list = data(&core.get(&workspaces).await, 200);
        let golden =
            json!({"workspaces": [golden["workspace"]], "total": 1, "limit": 50, "offset": 0});
        assert_json(&list, golden);
        let conversations = format!("{prefix}/conversation");
        let wanted = json!({"workspace_id": id, "topic": "Kites"});
        let made = data(&core.post(&conversations, wanted).await, 201);
        let kites = made["conversation"]["id"].as_str().unwrap().to_owned();
        let mut golden = json!({
            "id": kites, "workspace_id": id, "topic": "Kites", "participant_ids": [ann.id],
            "metadata": {}, "created_at": "<time>", "updated_at": "<time>", "messages": [],
        });
        assert_json(&made, json!({ "conversation": golden }));
        let kites = format!("{conversations}/{kites}");
        assert_json(&data(&core.get(&kites).await, 200), json!({ "conversation": golden }));
        golden.as_object_mut().unwrap().remove("messages");
        let query = format!("{conversations}?workspace_id={id}&limit=7&offset=0");
        let list = data(&core.get(&query).await, 200);
        let golden = json!({"conversations": [golden], "total": 1, "limit": 7, "offset": 0});
        assert_json(&list, golden);
        for path in [kites, one] {
            let removed = core.delete(&path).await;
            assert_eq!((removed.status, removed.text().as_str()), (204, ""));
        }
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_v1_page_has_fifty_rows_unless_more_are_asked_for() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for _ in 0..51 {
        super::workspace(&core).await;
    }
    let count = async |path: &str| {
        let answer = core.get(path).await.ok();
        let list = if path.starts_with("/v1") { &answer["data"] } else { &answer };
        assert_eq!(list["total"], 51);
        list["workspaces"].as_array().unwrap().len()
    };
    assert_eq!(count("/v1/workspace").await, 50);
    assert_eq!(count("/v1/workspace?limit=100").await, 51);
    assert_eq!(count("/config/workspace").await, 51);
    cluster.stop().await;
}

#[actix::test]
async fn cognition_through_v1_is_wrapped_too() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    core.post("/input", json!({"content": "a kite"})).await.ok();
    for (path, body) in [
        ("/v1/context", json!({"query": "kite"})),
        ("/v1/search", json!({"query": "kite"})),
        ("/v1/analyze", json!({"conversation_id": "default"})),
        ("/v1/cognition/context", json!({})),
    ] {
        let answer = core.post(path, body).await;
        assert_eq!(answer.ok()["status"], "success", "{path}");
        assert!(data(&answer, 200).is_object());
    }
    cluster.stop().await;
}
