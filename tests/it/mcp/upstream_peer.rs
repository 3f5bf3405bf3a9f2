//! Upstreams as bad as a test wants them: an HTTP server that says exactly what it is told to, and
//! children made of a few lines of shell.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use cortex::{
    backplane::upstream::{Call, Surroundings, Upstream, Upstreams},
    contract::upstream::{Credential, Limits, Program, Remote, Share, Transport, UpstreamSpec},
};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

use crate::harness::DEADLINE;

/// What a peer was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) verb: String,
    pub(super) headers: Map<String, Value>,
    pub(super) body: Value,
}

impl Asked {
    pub(super) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.as_str()
    }
}

/// What it says to that.
pub(super) enum Say {
    /// A result, as JSON.
    Result(Value),
    /// A status and a body, with these further header lines.
    Status(u16, &'static str, String),
    /// These bytes, then the connection closes.
    Raw(Vec<u8>),
    /// A stream with these events; it stays open when told so.
    Events(Vec<Value>, bool),
    /// Nothing, ever.
    Hang,
    /// This piece of body, again and again.
    Flood(&'static str, Vec<u8>),
}

/// A scripted HTTP server. Dropping it ends it.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    /// Connections that the other side has closed.
    pub(super) closed: watch::Receiver<usize>,
    task: AbortHandle,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    pub(super) async fn start(say: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (closing, closed) = watch::channel(0);
        let (say, noted) = (Arc::new(say), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (say, seen, closing) = (Arc::clone(&say), Arc::clone(&noted), closing.clone());
                tokio::spawn(async move {
                    Box::pin(serve(stream, &*say, &seen)).await;
                    closing.send_modify(|closed| *closed += 1);
                });
            }
        });
        Peer { address, seen, closed, task: task.abort_handle() }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn count(&self, method: &str) -> usize {
        self.seen().iter().filter(|asked| asked.method() == method).count()
    }
}

async fn serve(mut stream: TcpStream, say: &impl Fn(&Asked) -> Say, seen: &Mutex<Vec<Asked>>) {
    while let Some(asked) = Box::pin(read(&mut stream)).await {
        seen.lock().unwrap().push(asked.clone());
        let id = asked.body["id"].clone();
        let written = match say(&asked) {
            Say::Result(result) => {
                let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
                stream.write_all(&head(200, "content-type: application/json", &body)).await
            }
            Say::Status(status, line, body) => stream.write_all(&head(status, line, &body)).await,
            Say::Raw(bytes) => {
                stream.write_all(&bytes).await.ok();
                return;
            }
            Say::Events(events, open) => {
                let mut text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_owned();
                for mut event in events {
                    if event["id"] == "ASKED" {
                        event["id"] = id.clone();
                    }
                    text.push_str(&format!("data: {event}\n\n"));
                }
                stream.write_all(text.as_bytes()).await.ok();
                if open {
                    wait_for_end(&mut stream).await;
                }
                return;
            }
            Say::Hang => return wait_for_end(&mut stream).await,
            Say::Flood(kind, piece) => {
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok();
                while stream.write_all(&piece).await.is_ok() {}
                return;
            }
        };
        if written.is_err() {
            return;
        }
    }
}

fn head(status: u16, line: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let line = if line.is_empty() { String::new() } else { format!("{line}\r\n") };
    format!("HTTP/1.1 {status} X\r\n{line}content-length: {length}\r\n\r\n{body}").into_bytes()
}

