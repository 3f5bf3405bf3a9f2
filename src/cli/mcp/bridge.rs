//! Standard input and output on one side, core's `/mcp` on the other: for clients that want a
//! command instead of a URL. Messages pass as they are; what HTTP wants besides is added here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use reqwest::{
    Client, Method, RequestBuilder, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::wire::{plain, refusal, whole};
use crate::{cli::trouble::Outcome, domain::sse::Parser};

/// Longest line taken, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time to make a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Time for what is under way when the input ends.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// The error code of a failure inside (JSON-RPC 2.0, section 5.1).
const INTERNAL_ERROR: i64 = -32603;
/// The error code of what is no JSON (JSON-RPC 2.0, section 5.1).
const PARSE_ERROR: i64 = -32700;

/// Makes a token that is good now.
pub(super) type Pass = Arc<dyn Fn() -> Outcome<String> + Send + Sync>;

/// A bridge to one URL.
#[derive(Clone)]
pub(super) struct Bridge {
    url: Arc<str>,
    pass: Pass,
    client: Client,
    lines: mpsc::Sender<String>,
    session: Arc<Mutex<Session>>,
    /// Held by whoever makes a lost session anew; the others wait for it.
    greeting: Arc<tokio::sync::Mutex<()>>,
    under_way: Arc<Mutex<HashMap<String, AbortHandle>>>,
}

/// What a handshake agreed on, with servers and clients of 2025-11-25 and before.
#[derive(Default)]
struct Session {
    id: Option<HeaderValue>,
    revision: Option<HeaderValue>,
    /// The handshake's own message, for when the session has to be made anew.
    hello: Option<Value>,
    /// Hears what the server says of itself.
    hearing: Option<AbortHandle>,
}

/// Why there is no answer.
enum Lost {
    /// The server does not know the session any more.
    Session,
    /// Anything else.
    Why(String),
}

