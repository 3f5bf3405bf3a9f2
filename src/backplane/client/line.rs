//! A call from one worker to one service: attempts within deadline and budget, each with a place in
//! the bulkhead, an endpoint that admits it, and an end to waiting in silence.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use awc::{Client, http::Method};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    ClientsShared, Named,
    attempt::{Missed, Outgoing, Terms, http_client, send_once},
    bulkhead::Bulkhead,
    choice::{admit, another_could, refused_by_all},
    pool::Pool,
    segment,
};
use crate::{
    backplane::{
        breaker::Permit,
        config::Calls,
        context::RequestContext,
        discovery::{Directory, Endpoint},
        metrics::Metrics,
        token::ServiceToken,
    },
    domain::{
        backoff::{Repeatable, Setback, may_repeat},
        breaker::Outcome,
        failure::{Failure, Kind},
        latency::{stall_limit, usual},
    },
};

/// Most time kept to answer a caller whose deadline is near.
const ANSWER_SLACK_MAX: Duration = Duration::from_millis(50);
/// Tools whose usual time is remembered; calls of others go by the floor alone.
const TOOLS_TIMED_MAX: usize = 64;
/// How often a silent call looks for another endpoint again, as a share of its limit.
const LOOKS_PER_LIMIT: u32 = 4;

/// What a call needs; shared by all calls under way on this worker.
pub(crate) struct Line {
    pub(crate) service: String,
    pub(crate) streams: Client,
    pub(crate) stream_places: Arc<Semaphore>,
    pub(crate) directory: Directory,
    pub(crate) settings: Arc<Calls>,
    pub(crate) token: Arc<ServiceToken>,
    metrics: Metrics,
    pool: Pool,
    bulkhead: Bulkhead,
    /// What each tool usually takes, from the answers this worker got.
    usual: RefCell<BTreeMap<String, Duration>>,
}

/// The body of a call, as every door of this kind takes it.
#[derive(Serialize)]
struct Arguments {
    arguments: Map<String, Value>,
}

/// One call, whole.
struct Call<'a> {
    tool: &'a str,
    outgoing: &'a Outgoing,
    context: &'a RequestContext,
    repeatable: Repeatable,
    retries: u32,
}

/// How an attempt ended without an answer.
enum Ended {
    /// It never went out: no breaker let it through, there is no endpoint, or no place.
    Refused(Failure),
    /// It went out and missed.
    Missed(Missed),
}

impl Line {
    pub(crate) fn new(service: &str, shared: &ClientsShared, token: Arc<ServiceToken>) -> Self {
        let settings = &shared.settings;
        let streams = usize::from(settings.service_streams_max);
        Line {
            service: service.to_owned(),
            streams: http_client(settings, streams),
            stream_places: Arc::new(Semaphore::new(streams)),
            directory: shared.directory.clone(),
            settings: Arc::clone(settings),
            token,
            metrics: shared.metrics.clone(),
            pool: Pool::new(settings),
            bulkhead: Bulkhead::new(
                service,
                settings.places(),
                usize::from(settings.calls_waiting_max),
                settings.calls_wait_max,
            ),
            usual: RefCell::default(),
        }
    }

    pub(crate) async fn call(
        &self,
        (named, tool): (Named, &str),
        arguments: Map<String, Value>,
        context: &RequestContext,
        repeatable: Repeatable,
    ) -> Result<Value, Failure> {
        let body = serde_json::to_vec(&Arguments { arguments }).map_err(|error| {
            Failure::new(Kind::Internal, format!("arguments not written: {error}"))
        })?;
        let door = match named {
            Named::Tool => "/tool/",
            Named::Prompt => "/prompt/",
        };
        let outgoing = Outgoing {
            method: Method::POST,
            path: format!("{door}{}", segment(tool)),
            body: Some(body.into()),
        };
        let mut reply = self.counted(tool, &outgoing, context, repeatable).await?;
        let wrapped = reply.as_object_mut().and_then(|whole| whole.remove("result"));
        Ok(wrapped.unwrap_or(reply))
    }

