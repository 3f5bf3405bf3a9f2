//! A line that many calls share: messages go out in order, answers find their calls by id.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::value::RawValue;
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};

use super::{
    call::{Call, Missed},
    ears::{self, Asker, Ears},
    era::Peer,
    meta, rpc,
    web::Request,
};
use crate::contract::upstream::Limits;

/// Messages that wait to be sent.
const OUT_MAX: usize = 256;

/// A message on its way out, and the request it is, if it is one.
pub(super) struct Out {
    pub(super) id: Option<u64>,
    pub(super) body: Vec<u8>,
}

/// A line that many calls share.
pub(super) struct Pipe {
    pub(super) ears: Ears,
    pub(super) limits: Limits,
    peer: OnceLock<Peer>,
    runtime: runtime::Handle,
    ids: Arc<AtomicU64>,
    out: mpsc::Sender<Out>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    calls: HashMap<u64, Waiting>,
    /// Why there will be no more answers.
    ended: Option<String>,
}

struct Waiting {
    answer: oneshot::Sender<Result<Box<RawValue>, Missed>>,
    asker: Option<Asker>,
}

impl Pipe {
    /// A line, and what is to be sent on it. It ends when the sender does: with the line.
    pub(super) fn new(
        ears: Ears,
        limits: Limits,
        runtime: runtime::Handle,
        ids: Arc<AtomicU64>,
    ) -> (Arc<Self>, mpsc::Receiver<Out>) {
        let (out, outgoing) = mpsc::channel(OUT_MAX);
        let open = Mutex::default();
        (Arc::new(Pipe { ears, limits, peer: OnceLock::new(), runtime, ids, out, open }), outgoing)
    }

    pub(super) fn peer(&self) -> Option<&Peer> {
        self.peer.get()
    }

    /// Settles what the other side is; once.
    pub(super) fn met(&self, peer: Peer) {
        drop(self.peer.set(peer));
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().ended.is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks as the peer's era has it, and waits for the result.
    pub(super) async fn ask(
        &self,
        request: &Request,
        call: Option<&Call>,
    ) -> Result<Box<RawValue>, Missed> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut params = request.params.clone();
        match self.peer() {
            Some(peer) if peer.modern => meta::modern(&mut params, call, &peer.version, id),
            Some(_) => meta::legacy(&mut params, call, id),
            // The first request says itself what it is.
            None => {}
        }
        self.exchange(id, rpc::request(id, request.method, &params), Asker::of(call)).await
    }

    async fn exchange(
        &self,
        id: u64,
        body: Vec<u8>,
        asker: Option<Asker>,
    ) -> Result<Box<RawValue>, Missed> {
        let (answer, answered) = oneshot::channel();
        {
            let mut open = self.lock();
            if let Some(why) = &open.ended {
                let mut missed = Missed::unreached(&self.ears.name, why);
                missed.sign = super::call::Sign::LineLost;
                return Err(missed);
            }
            open.calls.insert(id, Waiting { answer, asker });
        }
        let mut unfinished = Unfinished { pipe: self, id, sent: false, ended: false };
        if self.out.send(Out { id: Some(id), body }).await.is_err() {
            return Err(Missed::unreached(&self.ears.name, "it has ended"));
        }
        unfinished.sent = true;
        let outcome = answered.await;
        unfinished.ended = true;
        outcome.unwrap_or_else(|_dropped| Err(Missed::broken(&self.ears.name, "it has ended")))
    }

    /// Tells it something.
    pub(super) async fn tell(&self, body: Vec<u8>) -> Result<(), Missed> {
        let sent = self.out.send(Out { id: None, body }).await;
        sent.map_err(|_ended| Missed::unreached(&self.ears.name, "it has ended"))
    }

