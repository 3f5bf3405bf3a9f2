//! The outbox: what memory cannot take is acknowledged all the same, and gets there in its order.

use std::time::Duration;

use actix_web::http::Method;
use serde_json::{Value, json};

use super::{post, stored};
use crate::harness::{Client, Cluster, Node, User, assert_error, eventually};

/// Recovery within a test's patience.
const QUICK: [&str; 8] = [
    "--max-retries",
    "0",
    "--retry-max-backoff",
    "0.1",
    "--probe-interval",
    "0.05",
    "--outbox-retry-max",
    "0.05",
];

/// Posts an input that must go to the outbox.
async fn pend(core: &Client, text: &str) -> Value {
    let answer = core.post("/input", json!({ "content": text })).await.ok();
    assert_eq!(answer["status"], "received_storage_pending", "{text}");
    answer
}

async fn outbox(core: &Client) -> Value {
    core.get("/health").await.json()["components"]["outbox"].take()
}

async fn until_empty(core: &Client) {
    eventually("the outbox is empty", || async { outbox(core).await["entries"] == 0 }).await;
}

/// What a user said, in the log's order.
async fn said(memory: &Node, user: &User) -> Vec<String> {
    let path = format!("history/{}?after=0&limit=1000", user.id);
    let items = memory.of(user).resource(&path).await;
    let text = |item: &Value| item["content"].as_str().unwrap().to_owned();
    items.as_array().unwrap().iter().map(text).collect()
}

#[actix::test]
async fn inputs_taken_while_memory_is_away_get_there_once_in_order_and_are_streamed() {
    let mut cluster = Cluster::builder().core_args(&QUICK).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let mut stream = core.events("/output/stream").await;
    stream.next_of_type("connection_established").await;
    let mut expected = vec![post(&core, "before").await.unwrap()];
    cluster.memory.stop().await;
    for number in 0..20 {
        pend(&core, &format!("away {number}")).await;
        expected.push(format!("away {number}"));
    }
    let waiting = outbox(&core).await;
    assert_eq!(waiting["entries"], 20);
    assert!(waiting["oldest_seconds"].as_f64().unwrap() >= 0.0, "{waiting}");
    let health = core.get("/health").await.json();
    assert_eq!(health["status"], "degraded");
    let reason = "20 inputs wait in the outbox";
    assert!(health["reasons"].to_string().contains(reason), "{}", health["reasons"]);

    cluster.memory.start();
    // What comes while the rest is on its way must come behind it.
    loop {
        let text = format!("after {}", expected.len());
        let answer = core.post("/input", json!({ "content": text })).await.ok();
        expected.push(text);
        if answer["status"] == "received" {
            break;
        }
    }
    assert_eq!(said(&cluster.memory, &ann).await, expected);
    for text in &expected {
        assert_eq!(stream.next_of_type("input").await["data"]["content"], text.as_str());
    }
    assert_eq!(outbox(&core).await["entries"], 0);
    cluster.stop().await;
}

#[actix::test]
async fn what_waits_survives_core_and_is_streamed_by_the_next() {
    let mut cluster = Cluster::builder().core_args(&QUICK).start().await;
    let ann = User::new("ann");
    cluster.memory.stop().await;
    for text in ["one", "two", "three"] {
        pend(&cluster.core.of(&ann), text).await;
    }
    cluster.core.stop().await;
    cluster.core.start();
    let core = cluster.core.of(&ann);
    assert_eq!(outbox(&core).await["entries"], 3);
    let mut stream = core.events("/output/stream").await;
    stream.next_of_type("connection_established").await;
    pend(&core, "four").await;
    cluster.memory.start();
    for text in ["one", "two", "three", "four"] {
        assert_eq!(stream.next_of_type("input").await["data"]["content"], text);
    }
    until_empty(&core).await;
    assert_eq!(said(&cluster.memory, &ann).await, ["one", "two", "three", "four"]);
    cluster.stop().await;
}

#[actix::test]
async fn a_full_outbox_says_so_and_one_user_does_not_fill_it() {
    let args = ["--outbox-entries-max", "4", "--outbox-user-share", "0.5"];
    let mut cluster = Cluster::builder().core_args(&QUICK).core_args(&args).start().await;
    let (ann, bob, eve) = (User::new("ann"), User::new("bob"), User::new("eve"));
    cluster.memory.stop().await;
    let flood = cluster.core.of(&ann);
    pend(&flood, "1").await;
    pend(&flood, "2").await;
    let refused = flood.post("/input", json!({"content": "3"})).await;
    assert_error(&refused, 503, "overloaded");
    assert!(refused.json()["detail"].as_str().unwrap().contains("share"), "{}", refused.text());
    pend(&cluster.core.of(&bob), "1").await;
    pend(&cluster.core.of(&bob), "2").await;
    let refused = cluster.core.of(&eve).post("/input", json!({"content": "1"})).await;
    assert_error(&refused, 503, "overloaded");
    assert!(refused.json()["detail"].as_str().unwrap().contains("full: 4 of 4 inputs"));
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    cluster.memory.start();
    until_empty(&flood).await;
    assert_eq!(said(&cluster.memory, &ann).await, ["1", "2"]);
    assert_eq!(said(&cluster.memory, &bob).await, ["1", "2"]);
    assert!(stored(&cluster, &eve).await.is_empty());
    cluster.stop().await;
}

async fn keyed(core: &Client, key: &str, text: &str) -> crate::harness::Answer {
    let question = core.ask(Method::POST, "/input").header("idempotency-key", key);
    question.json(&json!({ "content": text })).send().await
}

