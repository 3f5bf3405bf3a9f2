//! The discovery actor: owns the roster of services and checks their health.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::prelude::*;
use awc::Client;
use tokio::time::Instant;

use crate::{
    answers_ping,
    backplane::{
        breaker::{BreakerActor, Force},
        config::{Calls, Services},
        discovery::{
            CheckNow, Deregister, Directory, Discovery, Endpoint, EndpointView, ForceBreakers,
            List, Register, Source, base_url,
        },
        keeper,
        metrics::Metrics,
        port::Port,
        vitals::House,
    },
    domain::{
        breaker::State,
        failure::{Failure, Kind},
        roster::Record,
    },
};

/// Services one process may know.
pub const SERVICES_MAX: usize = 256;
/// Endpoints one service may have.
pub const ENDPOINTS_MAX: usize = 64;
const QUESTIONS_AT_ONCE: usize = 64;
const QUESTION_DEADLINE: Duration = Duration::from_secs(5);
/// Checks of one endpoint under way at once: in doubt one that hangs does not hold up the next, so
/// that a return is noticed within a second.
const CHECKS_AT_ONCE: u32 = 5;
const CHECK_CONNECTIONS: usize = 5;
const HEALTH_BODY_MAX: usize = 262_144;
/// Two readings of one process's start may differ by this much.
const START_TOLERANCE: Duration = Duration::from_millis(500);

#[derive(Message)]
#[rtype(result = "()")]
struct Checked {
    service: String,
    url: String,
    asked: Instant,
    result: Result<Seen, String>,
}

/// What a health check that passed has seen.
struct Seen {
    latency: Duration,
    /// How long the process there has been up, if it says so.
    uptime: Option<Duration>,
    /// Which store it has, if it says so.
    store: Option<String>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

struct Entry {
    endpoint: Arc<Endpoint>,
    record: Record,
    source: Source,
    checks: u32,
    /// Its own connections, so that checks that hang hold up no other endpoint's.
    http: Client,
    /// When the process there started, as far as it says so.
    started: Option<Instant>,
    restarts: u32,
}

impl Entry {
    /// Notices that the process there is another one than last time.
    fn notice_restart(&mut self, uptime: Option<Duration>, now: Instant) {
        let Some(started) = uptime.and_then(|uptime| now.checked_sub(uptime)) else { return };
        let anew = self.started.is_some_and(|before| started > before + START_TOLERANCE);
        if anew {
            self.restarts = self.restarts.saturating_add(1);
            let Endpoint { service, url, .. } = self.endpoint.as_ref();
            log::warn!("endpoint has restarted service={service} url={url}");
        }
        if anew || self.started.is_none() {
            self.started = Some(started);
        }
    }
}

/// Owns the roster of services and checks their health.
pub struct DiscoveryActor {
    house: House,
    metrics: Metrics,
    calls: Arc<Calls>,
    interval: Duration,
    timeout: Duration,
    probe_interval: Duration,
    roster: BTreeMap<String, Vec<Entry>>,
    directory: Directory,
}

impl DiscoveryActor {
    /// Starts discovery on this arbiter.
    pub fn start(
        house: &House,
        metrics: &Metrics,
        calls: &Arc<Calls>,
        services: &Services,
    ) -> Discovery {
        let directory = Directory::default();
        let actor = DiscoveryActor {
            house: house.clone(),
            metrics: metrics.clone(),
            calls: Arc::clone(calls),
            interval: services.health_check_interval,
            timeout: services.health_check_timeout,
            probe_interval: services.probe_interval.max(Duration::from_millis(10)),
            roster: BTreeMap::new(),
            directory: directory.clone(),
        };
        let address = keeper::start(house, "discovery", |_| actor);
        Discovery {
            register: Port::to("discovery", &address, QUESTIONS_AT_ONCE, QUESTION_DEADLINE),
            deregister: Port::to("discovery", &address, QUESTIONS_AT_ONCE, QUESTION_DEADLINE),
            force: Port::to("discovery", &address, QUESTIONS_AT_ONCE, QUESTION_DEADLINE),
            list: Port::to("discovery", &address, QUESTIONS_AT_ONCE, QUESTION_DEADLINE),
            check: Port::to("discovery", &address, QUESTIONS_AT_ONCE, QUESTION_DEADLINE),
            directory,
        }
    }

