//! Passing a request on to an upstream, with all the rounds of questions it takes, whichever eras
//! the two sides are of.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use rmcp::{
    ErrorData,
    model::{InputRequest, InputRequests, InputRequiredResult, ServerNotification},
};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::{
    Gateway,
    asker::{self, Asker, Reached},
    foreign::{self, Reply, What},
    parked::{Later, Next, Parked, QUESTIONS_WAITING_MAX, Question},
    sealed::State,
};
use crate::{
    backplane::upstream::{Call, ClientSide, Trouble, Upstream},
    domain::failure::{Failure, Kind},
};

/// What a client sends along when it comes back with answers.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) responses: Option<BTreeMap<String, Value>>,
    pub(super) state: Option<String>,
}

/// Why there is no reply: a refusal of ours, or the upstream's trouble.
pub(super) enum Missed {
    Ours(Box<ErrorData>),
    Theirs(Box<Trouble>),
}

impl Missed {
    /// The same in the protocol's words.
    pub(super) fn into_error(self, source: &str) -> ErrorData {
        match self {
            Missed::Ours(error) => *error,
            Missed::Theirs(trouble) => foreign::error(*trouble, source),
        }
    }
}

impl From<Trouble> for Missed {
    fn from(trouble: Trouble) -> Self {
        Missed::Theirs(Box::new(trouble))
    }
}

impl From<ErrorData> for Missed {
    fn from(error: ErrorData) -> Self {
        Missed::Ours(Box::new(error))
    }
}

/// One request to one upstream.
pub(super) struct Passing<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) upstream: &'a Upstream,
    pub(super) asker: &'a Asker,
    pub(super) what: What,
    /// What the upstream calls it.
    pub(super) name: &'a str,
}

