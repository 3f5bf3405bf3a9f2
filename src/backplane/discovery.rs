//! Discovery: which services there are, where, and how healthy; the same in every process.
//!
//! The actor owns the truth and the health loop. The data path reads a [`Directory`]: a snapshot
//! of endpoints, shared, changed only when endpoints come or go.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use actix::prelude::*;
use awc::Client;
use tokio::time::Instant;

use crate::{
    answers_ping,
    backplane::{
        breaker::{BreakerActor, BreakerCell, BreakerView, Force, KeptBreaker},
        clock,
        config::{Calls, Services},
        keeper,
        metrics::Metrics,
        port::Port,
        vitals::House,
    },
    domain::{
        breaker::{Forced, State},
        budget::RetryBudget,
        failure::{Failure, Kind},
        roster::{Record, Status},
    },
};

/// Services one process may know.
pub const SERVICES_MAX: usize = 256;
/// Endpoints one service may have.
pub const ENDPOINTS_MAX: usize = 64;
const QUESTIONS_AT_ONCE: usize = 64;
const QUESTION_DEADLINE: Duration = Duration::from_secs(5);
const HEALTH_BODY_MAX: usize = 262_144;
/// Two readings of one process's start may differ by this much.
const START_TOLERANCE: Duration = Duration::from_millis(500);

/// One place a service can be called at.
pub struct Endpoint {
    /// The service's name.
    pub service: String,
    /// Its base URL, without a slash at the end.
    pub url: String,
    breaker: KeptBreaker,
    outstanding: AtomicU32,
    usable: AtomicBool,
}

impl Endpoint {
    /// Its circuit breaker.
    #[must_use]
    pub fn breaker(&self) -> &Arc<BreakerCell> {
        &self.breaker.cell
    }

    /// Calls under way to it, from all workers.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Whether discovery holds it for reachable.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Shelf {
    endpoints: Arc<[Arc<Endpoint>]>,
    budget: Option<Arc<Mutex<RetryBudget>>>,
}

/// What the data path knows of services. Cheap to clone.
#[derive(Clone, Default)]
pub struct Directory {
    shelves: Arc<RwLock<BTreeMap<String, Shelf>>>,
}

impl Directory {
    /// Whether there is a service of that name.
    #[must_use]
    pub fn knows(&self, service: &str) -> bool {
        self.read(|shelves| shelves.contains_key(service))
    }

    /// The endpoints of a service; none when it is not known.
    #[must_use]
    pub fn endpoints(&self, service: &str) -> Arc<[Arc<Endpoint>]> {
        self.read(|shelves| {
            shelves.get(service).map(|shelf| Arc::clone(&shelf.endpoints)).unwrap_or_default()
        })
    }

    /// A first attempt goes to the service.
    pub fn deposit_first(&self, service: &str) {
        self.with_budget(service, |budget| budget.deposit(Instant::now()));
    }

    /// May a retry go to the service?
    #[must_use]
    pub fn withdraw_retry(&self, service: &str) -> bool {
        self.with_budget(service, |budget| budget.withdraw(Instant::now())).unwrap_or(false)
    }

    fn with_budget<T>(&self, service: &str, use_: impl FnOnce(&mut RetryBudget) -> T) -> Option<T> {
        let budget = self.read(|shelves| shelves.get(service)?.budget.clone())?;
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
        Some(use_(&mut budget))
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<String, Shelf>) -> T) -> T {
        look(&self.shelves.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where an endpoint was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An environment variable or flag.
    Environment,
    /// The YAML file.
    File,
    /// Registered while the process ran.
    Runtime,
}

impl Source {
    /// The word shown to people and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Environment => "environment",
            Source::File => "file",
            Source::Runtime => "runtime",
        }
    }
}

/// Adds endpoints to a service; it exists from then on. Checked at once.
#[derive(Message)]
#[rtype(result = "Result<(), Failure>")]
pub struct Register {
    /// The service.
    pub service: String,
    /// Base URLs.
    pub urls: Vec<String>,
    /// Where they were named.
    pub source: Source,
}

/// Takes a service out, or one endpoint of it.
#[derive(Message)]
#[rtype(result = "Result<(), Failure>")]
pub struct Deregister {
    /// The service.
    pub service: String,
    /// The endpoint; `None` takes out all.
    pub url: Option<String>,
}

/// Forces the breakers of a service, or lifts that.
#[derive(Message)]
#[rtype(result = "Result<usize, Failure>")]
pub struct ForceBreakers {
    /// The service.
    pub service: String,
    /// The endpoint; `None` means all.
    pub url: Option<String>,
    /// The order.
    pub forced: Option<Forced>,
}

/// Asks for everything known.
#[derive(Message)]
#[rtype(result = "Result<Vec<EndpointView>, Failure>")]
pub struct List;

