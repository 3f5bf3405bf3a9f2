//! A live stream of another service that reconnects by itself, from the last event it saw.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use awc::http::header;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    backplane::{
        client::{
            OpenStream,
            attempt::{WRONG_STORE, error_from_body, seen_from_here},
            choice,
            line::Line,
        },
        config::Calls,
        context::{REQUEST_ID_HEADER, STORE_HEADER},
        discovery::Endpoint,
    },
    domain::{
        backoff::Backoff,
        breaker::Outcome,
        failure::{Failure, Kind},
        reply::classify,
        sse::{Event, Parser},
    },
};

/// Events that wait for the reader before the stream stops reading from the network.
pub(super) const ITEMS_WAITING_MAX: usize = 256;
/// Waits between connections that bring nothing: up to 1 s, so that recovery is noticed soon.
pub(super) const RECONNECT_PAUSE: Backoff =
    Backoff { initial: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(1) };

/// How often a stream looks whether its endpoint is still fit.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Opening a stream is dearer than a call: it may be silent for so many stall time-outs.
const STALLS_TO_OPEN: u32 = 4;

/// What a live stream brings.
#[derive(Debug)]
pub enum StreamItem {
    /// The stream is open, now or again.
    Connected {
        /// Which store it is of, if the service says so.
        store: Option<Arc<str>>,
    },
    /// Everything after this sequence number will come; nothing up to it will.
    Position(i64),
    /// An event with the sequence number it carries, if any.
    Event {
        /// Its sequence number.
        seq: Option<i64>,
        /// Its payload: what the service wrote, unread.
        data: String,
    },
    /// The connection broke or was refused; the stream goes on by itself.
    Interrupted(Failure),
}

/// The reading end; dropping it closes the stream.
#[derive(Debug)]
pub struct StreamReader(mpsc::Receiver<StreamItem>);

impl StreamReader {
    /// The next item; `None` when the client actor's arbiter is gone.
    pub async fn next(&mut self) -> Option<StreamItem> {
        self.0.recv().await
    }

    /// The next item, if it is there already.
    pub fn ready(&mut self) -> Option<StreamItem> {
        self.0.try_recv().ok()
    }
}

/// Starts following, if there is a place for one more stream.
///
/// # Errors
/// `overloaded` when all places are taken.
pub(crate) fn open(line: Rc<Line>, open: OpenStream) -> Result<StreamReader, Failure> {
    let Ok(place) = Arc::clone(&line.stream_places).try_acquire_owned() else {
        let message = format!("too many streams of {} are open", line.service);
        return Err(Failure::new(Kind::Overloaded, message)
            .of_service(&line.service)
            .retry_after(Duration::from_secs(1)));
    };
    let (items, reader) = mpsc::channel(ITEMS_WAITING_MAX);
    actix_rt::spawn(async move {
        let _place = place;
        let mut follower = Follower { line, path: open.path, after: open.after, items, idle: 0 };
        follower.run().await;
    });
    Ok(StreamReader(reader))
}

/// How long opening may take: as long as a call, unless another endpoint could be asked instead.
fn patience_to_open(line: &Line, at: &Endpoint, endpoints: &[Arc<Endpoint>]) -> Duration {
    let Calls { call_timeout, stall_timeout, .. } = *line.settings;
    let stall = stall_timeout.saturating_mul(STALLS_TO_OPEN);
    let another = choice::another_could(endpoints, at, &[], stall_timeout);
    if another { stall.min(call_timeout) } else { call_timeout }
}

/// Ends when the stream had better move, and says why: its endpoint was taken out, or is sick
/// while another is not. A stream that is silent does not show by itself that its endpoint hangs.
async fn until_left(line: &Line, endpoint: &Endpoint) -> &'static str {
    loop {
        let looked = tokio::time::timeout(LOOK_PAUSE, endpoint.until_retired()).await;
        if looked.is_ok() {
            return "moves: its endpoint was taken out";
        }
        let endpoints = line.directory.endpoints(&line.service);
        let sick = !endpoint.usable() || endpoint.breaker().refuses(Instant::now()).is_some();
        let patience = line.settings.stall_timeout;
        if sick && choice::another_could(&endpoints, endpoint, &[], patience) {
            return "moves: its endpoint does not answer calls";
        }
    }
}

struct Follower {
    line: Rc<Line>,
    path: String,
    after: Option<i64>,
    items: mpsc::Sender<StreamItem>,
    /// Connections in a row that brought no event.
    idle: u32,
}

/// The reader has gone.
struct Abandoned;

