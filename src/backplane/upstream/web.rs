//! A line to an upstream over Streamable HTTP: one POST for each request, of either era.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, value::RawValue};
use tokio::{runtime, task::AbortHandle};

use super::{
    call::{Call, Missed},
    door::{Door, Reply},
    ears::{self, Asker, Ears},
    era::Peer,
    events::Events,
    headers, meta, rpc,
};

/// Times one answer's stream is opened again after it ended early, as servers may do that want to
/// be polled.
const RESUMED_MAX: u32 = 10;
/// The wait before that, unless the server says otherwise.
const RESUME_WAIT: std::time::Duration = std::time::Duration::from_secs(1);
/// The longest wait a server can ask for.
const RESUME_WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(30);

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// A line over Streamable HTTP.
pub(super) struct Web {
    pub(super) door: Arc<Door>,
    pub(super) ears: Ears,
    pub(super) peer: Peer,
    session: Option<HeaderValue>,
    runtime: runtime::Handle,
    ids: Arc<AtomicU64>,
    /// The clients behind the calls under way, for what is asked on the session's own stream.
    askers: Mutex<HashMap<u64, Asker>>,
    /// The task that reads the session's own stream.
    stream: std::sync::OnceLock<AbortHandle>,
}

/// A request, as its caller means it.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) params: Map<String, Value>,
    /// `Mcp-Param-*`, for servers of 2026-07-28.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Request {
    pub(super) fn new(method: &'static str, params: Map<String, Value>) -> Self {
        Request { method, params, headers: Vec::new() }
    }
}

impl Web {
    /// A line without a session, for a server whose era is `peer`'s.
    pub(super) fn new(
        door: Arc<Door>,
        ears: Ears,
        peer: Peer,
        runtime: runtime::Handle,
        ids: Arc<AtomicU64>,
    ) -> Self {
        let stream = std::sync::OnceLock::new();
        let askers = Mutex::default();
        Web { door, ears, peer, session: None, runtime, ids, askers, stream }
    }

    /// The same in a session.
    pub(super) fn in_session(mut self, session: Option<HeaderValue>) -> Self {
        self.session = session;
        self
    }

    pub(super) fn in_a_session(&self) -> bool {
        self.session.is_some()
    }