#[actix::test]
async fn keys_hold_while_memory_is_away_and_no_acknowledged_input_is_swallowed_by_one() {
    let mut cluster = Cluster::builder().core_args(&QUICK).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    keyed(&core, "old", "stored before").await.ok();
    cluster.memory.stop().await;
    let first = keyed(&core, "new", "pending").await;
    assert_eq!(first.ok()["status"], "received_storage_pending");
    let again = keyed(&core, "new", "pending").await;
    assert_eq!(again.ok(), first.ok());
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_error(&keyed(&core, "new", "another").await, 422, "validation_error");
    // Core cannot know now that memory has this key with another text; it has acknowledged it.
    let clash = keyed(&core, "old", "another under an old key").await.ok();
    assert_eq!(clash["status"], "received_storage_pending");
    cluster.memory.start();
    until_empty(&core).await;
    let told = keyed(&core, "new", "pending").await;
    assert_eq!(told.ok()["data"], first.ok()["data"], "the same answer, now from memory");
    let texts = said(&cluster.memory, &ann).await;
    assert_eq!(texts, ["stored before", "pending", "another under an old key"]);
    let path = format!("history/{}?after=0", ann.id);
    let items = cluster.memory.of(&ann).resource(&path).await;
    assert_eq!(items[2]["metadata"]["acknowledged_as"], clash["data"]["message_id"]);
    cluster.stop().await;
}

#[actix::test]
async fn what_one_participant_said_waits_and_what_another_says_comes_behind_it() {
    let mut cluster = Cluster::builder().with_memory_proxy().core_args(&QUICK).start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let (core, of_bob) = (cluster.core.of(&ann), cluster.core.of(&bob));
    let made = core.post("/config/workspace", json!({"name": "n", "description": "d"})).await.ok();
    let about = json!({"workspace_id": made["workspace"]["id"], "topic": "t",
                       "participant_ids": [ann.id, bob.id]});
    let made = core.post("/config/conversation", about).await.ok();
    let id = made["conversation"]["id"].as_str().unwrap().to_owned();
    let say = async |client: &Client, text: &str| {
        let input = json!({"content": text, "conversation_id": id});
        client.post("/input", input).await.ok()["status"].as_str().unwrap().to_owned()
    };
    let proxy = cluster.memory_proxy.as_ref().unwrap();
    proxy.set(crate::harness::proxy::Mode::Refuse);
    assert_eq!(say(&core, "ann first").await, "received_storage_pending");
    proxy.set(crate::harness::proxy::Mode::Pass);
    say(&of_bob, "bob second").await;
    until_empty(&core).await;
    let path = format!("conversation/{id}?limit=10&members={},{}", ann.id, bob.id);
    let items = cluster.memory.of_service().resource(&path).await;
    let seq = |text: &str| {
        let items = items.as_array().unwrap();
        items.iter().find(|item| item["content"] == text).unwrap()["seq"].as_i64().unwrap()
    };
    assert!(seq("ann first") < seq("bob second"), "{items}");
    cluster.cognition.stop().await;
    cluster.stop().await;
}

#[actix::test]
async fn an_outbox_whose_file_is_gone_acknowledges_nothing() {
    let mut cluster = Cluster::builder().core_args(&QUICK).start().await;
    let core = cluster.core.of(&User::new("ann"));
    cluster.memory.stop().await;
    pend(&core, "kept").await;
    let (folder, aside) = (cluster.data().join("core"), cluster.data().join("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    let refused = core.post("/input", json!({"content": "nowhere"})).await;
    assert_error(&refused, 500, "database_error");
    assert_eq!(core.get("/health").await.status, 503);
    std::fs::rename(&aside, &folder).unwrap();
    pend(&core, "kept too").await;
    cluster.memory.start();
    until_empty(&core).await;
    cluster.stop().await;
}

#[actix::test]
async fn an_input_memory_will_never_take_is_set_aside_shown_and_tried_again_at_the_next_start() {
    let mut cluster = Cluster::builder().core_args(&QUICK).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    cluster.memory.stop().await;
    pend(&core, "small").await;
    pend(&core, &"x".repeat(200_000)).await;
    pend(&core, "small too").await;
    // Memory comes back with a smaller limit than core's.
    cluster.memory.start_with(&["--max-request-size", "1000"]);
    until_empty(&core).await;
    assert_eq!(said(&cluster.memory, &ann).await, ["small", "small too"]);
    assert_eq!(outbox(&core).await["refused"], 1);
    let reasons = core.get("/health").await.json()["reasons"].to_string();
    assert!(reasons.contains("refused 1 inputs"), "{reasons}");
    post(&core, "goes on").await.unwrap();

    cluster.core.stop().await;
    cluster.memory.stop().await;
    cluster.memory.start_with(&["--max-request-size", "1048576"]);
    cluster.core.start();
    let core = cluster.core.of(&ann);
    eventually("it was delivered", || async {
        let outbox = outbox(&core).await;
        outbox["entries"] == 0 && outbox["refused"] == 0
    })
    .await;
    assert_eq!(said(&cluster.memory, &ann).await.len(), 4);
    cluster.stop().await;
}

#[actix::test]
async fn a_memory_that_hangs_does_not_keep_an_input_waiting_longer_than_its_part() {
    let args = ["--store-patience", "0.1", "--outbox-retry-max", "0.05"];
    let cluster = Cluster::builder().with_memory_proxy().core_args(&args).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let proxy = cluster.memory_proxy.as_ref().unwrap();
    proxy.set(crate::harness::proxy::Mode::BlackHole);
    let pending = tokio::time::timeout(Duration::from_secs(10), pend(&core, "hung"));
    pending.await.expect("well before the call's own 30 s");
    proxy.set(crate::harness::proxy::Mode::Pass);
    until_empty(&core).await;
    assert_eq!(stored(&cluster, &ann).await.get("hung"), Some(&1));
    cluster.stop().await;
}
