//! The client actor: owns this worker's connections to one service and makes calls that survive
//! passing trouble.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::prelude::*;
use awc::{Client, http::Method};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    answers_ping,
    backplane::{
        client::{
            CallTool, Caller, ClientsShared, OpenStream, ReadResource, admit,
            attempt::{Missed, Outgoing, Outstanding, Terms, http_client, send_once},
            segment,
            stream::{self, StreamReader},
        },
        config::Calls,
        context::RequestContext,
        discovery::Directory,
        metrics::Metrics,
        token::ServiceToken,
    },
    domain::{
        backoff::{Repeatable, may_repeat},
        failure::{Failure, Kind},
    },
};

/// Most time kept to answer a caller whose deadline is near.
const ANSWER_SLACK_MAX: Duration = Duration::from_millis(50);

/// One service as one worker reaches it.
pub(crate) struct ServiceClient {
    line: Rc<Line>,
}

/// What a call needs; shared by all calls under way on this worker.
pub(crate) struct Line {
    pub(crate) service: String,
    pub(crate) calls: Client,
    pub(crate) streams: Client,
    pub(crate) directory: Directory,
    pub(crate) settings: Arc<Calls>,
    pub(crate) metrics: Metrics,
    pub(crate) token: Arc<ServiceToken>,
    turn: AtomicUsize,
}

impl ServiceClient {
    pub(crate) fn new(service: &str, shared: &ClientsShared, token: Arc<ServiceToken>) -> Self {
        let line = Line {
            service: service.to_owned(),
            calls: http_client(&shared.settings),
            streams: http_client(&shared.settings),
            directory: shared.directory.clone(),
            settings: Arc::clone(&shared.settings),
            metrics: shared.metrics.clone(),
            token,
            turn: AtomicUsize::new(0),
        };
        ServiceClient { line: Rc::new(line) }
    }
}

impl Actor for ServiceClient {
    type Context = Context<Self>;
}
impl Supervised for ServiceClient {}
answers_ping!(ServiceClient);

impl Handler<CallTool> for ServiceClient {
    type Result = ResponseFuture<Result<Value, Failure>>;
    fn handle(&mut self, call: CallTool, _: &mut Context<Self>) -> Self::Result {
        let line = Rc::clone(&self.line);
        let context = call.context.clone();
        Box::pin(context.scope(async move {
            let CallTool { context, tool, arguments, repeatable, caller } = call;
            while_present(caller, line.call(&tool, arguments, &context, repeatable)).await
        }))
    }
}

impl Handler<ReadResource> for ServiceClient {
    type Result = ResponseFuture<Result<Vec<Value>, Failure>>;
    fn handle(&mut self, read: ReadResource, _: &mut Context<Self>) -> Self::Result {
        let line = Rc::clone(&self.line);
        let context = read.context.clone();
        Box::pin(context.scope(async move {
            let ReadResource { context, path, caller } = read;
            while_present(caller, line.read(&path, &context)).await
        }))
    }
}

impl Handler<OpenStream> for ServiceClient {
    type Result = Result<StreamReader, Failure>;
    fn handle(&mut self, open: OpenStream, _: &mut Context<Self>) -> Self::Result {
        Ok(stream::open(Rc::clone(&self.line), open))
    }
}

/// Does the work unless the caller goes away before its end.
async fn while_present<T>(
    caller: Caller,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        result = work => result,
        _ = caller => Err(Failure::new(Kind::Timeout, "the caller has gone")),
    }
}