impl Passing<'_> {
    /// Passes it on; the reply is complete, or asks what only this client can answer.
    pub(super) async fn run(
        &self,
        mut params: Map<String, Value>,
        answers: Answers,
    ) -> Result<Reply, Missed> {
        if let Some(sealed) = &answers.state {
            match self.gateway.seal.open(sealed, &self.bound())? {
                State::Parked(number) => return self.resume(&number, answers.responses).await,
                State::Upstream(state) => {
                    params.insert("requestState".to_owned(), state.into());
                }
            }
        }
        if let Some(responses) = answers.responses {
            params.insert("inputResponses".to_owned(), to_value(&responses)?);
        }
        if self.asker.modern {
            let can_be_asked = !self.asker.abilities.is_empty();
            if can_be_asked && !self.is_modern().await? {
                let begin = |side| self.asker.call(side);
                let parked = Parked::begin(self.upstream.clone(), self.what, params, begin);
                return self.until_asked(parked).await;
            }
            return match self.once(params).await? {
                Reply::Input(input) => self.sealed(*input),
                done @ Reply::Complete(_) => Ok(done),
            };
        }
        self.rounds(params).await
    }

    /// For a client that is asked while it waits.
    async fn rounds(&self, mut params: Map<String, Value>) -> Result<Reply, Missed> {
        for _ in 0..self.gateway.settings.gateway_rounds_max {
            let input = match self.once(params.clone()).await? {
                Reply::Input(input) => input,
                done @ Reply::Complete(_) => return Ok(done),
            };
            let mut responses = BTreeMap::new();
            for (key, request) in input.input_requests.unwrap_or_default() {
                responses.insert(key, self.put(request).await?);
            }
            params.insert("inputResponses".to_owned(), to_value(&responses)?);
            match input.request_state {
                Some(state) => params.insert("requestState".to_owned(), state.into()),
                None => params.remove("requestState"),
            };
        }
        let text = format!("{} asks without end", self.upstream.name());
        Err(Trouble::Failed(Failure::new(Kind::BadReply, text)).into())
    }

    /// Puts one question to the client.
    async fn put(&self, request: InputRequest) -> Result<Value, Missed> {
        let message = to_value(&request)?;
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
        let params = message.get("params").filter(|params| !params.is_null());
        let params = params.map(serde_json::value::to_raw_value).transpose().map_err(unwritten)?;
        let answer = asker::ask(&self.asker.peer, method, params.as_deref()).await;
        let answer = answer.map_err(|error| Missed::from(Trouble::Refused(error)))?;
        Ok(serde_json::from_str(answer.get()).map_err(unwritten)?)
    }

    /// Asks the upstream once; what it tells and asks meanwhile is passed on.
    async fn once(&self, params: Map<String, Value>) -> Result<Reply, Missed> {
        let (tell, told) = asker::notices();
        let (ask, questions) = mpsc::channel(QUESTIONS_WAITING_MAX);
        let side: Arc<dyn ClientSide> = if self.asker.modern {
            Arc::new(Reached { notices: tell })
        } else {
            Arc::new(Later { questions: ask, notices: tell })
        };
        let call = self.asker.call(side);
        let asking = foreign::ask(self.upstream, self.what, params, &call);
        Ok(self.between(asking, told, questions).await?)
    }

    /// Passes on what is told and asked until `work` is done. It is done here, in the request's own
    /// task: only there it is known which request of the client it belongs to.
    async fn between<T>(
        &self,
        work: impl Future<Output = T>,
        mut told: mpsc::Receiver<ServerNotification>,
        mut questions: mpsc::Receiver<Question>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        let mut answering = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(notice) = told.recv() => self.tell(notice).await,
                Some(question) = questions.recv() => answering.push(self.answer(question)),
                Some(()) = answering.next() => {}
                done = &mut work => {
                    while let Ok(notice) = told.try_recv() {
                        self.tell(notice).await;
                    }
                    return done;
                }
            }
        }
    }

    async fn answer(&self, question: Question) {
        let Question { method, params, reply } = question;
        let answer = asker::ask(&self.asker.peer, &method, params.as_deref()).await;
        if reply.send(answer).is_err() {
            log::debug!("an answer found nobody");
        }
    }

    async fn tell(&self, notice: ServerNotification) {
        if self.asker.peer.send_notification(notice).await.is_err() {
            log::debug!("a notice found nobody");
        }
    }

    async fn is_modern(&self) -> Result<bool, Missed> {
        if let Some(peer) = self.upstream.peer() {
            return Ok(peer.modern);
        }
        let call = Call {
            deadline: self.asker.visitor.context.deadline,
            ..Call::within(self.upstream.spec().limits.call_timeout)
        };
        Ok(self.upstream.meet(&call).await?.modern)
    }

    async fn resume(
        &self,
        number: &str,
        responses: Option<BTreeMap<String, Value>>,
    ) -> Result<Reply, Missed> {
        let Some(mut parked) = self.gateway.lot.take(number) else {
            let text = "this call does not wait any longer; make it again";
            return Err(ErrorData::invalid_params(text, None).into());
        };
        parked.answer(&responses.unwrap_or_default());
        self.until_asked(parked).await
    }

    /// Follows a call until it is done, or parks it when it asks.
    async fn until_asked(&self, mut parked: Parked) -> Result<Reply, Missed> {
        loop {
            match parked.next().await {
                Next::Notice(notice) => self.tell(notice).await,
                Next::Done(outcome) => {
                    while let Ok(notice) = parked.notices.try_recv() {
                        self.tell(notice).await;
                    }
                    return Ok(outcome?);
                }
                Next::Asks(requests) if requests.is_empty() && !parked.is_asking() => {}
                Next::Asks(requests) => return self.park(parked, requests),
            }
        }
    }

    fn park(&self, parked: Parked, requests: InputRequests) -> Result<Reply, Missed> {
        let number = self.gateway.lot.park(parked).map_err(Trouble::Failed)?;
        let state = self.gateway.seal.close(&State::Parked(number), &self.bound())?;
        Ok(Reply::Input(Box::new(InputRequiredResult::new(Some(requests), Some(state)))))
    }

    /// An upstream's questions, with its state sealed for this client and this call.
    fn sealed(&self, mut input: InputRequiredResult) -> Result<Reply, Missed> {
        if let Some(state) = input.request_state.take() {
            let sealed = self.gateway.seal.close(&State::Upstream(state), &self.bound())?;
            input.request_state = Some(sealed);
        }
        Ok(Reply::Input(Box::new(input)))
    }

    fn bound(&self) -> String {
        format!("{}\0{}\0{:?}\0{}", self.asker.name, self.upstream.name(), self.what, self.name)
    }
}

fn to_value(value: &impl serde::Serialize) -> Result<Value, ErrorData> {
    serde_json::to_value(value).map_err(unwritten)
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for map_err")]
fn unwritten(error: serde_json::Error) -> ErrorData {
    ErrorData::internal_error(format!("not written: {error}"), None)
}
