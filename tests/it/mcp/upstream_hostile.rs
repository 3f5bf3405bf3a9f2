//! Upstreams as they should not be: none of them may hang, fill or mislead us, or each other.

use std::time::Duration;

use cortex::{
    backplane::upstream::{Call, Kind, Trouble, Upstream},
    contract::upstream::Limits,
    domain::failure::{Failure, Kind as FailureKind},
};
use serde_json::json;
use tokio::time::Instant;

use super::upstream_peer::{Asked, Peer, Say, call, modern, quick, tool, upstreams, web};
use crate::harness::within;

/// What a call of a tool that may not be repeated comes to, and how often it was sent.
async fn called(say: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> (Failure, usize) {
    asked("change", quick(), say).await
}

async fn asked(
    name: &str,
    limits: Limits,
    say: impl Fn(&Asked) -> Say + Send + Sync + 'static,
) -> (Failure, usize) {
    let peer = Peer::start(modern("tools/call", say)).await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), limits);
    upstream.list(Kind::Tools, &call()).await.unwrap();
    let trouble = within("an answer", upstream.call_tool(tool(name), &call())).await.unwrap_err();
    (trouble.into_failure("web"), peer.count("tools/call"))
}

#[tokio::test]
async fn one_that_closes_half_way_is_a_broken_line_and_is_asked_once() {
    let half =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"js";
    let (failure, sent) = called(|_| Say::Raw(half.to_vec())).await;
    assert_eq!((failure.kind, sent), (FailureKind::Connection, 1), "{failure}");
    let (failure, sent) = called(|_| Say::Events(vec![], false)).await;
    assert_eq!((failure.kind, sent), (FailureKind::Connection, 1), "{failure}");
}

#[tokio::test]
async fn what_only_reads_is_asked_again_and_what_changes_things_is_not() {
    let (_, sent) = asked("look", quick(), |_| Say::Raw(Vec::new())).await;
    assert_eq!(sent, 2);
    let (_, sent) = asked("change", quick(), |_| Say::Raw(Vec::new())).await;
    assert_eq!(sent, 1);
}

#[tokio::test]
async fn answers_that_are_none_are_bad_answers() {
    let json = "content-type: application/json";
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "[1]",
        "{\"jsonrpc\":\"2.0\"}",
        "{\"id\":1,\"result\":5}",
        "\u{feff}{",
        "x",
    ] {
        let (failure, sent) = called(move |_| Say::Status(200, json, body.to_owned())).await;
        assert_eq!((failure.kind, sent), (FailureKind::BadReply, 1), "{body:?}: {failure}");
    }
    let wrong_id = |_: &Asked| {
        let body = json!({"jsonrpc": "2.0", "id": 999_999, "result": {"content": []}});
        Say::Status(200, "content-type: application/json", body.to_string())
    };
    let (failure, _) = called(wrong_id).await;
    assert_eq!(failure.kind, FailureKind::BadReply, "{failure}");
    let unknown = |_: &Asked| Say::Result(json!({"resultType": "surprise"}));
    let (failure, _) = called(unknown).await;
    assert_eq!(failure.kind, FailureKind::BadReply, "{failure}");
    let (failure, _) =
        called(|_| Say::Status(200, "content-type: text/html", "<p>".to_owned())).await;
    assert_eq!(failure.kind, FailureKind::BadReply, "{failure}");
}

#[tokio::test]
async fn a_late_answer_and_one_to_another_are_passed_over() {
    let right = json!({"jsonrpc": "2.0", "id": "ASKED", "result": {"content": [], "mine": true}});
    let other = json!({"jsonrpc": "2.0", "id": 7_777_777, "result": {"content": []}});
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage"});
    let events = vec![other, question, json!({"method": "notifications/message"}), right];
    let peer = Peer::start(modern("tools/call", move |_| Say::Events(events.clone(), true))).await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), quick());
    let raw = upstream.call_tool(tool("look"), &call()).await.unwrap();
    assert!(raw.get().contains("mine"), "{raw}");
}

#[tokio::test]
async fn a_hundred_megabytes_are_not_taken_however_they_come() {
    let limits = Limits { answer_bytes_max: 1_000_000, ..quick() };
    let piece = vec![b'a'; 100_000];
    let announced = |_: &Asked| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000000\r\n\r\n";
        Say::Raw(head.as_bytes().to_vec())
    };
    let (failure, _) = asked("look", limits, announced).await;
    assert!(failure.message.contains("larger than 1000000 bytes"), "{failure}");
    for kind in ["application/json", "text/event-stream"] {
        let piece = piece.clone();
        let flood = move |_: &Asked| Say::Flood(kind, piece.clone());
        let (failure, sent) = asked("look", limits, flood).await;
        assert!(failure.message.contains("larger than 1000000 bytes"), "{kind}: {failure}");
        assert_eq!(sent, 1, "it would be as large again");
    }
}

