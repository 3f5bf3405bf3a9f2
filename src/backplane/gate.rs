//! A door to blocking work: only so many may be inside, the rest wait for a bounded time.
//!
//! Without it a slow disk would fill every blocking thread of a worker, and then the worker.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, TryAcquireError, mpsc, oneshot},
    time::Instant,
};

use crate::{
    backplane::{context, keeper::panic_text, locks::lock},
    domain::failure::{Failure, Kind},
};

/// Bounds how much blocking work of one kind is under way. Cheap to clone; clones share the bound.
#[derive(Clone, Debug)]
pub struct Gate {
    name: &'static str,
    places: Arc<Semaphore>,
    patience: Duration,
    own: Option<mpsc::Sender<Job>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Gate {
    /// A gate with `places`, before which callers wait at most `patience`.
    #[must_use]
    pub fn new(name: &'static str, places: usize, patience: Duration) -> Self {
        Gate { name, places: Arc::new(Semaphore::new(places)), patience, own: None }
    }

    /// A gate whose work runs on threads of its own, one for each place, instead of on whichever
    /// is free: for work that takes much memory, which the allocator keeps for each thread that
    /// ever did it.
    ///
    /// # Errors
    /// `internal_error` when the threads cannot be started.
    pub fn with_threads(
        name: &'static str,
        places: usize,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let (own, jobs) = mpsc::channel(places.max(1));
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..places {
            let jobs: Arc<Mutex<mpsc::Receiver<Job>>> = Arc::clone(&jobs);
            let next = move || lock(&jobs).blocking_recv();
            let work = move || {
                while let Some(job) = next() {
                    job();
                }
            };
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
                Failure::new(Kind::Internal, format!("thread not started: {error}"))
            })?;
        }
        Ok(Gate { own: Some(own), ..Gate::new(name, places, patience) })
    }

    /// Runs `work` on a blocking thread once there is a place; also says how long it waited. The
    /// place is held until the work is done, even when the caller has gone.
    ///
    /// # Errors
    /// `overloaded` when no place came free in time, `internal_error` when the work panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(Duration) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let asked = Instant::now();
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(TryAcquireError::Closed) => return Err(self.full()),
            Err(TryAcquireError::NoPermits) => {
                let patience =
                    context::current().map_or(self.patience, |c| c.remaining().min(self.patience));
                tokio::time::timeout(patience, Arc::clone(&self.places).acquire_owned())
                    .await
                    .map_err(|_elapsed| self.full())?
                    .map_err(|_closed| self.full())?
            }
        };
        let waited = asked.elapsed();
        let context = context::current();
        let work = move || {
            let _place = place;
            match context {
                Some(context) => context.scope_sync(|| work(waited)),
                None => work(waited),
            }
        };
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Kind::Internal, format!("{} failed: {error}", self.name))
        };
        let Some(own) = &self.own else {
            return tokio::task::spawn_blocking(work).await.map_err(|error| failed(&error));
        };
        let (done, result) = oneshot::channel();
        let job = move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            if done.send(result).is_err() {
                log::debug!("blocking work was done for nobody");
            }
        };
        own.send(Box::new(job)).await.map_err(|error| failed(&error))?;
        match result.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => Err(failed(&panic_text(panic.as_ref()))),
            Err(error) => Err(failed(&error)),
        }
    }

    fn full(&self) -> Failure {
        Failure::new(Kind::Overloaded, format!("{} is busy", self.name))
            .retry_after(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_beyond_the_places_waits_and_is_refused_after_its_patience() {
        let gate = Gate::new("disk", 1, Duration::ZERO);
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let inside = tokio::spawn({
            let gate = gate.clone();
            async move { gate.run(move |_| held.recv().is_ok()).await }
        });
        while gate.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.run(|_| ()).await.unwrap_err().kind, Kind::Overloaded);
        hold.send(()).unwrap();
        assert_eq!(inside.await.unwrap(), Ok(true));
        assert_eq!(gate.run(|_| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_inside_costs_only_its_own_call() {
        let patience = Duration::from_secs(1);
        for gate in
            [Gate::new("disk", 1, patience), Gate::with_threads("own", 1, patience).unwrap()]
        {
            let fallen: Result<(), Failure> = gate.run(|_| panic!("on purpose")).await;
            assert_eq!(fallen.unwrap_err().kind, Kind::Internal);
            assert_eq!(gate.run(|_| 1).await, Ok(1));
        }
    }

    #[tokio::test]
    async fn work_of_a_gate_with_threads_stays_on_them() {
        let gate = Gate::with_threads("own", 1, Duration::from_secs(1)).unwrap();
        let first = gate.run(|_| std::thread::current().id()).await.unwrap();
        for _ in 0..10 {
            assert_eq!(gate.run(|_| std::thread::current().id()).await, Ok(first));
        }
    }
}