impl Line {
    async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        context: &RequestContext,
        repeatable: Repeatable,
    ) -> Result<Value, Failure> {
        let body = serde_json::to_vec(&json!({ "arguments": arguments })).map_err(|error| {
            Failure::new(Kind::Internal, format!("arguments not written: {error}"))
        })?;
        let outgoing = Outgoing {
            method: Method::POST,
            path: format!("/tool/{}", segment(tool)),
            body: Some(body.into()),
        };
        let reply = self.counted(tool, &outgoing, context, repeatable).await?;
        let mut reply = reply;
        let wrapped = reply.as_object_mut().and_then(|whole| whole.remove("result"));
        Ok(wrapped.unwrap_or(reply))
    }

    async fn read(&self, path: &str, context: &RequestContext) -> Result<Vec<Value>, Failure> {
        let outgoing =
            Outgoing { method: Method::GET, path: format!("/resource/{path}"), body: None };
        let kind = path.split('/').next().unwrap_or_default().to_owned();
        let reply = self.counted(&kind, &outgoing, context, Repeatable::Always).await?;
        if let Value::Array(items) = reply { Ok(items) } else { Ok(vec![reply]) }
    }

    async fn counted(
        &self,
        tool: &str,
        outgoing: &Outgoing,
        context: &RequestContext,
        repeatable: Repeatable,
    ) -> Result<Value, Failure> {
        let begun = Instant::now();
        let counting = Counting { line: self, tool, begun, code: Some("cancelled") };
        self.metrics.call_begun();
        let result = self.attempts(outgoing, context, repeatable).await;
        counting.end(result.as_ref().err().map(|failure| failure.kind.code()));
        result
    }

    /// Attempts until one succeeds, or trying again is unsafe, over budget or too late.
    async fn attempts(
        &self,
        outgoing: &Outgoing,
        context: &RequestContext,
        repeatable: Repeatable,
    ) -> Result<Value, Failure> {
        let retries = if context.retried_above { 0 } else { self.settings.max_retries };
        let mut tried: Vec<String> = Vec::new();
        let mut last: Option<Failure> = None;
        let mut number = 0;
        loop {
            let missed = match self.attempt(outgoing, context, &mut tried, number).await {
                Ok(reply) => return Ok(reply),
                Err(missed) => missed,
            };
            let Missed { failure, setback, .. } = match missed {
                Ended::Missed(missed) => missed,
                // The attempt before says more, if there was one.
                Ended::Refused(failure) => return Err(last.unwrap_or(failure)),
            };
            let wait = self.settings.backoff().wait(number, fastrand::f64(), failure.retry_after);
            let again = number < retries
                && may_repeat(repeatable, setback)
                && wait < context.remaining()
                && self.directory.withdraw_retry(&self.service);
            if !again {
                return Err(failure);
            }
            log::info!(
                "trying again service={} attempt={} wait_ms={} cause={failure}",
                self.service,
                number + 1,
                wait.as_millis()
            );
            self.metrics.retried(&self.service);
            last = Some(failure);
            tokio::time::sleep(wait).await;
            number += 1;
        }
    }

    /// One attempt.
    async fn attempt(
        &self,
        outgoing: &Outgoing,
        context: &RequestContext,
        tried: &mut Vec<String>,
        number: u32,
    ) -> Result<Value, Ended> {
        // A little less than the caller waits: the answer about being late names the service.
        let remaining = context.remaining();
        let allowed =
            (remaining - (remaining / 20).min(ANSWER_SLACK_MAX)).min(self.settings.call_timeout);
        if allowed < Duration::from_millis(1) {
            return Err(Ended::Missed(self.out_of_time()));
        }
        let endpoints = self.directory.endpoints(&self.service);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (endpoint, permit) =
            admit(&self.service, &endpoints, tried, turn).map_err(Ended::Refused)?;
        if number == 0 {
            self.directory.deposit_first(&self.service);
        }
        let token = self.token.get().map_err(|failure| Ended::Missed(Missed::ours(failure)))?;
        let outstanding = Outstanding::on(&endpoint);
        let sent = send_once(
            &self.calls,
            &endpoint,
            outgoing,
            context,
            &token,
            Terms { number: number + 1, allowed, settings: &self.settings },
        )
        .await;
        drop(outstanding);
        permit.report(match &sent {
            Ok(_) => crate::domain::breaker::Outcome::Success,
            Err(missed) => missed.outcome,
        });
        tried.push(endpoint.url.clone());
        sent.map_err(Ended::Missed)
    }

    fn out_of_time(&self) -> Missed {
        Missed::ours(
            Failure::new(Kind::Timeout, format!("no time left to ask {}", self.service))
                .of_service(&self.service),
        )
    }
}

impl Missed {
    /// A failure that says nothing about the endpoint and that trying again will not mend.
    fn ours(failure: Failure) -> Self {
        Missed {
            failure,
            outcome: crate::domain::breaker::Outcome::Neutral,
            setback: crate::domain::backoff::Setback::Final,
        }
    }
}

/// How an attempt ended without an answer.
enum Ended {
    /// No breaker let it through, or there is no endpoint.
    Refused(Failure),
    /// It went out and missed.
    Missed(Missed),
}

/// Counts a call's end, also when its caller goes away before it.
struct Counting<'a> {
    line: &'a Line,
    tool: &'a str,
    begun: Instant,
    code: Option<&'static str>,
}

impl Counting<'_> {
    fn end(mut self, code: Option<&'static str>) {
        self.code = code;
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.line.metrics.call_done(&self.line.service, self.tool, self.code, took);
    }
}

#[cfg(test)]
pub(crate) fn test_settings() -> Calls {
    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        calls: Calls,
    }
    <Only as clap::Parser>::parse_from(["test"]).calls
}
