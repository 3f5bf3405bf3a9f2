//! Memory's resources: events or JSON, order, pages, live streams.

use actix_web::http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, User, assert_error, assert_json};

/// Stores these texts one after the other.
async fn say(memory: &Client, conversation: &str, texts: &[&str]) -> Vec<i64> {
    let mut seqs = Vec::new();
    for text in texts {
        let input = json!({"id": text, "content": text, "conversation_id": conversation});
        let stored = memory.tool("store_input", json!({"input_data": input})).await;
        seqs.push(stored["seq"].as_i64().unwrap());
    }
    seqs
}

fn contents(items: &Value) -> Vec<&str> {
    items.as_array().unwrap().iter().map(|item| item["content"].as_str().unwrap()).collect()
}

#[actix::test]
async fn a_resource_comes_as_events_with_an_end_mark_or_as_json() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    say(&memory, "c", &["a", "b"]).await;
    let json = memory.resource(&format!("history/{}", ann.id)).await;
    assert_eq!(contents(&json), ["b", "a"]);
    for accept in ["text/event-stream", "*/*", ""] {
        let path = format!("/resource/history/{}", ann.id);
        let question = memory.ask(Method::GET, &path).header("accept", accept);
        let (answer, events) = question.open().await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let mut events = events.unwrap();
        let mut expected = json.as_array().unwrap().clone();
        expected.push(json!({"end": true}));
        assert_eq!(events.rest().await, expected);
        assert!(events.raw().lines().all(|line| line.is_empty() || line.starts_with("data: ")));
    }
    let nobody = cluster.memory.of_service().resource("history/nobody").await;
    assert_eq!(nobody, json!([]));
    cluster.stop().await;
}

#[actix::test]
async fn a_stream_suffix_is_live_or_the_plain_resource_as_events() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    say(&memory, "c", &["a"]).await;
    let mut plain = memory.events(&format!("/resource/history/{}/limit/5/stream", ann.id)).await;
    let items = plain.rest().await;
    assert_eq!(items.len(), 2, "the item and the end mark: {items:?}");
    let mut live = memory.events(&format!("/resource/history/{}/stream", ann.id)).await;
    let mut filtered =
        memory.events(&format!("/resource/history/{}/conversation/d/stream", ann.id)).await;
    // The first frame says from where on: after it nothing is missed.
    live.next_frame().await.unwrap();
    filtered.next_frame().await.unwrap();
    say(&memory, "c", &["b"]).await;
    say(&memory, "d", &["e"]).await;
    assert_eq!(live.next_event().await["content"], "b");
    assert_eq!(live.next_event().await["content"], "e");
    assert_eq!(filtered.next_event().await["content"], "e");
    cluster.stop().await;
}

#[actix::test]
async fn a_live_stream_resumes_after_the_last_event_seen() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let seqs = say(&memory, "c", &["a", "b", "c"]).await;
    let path = format!("/resource/history/{}/stream", ann.id);
    let seen = seqs.first().unwrap().to_string();
    let resumed = memory.ask(Method::GET, &path).header("last-event-id", &seen).open().await;
    let asked = memory.ask(Method::GET, &format!("{path}?after={seen}")).open().await;
    for (_, events) in [resumed, asked] {
        let mut events = events.unwrap();
        assert_eq!(events.next_event().await["content"], "b");
        assert_eq!(events.next_event().await["content"], "c");
    }
    cluster.stop().await;
}

#[actix::test]
async fn every_path_tells_its_items_newest_first() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    say(&memory, "c", &["a", "b"]).await;
    say(&memory, "d", &["x"]).await;
    let id = &ann.id;
    for (path, expected) in [
        (format!("history/{id}"), vec!["x", "b", "a"]),
        (format!("history/{id}/limit/2"), vec!["x", "b"]),
        (format!("history/{id}?limit=1"), vec!["x"]),
        (format!("history/{id}/conversation/c"), vec!["b", "a"]),
        ("conversation/c".to_owned(), vec!["b", "a"]),
        (format!("conversation/c/user/{id}"), vec!["b", "a"]),
        ("message/a".to_owned(), vec!["a"]),
        ("item/a".to_owned(), vec!["a"]),
        (format!("item/a/{id}"), vec!["a"]),
        ("conversation/unknown".to_owned(), vec![]),
    ] {
        assert_eq!(contents(&memory.resource(&path).await), expected, "{path}");
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_history_has_a_hundred_items_unless_more_are_asked_for() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let texts: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    say(&memory, "c", &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (query, count) in [("", 100), ("?limit=101", 101), ("?limit=5", 5), ("/limit/1000000", 101)]
    {
        let items = memory.resource(&format!("history/{}{query}", ann.id)).await;
        assert_eq!((items.as_array().unwrap().len(), &items[0]["content"]), (count, &json!("100")));
    }
    cluster.stop().await;
}

#[actix::test]
async fn after_reads_forward_and_before_reads_backward() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let seqs = say(&memory, "c", &["a", "b", "c", "d"]).await;
    let (first, last) = (seqs.first().unwrap(), seqs.last().unwrap());
    for (query, expected) in [
        (format!("after={first}"), vec!["b", "c", "d"]),
        (format!("after={first}&limit=2"), vec!["b", "c"]),
        (format!("after={last}"), vec![]),
        ("after=0".to_owned(), vec!["a", "b", "c", "d"]),
        ("after=-5".to_owned(), vec!["a", "b", "c", "d"]),
        (format!("before={last}"), vec!["c", "b", "a"]),
        (format!("before={last}&limit=1"), vec!["c"]),
        (format!("before={first}"), vec![]),
    ] {
        let items = memory.resource(&format!("history/{}?{query}", ann.id)).await;
        assert_eq!(contents(&items), expected, "{query}");
    }
    cluster.stop().await;
}

#[actix::test]
async fn paging_that_makes_no_sense_is_a_400() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    for end in [
        "?limit=0",
        "?limit=-1",
        "?limit=x",
        "?limit=",
        "?limit=99999999999999999999",
        "/limit/0",
        "/limit/-1",
        "/limit/x",
        "?after=x",
        "?before=",
        "?after=1&before=2",
    ] {
        let answer = memory.get(&format!("/resource/history/{}{end}", ann.id)).await;
        assert_error(&answer, 400, "invalid_parameter");
    }
    cluster.stop().await;
}

#[actix::test]
async fn what_does_not_exist_is_a_404() {
    let cluster = Cluster::start().await;
    let memory = cluster.memory.of(&User::new("ann"));
    for path in ["message/none", "item/none", "nonsense", "history", "a/b/c/d/e/f", ""] {
        let answer = memory.get(&format!("/resource/{path}")).await;
        assert_error(&answer, 404, "resource_not_found");
    }
    cluster.stop().await;
}

#[actix::test]
async fn the_log_is_for_services() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let mut all = cluster.memory.of_service().events("/resource/log/stream?after=0").await;
    let mut own = cluster.memory.of(&bob).events("/resource/log/stream?after=0").await;
    say(&cluster.memory.of(&ann), "c", &["a"]).await;
    say(&cluster.memory.of(&bob), "c", &["b"]).await;
    assert_eq!(all.next_event().await["content"], "a");
    let second = all.next_event().await;
    assert_json(&own.next_event().await, second);
    cluster.stop().await;
}
