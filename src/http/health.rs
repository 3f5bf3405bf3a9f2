//! `/health`, `/metrics` and their kin, the same on every process.

use std::{collections::BTreeMap, time::Duration};

use actix_web::{
    HttpResponse,
    http::{Method, StatusCode, header},
    web::{self, Data, ServiceConfig},
};
use serde_json::json;

use crate::{
    backplane::{
        breaker::PastTransition,
        clock,
        database::Database,
        discovery::{Discovery, EndpointView, List, moment},
        drain::Drain,
        metrics::Metrics,
        vitals::{House, Life, VitalSigns},
    },
    contract::health::{
        ActorHealth, BreakerHealth, Component, EndpointHealth, Health, ServiceHealth,
        TransitionHealth,
    },
    domain::{
        breaker::{Forced, State, Transition},
        failure::Failure,
        roster::Status,
    },
    http::routes,
    services::{
        cognition::index::{Condition, Index},
        conversation::{
            follower,
            outbox::{self, Outbox},
        },
        memory::writer::Writer,
    },
};

/// The version of this binary.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Pings in a row an actor may miss before it counts as stuck.
const PINGS_MISSED_MAX: u32 = 2;

/// What a process can say about itself, as application data.
#[derive(Clone)]
pub struct Reporter {
    /// The role.
    pub service: &'static str,
    /// The name shown at `/`.
    pub title: &'static str,
    /// Its actors.
    pub house: House,
    /// The services it uses.
    pub discovery: Discovery,
    /// Its store, if it has one.
    pub database: Option<Database>,
    /// Its store's writer, if it has one of its own.
    pub writer: Option<Writer>,
    /// Its outbox, if it has one.
    pub outbox: Option<Outbox>,
    /// Why the log it follows is not followed at the moment, if it follows one.
    pub log: Option<follower::Trouble>,
    /// Its index of memory's log, if it has one.
    pub index: Option<Index>,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether it is leaving.
    pub drain: Drain,
}

/// The routes. `/` is the process's own.
pub fn configure(config: &mut ServiceConfig) {
    config
        .service(routes::at("/health", vec![(Method::GET, web::to(health))]))
        .service(routes::at("/health/live", vec![(Method::GET, web::to(live))]))
        .service(routes::at("/health/ready", vec![(Method::GET, web::to(ready))]))
        .service(routes::at("/metrics", vec![(Method::GET, web::to(metrics))]));
}

/// `GET /health`: 200 while the process can do its work, even if a service it uses is down.
pub async fn health(reporter: Data<Reporter>) -> HttpResponse {
    let health = reporter.report().await;
    let status =
        if health.status == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    HttpResponse::build(status).json(health)
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

async fn ready(reporter: Data<Reporter>) -> HttpResponse {
    let (_, mut reasons) = reporter.own_components().await;
    if reporter.drain.is_leaving() {
        reasons.push("leaving".to_owned());
    }
    if let Some(doom) = reporter.house.doom().borrow().clone() {
        reasons.push(doom);
    }
    if reasons.is_empty() {
        HttpResponse::Ok().json(json!({ "status": "ready" }))
    } else {
        HttpResponse::ServiceUnavailable()
            .json(json!({ "status": "not ready", "reasons": reasons }))
    }
}

async fn metrics(reporter: Data<Reporter>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ))
        .body(reporter.metrics.render(&reporter.house))
}

impl Reporter {
    /// Everything this process can say about its health.
    pub async fn report(&self) -> Health {
        let (mut components, mut broken) = self.own_components().await;
        let signs = self.house.signs();
        let mut reasons = Vec::new();
        if let Some(outbox) = &self.outbox {
            let (component, reason) = outbox_health(outbox.state().await);
            components.insert("outbox".to_owned(), component);
            reasons.extend(reason);
        }
        if let Some(index) = &self.index {
            let (component, reason) = index_health(index.condition());
            components.insert("index".to_owned(), component);
            reasons.extend(reason);
        }
        if let Some(doom) = self.house.doom().borrow().clone() {
            broken.push(doom);
        }
        for sign in &signs {
            if sign.unanswered >= PINGS_MISSED_MAX {
                reasons.push(format!("{} does not answer", sign.name));
            } else if sign.life == Life::Restarting {
                reasons.push(format!("{} is restarting", sign.name));
            }
        }
        let dependent_services = match self.discovery.list.ask(List).await {
            Ok(endpoints) => {
                let foreign = endpoints.iter().filter(|endpoint| endpoint.foreign);
                reasons.extend(foreign.map(|one| format!("{}: {}", one.url, strange(one))));
                by_service(endpoints)
            }
            Err(failure) => {
                reasons.push(failure.to_string());
                BTreeMap::new()
            }
        };
        for (name, service) in &dependent_services {
            if service.status != "healthy" && service.status != "unknown" {
                reasons.push(format!("{name} is {}", service.status));
            }
        }
        // Where memory is away that is said already.
        let there = |name: &str| reasons.iter().all(|reason| !reason.starts_with(name));
        if let Some(trouble) = self.log.as_ref().and_then(|log| log.borrow().clone())
            && there("memory is")
        {
            reasons.push(format!("the log of memory is not followed: {trouble}"));
        }
        if self.drain.is_leaving() {
            reasons.push("leaving".to_owned());
        }
        let status = match (broken.is_empty(), reasons.is_empty()) {
            (false, _) => "unhealthy",
            (true, false) => "degraded",
            (true, true) => "healthy",
        };
        broken.append(&mut reasons);
        Health {
            status: status.to_owned(),
            service: self.service.to_owned(),
            version: VERSION.to_owned(),
            pid: std::process::id(),
            timestamp: clock::now_rfc3339(),
            uptime_seconds: self.house.uptime().as_secs_f64(),
            reasons: broken,
            components,
            dependent_services,
            actors: signs.into_iter().map(actor_health).collect(),
        }
    }

