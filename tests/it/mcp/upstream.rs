//! Upstreams as they should be: both eras, sessions, results as they came, questions, changes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use cortex::{
    backplane::upstream::{Boxed, Call, Change, Client, ClientSide, Kind, RpcError, Trouble},
    contract::upstream::{Secret, Transport},
};
use serde_json::{Value, json, value::RawValue};

use super::{
    server::Server,
    upstream_peer::{Asked, Peer, Say, call, discovered, modern, quick, tool, upstreams, web},
};
use crate::harness::{eventually, within};

/// A client that answers every question with its own, and keeps what it is told.
#[derive(Default)]
struct Side {
    told: Mutex<Vec<Value>>,
}

impl ClientSide for Side {
    fn request(
        &self,
        method: String,
        _: Option<Box<RawValue>>,
    ) -> Boxed<Result<Box<RawValue>, RpcError>> {
        let answer = json!({"answer to": method});
        Box::pin(async move { Ok(serde_json::value::to_raw_value(&answer).unwrap()) })
    }

    fn notice(&self, method: &str, params: Option<Box<RawValue>>) {
        let params: Value = serde_json::from_str(params.unwrap().get()).unwrap();
        self.told.lock().unwrap().push(json!([method, params]));
    }
}

fn asked_by(side: &Arc<Side>) -> Call {
    let capabilities = json!({"elicitation": {}}).as_object().unwrap().clone();
    let client = Client { session: Some("s".into()), capabilities, side: side.clone() };
    let meta = json!({"progressToken": "mine"}).as_object().unwrap().clone();
    Call { meta, client: Some(client), ..call() }
}

/// A server with sessions, which forgets all of them when `sessions` moves on.
fn old(sessions: Arc<Mutex<u32>>) -> impl Fn(&Asked) -> Say + Send + Sync + 'static {
    move |asked| {
        let now = sessions.lock().unwrap().to_string();
        let wrong = asked.header("mcp-session-id") != Some(&now);
        match (asked.verb.as_str(), asked.method()) {
            ("POST", "server/discover") => Say::Status(400, "", "Bad Request".to_owned()),
            ("POST", "initialize") => {
                let body = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {
                    "protocolVersion": "2025-06-18", "capabilities": {"tools": {}, "resources": {"subscribe": true}}}});
                let body = body.to_string();
                let length = body.len();
                Say::Raw(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: {now}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes())
            }
            ("GET", _) => Say::Status(405, "", String::new()),
            _ if wrong => Say::Status(404, "", "no such session".to_owned()),
            ("DELETE", _) | ("POST", "notifications/initialized" | "notifications/cancelled") => {
                Say::Status(202, "", String::new())
            }
            ("POST", "tools/call") => Say::Result(
                json!({"content": [], "session": now, "meta": asked.body["params"]["_meta"]}),
            ),
            _ => Say::Result(json!({"tools": [{"name": "t"}]})),
        }
    }
}

#[tokio::test]
async fn a_result_comes_through_as_it_was_sent() {
    let text = r#"{ "resultType":"input_required","requestState":"a\u0000 b==","z":1.50,"inputRequests":{"k":{"method":"x"}},"_meta":{"n":[ 1e3 ]} }"#;
    let answer = move |asked: &Asked| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{text}}}"#, asked.body["id"]);
        Say::Status(200, "content-type: application/json", body)
    };
    let peer = Peer::start(modern("tools/call", answer)).await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), quick());
    let raw = upstream.call_tool(tool("look"), &call()).await.unwrap();
    assert_eq!(raw.get(), text);
}

#[tokio::test]
async fn a_modern_request_carries_its_headers_and_meta_and_no_handshake() {
    let peer = Peer::start(modern("tools/list", |_| {
        Say::Result(json!({"tools": [
            {"name": "look", "inputSchema": {"properties": {"where": {"type": "string", "x-mcp-header": "Where"}}}},
            {"name": "bad", "inputSchema": {"x-mcp-header": "Root"}}]}))
    }))
    .await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), quick());
    let listing = upstream.list(Kind::Tools, &call()).await.unwrap();
    assert_eq!(listing.items.len(), 1, "a tool with a wrong header is not offered");
    let params = json!({"name": "look", "arguments": {"where": "grün"}});
    upstream.call_tool(params.as_object().unwrap().clone(), &call()).await.unwrap();
    let seen = peer.seen();
    assert!(seen.iter().all(|asked| asked.method() != "initialize"));
    let asked = seen.iter().find(|asked| asked.method() == "tools/call").unwrap();
    let headers = ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-where", "accept"]
        .map(|h| asked.header(h).unwrap());
    assert_eq!(
        headers,
        [
            "2026-07-28",
            "tools/call",
            "look",
            "=?base64?Z3LDvG4=?=",
            "application/json, text/event-stream"
        ]
    );
    assert_eq!(
        asked.body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        json!({})
    );
}