    fn add(&mut self, service: &str, url: &str, source: Source) -> Result<(), Failure> {
        let too_many = |what: &str| Failure::new(Kind::Conflict, format!("too many {what}"));
        if !self.roster.contains_key(service) && self.roster.len() >= SERVICES_MAX {
            return Err(too_many("services"));
        }
        let entries = self.roster.entry(service.to_owned()).or_default();
        if entries.iter().any(|entry| entry.endpoint.url == url) {
            return Ok(());
        }
        if entries.len() >= ENDPOINTS_MAX {
            return Err(too_many("endpoints"));
        }
        let policy = self.calls.breaker();
        let breaker = BreakerActor::start(&self.house, &self.metrics, service, url, policy);
        let endpoint = Arc::new(Endpoint::new(service, url, breaker));
        let record = Record::unknown(Instant::now());
        entries.push(Entry {
            endpoint,
            record,
            source,
            checks: 0,
            http: crate::backplane::client::http_client(&self.calls, CHECK_CONNECTIONS),
            started: None,
            restarts: 0,
        });
        log::info!("endpoint registered service={service} url={url} source={}", source.as_str());
        Ok(())
    }

    fn remove(&mut self, service: &str, url: Option<&str>) -> Result<(), Failure> {
        let unknown = || Failure::not_found("service", service);
        let entries = self.roster.get_mut(service).ok_or_else(unknown)?;
        let before = entries.len();
        entries.retain(|entry| {
            let stays = url.is_some_and(|url| entry.endpoint.url != url);
            if !stays {
                entry.endpoint.retire();
            }
            stays
        });
        if entries.len() == before {
            return Err(unknown());
        }
        if entries.is_empty() {
            self.roster.remove(service);
        }
        log::info!("endpoint removed service={service} url={}", url.unwrap_or("all"));
        Ok(())
    }

    /// Makes the snapshot say what the roster says.
    fn publish(&self) {
        let endpoints = |entries: &Vec<Entry>| {
            entries.iter().map(|entry| Arc::clone(&entry.endpoint)).collect()
        };
        let roster =
            self.roster.iter().map(|(name, entries)| (name.clone(), endpoints(entries))).collect();
        self.directory.publish(roster, &self.calls);
    }

    /// Starts the checks that are due; their results come back as messages.
    fn check_due(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let back: Port<Checked> =
            Port::to("discovery", &ctx.address(), QUESTIONS_AT_ONCE, QUESTION_DEADLINE);
        for entry in self.roster.values_mut().flatten() {
            let trouble = entry.endpoint.breaker().state() != State::Closed
                || entry.endpoint.is_foreign()
                || entry.endpoint.is_suspected(now);
            let due = entry.record.due(trouble, self.interval, self.probe_interval, now);
            if entry.checks >= CHECKS_AT_ONCE || !due {
                continue;
            }
            entry.checks += 1;
            entry.record.asked(now);
            entry.endpoint.looked_into();
            let check = check_health(entry.http.clone(), entry.endpoint.url.clone(), self.timeout);
            let (service, url) = (entry.endpoint.service.clone(), entry.endpoint.url.clone());
            let back = back.clone();
            actix_rt::spawn(async move {
                let result = check.await;
                if let Err(failure) = back.tell(Checked { service, url, asked: now, result }) {
                    log::warn!("health check lost cause={failure}");
                }
            });
        }
    }

    fn take_check(&mut self, checked: Checked) {
        let Checked { service, url, asked, result } = checked;
        let found = self
            .roster
            .get_mut(&service)
            .and_then(|entries| entries.iter_mut().find(|entry| entry.endpoint.url == url));
        let Some(entry) = found else { return };
        entry.checks = entry.checks.saturating_sub(1);
        let now = Instant::now();
        entry.endpoint.breaker().checked(result.is_ok());
        if let Ok(seen) = &result {
            entry.notice_restart(seen.uptime, now);
            let bound = self.directory.store_of(&service);
            entry.endpoint.says(seen.store.as_deref(), bound.as_deref());
        }
        if entry.record.checked(asked, result.map(|seen| seen.latency), now) {
            let (status, reason) = (entry.record.status, entry.record.reason.as_str());
            let level = if status.usable() { log::Level::Info } else { log::Level::Warn };
            log::log!(
                level,
                "endpoint is {} service={service} url={url} reason={reason:?}",
                status.as_str()
            );
        }
        entry.endpoint.hold_for(entry.record.usable(entry.endpoint.breaker().state()));
    }

