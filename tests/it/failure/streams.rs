//! Streams while things break: no gap, no repeat, and a slow reader hurts only itself.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::post;
use crate::harness::{Cluster, User, eventually, within};

#[actix::test]
async fn the_output_stream_goes_on_over_a_restart_of_memory_without_gap_or_repeat() {
    let args = ["--probe-interval", "0.05", "--retry-max-backoff", "0.1"];
    let mut cluster = Cluster::builder().core_args(&args).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let mut stream = core.events("/output/stream").await;
    stream.next_of_type("connection_established").await;
    let mut acknowledged = Vec::new();
    for number in 0..5 {
        acknowledged.push(post(&core, &format!("before {number}")).await.unwrap());
    }
    cluster.memory.stop().await;
    let pending = post(&core, "while away").await.unwrap_err();
    assert_eq!(pending.ok()["status"], "received_storage_pending");
    acknowledged.push("while away".to_owned());
    cluster.memory.start();
    eventually("the outbox is empty", || async {
        core.get("/health").await.json()["components"]["outbox"]["entries"] == 0
    })
    .await;
    // Stored before core follows the log again: its follower resumes from what it saw last.
    for number in 0..5 {
        let memory = cluster.memory.of(&ann);
        let text = format!("after {number}");
        let input = json!({"user_id": ann.id, "input_data": {"content": text}});
        memory.tool("store_input", input).await;
        acknowledged.push(text);
    }
    let mut seen = Vec::new();
    while seen.len() < acknowledged.len() {
        let event = stream.next_of_type("input").await;
        seen.push(event["data"]["content"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen, acknowledged);
    cluster.stop().await;
}

#[actix::test]
async fn two_readers_get_every_event_in_the_logs_order() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let mut first = core.events("/output/stream").await;
    let mut second = core.events("/v1/output/stream").await;
    first.next_event().await;
    second.next_event().await;
    for number in 0..50 {
        post(&core, &format!("{number}")).await.unwrap();
    }
    for number in 0..50 {
        let wanted = format!("{number}");
        let plain = first.next_of_type("input").await;
        assert_eq!(plain["data"]["content"], wanted);
        let message = second.next_of_type("message").await;
        assert_eq!(message["data"]["content"], wanted);
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_reader_that_stops_reading_is_dropped_and_the_other_gets_everything() {
    let streams = ["--events-per-subscriber-max", "4", "--stream-keep-alive", "0.2"];
    let cut = ["--stalled-connection-timeout", "1"];
    let cluster = Cluster::builder().core_args(&streams).core_args(&cut).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let mut stalled = actix_rt::net::TcpStream::connect(cluster.core.address()).await.unwrap();
    let request = format!(
        "GET /output/stream HTTP/1.1\r\nhost: core\r\nauthorization: Bearer {}\r\n\r\n",
        ann.token
    );
    stalled.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 64];
    within("the stream's head", stalled.read_exact(&mut head)).await.unwrap();
    let mut reading = core.events("/output/stream").await;
    reading.next_event().await;
    let large = "x".repeat(500_000);
    for number in 0..40 {
        let text = format!("{number} {large}");
        post(&core, &text).await.unwrap();
        let event = reading.next_of_type("input").await;
        assert_eq!(event["data"]["content"], text);
    }
    eventually("the stalled reader is dropped", || async {
        core.get("/metrics").await.text().contains("event_subscribers 1")
    })
    .await;
    let (server, client) = (cluster.core.address().port(), stalled.local_addr().unwrap().port());
    eventually("its connection is cut", || async { !is_connected(server, client) }).await;
    cluster.stop().await;
}

/// Whether this machine holds the server's end of a connection.
fn is_connected(server: u16, client: u16) -> bool {
    let (server, client) = (format!(":{server:04X}"), format!(":{client:04X}"));
    std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.len() > 3
            && fields[1].ends_with(&server)
            && fields[2].ends_with(&client)
            && fields[3] == "01"
    })
}

#[actix::test]
async fn a_live_stream_of_memory_resumes_from_any_number_while_inputs_flow() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let store = |number: i64| {
        let input = json!({"user_id": ann.id, "input_data": {"content": format!("{number}")}});
        memory.tool("store_input", input)
    };
    for number in 0..600 {
        store(number).await;
    }
    let path = format!("/resource/history/{}/stream", ann.id);
    let mut whole = memory.events(&format!("{path}?after=0")).await;
    let question = memory.ask(actix_web::http::Method::GET, &path);
    let mut resumed = question.header("last-event-id", "598").open().await.1.unwrap();
    for number in 600..620 {
        store(number).await;
    }
    for number in 0..620 {
        assert_eq!(whole.next_event().await["content"], format!("{number}"));
    }
    let mut seqs = Vec::new();
    while seqs.len() < 22 {
        seqs.push(resumed.next_event().await["seq"].as_i64().unwrap());
    }
    assert_eq!(seqs, (599..=620).collect::<Vec<_>>());
    cluster.stop().await;
}