    pub(crate) async fn read(
        &self,
        path: &str,
        context: &RequestContext,
    ) -> Result<Value, Failure> {
        let outgoing = Outgoing { method: Method::GET, path: path.to_owned(), body: None };
        let kind = path.strip_prefix("/resource").unwrap_or(path);
        let kind = kind.split('/').nth(1).unwrap_or_default();
        self.counted(kind, &outgoing, context, Repeatable::Always).await
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
        let retries = if context.retried_above { 0 } else { self.settings.max_retries };
        let call = Call { tool, outgoing, context, repeatable, retries };
        let result = self.attempts(&call).await;
        counting.end(result.as_ref().err().map(|failure| failure.kind.code()));
        result
    }

    /// Attempts until one succeeds, or trying again is unsafe, over budget, too late or of no use.
    async fn attempts(&self, call: &Call<'_>) -> Result<Value, Failure> {
        let mut tried: Vec<String> = Vec::new();
        let mut last: Option<Failure> = None;
        let mut number = 0;
        loop {
            let Missed { failure, setback, .. } = match self.attempt(call, &mut tried, number).await
            {
                Ok(reply) => return Ok(reply),
                // The attempt before says more, if there was one.
                Err(Ended::Refused(failure)) => return Err(last.unwrap_or(failure)),
                Err(Ended::Missed(missed)) => missed,
            };
            let Some(wait) = self.wait_before_retry(call, number, setback, &tried, &failure) else {
                return Err(failure);
            };
            log::info!(
                "trying again service={} attempt={} wait_ms={} cause={failure}",
                self.service,
                number + 1,
                wait.as_millis()
            );
            self.metrics.retried(&self.service);
            last = Some(failure);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            number += 1;
        }
    }

    /// How long to wait before the next attempt; `None` when there must not be one. Takes it from
    /// the budget.
    fn wait_before_retry(
        &self,
        call: &Call<'_>,
        number: u32,
        setback: Setback,
        tried: &[String],
        failure: &Failure,
    ) -> Option<Duration> {
        if number >= call.retries || !may_repeat(call.repeatable, setback) {
            return None;
        }
        let endpoints = self.directory.endpoints(&self.service);
        // Where everybody refuses, waiting would only make the refusal late.
        if refused_by_all(&self.service, &endpoints).is_some() {
            return None;
        }
        let now = Instant::now();
        let elsewhere = endpoints
            .iter()
            .any(|other| !tried.contains(&other.url) && other.could_take_over(Duration::MAX, now));
        let waits = self.settings.waits();
        let wait = waits.before(number, setback, elsewhere, fastrand::f64(), failure.retry_after);
        let paid = setback == Setback::Silent;
        (wait < call.context.remaining() && (paid || self.directory.withdraw_retry(&self.service)))
            .then_some(wait)
    }

    /// One attempt: a place, an endpoint, an exchange.
    async fn attempt(
        &self,
        call: &Call<'_>,
        tried: &mut Vec<String>,
        number: u32,
    ) -> Result<Value, Ended> {
        let _place = match self.bulkhead.free_place() {
            Some(place) => place,
            None => {
                let endpoints = self.directory.endpoints(&self.service);
                if let Some(failure) = refused_by_all(&self.service, &endpoints) {
                    return Err(Ended::Refused(failure));
                }
                let placed = self.bulkhead.place(call.context.remaining()).await;
                placed.map_err(Ended::Refused)?
            }
        };
        // A little less than the caller waits: the answer about being late names the service.
        let remaining = call.context.remaining();
        let allowed =
            (remaining - (remaining / 20).min(ANSWER_SLACK_MAX)).min(self.settings.call_timeout);
        if allowed < Duration::from_millis(1) {
            return Err(Ended::Missed(self.out_of_time()));
        }
        let endpoints = self.directory.endpoints(&self.service);
        let (endpoint, permit) = admit(&self.service, &endpoints, tried).map_err(Ended::Refused)?;
        if number == 0 {
            self.directory.deposit_first(&self.service);
        }
        let token = match &call.context.bearer {
            Some(bearer) => bearer.clone(),
            None => self.token.get().map_err(|failure| Ended::Missed(Missed::ours(failure)))?,
        };
        let under_way = UnderWay::at(&endpoint, permit);
        let store = self.directory.store_of(&self.service);
        let settings = &self.settings;
        let terms = Terms { number: number + 1, allowed, settings, store: store.as_deref() };
        let heard = Cell::new(false);
        let client = self.pool.of(&endpoint, &endpoints);
        let exchange =
            send_once(&client, &endpoint, call.outgoing, call.context, &token, terms, &heard);
        let limit = self.stall_limit(call, number, &endpoints).filter(|limit| *limit < allowed);
        let sent = match limit {
            None => exchange.await,
            Some(limit) => {
                self.unless_silent(exchange, &heard, &endpoint, &endpoints, tried, limit).await
            }
        };
        let took = under_way.end(&sent, heard.get());
        if sent.is_ok() {
            self.learn(call.tool, took);
        }
        tried.push(endpoint.url.clone());
        sent.map_err(Ended::Missed)
    }

