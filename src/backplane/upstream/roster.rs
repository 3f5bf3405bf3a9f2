//! Which upstreams there are; they come and go while the process runs.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::watch;

use super::{Surroundings, Upstream, runtime::Runtime};
use crate::{contract::upstream::UpstreamSpec, domain::failure::Failure};

/// Upstreams one process may have.
pub const UPSTREAMS_MAX: usize = 1000;

/// The upstreams of this process.
#[derive(Clone)]
pub struct Upstreams {
    inner: Arc<Inner>,
}

struct Inner {
    all: RwLock<Arc<BTreeMap<String, Upstream>>>,
    generation: watch::Sender<u64>,
    surroundings: Surroundings,
    runtime: Runtime,
}

impl Upstreams {
    /// None yet, and the thread their connections will live on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(surroundings: Surroundings) -> io::Result<Self> {
        let inner = Inner {
            all: RwLock::default(),
            generation: watch::Sender::new(0),
            surroundings,
            runtime: Runtime::start()?,
        };
        Ok(Upstreams { inner: Arc::new(inner) })
    }

    /// Puts an upstream in, or in the place of the one of that name. What is under way with the old
    /// one goes on to its end; an equal one stays as it is.
    ///
    /// # Errors
    /// `validation_error`, when its settings are wrong; `overloaded`, when there are too many.
    pub fn put(&self, spec: UpstreamSpec) -> Result<Upstream, Failure> {
        if let Some(there) = self.get(&spec.name).filter(|there| *there.spec() == spec) {
            return Ok(there);
        }
        crate::backplane::config::check_upstream(&spec)?;
        let inner = &self.inner;
        let name = spec.name.clone();
        let made = Upstream::new(spec, inner.surroundings.clone(), inner.runtime.clone())?;
        let mut all = inner.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= UPSTREAMS_MAX && !all.contains_key(&name) {
            let message = format!("there are {UPSTREAMS_MAX} upstreams already");
            return Err(Failure::new(crate::domain::failure::Kind::Overloaded, message));
        }
        let mut next = BTreeMap::clone(&all);
        let old = next.insert(name.clone(), made.clone());
        *all = Arc::new(next);
        drop(all);
        inner.generation.send_modify(|generation| *generation += 1);
        let what = if old.is_some() { "replaced" } else { "added" };
        log::info!("upstream {what} upstream={name}");
        Ok(made)
    }

    /// Whether [`Upstreams::put`] would take it.
    ///
    /// # Errors
    /// `validation_error`, when its settings are wrong.
    pub fn check(&self, spec: &UpstreamSpec) -> Result<(), Failure> {
        crate::backplane::config::check_upstream(spec)?;
        let inner = &self.inner;
        Upstream::new(spec.clone(), inner.surroundings.clone(), inner.runtime.clone()).map(drop)
    }

    /// Takes an upstream out; whether it was there.
    pub fn remove(&self, name: &str) -> bool {
        let inner = &self.inner;
        let mut all = inner.all.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = BTreeMap::clone(&all);
        let old = next.remove(name);
        *all = Arc::new(next);
        drop(all);
        if old.is_none() {
            return false;
        }
        inner.generation.send_modify(|generation| *generation += 1);
        log::info!("upstream removed upstream={name}");
        true
    }

    /// Makes the upstreams of `specs` all there are.
    ///
    /// # Errors
    /// The first that is wrong; those before it are in their places, none is taken out.
    pub fn replace(&self, specs: Vec<UpstreamSpec>) -> Result<(), Failure> {
        let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
        for spec in specs {
            self.put(spec)?;
        }
        for name in self.all().keys().filter(|name| !names.contains(name)) {
            self.remove(name);
        }
        Ok(())
    }

    /// The upstream of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Upstream> {
        self.all().get(name).cloned()
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Arc<BTreeMap<String, Upstream>> {
        Arc::clone(&self.inner.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts the changes of this roster.
    #[must_use]
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.inner.generation.subscribe()
    }
}