    /// The process's own parts, and what is wrong with them.
    async fn own_components(&self) -> (BTreeMap<String, Component>, Vec<String>) {
        let mut components = BTreeMap::new();
        let mut broken = Vec::new();
        if let Some(writer) = &self.writer {
            let trouble = writer.trouble().await;
            if let Some(trouble) = &trouble {
                broken.push(format!("writer: {trouble}"));
            }
            let status = if trouble.is_none() { "healthy" } else { "unhealthy" };
            let component =
                Component { status: status.to_owned(), error: trouble, ..Component::default() };
            components.insert("writer".to_owned(), component);
        }
        if let Some(database) = &self.database {
            let component = match database.check().await {
                Ok(bytes) => Component {
                    status: "healthy".to_owned(),
                    size_bytes: Some(bytes),
                    store_id: self.writer.as_ref().map(|writer| writer.store_id().to_string()),
                    ..Component::default()
                },
                Err(failure) => {
                    broken.push(format!("database: {failure}"));
                    Component {
                        status: "unhealthy".to_owned(),
                        error: Some(failure.to_string()),
                        ..Component::default()
                    }
                }
            };
            components.insert("database".to_owned(), component);
        }
        (components, broken)
    }
}

/// The outbox as a component, and what about it is worth a reason. Only a broken one is unhealthy:
/// a full one does what it is for.
fn outbox_health(state: Result<outbox::State, Failure>) -> (Component, Option<String>) {
    let state = match state {
        Ok(state) => state,
        Err(failure) => {
            let error = failure.to_string();
            let status = "unhealthy".to_owned();
            let reason = format!("outbox: {error}");
            let component = Component { status, error: Some(error), ..Component::default() };
            return (component, Some(reason));
        }
    };
    let oldest_seconds = state.oldest.map(|age| age.as_secs_f64());
    let mut reasons = Vec::new();
    if state.load.entries > 0 {
        let oldest = oldest_seconds.unwrap_or_default();
        let inputs = state.load.entries;
        let cause = state.trouble.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        reasons.push(format!(
            "{inputs} inputs wait in the outbox, the oldest for {oldest:.0} s{cause}"
        ));
    }
    if state.refused > 0 {
        let (refused, most) = (state.refused, state.refused_max);
        let full = if refused < most { "" } else { ": it takes no more" };
        reasons.push(format!(
            "memory refused {refused} inputs of the outbox for good, of at most {most}{full} (see \
             `cortex outbox`)"
        ));
    }
    if state.held > 0 {
        let (held, why) = (state.held, state.held_because.as_deref().unwrap_or_default());
        reasons.push(format!(
            "memory fails at an input in {held} conversations, which are passed over (see `cortex \
             outbox`): {why}"
        ));
    }
    let component = Component {
        status: "healthy".to_owned(),
        error: state.trouble,
        size_bytes: u64::try_from(state.load.bytes).ok(),
        entries: Some(state.load.entries),
        oldest_seconds,
        refused: u64::try_from(state.refused).ok(),
        held: (state.held > 0).then_some(state.held),
        ..Component::default()
    };
    (component, (!reasons.is_empty()).then(|| reasons.join("; ")))
}

/// The index as a component, and what about it is worth a reason: answers go on from what it has.
fn index_health(condition: Condition) -> (Component, Option<String>) {
    let Condition { position, behind, items, bytes, trouble, far_behind, .. } = condition;
    let reason = match (&trouble, far_behind) {
        (Some(trouble), _) => Some(format!("index: {trouble}")),
        (None, true) => Some(format!("the index is {behind} entries behind memory")),
        (None, false) => None,
    };
    let status = if trouble.is_none() { "healthy" } else { "unhealthy" };
    let component = Component {
        status: status.to_owned(),
        error: trouble,
        size_bytes: Some(bytes),
        entries: usize::try_from(items).ok(),
        position: Some(position),
        behind: Some(behind),
        ..Component::default()
    };
    (component, reason)
}

