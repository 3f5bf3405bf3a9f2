//! What the data path knows of services: a snapshot of endpoints, read by every worker.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    backplane::{
        breaker::{BreakerCell, KeptBreaker},
        config::Calls,
    },
    domain::budget::RetryBudget,
};

/// Calls without an answer for this long have the endpoint checked.
const HANGS_AFTER: Duration = Duration::from_secs(2);
/// Over which time a budget's trickle fills it.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// One place a service can be called at.
pub struct Endpoint {
    /// The service's name.
    pub service: String,
    /// Its base URL, without a slash at the end.
    pub url: String,
    pub(super) breaker: KeptBreaker,
    outstanding: AtomicU32,
    usable: AtomicBool,
    /// When a call last began with none under way, or ended.
    progress: Mutex<Instant>,
}

impl Endpoint {
    pub(super) fn new(service: &str, url: &str, breaker: KeptBreaker) -> Self {
        Endpoint {
            service: service.to_owned(),
            url: url.to_owned(),
            breaker,
            outstanding: AtomicU32::new(0),
            usable: AtomicBool::new(true),
            progress: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn hold_for(&self, usable: bool) {
        self.usable.store(usable, Ordering::Relaxed);
    }

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
        if self.outstanding.fetch_add(1, Ordering::Relaxed) == 0 {
            self.progressed();
        }
    }

    pub(crate) fn end(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
        self.progressed();
    }

    fn progressed(&self) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether calls are under way and none has ended for a while: a sign of trouble.
    pub(super) fn hangs(&self, now: Instant) -> bool {
        let last = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        self.outstanding() > 0 && now.saturating_duration_since(last) > HANGS_AFTER
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

    /// Makes the snapshot say what the roster says; budgets of services that stay are kept.
    pub(super) fn publish(&self, roster: BTreeMap<String, Vec<Arc<Endpoint>>>, calls: &Calls) {
        let now = Instant::now();
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        shelves.retain(|service, _| roster.contains_key(service));
        for (service, endpoints) in roster {
            let shelf = shelves.entry(service).or_default();
            shelf.endpoints = endpoints.into();
            shelf.budget.get_or_insert_with(|| {
                Arc::new(Mutex::new(RetryBudget::new(
                    calls.retry_budget_ratio,
                    calls.retry_budget_floor,
                    BUDGET_WINDOW,
                    now,
                )))
            });
        }
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