    /// Takes what came in.
    ///
    /// # Errors
    /// A sentence, when it is no message.
    pub(super) fn heard(self: &Arc<Self>, text: &[u8]) -> Result<(), String> {
        for message in rpc::read(text)? {
            match message {
                rpc::Incoming::Answer { id: Some(id), outcome } => {
                    self.settle(id, outcome.map_err(Missed::refused));
                }
                rpc::Incoming::Answer { id: None, outcome } => {
                    // Only with one call under way is it clear whose error this is.
                    if let (Some(id), Err(error)) = (self.only_call(), outcome) {
                        self.settle(id, Err(Missed::refused(error)));
                    }
                }
                rpc::Incoming::Notice { method, params } => {
                    let asker = match ears::token_of(params.as_deref()) {
                        Some(id) => self.asker(Some(id)),
                        None => self.asker(None),
                    };
                    self.ears.notice(&method, params, asker.as_ref());
                }
                rpc::Incoming::Request { id, method, params } => self.be_asked(id, method, params),
            }
        }
        Ok(())
    }

    /// A message was too large to be read; its beginning may say whose it was.
    pub(super) fn overflowed(&self, beginning: &[u8]) {
        if let Some(id) = rpc::id_in(beginning).or_else(|| self.only_call()) {
            let most = self.limits.answer_bytes_max;
            self.settle(id, Err(Missed::too_large(&self.ears.name, most)));
        }
    }

    /// Ends one call; a late answer, or one to nothing that was asked, is none.
    pub(super) fn settle(&self, id: u64, outcome: Result<Box<RawValue>, Missed>) {
        let waiting = self.lock().calls.remove(&id);
        if let Some(waiting) = waiting {
            // Its caller may have gone just now.
            drop(waiting.answer.send(outcome));
        } else {
            log::debug!("answer to no question upstream={}", self.ears.name);
        }
    }

    /// Ends every call: no answer comes any more.
    pub(super) fn end(&self, why: &str) {
        let calls = {
            let mut open = self.lock();
            open.ended.get_or_insert_with(|| why.to_owned());
            std::mem::take(&mut open.calls)
        };
        for waiting in calls.into_values() {
            drop(waiting.answer.send(Err(Missed::broken(&self.ears.name, why))));
        }
    }

    fn only_call(&self) -> Option<u64> {
        let open = self.lock();
        let mut ids = open.calls.keys();
        ids.next().copied().filter(|_| ids.next().is_none())
    }

    /// The client behind call `id`; without one, any that is there: a line with clients that can
    /// be asked belongs to one of them.
    fn asker(&self, id: Option<u64>) -> Option<Asker> {
        let open = self.lock();
        match id {
            Some(id) => open.calls.get(&id)?.asker.clone(),
            None => open.calls.values().find_map(|waiting| waiting.asker.clone()),
        }
    }

    fn be_asked(
        self: &Arc<Self>,
        id: Box<RawValue>,
        method: String,
        params: Option<Box<RawValue>>,
    ) {
        let knows_clients = self.peer().is_some_and(|peer| peer.asks);
        let asker = self.asker(None).filter(|_| knows_clients);
        let pipe = Arc::clone(self);
        self.runtime.spawn(async move {
            let question = pipe.ears.question(method, params, asker.as_ref());
            match tokio::time::timeout(pipe.limits.call_timeout, question).await {
                Ok(outcome) => {
                    let out = Out { id: None, body: rpc::answer(&id, &outcome) };
                    // A peer that asks faster than it reads gets no answers.
                    if pipe.out.try_send(out).is_err() {
                        log::debug!("answer not taken upstream={}", pipe.ears.name);
                    }
                }
                Err(_elapsed) => log::debug!("question not answered upstream={}", pipe.ears.name),
            }
        });
    }
}

/// A request under way, whose end of waiting must be told.
struct Unfinished<'a> {
    pipe: &'a Pipe,
    id: u64,
    sent: bool,
    ended: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.pipe.lock().calls.remove(&self.id);
        if self.sent {
            let body = rpc::cancelled(self.id, "the caller is not waiting any longer");
            if self.pipe.out.try_send(Out { id: None, body }).is_err() {
                log::debug!("cancellation not sent upstream={}", self.pipe.ears.name);
            }
        }
    }
}
