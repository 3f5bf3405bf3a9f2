//! Calls of clients of 2026-07-28 to upstreams of before: when the upstream asks its client
//! something, the call waits here while the client answers in a new request.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rmcp::model::{InputRequests, ServerNotification};
use serde_json::{Value, json, value::RawValue};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::Instant,
};

use super::{
    asker::notice,
    foreign::{Reply, What, ask},
};
use crate::{
    backplane::upstream::{Boxed, Call, ClientSide, INTERNAL_ERROR, RpcError, Trouble, Upstream},
    domain::failure::{Failure, Kind},
};

/// Questions of one call that wait to be passed on.
pub(super) const QUESTIONS_WAITING_MAX: usize = 16;

pub(super) type Answer = Result<Box<RawValue>, RpcError>;

/// Something an upstream asks while a call is under way.
pub(super) struct Question {
    pub(super) method: String,
    pub(super) params: Option<Box<RawValue>>,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// A client that is asked by whoever works on its request.
pub(super) struct Later {
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) notices: mpsc::Sender<ServerNotification>,
}

impl ClientSide for Later {
    fn request(&self, method: String, params: Option<Box<RawValue>>) -> Boxed<Answer> {
        let questions = self.questions.clone();
        Box::pin(async move {
            let gone = || RpcError {
                code: INTERNAL_ERROR,
                message: "the client has gone".to_owned(),
                data: None,
            };
            let (reply, answer) = oneshot::channel();
            let question = Question { method, params, reply };
            questions.send(question).await.map_err(|_gone| gone())?;
            answer.await.unwrap_or_else(|_gone| Err(gone()))
        })
    }

    fn notice(&self, method: &str, params: Option<Box<RawValue>>) {
        if let Some(notice) = notice(method, params.as_deref())
            && self.notices.try_send(notice).is_err()
        {
            log::debug!("a notice was left out: nobody waits for it");
        }
    }
}

/// A call that is under way while its client comes and goes.
pub(super) struct Parked {
    questions: mpsc::Receiver<Question>,
    pub(super) notices: mpsc::Receiver<ServerNotification>,
    result: oneshot::Receiver<Result<Reply, Trouble>>,
    open: BTreeMap<String, oneshot::Sender<Answer>>,
    asked: u32,
    task: AbortHandle,
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What comes next of a call.
pub(super) enum Next {
    /// It is done.
    Done(Result<Reply, Trouble>),
    /// The upstream asks.
    Asks(InputRequests),
    /// The upstream tells.
    Notice(ServerNotification),
}

impl Parked {
    /// Begins a call.
    pub(super) fn begin(
        upstream: Upstream,
        what: What,
        params: serde_json::Map<String, Value>,
        make_call: impl FnOnce(Arc<dyn ClientSide>) -> Call,
    ) -> Self {
        let (ask_later, questions) = mpsc::channel(QUESTIONS_WAITING_MAX);
        let (tell, notices) = super::asker::notices();
        let call = make_call(Arc::new(Later { questions: ask_later, notices: tell }));
        let (done, result) = oneshot::channel();
        let task = tokio::spawn(async move {
            let outcome = ask(&upstream, what, params, &call).await;
            drop(done.send(outcome));
        });
        let task = task.abort_handle();
        Parked { questions, notices, result, open: BTreeMap::new(), asked: 0, task }
    }

    /// Gives the client's answers; those to nothing that was asked are left out.
    pub(super) fn answer(&mut self, answers: &BTreeMap<String, Value>) {
        for (key, value) in answers {
            if let Some(reply) = self.open.remove(key) {
                let answer = serde_json::value::to_raw_value(value).map_err(|error| RpcError {
                    code: INTERNAL_ERROR,
                    message: error.to_string(),
                    data: None,
                });
                drop(reply.send(answer));
            }
        }
    }

    /// Whether the upstream still waits for an answer.
    pub(super) fn is_asking(&self) -> bool {
        !self.open.is_empty()
    }

    /// Waits for what comes next.
    pub(super) async fn next(&mut self) -> Next {
        tokio::select! {
            biased;
            Some(notice) = self.notices.recv() => Next::Notice(notice),
            result = &mut self.result => Next::Done(result.unwrap_or_else(|_fell| {
                let text = "the call ended without an answer";
                Err(Trouble::Failed(Failure::new(Kind::Internal, text)))
            })),
            Some(question) = self.questions.recv() => {
                self.asked += 1;
                let key = format!("question-{}", self.asked);
                let message = json!({"method": question.method, "params": question.params});
                match serde_json::from_value(message) {
                    Ok(request) => {
                        self.open.insert(key.clone(), question.reply);
                        Next::Asks(InputRequests::from([(key, request)]))
                    }
                    Err(_other_shape) => {
                        drop(question.reply.send(Err(RpcError::no_method(&question.method))));
                        Next::Asks(InputRequests::new())
                    }
                }
            }
        }
    }
}

/// Calls that wait for their clients.
#[derive(Clone)]
pub struct Lot {
    places: Arc<Mutex<HashMap<String, (Instant, Parked)>>>,
    places_max: usize,
    patience: Duration,
}

impl Lot {
    /// An empty lot.
    #[must_use]
    pub fn new(places_max: usize, patience: Duration) -> Self {
        Lot { places: Arc::default(), places_max, patience }
    }

    /// Parks a call; the number to ask for it. It is given up when nobody comes in time.
    ///
    /// # Errors
    /// `overloaded` when all places are taken.
    pub(super) fn park(&self, parked: Parked) -> Result<String, Failure> {
        let number = uuid::Uuid::new_v4().to_string();
        let now = Instant::now();
        let mut places = self.lock();
        places.retain(|_, (until, _)| *until > now);
        if places.len() >= self.places_max {
            return Err(Failure::new(Kind::Overloaded, "too many calls wait for their clients")
                .retry_after(Duration::from_secs(5)));
        }
        places.insert(number.clone(), (now + self.patience, parked));
        drop(places);
        let (lot, late) = (self.clone(), number.clone());
        tokio::spawn(async move {
            tokio::time::sleep(lot.patience).await;
            drop(lot.take(&late));
        });
        Ok(number)
    }

    /// Takes a call out.
    pub(super) fn take(&self, number: &str) -> Option<Parked> {
        self.lock().remove(number).map(|(_, parked)| parked)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Parked)>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