#[tokio::test]
async fn endless_comments_and_notices_end_with_the_deadline() {
    let limits = Limits { call_timeout: Duration::from_millis(700), ..quick() };
    let notice = "data: {\"method\":\"notifications/tools/list_changed\"}\n\n";
    for piece in [": ping\n\n", notice] {
        let flood = move |_: &Asked| Say::Flood("text/event-stream", piece.as_bytes().to_vec());
        let (failure, _) = asked("change", limits, flood).await;
        assert_eq!(failure.kind, FailureKind::Timeout, "{failure}");
    }
}

#[tokio::test]
async fn heads_that_lie_or_never_end_are_refused() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1_000_000));
    let twice = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\ncontent-type: application/json\r\n\r\n{}";
    let away = "HTTP/1.1 307 X\r\nlocation: http://127.0.0.2:1/\r\ncontent-length: 0\r\n\r\n";
    for head in [long.as_str(), twice, away, "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\n\0\r\n\r\n"] {
        let bytes = head.as_bytes().to_vec();
        let (failure, sent) = called(move |_| Say::Raw(bytes.clone())).await;
        let expected = [FailureKind::Connection, FailureKind::BadReply];
        assert!(expected.contains(&failure.kind) && sent == 1, "{failure}");
    }
}

#[tokio::test]
async fn a_million_tools_and_circles_in_schemas_cost_what_the_bounds_say() {
    let circle = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
    let far = json!({"$ref": "http://127.0.0.1:9/never"});
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let list = move |asked: &Asked| {
        let page: u32 =
            asked.body["params"]["cursor"].as_str().map_or(0, |page| page.parse().unwrap());
        let mut tools: Vec<String> = (0..1000)
            .map(|n| format!("{{\"name\":\"t{page}-{n}\",\"inputSchema\":{circle}}}"))
            .collect();
        tools.push(format!("{{\"name\":\"deep\",\"inputSchema\":{deep}}}"));
        tools.push(format!("{{\"name\":\"far{page}\",\"inputSchema\":{far}}}"));
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"tools":[{}],"nextCursor":"{}"}}}}"#,
            asked.body["id"],
            tools.join(","),
            page + 1
        );
        Say::Status(200, "content-type: application/json", body)
    };
    let peer = Peer::start(modern("tools/list", list)).await;
    let all = upstreams();
    let limits = Limits { list_items_max: 3000, list_timeout: Duration::from_secs(9), ..quick() };
    let upstream = web(&all, peer.url(), limits);
    let listing = upstream.list(Kind::Tools, &call()).await.unwrap();
    assert_eq!((listing.items.len(), listing.cut), (3000, Some("it has too many entries")));
    assert!(listing.items.iter().all(|tool| tool["name"] != "deep"));
    assert_eq!(peer.count("tools/list"), 3);
}

#[tokio::test]
async fn one_that_hangs_costs_a_listing_its_time_and_then_nothing() {
    let peer = Peer::start(|_| Say::Hang).await;
    let all = upstreams();
    let limits = Limits {
        list_timeout: Duration::from_millis(600),
        breaker_failures: 2,
        retries_max: 0,
        ..quick()
    };
    let upstream = web(&all, peer.url(), limits);
    let listed = |upstream: Upstream| async move {
        upstream.list(Kind::Tools, &call()).await.unwrap_err().into_failure("web")
    };
    for _ in 0..2 {
        let begun = Instant::now();
        assert_eq!(listed(upstream.clone()).await.kind, FailureKind::Timeout);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    let refused = listed(upstream.clone()).await;
    assert_eq!(refused.kind, FailureKind::CircuitOpen);
    assert!(refused.message.contains("try again in"), "{refused}");
    assert!(refused.retry_after.is_some() && upstream.status().retry_after.is_some());
}

#[tokio::test]
async fn nobody_there_is_said_at_once_and_the_sick_one_does_not_hurt_its_neighbour() {
    let all = upstreams();
    let nobody = web(&all, "http://127.0.0.1:9/mcp".to_owned(), quick());
    let failure = nobody.list(Kind::Tools, &call()).await.unwrap_err().into_failure("web");
    assert_eq!(failure.kind, FailureKind::Connection);
    assert!(!failure.message.contains("127.0.0.1"), "no address in what callers see: {failure}");
}

#[tokio::test]
async fn more_calls_than_places_are_refused_without_being_sent() {
    let peer = Peer::start(modern("tools/call", |_| Say::Hang)).await;
    let all = upstreams();
    let limits = Limits {
        calls_in_flight_max: 2,
        calls_waiting_max: 1,
        calls_wait_max: Duration::from_millis(50),
        ..quick()
    };
    let upstream = web(&all, peer.url(), limits);
    upstream.list(Kind::Tools, &call()).await.unwrap();
    let short = Call::within(Duration::from_millis(800));
    let calls = (0..6).map(|_| upstream.call_tool(tool("change"), &short));
    let mut kinds: Vec<FailureKind> = Vec::new();
    for outcome in futures_util::future::join_all(calls).await {
        let Err(Trouble::Failed(failure)) = outcome else { panic!("{outcome:?}") };
        kinds.push(failure.kind);
    }
    let busy = kinds.iter().filter(|kind| **kind == FailureKind::Overloaded).count();
    assert_eq!((busy, peer.count("tools/call")), (4, 2), "{kinds:?}");
}
