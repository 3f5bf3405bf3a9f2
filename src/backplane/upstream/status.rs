//! What is shown of an upstream: whether it answers, since when, and what failed last.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{Trouble, Upstream};
use crate::{
    backplane::{breaker::BreakerView, clock},
    domain::failure::{Failure, Kind},
};

/// What is shown of an upstream.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The version spoken with it, once it was met.
    pub version: Option<String>,
    /// Connections, sessions or children that are up (count).
    pub lines: usize,
    /// Calls under way (count).
    pub in_flight: usize,
    /// Its breaker.
    pub breaker: BreakerView,
    /// When it last answered (RFC 3339).
    pub answered_at: Option<String>,
    /// The last failure that was its own, and when (RFC 3339).
    pub failed: Option<(String, String)>,
    /// When it makes sense to try again, while its breaker is open.
    pub retry_after: Option<Duration>,
}

/// What happened last.
#[derive(Default)]
pub(super) struct History {
    answered: std::sync::atomic::AtomicI64,
    failed: Mutex<Option<(i64, String)>>,
}

impl History {
    pub(super) fn note<T>(&self, outcome: &Result<T, Trouble>) {
        use std::sync::atomic::Ordering;
        match outcome {
            Ok(_) | Err(Trouble::Refused(_)) => {
                self.answered.store(clock::now_micros(), Ordering::Relaxed);
            }
            Err(Trouble::Failed(failure) | Trouble::Challenged { failure, .. }) => {
                // A refusal by the breaker is not what went wrong.
                if failure.kind != Kind::CircuitOpen {
                    let failed = Some((clock::now_micros(), failure.message.clone()));
                    *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
                }
            }
        }
    }
}

impl Upstream {
    /// Why it is not asked now, while its breaker is open.
    #[must_use]
    pub fn refusal(&self) -> Option<Failure> {
        Some(self.inner.guard.refusal()?.into_failure(self.name()))
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let breaker = inner.guard.breaker();
        let answered = inner.history.answered.load(std::sync::atomic::Ordering::Relaxed);
        let failed = inner.history.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Status {
            name: inner.spec.name.clone(),
            version: self.peer().map(|peer| peer.version),
            lines: inner.lines.count(),
            in_flight: inner.guard.in_flight(),
            retry_after: breaker.next_probe,
            breaker,
            answered_at: (answered > 0).then(|| clock::rfc3339(answered)),
            failed: failed.map(|(at, why)| (clock::rfc3339(at), why)),
        }
    }
}