    fn view(&self) -> Vec<EndpointView> {
        let now = Instant::now();
        self.roster
            .values()
            .flatten()
            .map(|Entry { endpoint, record, source, restarts, .. }| EndpointView {
                restarts: *restarts,
                store: endpoint.store().map(|store| store.to_string()),
                foreign: endpoint.is_foreign(),
                service: endpoint.service.clone(),
                url: endpoint.url.clone(),
                source: *source,
                status: record.status,
                reason: record.reason.clone(),
                status_for: now.saturating_duration_since(record.since),
                last_success: record.last_success.map(|at| now.saturating_duration_since(at)),
                latency: record.latency,
                breaker: endpoint.breaker().view(),
                outstanding: endpoint.outstanding(),
            })
            .collect()
    }
}

impl Actor for DiscoveryActor {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        // A restart cancels checks under way: ask again.
        for entry in self.roster.values_mut().flatten() {
            entry.checks = 0;
        }
        ctx.notify_later(Tick, self.probe_interval.min(self.interval));
    }
}
impl Supervised for DiscoveryActor {}
answers_ping!(DiscoveryActor);

impl Handler<Tick> for DiscoveryActor {
    type Result = ();
    fn handle(&mut self, _: Tick, ctx: &mut Context<Self>) {
        self.check_due(ctx);
        let pause = self.probe_interval.min(self.interval);
        ctx.notify_later(Tick, pause.mul_f64(0.9 + fastrand::f64() * 0.2));
    }
}

impl Handler<Checked> for DiscoveryActor {
    type Result = ();
    fn handle(&mut self, checked: Checked, _: &mut Context<Self>) {
        self.take_check(checked);
    }
}

impl Handler<Register> for DiscoveryActor {
    type Result = Result<(), Failure>;
    fn handle(&mut self, register: Register, ctx: &mut Context<Self>) -> Self::Result {
        let urls: Vec<String> =
            register.urls.iter().map(|url| base_url(url)).collect::<Result<_, _>>()?;
        for url in urls {
            self.add(&register.service, &url, register.source)?;
        }
        self.publish();
        self.check_due(ctx);
        Ok(())
    }
}

impl Handler<Deregister> for DiscoveryActor {
    type Result = Result<(), Failure>;
    fn handle(&mut self, gone: Deregister, _: &mut Context<Self>) -> Self::Result {
        self.remove(&gone.service, gone.url.as_deref())?;
        self.publish();
        Ok(())
    }
}

impl Handler<ForceBreakers> for DiscoveryActor {
    type Result = Result<usize, Failure>;
    fn handle(&mut self, order: ForceBreakers, _: &mut Context<Self>) -> Self::Result {
        let entries = self
            .roster
            .get(&order.service)
            .ok_or_else(|| Failure::not_found("service", order.service.clone()))?;
        let meant: Vec<&Entry> = entries
            .iter()
            .filter(|entry| order.url.as_ref().is_none_or(|url| *url == entry.endpoint.url))
            .collect();
        for entry in &meant {
            entry.endpoint.breaker.force.tell(Force(order.forced))?;
        }
        Ok(meant.len())
    }
}

impl Handler<CheckNow> for DiscoveryActor {
    type Result = ();
    fn handle(&mut self, CheckNow { service }: CheckNow, ctx: &mut Context<Self>) {
        for entry in self.roster.get_mut(service).into_iter().flatten() {
            entry.record.check_soon();
        }
        self.check_due(ctx);
    }
}

impl Handler<List> for DiscoveryActor {
    type Result = Result<Vec<EndpointView>, Failure>;
    fn handle(&mut self, _: List, _: &mut Context<Self>) -> Self::Result {
        Ok(self.view())
    }
}

async fn check_health(http: Client, url: String, timeout: Duration) -> Result<Seen, String> {
    let begun = Instant::now();
    let exchange = async {
        let mut response =
            http.get(format!("{url}/health")).send().await.map_err(|error| error.to_string())?;
        let status = response.status();
        // Read to the end, so that the connection can be used again.
        let body =
            response.body().limit(HEALTH_BODY_MAX).await.map_err(|error| error.to_string())?;
        if status.is_success() { Ok(body) } else { Err(format!("answered {}", status.as_u16())) }
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(result) => result.map(|body| seen_in(&body, begun.elapsed())),
        Err(_elapsed) => Err(format!("no answer within {} ms", timeout.as_millis())),
    }
}

fn seen_in(body: &[u8], latency: Duration) -> Seen {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let uptime = body.get("uptime_seconds").and_then(serde_json::Value::as_f64);
    let store = body.pointer("/components/database/store_id").and_then(serde_json::Value::as_str);
    Seen {
        latency,
        uptime: uptime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        store: store.map(str::to_owned),
    }
}
