//! The output stream: its first event, its vocabularies, its filter, its framing.

use actix_web::http::Method;
use serde_json::json;

use super::conversation;
use crate::harness::{Cluster, User, assert_json, events::Events};

/// The next event, which must be an input with this content.
async fn assert_input(events: &mut Events, content: &str) {
    let event = events.next_event().await;
    assert_eq!((&event["type"], &event["data"]["content"]), (&json!("input"), &json!(content)));
}

#[actix::test]
async fn the_first_event_says_whose_stream_it_is() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let id = conversation(&core, &[]).await;
    let mut connected =
        json!({"type": "connection_established", "user_id": ann.id, "timestamp": "<time>"});
    for path in ["/output/stream", "/output/stream/", "/v1/output/stream"] {
        assert_json(&core.events(path).await.next_event().await, connected.clone());
    }
    connected["conversation_id"] = id.as_str().into();
    for path in [
        format!("/output/stream?conversation_id={id}"),
        format!("/v1/output/stream?conversation_id={id}"),
        format!("/v1/conversation/{id}/messages/stream"),
    ] {
        assert_json(&core.events(&path).await.next_event().await, connected.clone());
    }
    cluster.stop().await;
}

#[actix::test]
async fn an_input_is_echoed_in_the_first_generations_words() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let mut events = core.events("/output/stream").await;
    let said = json!({"content": "hello", "metadata": {"k": "v"}});
    let told = core.post("/input", said).await.ok();
    let told = &told["data"];
    events.next_of_type("connection_established").await;
    assert_json(
        &events.next_event().await,
        json!({
            "type": "input",
            "data": {
                "content": "hello", "conversation_id": "default", "timestamp": told["timestamp"],
                "message_id": told["message_id"],
            },
            "user_id": ann.id, "conversation_id": "default", "timestamp": "<time>",
            "metadata": {"k": "v"},
        }),
    );
    cluster.stop().await;
}

#[actix::test]
async fn v1_speaks_of_messages() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let id = conversation(&core, &[]).await;
    let path = format!("/v1/conversation/{id}/messages");
    let mut streams =
        [core.events(&format!("{path}/stream")).await, core.events("/v1/output/stream").await];
    let told = core.post(&path, json!({"content": "hello", "metadata": {"k": 1}})).await.ok();
    let told = &told["data"];
    for events in &mut streams {
        events.next_of_type("connection_established").await;
        assert_json(
            &events.next_event().await,
            json!({
                "type": "message", "message_type": "user",
                "data": {
                    "content": "hello", "conversation_id": id, "message_id": told["message_id"],
                    "timestamp": told["timestamp"],
                    "sender": {"id": ann.id, "name": ann.name, "role": "user"},
                },
                "metadata": {"k": 1},
            }),
        );
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_reply_is_told_in_both_readings_of_output_and_as_a_message() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let mut plain = core.events("/output/stream").await;
    let mut v1 = core.events("/v1/output/stream").await;
    let reply = json!({
        "content": "hi", "conversation_id": "default", "sender_id": "assistant",
        "sender": "AI Assistant", "role": "assistant", "metadata": {"in_reply_to": "m"},
    });
    let arguments = json!({"user_id": ann.id, "input_data": reply});
    let stored = cluster.memory.of_service().tool("store_input", arguments).await;
    assert_json(
        &plain.next_of_type("output").await,
        json!({
            "type": "output", "content": "hi", "role": "assistant",
            "data": {
                "content": "hi", "conversation_id": "default", "timestamp": "<time>",
                "message_id": stored["item_id"],
            },
            "user_id": ann.id, "conversation_id": "default", "timestamp": "<time>",
            "metadata": {"in_reply_to": "m"},
        }),
    );
    assert_json(
        &v1.next_of_type("message").await,
        json!({
            "type": "message", "message_type": "assistant",
            "data": {
                "content": "hi", "conversation_id": "default", "message_id": stored["item_id"],
                "timestamp": "<time>",
                "sender": {"id": "assistant", "name": "AI Assistant", "role": "assistant"},
            },
            "metadata": {"in_reply_to": "m"},
        }),
    );
    cluster.stop().await;
}

#[actix::test]
async fn every_stream_of_a_user_gets_every_event_and_nobody_elses_does() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let of_ann = cluster.core.of(&ann);
    let id = conversation(&of_ann, &[&bob.id]).await;
    let filtered = format!("/output/stream?conversation_id={id}");
    let mut all = [of_ann.events("/output/stream").await, of_ann.events("/output/stream").await];
    let mut one = [of_ann.events(&filtered).await, of_ann.events(&filtered).await];
    let mut bobs = cluster.core.of(&bob).events("/output/stream").await;
    for events in all.iter_mut().chain(&mut one).chain([&mut bobs]) {
        events.next_of_type("connection_established").await;
    }
    let say = async |who: &User, content: &str, conversation: &str| {
        let body = json!({"content": content, "conversation_id": conversation});
        cluster.core.of(who).post("/input", body).await.ok();
    };
    say(&ann, "elsewhere", "default").await;
    say(&ann, "here", &id).await;
    say(&bob, "mine", "default").await;
    for events in &mut all {
        assert_input(events, "elsewhere").await;
        assert_input(events, "here").await;
    }
    for events in &mut one {
        assert_input(events, "here").await;
    }
    assert_input(&mut bobs, "mine").await;
    cluster.stop().await;
}

#[actix::test]
async fn a_heartbeat_comes_every_so_often() {
    let cluster = Cluster::builder().core_args(&["--heartbeat-interval", "20ms"]).start().await;
    let core = cluster.core.of(&User::new("ann"));
    for path in ["/output/stream", "/v1/output/stream"] {
        let mut events = core.events(path).await;
        for _ in 0..2 {
            let beat = events.next_of_type("heartbeat").await;
            assert_json(&beat, json!({"type": "heartbeat", "timestamp": "<time>"}));
        }
    }
    cluster.stop().await;
}

#[actix::test]
async fn events_are_framed_so_that_onmessage_fires_and_nothing_buffers_them() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    let (answer, events) = core.ask(Method::GET, "/output/stream").open().await;
    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let mut events = events.unwrap();
    core.post("/input", json!({"content": "two\nlines"})).await.ok();
    for _ in 0..2 {
        let frame = events.next_frame().await.unwrap();
        assert_eq!(frame.kind, "", "an event: line keeps browsers from onmessage");
        assert!(!frame.data.unwrap().contains('\n'), "one line each");
    }
    assert!(events.raw().contains("data: {"), "{}", events.raw());
    cluster.stop().await;
}