/// What is known of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// The service.
    pub service: String,
    /// Base URL.
    pub url: String,
    /// Where it was named.
    pub source: Source,
    /// What it is held for.
    pub status: Status,
    /// Why, when not healthy.
    pub reason: String,
    /// For how long.
    pub status_for: Duration,
    /// How long ago a check last passed.
    pub last_success: Option<Duration>,
    /// How long the last check took.
    pub latency: Option<Duration>,
    /// Its breaker.
    pub breaker: BreakerView,
    /// Calls under way.
    pub outstanding: u32,
    /// Times the process there was seen to have started anew.
    pub restarts: u32,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Checked {
    service: String,
    url: String,
    result: Result<Seen, String>,
}

/// What a health check that passed has seen.
struct Seen {
    latency: Duration,
    /// How long the process there has been up, if it says so.
    uptime: Option<Duration>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

/// Everything one may ask of discovery.
#[derive(Clone)]
pub struct Discovery {
    /// Adds endpoints.
    pub register: Port<Register>,
    /// Takes them out.
    pub deregister: Port<Deregister>,
    /// Forces breakers.
    pub force: Port<ForceBreakers>,
    /// Lists everything.
    pub list: Port<List>,
    /// The snapshot for the data path.
    pub directory: Directory,
}

struct Entry {
    endpoint: Arc<Endpoint>,
    record: Record,
    source: Source,
    checking: bool,
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
    http: Client,
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
            http: crate::backplane::client::http_client(calls),
            roster: BTreeMap::new(),
            directory: directory.clone(),
        };
        let address = keeper::start(house, "discovery", |_| actor);
        Discovery {
            register: Port::to("discovery", &address, QUESTIONS_AT_ONCE, QUESTION_DEADLINE),
            deregister: Port::to("discovery", &address, QUESTIONS_AT_ONCE, QUESTION_DEADLINE),
            force: Port::to("discovery", &address, QUESTIONS_AT_ONCE, QUESTION_DEADLINE),
            list: Port::to("discovery", &address, QUESTIONS_AT_ONCE, QUESTION_DEADLINE),
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
        let endpoint = Arc::new(Endpoint {
            service: service.to_owned(),
            url: url.to_owned(),
            breaker: BreakerActor::start(&self.house, &self.metrics, service, url, policy),
            outstanding: AtomicU32::new(0),
            usable: AtomicBool::new(true),
        });
        let record = Record::unknown(Instant::now());
        entries.push(Entry {
            endpoint,
            record,
            source,
            checking: false,
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
        entries.retain(|entry| url.is_some_and(|url| entry.endpoint.url != url));
        if entries.len() == before {
            return Err(unknown());
        }
        if entries.is_empty() {
            self.roster.remove(service);
        }
        log::info!("endpoint removed service={service} url={}", url.unwrap_or("all"));
        Ok(())
    }

    /// Makes the snapshot say what the roster says; budgets of services that stay are kept.
    fn publish(&self) {
        let now = Instant::now();
        let mut shelves = self.directory.shelves.write().unwrap_or_else(PoisonError::into_inner);
        shelves.retain(|service, _| self.roster.contains_key(service));
        for (service, entries) in &self.roster {
            let shelf = shelves.entry(service.clone()).or_default();
            shelf.endpoints = entries.iter().map(|entry| Arc::clone(&entry.endpoint)).collect();
            shelf.budget.get_or_insert_with(|| {
                Arc::new(Mutex::new(RetryBudget::new(
                    self.calls.retry_budget_ratio,
                    self.calls.retry_budget_floor,
                    Duration::from_secs(10),
                    now,
                )))
            });
        }
    }

    /// Starts the checks that are due; their results come back as messages.
    fn check_due(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let back: Port<Checked> =
            Port::to("discovery", &ctx.address(), QUESTIONS_AT_ONCE, QUESTION_DEADLINE);
        for entry in self.roster.values_mut().flatten() {
            let trouble = entry.endpoint.breaker().view().state == State::Open;
            let due = entry.record.due(trouble, self.interval, self.probe_interval, now);
            if entry.checking || !due {
                continue;
            }
            entry.checking = true;
            let check = check_health(self.http.clone(), entry.endpoint.url.clone(), self.timeout);
            let (service, url) = (entry.endpoint.service.clone(), entry.endpoint.url.clone());
            let back = back.clone();
            actix_rt::spawn(async move {
                let result = check.await;
                if let Err(failure) = back.tell(Checked { service, url, result }) {
                    log::warn!("health check lost cause={failure}");
                }
            });
        }
    }

    fn take_check(&mut self, checked: Checked) {
        let Checked { service, url, result } = checked;
        let found = self
            .roster
            .get_mut(&service)
            .and_then(|entries| entries.iter_mut().find(|entry| entry.endpoint.url == url));
        let Some(entry) = found else { return };
        entry.checking = false;
        let now = Instant::now();
        if let Ok(seen) = &result {
            entry.endpoint.breaker().hint_recovered();
            entry.notice_restart(seen.uptime, now);
        }
        if entry.record.checked(result.map(|seen| seen.latency), now) {
            let (status, reason) = (entry.record.status, entry.record.reason.as_str());
            let level = if status.usable() { log::Level::Info } else { log::Level::Warn };
            log::log!(
                level,
                "endpoint is {} service={service} url={url} reason={reason:?}",
                status.as_str()
            );
        }
        entry.endpoint.usable.store(entry.record.status.usable(), Ordering::Relaxed);
    }

    fn view(&self) -> Vec<EndpointView> {
        let now = Instant::now();
        self.roster
            .values()
            .flatten()
            .map(|Entry { endpoint, record, source, restarts, .. }| EndpointView {
                restarts: *restarts,
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
            entry.checking = false;
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
        for url in &register.urls {
            let url = base_url(url)?;
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
        if status.is_success() {
            Ok(uptime_in(&body))
        } else {
            Err(format!("answered {}", status.as_u16()))
        }
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(result) => result.map(|uptime| Seen { latency: begun.elapsed(), uptime }),
        Err(_elapsed) => Err(format!("no answer within {} ms", timeout.as_millis())),
    }
}

fn uptime_in(body: &[u8]) -> Option<Duration> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Duration::try_from_secs_f64(body.get("uptime_seconds")?.as_f64()?).ok()
}

/// A URL as an endpoint's base: `http`, a host, no query, no slash at the end.
///
/// # Errors
/// `validation_error` that says what is wrong.
pub fn base_url(text: &str) -> Result<String, Failure> {
    let wrong =
        |why: &str| Failure::invalid_field("endpoint", format!("{text:?} {why}"), "value_error");
    let trimmed = text.trim().trim_end_matches('/');
    let uri: awc::http::Uri = trimmed.parse().map_err(|_no_uri| wrong("is no URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(wrong("has the scheme https, which calls do not speak yet")),
        _ => return Err(wrong("must begin with http://")),
    }
    if uri.host().unwrap_or_default().is_empty() || uri.query().is_some() {
        return Err(wrong("must be a host with an optional path"));
    }
    Ok(trimmed.to_owned())
}

/// The services named in the environment and the YAML file, in that order; of memory and cognition
/// those that are `needed`.
///
/// # Errors
/// A sentence naming the variable that is wrong.
pub fn configured(services: &Services, needed: &[&str]) -> Result<Vec<Register>, String> {
    let mut found: Vec<Register> = Vec::new();
    let named = [
        ("memory", "MEMORY_SERVICE_URL", &services.memory_service_url),
        ("cognition", "COGNITION_SERVICE_URL", &services.cognition_service_url),
    ];
    for (service, variable, urls) in named {
        if needed.contains(&service) {
            found.push(split_urls(service, variable, urls, Source::Environment)?);
        }
    }
    for (service, urls) in &services.prefixed {
        let variable = format!("SERVICE_{}", service.to_uppercase());
        found.push(split_urls(service, &variable, urls, Source::Environment)?);
    }
    if let Some(path) = &services.service_discovery_config {
        let variable = "SERVICE_DISCOVERY_CONFIG";
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{variable}: {}: {error}", path.display()))?;
        let file: ServicesFile = serde_saphyr::from_str(&text)
            .map_err(|error| format!("{variable}: {}: {error}", path.display()))?;
        for (service, urls) in file.services {
            let urls = match urls {
                Urls::One(url) => url,
                Urls::Many(urls) => urls.join(","),
            };
            found.push(split_urls(&service, variable, &urls, Source::File)?);
        }
    }
    Ok(found)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ServicesFile {
    #[serde(default)]
    services: BTreeMap<String, Urls>,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Urls {
    One(String),
    Many(Vec<String>),
}

fn split_urls(
    service: &str,
    variable: &str,
    urls: &str,
    source: Source,
) -> Result<Register, String> {
    let urls: Vec<String> = urls
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .map(|url| base_url(url).map_err(|failure| format!("{variable}: {failure}")))
        .collect::<Result<_, _>>()?;
    if urls.is_empty() {
        return Err(format!("{variable}: no URL"));
    }
    Ok(Register { service: service.to_owned(), urls, source })
}

/// How long ago `ago` was, as a moment on the calendar.
#[must_use]
pub fn moment(ago: Duration) -> String {
    let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    clock::rfc3339(clock::now_micros().saturating_sub(micros))
}