#[tokio::test]
async fn a_session_that_was_lost_is_made_anew_once_for_all_who_wait() {
    let sessions = Arc::new(Mutex::new(1));
    let peer = Peer::start(old(Arc::clone(&sessions))).await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), quick());
    let first = upstream.call_tool(tool("t"), &call()).await.unwrap();
    assert!(first.get().contains(r#""session":"1""#), "{first}");
    assert_eq!(upstream.peer().unwrap().version, "2025-06-18");
    *sessions.lock().unwrap() = 2;
    let at_once = call();
    let calls = (0..20).map(|_| upstream.call_tool(tool("t"), &at_once));
    for answer in futures_util::future::join_all(calls).await {
        assert!(answer.unwrap().get().contains(r#""session":"2""#));
    }
    assert_eq!(peer.count("initialize"), 2, "one session for all, and one more for all");
    assert_eq!(peer.count("server/discover"), 1, "the era is remembered");
}

#[tokio::test]
async fn the_newer_eras_meta_does_not_reach_an_old_server_and_the_trace_does() {
    let peer = Peer::start(old(Arc::default())).await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), quick());
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "x", "traceparent": "00-1"});
    let call = Call { meta: meta.as_object().unwrap().clone(), ..call() };
    let raw = upstream.call_tool(tool("t"), &call).await.unwrap();
    let answer: Value = serde_json::from_str(raw.get()).unwrap();
    assert_eq!(answer["meta"], json!({"traceparent": "00-1"}));
}

#[tokio::test]
async fn a_call_given_up_is_cancelled_in_either_era() {
    let peer = Peer::start(modern("tools/call", |_| Say::Hang)).await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), quick());
    upstream.list(Kind::Tools, &call()).await.unwrap();
    let short = Call::within(Duration::from_millis(200));
    let late = upstream.call_tool(tool("look"), &short).await.unwrap_err();
    assert!(late.to_string().contains("did not answer within"), "{late}");
    let mut closed = peer.closed.clone();
    within("the stream is closed", closed.wait_for(|closed| *closed > 0)).await.unwrap();

    let sessions = old(Arc::default());
    let hanging = move |asked: &Asked| {
        if asked.method() == "tools/call" { Say::Hang } else { sessions(asked) }
    };
    let peer = Peer::start(hanging).await;
    let upstream = web(&all, peer.url(), quick());
    upstream.call_tool(tool("t"), &Call::within(Duration::from_millis(500))).await.unwrap_err();
    eventually("it is told", || async { peer.count("notifications/cancelled") == 1 }).await;
}

#[tokio::test]
async fn questions_and_progress_on_a_calls_stream_reach_its_client() {
    let sessions = old(Arc::default());
    let asking = move |asked: &Asked| match asked.method() {
        "tools/call" => Say::Events(
            vec![
                json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": asked.body["id"], "progress": 1}}),
                json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {}}),
                json!({"jsonrpc": "2.0", "id": "ASKED", "result": {"content": []}}),
            ],
            false,
        ),
        "" if asked.body["id"] == "q" => Say::Status(202, "", String::new()),
        _ => sessions(asked),
    };
    let peer = Peer::start(asking).await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), quick());
    let side = Arc::new(Side::default());
    upstream.call_tool(tool("t"), &asked_by(&side)).await.unwrap();
    let told = json!(["notifications/progress", {"progressToken": "mine", "progress": 1}]);
    assert_eq!(*side.told.lock().unwrap(), [told]);
    let answered = || async {
        peer.seen().iter().any(|asked| asked.body["result"]["answer to"] == "elicitation/create")
    };
    eventually("the question is answered", answered).await;
    // Somebody who cannot be asked has another session, which was promised nothing.
    upstream.call_tool(tool("t"), &call()).await.unwrap();
    let told: Vec<Value> = peer
        .seen()
        .iter()
        .filter(|asked| asked.method() == "initialize")
        .map(|asked| asked.body["params"]["capabilities"].clone())
        .collect();
    assert_eq!(told, [json!({"elicitation": {}}), json!({})]);
}