    /// Asks, and waits for the result.
    pub(super) async fn ask(
        self: &Arc<Self>,
        request: &Request,
        call: Option<&Call>,
    ) -> Result<Box<RawValue>, Missed> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut params = request.params.clone();
        let modern = self.peer.modern;
        if modern {
            meta::modern(&mut params, call, &self.peer.version, id);
        } else {
            meta::legacy(&mut params, call, id);
        }
        let mut head = self.head();
        if modern {
            headers::standard(&mut head, request.method, &params);
            head.extend(request.headers.iter().cloned());
        }
        let body = rpc::request(id, request.method, &params);
        let asker = Asker::of(call);
        let unfinished = (!modern).then(|| Unfinished::begin(self, id, asker.clone()));
        let answered = self.answered(body, head, id, asker.as_ref()).await;
        if let Some(mut unfinished) = unfinished {
            unfinished.ended = true;
        }
        answered
    }

    /// Opens a stream that lasts, as `subscriptions/listen` answers with.
    pub(super) async fn open(&self, request: &Request) -> Result<(u64, Reply), Missed> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut params = request.params.clone();
        meta::modern(&mut params, None, &self.peer.version, id);
        let mut head = self.head();
        headers::standard(&mut head, request.method, &params);
        let body = rpc::request(id, request.method, &params);
        Ok((id, self.door.post(body, head).await?))
    }

    async fn answered(
        self: &Arc<Self>,
        body: Vec<u8>,
        head: HeaderMap,
        id: u64,
        asker: Option<&Asker>,
    ) -> Result<Box<RawValue>, Missed> {
        let reply = self.door.post(body, head).await?;
        self.result(reply, id, asker).await
    }

    /// The result in a reply to request `id`.
    pub(super) async fn result(
        self: &Arc<Self>,
        mut reply: Reply,
        id: u64,
        asker: Option<&Asker>,
    ) -> Result<Box<RawValue>, Missed> {
        let name = &self.door.name;
        let mut resumed = 0;
        loop {
            let mut events = match reply {
                Reply::Whole(body) => return self.in_whole(&body, id),
                Reply::Nothing => {
                    return Err(Missed::unreadable(name, "no answer to a request"));
                }
                Reply::Stream(events) => events,
            };
            let ended = self.in_stream(&mut events, id, asker).await;
            let from = match (ended, events.last_id()) {
                (Ok(Some(result)), _) => return result,
                // Only the earlier era has streams that can be taken up again.
                (Ok(None) | Err(_), Some(from)) if !self.peer.modern && resumed < RESUMED_MAX => {
                    from.to_owned()
                }
                (Err(missed), _) => return Err(missed),
                (Ok(None), _) => {
                    return Err(Missed::broken(name, "its events ended without the answer"));
                }
            };
            resumed += 1;
            let wait = events.retry().unwrap_or(RESUME_WAIT).min(RESUME_WAIT_MAX);
            drop(events);
            tokio::time::sleep(wait).await;
            let mut head = self.head();
            if let Ok(from) = HeaderValue::from_str(&from) {
                head.insert(LAST_EVENT, from);
            }
            reply = self.door.get(head).await?;
        }
    }

    fn in_whole(&self, body: &[u8], id: u64) -> Result<Box<RawValue>, Missed> {
        let messages = rpc::read(body).map_err(|why| Missed::unreadable(&self.door.name, why))?;
        for message in messages {
            match message {
                rpc::Incoming::Answer { id: Some(theirs), outcome } if theirs == id => {
                    return outcome.map_err(Missed::refused);
                }
                rpc::Incoming::Answer { id: None, outcome: Err(error) } => {
                    return Err(Missed::refused(error));
                }
                rpc::Incoming::Notice { method, params } => {
                    self.ears.notice(&method, params, None);
                }
                rpc::Incoming::Answer { .. } | rpc::Incoming::Request { .. } => {}
            }
        }
        Err(Missed::unreadable(&self.door.name, "it answered something that was not asked"))
    }

    /// Reads a call's events until its answer; `None` when they end before it.
    async fn in_stream(
        self: &Arc<Self>,
        events: &mut Events,
        id: u64,
        asker: Option<&Asker>,
    ) -> Result<Option<Result<Box<RawValue>, Missed>>, Missed> {
        while let Some(event) = events.next().await? {
            let Some(data) = event.data.filter(|data| !data.is_empty()) else {
                continue;
            };
            let messages = rpc::read(data.as_bytes())
                .map_err(|why| Missed::unreadable(&self.door.name, why))?;
            for message in messages {
                match message {
                    rpc::Incoming::Answer { id: theirs, outcome } => {
                        if theirs == Some(id) || (theirs.is_none() && outcome.is_err()) {
                            return Ok(Some(outcome.map_err(Missed::refused)));
                        }
                    }
                    rpc::Incoming::Notice { method, params } => {
                        self.ears.notice(&method, params, asker);
                    }
                    rpc::Incoming::Request { id, method, params } => {
                        self.be_asked(id, method, params, asker);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Answers a question beside the stream it came on, which goes on meanwhile.
    fn be_asked(
        self: &Arc<Self>,
        id: Box<RawValue>,
        method: String,
        params: Option<Box<RawValue>>,
        asker: Option<&Asker>,
    ) {
        if self.peer.modern {
            return log::debug!(
                "question on a stream without questions upstream={}",
                self.ears.name
            );
        }
        let (line, asker) = (Arc::clone(self), asker.cloned());
        self.runtime.spawn(async move {
            let patience = line.door.limits.call_timeout;
            let answering = async {
                let outcome = line.ears.question(method, params, asker.as_ref()).await;
                line.door.post(rpc::answer(&id, &outcome), line.head()).await.map(drop)
            };
            match tokio::time::timeout(patience, answering).await {
                Ok(Ok(())) => {}
                Ok(Err(missed)) => {
                    log::debug!(
                        "answer not taken upstream={} cause={}",
                        line.ears.name,
                        missed.trouble
                    );
                }
                Err(_elapsed) => log::debug!("question not answered upstream={}", line.ears.name),
            }
        });
    }

    fn askers(&self) -> MutexGuard<'_, HashMap<u64, Asker>> {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells it something.
    pub(super) async fn tell(&self, body: Vec<u8>) -> Result<(), Missed> {
        self.door.post(body, self.head()).await.map(drop)
    }

    fn head(&self) -> HeaderMap {
        let mut head = HeaderMap::new();
        if let Ok(version) = HeaderValue::from_str(&self.peer.version) {
            head.insert(VERSION, version);
        }
        if let Some(session) = &self.session {
            head.insert(SESSION, session.clone());
        }
        head
    }

    /// Reads the session's own stream, for as long as the line lives.
    pub(super) fn follow(self: &Arc<Self>) {
        let (line, head) = (Arc::downgrade(self), self.head());
        let reading =
            self.runtime.spawn(super::follow::session(line, Arc::clone(&self.door), head));
        if self.stream.set(reading.abort_handle()).is_err() {
            reading.abort();
        }
    }

    /// Takes what came on the session's own stream.
    pub(super) fn overheard(self: &Arc<Self>, data: &str) {
        let Ok(messages) = rpc::read(data.as_bytes()) else {
            return;
        };
        // The session is one client's, if that can be asked at all.
        let anyone = || self.askers().values().next().filter(|_| self.peer.asks).cloned();
        for message in messages {
            match message {
                rpc::Incoming::Notice { method, params } => {
                    let asker = match ears::token_of(params.as_deref()) {
                        Some(id) => self.askers().get(&id).cloned(),
                        None => anyone(),
                    };
                    self.ears.notice(&method, params, asker.as_ref());
                }
                rpc::Incoming::Request { id, method, params } => {
                    self.be_asked(id, method, params, anyone().as_ref());
                }
                rpc::Incoming::Answer { .. } => {}
            }
        }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.get() {
            stream.abort();
        }
        if self.session.is_some() {
            let (door, head) = (Arc::clone(&self.door), self.head());
            let patience = door.limits.connect_timeout;
            self.runtime.spawn(async move {
                // It ends by itself one day if this does not get there.
                drop(tokio::time::timeout(patience, door.delete(head)).await);
            });
        }
    }
}

/// A request of the earlier era, whose end of waiting must be told.
struct Unfinished<'a> {
    line: &'a Arc<Web>,
    id: u64,
    ended: bool,
}

impl<'a> Unfinished<'a> {
    fn begin(line: &'a Arc<Web>, id: u64, asker: Option<Asker>) -> Self {
        if let Some(asker) = asker {
            line.askers().insert(id, asker);
        }
        Unfinished { line, id, ended: false }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.line.askers().remove(&self.id);
        if self.ended {
            return;
        }
        let (line, id) = (Arc::clone(self.line), self.id);
        self.line.runtime.spawn(async move {
            let telling = line.tell(rpc::cancelled(id, "the caller is not waiting any longer"));
            drop(tokio::time::timeout(line.door.limits.connect_timeout, telling).await);
        });
    }
}
