//! What the data path knows of services: a snapshot of endpoints, read by every worker.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use tokio::time::Instant;

use super::Endpoint;
use crate::{
    backplane::{config::Calls, locks::lock},
    domain::budget::RetryBudget,
};

/// Over which time a budget's trickle fills it.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Shelf {
    endpoints: Arc<[Arc<Endpoint>]>,
    budget: Option<Arc<Mutex<RetryBudget>>>,
}

/// What the data path knows of services. Cheap to clone.
#[derive(Clone, Default)]
pub struct Directory {
    shelves: Arc<RwLock<BTreeMap<String, Shelf>>>,
    /// The stores this process has bound itself to, by service.
    bound: Arc<RwLock<BTreeMap<String, Arc<str>>>>,
}

impl Directory {
    /// Whether there is a service of that name.
    #[must_use]
    pub fn knows(&self, service: &str) -> bool {
        self.read(|shelves| shelves.contains_key(service))
    }

    /// The services there are, in the order of their names.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        self.read(|shelves| shelves.keys().cloned().collect())
    }

    /// The endpoints of a service; none when it is not known.
    #[must_use]
    pub fn endpoints(&self, service: &str) -> Arc<[Arc<Endpoint>]> {
        self.read(|shelves| {
            shelves.get(service).map(|shelf| Arc::clone(&shelf.endpoints)).unwrap_or_default()
        })
    }

    /// The store of a service that this process has bound itself to, if any.
    #[must_use]
    pub fn store_of(&self, service: &str) -> Option<Arc<str>> {
        reading(&self.bound).get(service).cloned()
    }

    /// Binds this process to a store of a service: endpoints that have another are not used.
    pub fn bind(&self, service: &str, store: &str) {
        let bound: Arc<str> = store.into();
        let mut all = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(service.to_owned(), Arc::clone(&bound));
        drop(all);
        for endpoint in self.endpoints(service).iter() {
            endpoint.judge(Some(&bound));
        }
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
        Some(use_(&mut lock(&budget)))
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<String, Shelf>) -> T) -> T {
        look(&reading(&self.shelves))
    }
}

fn reading<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