#[tokio::test]
async fn changes_are_heard_and_the_subscription_is_made_anew_with_each_resource() {
    let listening = |asked: &Asked| {
        let wanted = asked.body["params"]["notifications"].clone();
        let uris = wanted["resourceSubscriptions"].as_array().cloned().unwrap_or_default();
        let mut events =
            vec![json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})];
        for uri in uris {
            events.push(json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}}));
        }
        Say::Events(events, true)
    };
    let peer = Peer::start(modern("subscriptions/listen", listening)).await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), quick());
    let mut changes = upstream.changes();
    assert_eq!(within("a change", changes.recv()).await, Ok(Change::Tools));
    upstream.subscribe("test://a", &call()).await.unwrap();
    let updated =
        async { while changes.recv().await.unwrap() != Change::Resource("test://a".to_owned()) {} };
    within("the resource", updated).await;
    assert_eq!(peer.count("subscriptions/listen"), 2);
}

#[tokio::test]
async fn what_is_not_declared_is_empty_and_not_asked_for() {
    let peer = Peer::start(modern("prompts/list", |_| Say::Hang)).await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), quick());
    let listing = upstream.list(Kind::Prompts, &call()).await.unwrap();
    assert!(listing.items.is_empty());
    assert_eq!(peer.count("prompts/list"), 0);
}

#[tokio::test]
async fn a_credential_is_sent_and_a_challenge_is_told() {
    let locked = |asked: &Asked| match asked.header("authorization") {
        Some("Bearer hush") => discovered(),
        _ => Say::Status(401, "www-authenticate: Bearer scope=\"a\"", String::new()),
    };
    let peer = Peer::start(locked).await;
    let all = upstreams();
    let upstream = web(&all, peer.url(), quick());
    let trouble = upstream.meet(&call()).await.unwrap_err();
    let Trouble::Challenged { status: 401, challenge, .. } = &trouble else {
        panic!("{trouble:?}")
    };
    assert_eq!(challenge, "Bearer scope=\"a\"");
    let mut spec = upstream.spec().clone();
    let Transport::Http(remote) = &mut spec.transport else { panic!("no http") };
    remote.headers.insert("Authorization".to_owned(), Secret("Bearer hush".to_owned()));
    let upstream = all.put(spec).unwrap();
    assert!(upstream.meet(&call()).await.unwrap().modern);
}

#[actix_rt::test]
async fn our_own_services_are_upstreams_like_others() {
    let server = Server::open(&[]);
    let all = upstreams();
    let upstream = web(&all, format!("http://{}/mcp", server.address), quick());
    let listing = upstream.list(Kind::Tools, &call()).await.unwrap();
    let names: Vec<_> = listing.items.iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["fall", "report", "show", "wait"]);
    let raw = upstream.call_tool(tool("show"), &call()).await.unwrap();
    assert!(raw.get().contains("structuredContent"), "{raw}");
    let refused = upstream.call_tool(tool("none"), &call()).await.unwrap_err();
    assert!(matches!(&refused, Trouble::Refused(error) if error.code == -32602), "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn upstreams_come_and_go_while_it_runs() {
    let peer = Peer::start(modern("none", |_| Say::Hang)).await;
    let all = upstreams();
    let mut generation = all.generation();
    let upstream = web(&all, peer.url(), quick());
    assert!(generation.has_changed().unwrap());
    generation.mark_unchanged();
    web(&all, peer.url(), quick());
    assert!(!generation.has_changed().unwrap(), "the same settings change nothing");
    upstream.meet(&call()).await.unwrap();
    assert_eq!(all.get("web").unwrap().status().lines, 1);
    assert!(all.remove("web") && !all.remove("web"));
    assert!(all.get("web").is_none() && generation.has_changed().unwrap());
    upstream.call_tool(tool("look"), &call()).await.unwrap();
}