async fn wait_for_end(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    while matches!(stream.read(&mut rest).await, Ok(1..)) {}
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16_384];
    loop {
        let mut slots = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut slots);
        if let Ok(httparse::Status::Complete(start)) = request.parse(&bytes) {
            let text = |header: &httparse::Header<'_>| {
                let value = String::from_utf8_lossy(header.value).into_owned();
                (header.name.to_ascii_lowercase(), Value::from(value))
            };
            let headers: Map<String, Value> = request.headers.iter().map(text).collect();
            let verb = request.method.unwrap().to_owned();
            let length = headers.get("content-length").and_then(Value::as_str);
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= start + length {
                let body = &bytes[start..start + length];
                let body = serde_json::from_slice(body).unwrap_or(Value::Null);
                return Some(Asked { verb, headers, body });
            }
        }
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// What a good server of 2026-07-28 says of itself.
pub(super) fn discovered() -> Say {
    Say::Result(json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0,
        "cacheScope": "public", "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true}}}))
}

/// A good answer of the newer era to anything but `method`, which `say` answers.
pub(super) fn modern(
    method: &'static str,
    say: impl Fn(&Asked) -> Say + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Say + Send + Sync + 'static {
    move |asked| match asked.method() {
        found if found == method => say(asked),
        "server/discover" => discovered(),
        "tools/list" => Say::Result(json!({"tools": [
            {"name": "look", "inputSchema": {}, "annotations": {"readOnlyHint": true}},
            {"name": "change", "inputSchema": {}}]})),
        "tools/call" => Say::Result(json!({"resultType": "complete", "content": []})),
        _ => Say::Status(
            404,
            "content-type: application/json",
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":-32601,\"message\":\"no\"}}}}",
                asked.body["id"]
            ),
        ),
    }
}

/// Times that a test can wait for.
pub(super) fn quick() -> Limits {
    use std::time::Duration;
    Limits {
        call_timeout: Duration::from_secs(5),
        probe_timeout: Duration::from_secs(2),
        retries_max: 1,
        ..Limits::default()
    }
}

pub(super) fn upstreams() -> Upstreams {
    let variables = std::env::vars().collect();
    Upstreams::start(Surroundings { variables: Arc::new(variables), helper: None }).unwrap()
}

/// The same, whose children end with this process.
pub(super) fn bound_upstreams() -> Upstreams {
    let variables = std::env::vars().collect();
    let helper = Some(env!("CARGO_BIN_EXE_cortex").into());
    Upstreams::start(Surroundings { variables: Arc::new(variables), helper }).unwrap()
}

pub(super) fn web(all: &Upstreams, url: String, limits: Limits) -> Upstream {
    let remote = Remote {
        url,
        headers: Default::default(),
        credential: Credential::None,
        share: Share::Shared,
    };
    let transport = Transport::Http(remote);
    all.put(UpstreamSpec { name: "web".to_owned(), prefix: None, transport, limits }).unwrap()
}

/// A child that a shell plays: `script` sees each line as `$line` and its id as `$id`.
pub(super) fn shell(script: &str) -> Program {
    let whole = format!(
        "while IFS= read -r line; do id=${{line#*'\"id\":'}}; id=${{id%%,*}}\n{script}\ndone"
    );
    program(&whole)
}

/// A child that runs this script and nothing else.
pub(super) fn program(script: &str) -> Program {
    let given = json!({"command": "sh", "args": ["-c", script]});
    serde_json::from_value(given).unwrap()
}

/// A whole server of the earlier era, in shell; `call` answers `tools/call`.
pub(super) fn old_server(call: &str) -> Program {
    shell(&format!(
        r#"case $line in
        *'"server/discover"'*) printf '{{"jsonrpc":"2.0","id":%s,"error":{{"code":-32601,"message":"what"}}}}\n' "$id";;
        *'"initialize"'*) printf '{{"jsonrpc":"2.0","id":%s,"result":{{"protocolVersion":"2025-06-18","capabilities":{{"tools":{{"listChanged":true}}}},"serverInfo":{{"name":"sh","version":"1"}}}}}}\n' "$id";;
        *'"tools/list"'*) printf '{{"jsonrpc":"2.0","id":%s,"result":{{"tools":[{{"name":"t","inputSchema":{{}}}}]}}}}\n' "$id";;
        *'"tools/call"'*) {call};;
        esac"#
    ))
}

/// The answer of that server with this text.
pub(super) fn says(text: &str) -> String {
    format!(
        r#"printf '{{"jsonrpc":"2.0","id":%s,"result":{{"content":[{{"type":"text","text":"%s"}}]}}}}\n' "$id" "{text}""#
    )
}

pub(super) fn child(all: &Upstreams, program: Program, limits: Limits) -> Upstream {
    let transport = Transport::Stdio(program);
    all.put(UpstreamSpec { name: "child".to_owned(), prefix: None, transport, limits }).unwrap()
}

pub(super) fn call() -> Call {
    Call::within(DEADLINE)
}

pub(super) fn tool(name: &str) -> Map<String, Value> {
    Map::from_iter([("name".to_owned(), Value::from(name))])
}