impl Follower {
    async fn run(&mut self) {
        let reader = self.items.clone();
        loop {
            let ended = tokio::select! {
                ended = self.connect() => ended,
                () = reader.closed() => return,
            };
            let wait = match ended {
                Ok(()) => RECONNECT_PAUSE.wait(self.idle, fastrand::f64(), None),
                Err(failure) => {
                    let floor = failure.retry_after.map(|wait| wait.min(RECONNECT_PAUSE.cap));
                    if self.items.send(StreamItem::Interrupted(failure)).await.is_err() {
                        return;
                    }
                    RECONNECT_PAUSE.wait(self.idle, fastrand::f64(), floor)
                }
            };
            self.idle = self.idle.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = reader.closed() => return,
            }
        }
    }

    /// One connection, from opening to its end. A clean end is `Ok`: the server restarted.
    async fn connect(&mut self) -> Result<(), Failure> {
        let line = Rc::clone(&self.line);
        let endpoints = line.directory.endpoints(&line.service);
        let (endpoint, permit) = choice::admit(&line.service, &endpoints, &[])?;
        let patience = patience_to_open(&line, &endpoint, &endpoints);
        let begun = Instant::now();
        let opened = tokio::time::timeout(patience, self.request(&endpoint)).await.unwrap_or_else(
            |_elapsed| Err((self.failed(Kind::Timeout, "did not open in time"), Outcome::Failure)),
        );
        // That a stream opens says nothing about the service's health; that it is refused does.
        let outcome = opened.as_ref().map_or_else(|(_, outcome)| *outcome, |_| Outcome::Neutral);
        if outcome == Outcome::Failure {
            endpoint.failed(begun.elapsed(), Instant::now());
        }
        permit.report(outcome, begun.elapsed());
        let (mut response, store) = opened.map_err(|(failure, _)| failure)?;
        if self.items.send(StreamItem::Connected { store }).await.is_err() {
            return Ok(());
        }
        let mut parser = Parser::new();
        let mut leaving = pin!(until_left(&line, &endpoint));
        loop {
            let silence = Instant::now() + line.settings.stream_idle_timeout;
            let next = tokio::select! {
                next = tokio::time::timeout_at(silence, response.next()) => next,
                why = &mut leaving => return Err(self.failed(Kind::Connection, why)),
            };
            let piece = match next {
                Err(_elapsed) => return Err(self.failed(Kind::Timeout, "went silent")),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => {
                    return Err(self.failed(Kind::Connection, &format!("broke: {error}")));
                }
                Ok(Some(Ok(piece))) => piece,
            };
            let events = parser
                .feed(&piece)
                .map_err(|broken| self.failed(Kind::BadReply, &broken.to_string()))?;
            for event in events {
                if self.deliver(event).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn request(
        &self,
        endpoint: &Arc<Endpoint>,
    ) -> Result<
        (
            impl futures_util::Stream<Item = Result<bytes::Bytes, awc::error::PayloadError>>
            + Unpin
            + use<>,
            Option<Arc<str>>,
        ),
        (Failure, Outcome),
    > {
        let token = self.line.token.get().map_err(|failure| (failure, Outcome::Neutral))?;
        let mark = if self.path.contains('?') { '&' } else { '?' };
        let after = self.after.map(|seq| format!("{mark}after={seq}")).unwrap_or_default();
        let url = format!("{}/resource/{}{after}", endpoint.url, self.path);
        let bound = self.line.directory.store_of(&self.line.service);
        let mut request = self.line.streams.get(url);
        if let Some(bound) = &bound {
            request = request.insert_header((STORE_HEADER, bound.as_ref()));
        }
        let mut response = request
            .insert_header((header::AUTHORIZATION, token))
            .insert_header((header::ACCEPT, "text/event-stream"))
            .insert_header((REQUEST_ID_HEADER, uuid::Uuid::now_v7().to_string()))
            .send()
            .await
            .map_err(|error| {
                (
                    self.failed(Kind::Connection, &format!("cannot be reached: {error}")),
                    Outcome::Failure,
                )
            })?;
        let status = response.status().as_u16();
        let (outcome, setback) =
            classify(status, response.headers().contains_key(header::RETRY_AFTER));
        if status == WRONG_STORE {
            endpoint.estrange();
        }
        if setback.is_none() {
            let store = response.headers().get(STORE_HEADER).and_then(|id| id.to_str().ok());
            let store: Option<Arc<str>> = store.map(Into::into);
            if store.is_some() {
                endpoint.says(store.as_deref(), bound.as_deref());
            }
            return match endpoint.is_foreign() {
                true => Err((choice::strange(&self.line.service), Outcome::Neutral)),
                false => Ok((response, store)),
            };
        }
        let body: Option<Value> = response.json().limit(65_536).await.ok();
        let failure = error_from_body(status, body.as_ref()).of_service(&self.line.service);
        Err((seen_from_here(&self.line.service, failure), outcome))
    }

    /// Hands an event on. What was seen before (a repeat after reconnecting) is left out.
    async fn deliver(&mut self, event: Event) -> Result<(), Abandoned> {
        let seq = event.id.as_deref().and_then(|id| id.parse::<i64>().ok());
        let Some(data) = event.data else {
            let Some(seq) = seq else { return Ok(()) };
            self.after = Some(seq);
            return self.items.send(StreamItem::Position(seq)).await.map_err(|_gone| Abandoned);
        };
        if let (Some(seq), Some(after)) = (seq, self.after)
            && seq <= after
        {
            return Ok(());
        }
        self.after = seq.or(self.after);
        self.idle = 0;
        self.items.send(StreamItem::Event { seq, data }).await.map_err(|_gone| Abandoned)
    }

    fn failed(&self, kind: Kind, what: &str) -> Failure {
        let service = &self.line.service;
        Failure::new(kind, format!("the stream of {service} {what}")).of_service(service)
    }
}