    /// Waits for the exchange; when it has been silent for `limit`, and another endpoint could
    /// take the call and the budget allows it, the exchange is given up.
    async fn unless_silent(
        &self,
        exchange: impl Future<Output = Result<Value, Missed>>,
        heard: &Cell<bool>,
        at: &Endpoint,
        endpoints: &[Arc<Endpoint>],
        tried: &[String],
        limit: Duration,
    ) -> Result<Value, Missed> {
        let mut exchange = pin!(exchange);
        let pause = (limit / LOOKS_PER_LIMIT).max(Duration::from_millis(10));
        let mut look = Instant::now() + limit;
        loop {
            tokio::select! {
                biased;
                sent = &mut exchange => return sent,
                () = tokio::time::sleep_until(look) => {}
            }
            if heard.get() {
                return exchange.await;
            }
            // If all are silent, it is not this endpoint that is sick.
            if another_could(endpoints, at, tried, limit)
                && self.directory.withdraw_retry(&self.service)
            {
                return Err(Missed::silent(&self.service, limit));
            }
            look += pause;
        }
    }

    /// How long an attempt may be silent; `None` when it may not move to another endpoint.
    fn stall_limit(
        &self,
        call: &Call<'_>,
        number: u32,
        endpoints: &[Arc<Endpoint>],
    ) -> Option<Duration> {
        let may_move = endpoints.len() > 1
            && number < call.retries
            && may_repeat(call.repeatable, Setback::Silent);
        may_move.then(|| {
            let usually = self.usual.borrow().get(call.tool).copied();
            stall_limit(self.settings.stall_timeout, self.settings.stall_factor, usually)
        })
    }

    fn learn(&self, tool: &str, took: Duration) {
        let mut known = self.usual.borrow_mut();
        if let Some(before) = known.get_mut(tool) {
            *before = usual(Some(*before), took);
        } else if known.len() < TOOLS_TIMED_MAX {
            known.insert(tool.to_owned(), took);
        }
    }

    fn out_of_time(&self) -> Missed {
        Missed::ours(
            Failure::new(Kind::Timeout, format!("no time left to ask {}", self.service))
                .of_service(&self.service),
        )
    }
}

/// An attempt under way at an endpoint, whichever way it ends.
struct UnderWay<'a> {
    endpoint: &'a Endpoint,
    permit: Option<Permit>,
    begun: Instant,
}

impl<'a> UnderWay<'a> {
    fn at(endpoint: &'a Endpoint, permit: Permit) -> Self {
        endpoint.begin();
        UnderWay { endpoint, permit: Some(permit), begun: Instant::now() }
    }

    /// It ended: tells the breaker and the balance; returns how long it took.
    fn end(mut self, sent: &Result<Value, Missed>, heard: bool) -> Duration {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.begun);
        let outcome = sent.as_ref().map_or_else(|missed| missed.outcome, |_| Outcome::Success);
        if outcome == Outcome::Failure {
            self.endpoint.failed(took, now);
        } else if heard {
            self.endpoint.took(took, now);
        }
        if let Some(permit) = self.permit.take() {
            permit.report(outcome, took);
        }
        took
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.endpoint.end();
    }
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