fn by_service(endpoints: Vec<EndpointView>) -> BTreeMap<String, ServiceHealth> {
    let mut services: BTreeMap<String, ServiceHealth> = BTreeMap::new();
    for view in endpoints {
        let service = services
            .entry(view.service.clone())
            .or_insert_with(|| ServiceHealth { status: String::new(), endpoints: Vec::new() });
        service.endpoints.push(endpoint_health(view));
    }
    for service in services.values_mut() {
        service.status = overall(&service.endpoints).to_owned();
    }
    services
}

/// The best an endpoint offers: one healthy endpoint makes a healthy service. An endpoint behind
/// an open breaker offers nothing, until a passed health check lets the next call through.
fn overall(endpoints: &[EndpointHealth]) -> &'static str {
    let offers = |status: &str| {
        let shut = |breaker: &BreakerHealth| {
            breaker.state == State::Open.as_str()
                && breaker.next_probe_seconds.is_none_or(|seconds| seconds > 0.0)
        };
        endpoints.iter().any(|e| e.status == status && !shut(&e.breaker))
    };
    ["healthy", "unknown", "suspect"]
        .into_iter()
        .find(|status| offers(status))
        .unwrap_or("unavailable")
}

/// What is wrong with an endpoint that has another store, and what to do about it.
fn strange(view: &EndpointView) -> String {
    let store = view.store.as_deref().unwrap_or("another one");
    format!(
        "its store is {store}, not the one that was followed so far; it is not used (to follow it \
         from now on, start core with MEMORY_STORE_ID={store})"
    )
}

fn endpoint_health(view: EndpointView) -> EndpointHealth {
    let (status, reason) = match view.foreign {
        true => (Status::Unhealthy, strange(&view)),
        false => (view.status, view.reason),
    };
    EndpointHealth {
        store_id: view.store,
        url: view.url,
        source: view.source.as_str().to_owned(),
        status: status.as_str().to_owned(),
        reason,
        since: moment(view.status_for),
        last_success: view.last_success.map(moment),
        latency_ms: view.latency.map(millis),
        outstanding: view.outstanding,
        restarts: view.restarts,
        breaker: BreakerHealth {
            state: view.breaker.state.as_str().to_owned(),
            since: moment(view.breaker.for_),
            failures: view.breaker.failures,
            forced: view.breaker.forced.map(|forced| match forced {
                Forced::Open => "open".to_owned(),
                Forced::Closed => "closed".to_owned(),
            }),
            window_calls: view.breaker.tally.calls,
            window_bad: view.breaker.tally.bad,
            next_probe_seconds: view.breaker.next_probe.map(|wait| wait.as_secs_f64()),
            transitions: view.breaker.past.into_iter().map(transition_health).collect(),
        },
    }
}

fn transition_health(past: PastTransition) -> TransitionHealth {
    let Transition { from, to, reason } = past.transition;
    TransitionHealth {
        at: past.at,
        from: from.as_str().to_owned(),
        to: to.as_str().to_owned(),
        reason: reason.to_owned(),
    }
}

fn actor_health(signs: VitalSigns) -> ActorHealth {
    ActorHealth {
        name: signs.name,
        state: signs.life.as_str().to_owned(),
        restarts: signs.restarts,
        last_cause: signs.last_cause,
        mailbox_latency_ms: signs.mailbox_latency.map(millis),
        unanswered_pings: signs.unanswered,
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(status: &str, breaker: State) -> EndpointHealth {
        EndpointHealth {
            url: String::new(),
            source: String::new(),
            status: status.to_owned(),
            reason: String::new(),
            since: String::new(),
            last_success: None,
            latency_ms: None,
            outstanding: 0,
            restarts: 0,
            store_id: None,
            breaker: BreakerHealth {
                state: breaker.as_str().to_owned(),
                since: String::new(),
                failures: 0,
                forced: None,
                window_calls: 0,
                window_bad: 0,
                next_probe_seconds: None,
                transitions: Vec::new(),
            },
        }
    }

    #[test]
    fn one_healthy_endpoint_makes_a_healthy_service_unless_its_breaker_is_open() {
        let sick = || endpoint("unhealthy", State::Closed);
        assert_eq!(overall(&[sick(), endpoint("healthy", State::Closed)]), "healthy");
        assert_eq!(overall(&[sick(), endpoint("healthy", State::Open)]), "unavailable");
        assert_eq!(overall(&[sick()]), "unavailable");
        assert_eq!(overall(&[endpoint("unknown", State::Closed)]), "unknown");
    }
}