impl Bridge {
    /// A bridge to `url`; what comes back is sent to `lines`.
    pub(super) fn new(url: &str, pass: Pass, lines: mpsc::Sender<String>) -> Result<Self, String> {
        let client = Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Bridge {
            url: url.into(),
            pass,
            client,
            lines,
            session: Arc::default(),
            greeting: Arc::default(),
            under_way: Arc::default(),
        })
    }

    /// Passes on every line of `input` until it ends.
    pub(super) async fn run(self, input: impl AsyncRead + Unpin) {
        let mut input = BufReader::new(input);
        let mut work = JoinSet::new();
        loop {
            let mut line = Vec::new();
            let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
            let read = (&mut input).take(limit).read_until(b'\n', &mut line).await;
            if !matches!(read, Ok(bytes) if bytes > 0) {
                break;
            }
            while work.try_join_next().is_some() {}
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            match serde_json::from_slice::<Value>(text) {
                Ok(message) => self.take(message, &mut work).await,
                Err(_no_json) => self.refuse(&Value::Null, PARSE_ERROR, "this is no JSON").await,
            }
        }
        let rest = async { while work.join_next().await.is_some() {} };
        if tokio::time::timeout(END_DEADLINE, rest).await.is_err() {
            log::warn!("calls under way were given up");
        }
        self.end().await;
    }

    /// Messages without an answer pass one after the other; requests beside each other.
    async fn take(&self, message: Value, work: &mut JoinSet<()>) {
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
        if method == "notifications/cancelled" && !self.is_legacy() {
            let of = message.pointer("/params/requestId").map(Value::to_string);
            let under_way = of.and_then(|id| self.lock_under_way().remove(&id));
            // The end of the stream is how a server of this revision hears of it.
            if let Some(request) = under_way {
                request.abort();
            }
            return;
        }
        let Some(id) = message.get("id").cloned().filter(|_| !method.is_empty()) else {
            if let Err(Lost::Why(why)) = self.exchange(&message, None).await {
                log::warn!("a message was not passed on cause={why}");
            }
            return;
        };
        if method == "initialize" {
            self.session.lock().unwrap_or_else(PoisonError::into_inner).hello =
                Some(message.clone());
            self.answer(&message, &id).await;
            return;
        }
        let bridge = self.clone();
        let key = id.to_string();
        let named = key.clone();
        let task = work.spawn(async move {
            bridge.answer(&message, &id).await;
            bridge.lock_under_way().remove(&named);
        });
        if !task.is_finished() {
            self.lock_under_way().insert(key, task);
        }
    }

    async fn answer(&self, message: &Value, id: &Value) {
        let asked_in = self.session_id();
        let outcome = match self.exchange(message, Some(id)).await {
            Err(Lost::Session) => match self.greet_again(asked_in).await {
                Ok(()) => self.exchange(message, Some(id)).await,
                Err(lost) => Err(lost),
            },
            outcome => outcome,
        };
        match outcome {
            Ok(()) => {}
            Err(Lost::Session) => self.refuse(id, INTERNAL_ERROR, "the session was lost").await,
            Err(Lost::Why(why)) => self.refuse(id, INTERNAL_ERROR, &why).await,
        }
    }

    /// The server was started anew: makes a session as the client once did, without its noticing;
    /// once for all who asked in the one that was lost.
    async fn greet_again(&self, lost: Option<HeaderValue>) -> Result<(), Lost> {
        let _alone = self.greeting.lock().await;
        if self.session_id() != lost {
            return Ok(());
        }
        let hello = {
            let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            session.hello.clone().ok_or(Lost::Session)?
        };
        let response = self.post(&hello).await?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(Lost::Why(format!("{} gives no new session: {status}", self.url)));
        }
        self.remember(response.headers());
        let body = response.bytes().await.map_err(|error| Lost::Why(error.to_string()))?;
        drop(body);
        let greeted = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.exchange(&greeted, None).await
    }

    /// Posts a message; what is answered is written, up to the answer to `id`.
    async fn exchange(&self, message: &Value, id: Option<&Value>) -> Result<(), Lost> {
        let response = self.post(message).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status == StatusCode::NOT_FOUND && self.has_session() {
            return Err(Lost::Session);
        }
        if message.get("method").and_then(Value::as_str) == Some("initialize") {
            self.remember(&headers);
        }
        let kind =
            headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            let answered = self.events(response, id).await?;
            if id.is_some() && !answered {
                return Err(Lost::Why("the stream ended before the answer".to_owned()));
            }
        } else {
            let body = whole(response).await.map_err(Lost::Why)?;
            match serde_json::from_slice::<Value>(&body) {
                Ok(answer) if answer.get("jsonrpc").is_some() => {
                    self.agree(message, &answer);
                    self.write(&body).await;
                }
                _ if status.is_success() => {}
                _ => return Err(Lost::Why(refusal(status, &body))),
            }
        }
        if message.get("method").and_then(Value::as_str) == Some("notifications/initialized") {
            self.hear();
        }
        Ok(())
    }

    async fn post(&self, message: &Value) -> Result<reqwest::Response, Lost> {
        let request = self.request(Method::POST).map_err(Lost::Why)?;
        let body = message.to_string();
        request
            .headers(self.headers_of(message))
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await
            .map_err(|error| Lost::Why(self.unreachable(&error)))
    }

    fn request(&self, method: Method) -> Result<RequestBuilder, String> {
        let token = (self.pass)().map_err(|trouble| trouble.to_string())?;
        let accept = if method == Method::GET {
            "text/event-stream"
        } else {
            "application/json, text/event-stream"
        };
        let request = self.client.request(method, &*self.url).bearer_auth(token);
        Ok(request.header(ACCEPT, accept))
    }

    fn unreachable(&self, error: &reqwest::Error) -> String {
        if error.is_connect() {
            format!("nothing answers at {}; start it with `cortex up`", self.url)
        } else {
            format!("{} was not asked: {}", self.url, error.to_string().replace(&*self.url, "it"))
        }
    }

    /// The headers a message has to come with.
    fn headers_of(&self, message: &Value) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let revision = "/params/_meta/io.modelcontextprotocol~1protocolVersion";
        if let Some(revision) = text(revision) {
            let method = text("/method").unwrap_or_default();
            let name = text("/params/name").or_else(|| text("/params/uri"));
            let named = [
                Some(("mcp-protocol-version", revision)),
                Some(("mcp-method", method)),
                name.map(|name| ("mcp-name", name)),
            ];
            for (header, value) in named.into_iter().flatten() {
                if let Ok(value) = HeaderValue::from_str(&plain(value)) {
                    headers.insert(header, value);
                }
            }
            return headers;
        }
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if text("/method") != Some("initialize") {
            if let Some(id) = &session.id {
                headers.insert("mcp-session-id", id.clone());
            }
            if let Some(revision) = &session.revision {
                headers.insert("mcp-protocol-version", revision.clone());
            }
        }
        headers
    }

    fn remember(&self, headers: &HeaderMap) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.id = headers.get("mcp-session-id").cloned();
    }

    /// Keeps the revision that an answer to the handshake names.
    fn agree(&self, message: &Value, answer: &Value) {
        if message.get("method").and_then(Value::as_str) != Some("initialize") {
            return;
        }
        let revision = answer.pointer("/result/protocolVersion").and_then(Value::as_str);
        let revision = revision.and_then(|revision| HeaderValue::from_str(revision).ok());
        self.session.lock().unwrap_or_else(PoisonError::into_inner).revision = revision;
    }

    fn session_id(&self) -> Option<HeaderValue> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).id.clone()
    }

    fn has_session(&self) -> bool {
        self.session_id().is_some()
    }

    fn is_legacy(&self) -> bool {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).hello.is_some()
    }

    /// Writes the events of a stream as they come; says whether the answer to `id` was one.
    async fn events(&self, response: reqwest::Response, id: Option<&Value>) -> Result<bool, Lost> {
        let (mut parser, mut answered) = (Parser::new(), false);
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| Lost::Why(format!("the stream broke: {error}")))?;
            let events =
                parser.feed(&piece).map_err(|_broken| Lost::Why("a broken stream".to_owned()))?;
            for data in events.into_iter().filter_map(|event| event.data) {
                let Ok(message) = serde_json::from_str::<Value>(&data) else { continue };
                answered |= message.get("method").is_none() && message.get("id") == id;
                self.write(data.as_bytes()).await;
            }
        }
        Ok(answered)
    }

    /// Hears what a server with a session says of itself, as long as the session lasts.
    fn hear(&self) {
        let bridge = self.clone();
        let hearing = tokio::spawn(async move {
            let Ok(request) = bridge.request(Method::GET) else { return };
            let headers = bridge.headers_of(&Value::Null);
            let Ok(response) = request.headers(headers).send().await else { return };
            if response.status().is_success()
                && let Err(Lost::Why(why)) = bridge.events(response, None).await
            {
                log::info!("the server is not heard any longer cause={why}");
            }
        });
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = session.hearing.replace(hearing.abort_handle()) {
            before.abort();
        }
    }

    async fn end(&self) {
        let headers = self.headers_of(&Value::Null);
        let hearing = self.session.lock().unwrap_or_else(PoisonError::into_inner).hearing.take();
        if let Some(hearing) = hearing {
            hearing.abort();
        }
        if self.has_session()
            && let Ok(request) = self.request(Method::DELETE)
        {
            let ending = request.headers(headers).send();
            if tokio::time::timeout(CONNECT_DEADLINE, ending).await.is_err() {
                log::debug!("the session was not ended");
            }
        }
    }

    async fn refuse(&self, id: &Value, code: i64, why: &str) {
        let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": why}});
        self.write(error.to_string().as_bytes()).await;
    }

    /// Writes a message as one line.
    async fn write(&self, message: &[u8]) {
        let text = String::from_utf8_lossy(message);
        let line = if text.contains(['\n', '\r']) {
            // Between tokens only: inside strings they are escaped.
            text.replace(['\n', '\r'], " ")
        } else {
            text.into_owned()
        };
        if self.lines.send(line).await.is_err() {
            log::debug!("standard output is closed");
        }
    }

    fn lock_under_way(&self) -> std::sync::MutexGuard<'_, HashMap<String, AbortHandle>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