#[actix::test]
async fn leaving_ends_streams_with_a_hint_when_to_come_back() {
    let mut cluster = Cluster::start().await;
    let ann = User::new("ann");
    let mut stream = cluster.core.of(&ann).events("/output/stream").await;
    stream.next_event().await;
    let (rest, ()) = futures_util::join!(stream.rest(), cluster.core.stop());
    assert!(rest.is_empty(), "{rest:?}");
    assert!(stream.raw().contains("retry: "), "{}", stream.raw());
    cluster.stop().await;
}

#[actix::test]
async fn a_reader_that_hangs_up_frees_its_subscription() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let mut stream = core.events("/output/stream").await;
    stream.next_event().await;
    let open = |count: u32| {
        let core = &core;
        move || async move {
            core.get("/metrics").await.text().contains(&format!("event_subscribers {count}"))
        }
    };
    eventually("one subscription", open(1)).await;
    drop(stream);
    eventually("none", open(0)).await;
    cluster.stop().await;
}

/// The texts of the next `count` inputs of a stream.
async fn texts(stream: &mut crate::harness::events::Events, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let event = stream.next_of_type("input").await;
        texts.push(event["data"]["content"].as_str().unwrap().to_owned());
    }
    texts
}

#[actix::test]
async fn the_output_stream_resumes_after_the_last_event_seen_while_inputs_flow() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let all: Vec<String> = (0..350).map(|number| format!("{number}")).collect();
    for text in &all[..300] {
        post(&core, text).await.unwrap();
    }
    post(&cluster.core.of(&User::new("bob")), "not ann's").await.unwrap();
    let question = core.ask(actix_web::http::Method::GET, "/output/stream");
    let resuming = question.header("last-event-id", "10").open();
    let flowing = async {
        for text in &all[300..] {
            post(&core, text).await.unwrap();
        }
    };
    let ((_, resumed), ()) = futures_util::join!(resuming, flowing);
    assert_eq!(texts(&mut resumed.unwrap(), 340).await, all[10..]);
    let mut messages = core.events("/v1/output/stream?after=348").await;
    assert_eq!(messages.next_of_type("message").await["data"]["content"], "347");
    let bad = core.get("/output/stream?after=soon").await;
    crate::harness::assert_error(&bad, 400, "invalid_parameter");
    cluster.stop().await;
}

#[actix::test]
async fn a_reader_resumes_over_restarts_of_core_and_memory() {
    let args = ["--probe-interval", "0.05", "--retry-max-backoff", "0.1"];
    let mut cluster = Cluster::builder().core_args(&args).start().await;
    let ann = User::new("ann");
    let mut stream = cluster.core.of(&ann).events("/output/stream").await;
    post(&cluster.core.of(&ann), "seen").await.unwrap();
    assert_eq!(texts(&mut stream, 1).await, ["seen"]);
    cluster.core.stop().await;
    cluster.memory.stop().await;
    cluster.core.start();
    let core = cluster.core.of(&ann);
    // Memory is away: the reader is kept, and gets what it missed once memory is back.
    let mut resumed = core.events("/output/stream?after=1").await;
    resumed.next_of_type("connection_established").await;
    cluster.memory.start();
    let memory = cluster.memory.of(&ann);
    let input = json!({"user_id": ann.id, "input_data": {"content": "missed"}});
    memory.tool("store_input", input).await;
    assert_eq!(texts(&mut resumed, 1).await, ["missed"]);
    eventually("inputs are taken again", || async { post(&core, "live").await.is_ok() }).await;
    assert_eq!(texts(&mut resumed, 1).await, ["live"]);
    cluster.stop().await;
}

#[actix::test]
async fn an_input_taken_before_core_follows_memory_is_streamed_all_the_same() {
    let args = ["--probe-interval", "0.05", "--retry-max-backoff", "0.1"];
    let mut cluster = Cluster::builder().core_args(&args).start().await;
    let ann = User::new("ann");
    cluster.core.stop().await;
    cluster.memory.stop().await;
    cluster.core.start();
    let core = cluster.core.of(&ann);
    let mut stream = core.events("/output/stream").await;
    stream.next_of_type("connection_established").await;
    cluster.memory.start();
    eventually("an input is taken", || async { post(&core, "early").await.is_ok() }).await;
    assert_eq!(texts(&mut stream, 1).await, ["early"]);
    cluster.stop().await;
}
