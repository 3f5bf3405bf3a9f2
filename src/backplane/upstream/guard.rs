//! Keeps one upstream's trouble its own: places, breaker, deadline, budget of retries.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::call::{Missed, Sign, Trouble};
use crate::{
    backplane::breaker::{BreakerCell, BreakerView},
    contract::upstream::Limits,
    domain::{
        backoff::{Backoff, Repeatable, Setback},
        breaker::{Outcome, Policy, State},
        budget::RetryBudget,
        failure::{Failure, Kind},
    },
};

/// The waits between attempts.
const WAITS: Backoff =
    Backoff { initial: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(5) };
/// What the retry budget saves up.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
/// A caller with less time than this says nothing about the upstream when that runs out.
const HURRIED: Duration = Duration::from_millis(500);

/// Keeps one upstream's trouble its own.
pub(super) struct Guard {
    name: String,
    limits: Limits,
    breaker: Arc<BreakerCell>,
    shown: AtomicU8,
    budget: Mutex<RetryBudget>,
    places: Semaphore,
    waiting: AtomicUsize,
}

impl Guard {
    pub(super) fn new(name: &str, limits: Limits) -> Self {
        let budget = RetryBudget::new(
            limits.retry_budget_ratio,
            limits.retry_budget_floor,
            BUDGET_WINDOW,
            Instant::now(),
        );
        Guard {
            name: name.to_owned(),
            limits,
            breaker: BreakerCell::closed(policy(&limits)),
            shown: AtomicU8::new(0),
            budget: Mutex::new(budget),
            places: Semaphore::new(usize::from(limits.calls_in_flight_max.max(1))),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(super) fn breaker(&self) -> BreakerView {
        self.breaker.view()
    }

    pub(super) fn in_flight(&self) -> usize {
        let all = usize::from(self.limits.calls_in_flight_max.max(1));
        all.saturating_sub(self.places.available_permits())
    }

    /// Runs `attempt`, again if that is safe and of use, until `deadline`.
    pub(super) async fn run<T, F: Future<Output = Result<T, Missed>>>(
        &self,
        deadline: Instant,
        repeatable: Repeatable,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Trouble> {
        let mut refused = self.breaker.refuses(Instant::now());
        let mut retries = 0;
        let _place = match refused.take() {
            Some(refused) => return Err(self.shut(refused.retry_after)),
            None => self.place(deadline).await.map_err(|missed| *missed.trouble)?,
        };
        self.deposit();
        loop {
            let missed = match self.once(deadline, &mut attempt).await? {
                Ok(done) => return Ok(done),
                Err(missed) => missed,
            };
            let wait = self.before(&missed, repeatable, retries, deadline);
            let Some(wait) = wait else {
                return Err(*missed.trouble);
            };
            retries += 1;
            tokio::time::sleep(wait).await;
        }
    }

    /// One attempt, admitted and reported.
    async fn once<T, F: Future<Output = Result<T, Missed>>>(
        &self,
        deadline: Instant,
        attempt: &mut impl FnMut() -> F,
    ) -> Result<Result<T, Missed>, Trouble> {
        let permit = self.breaker.admit().map_err(|refused| self.shut(refused.retry_after))?;
        let begun = Instant::now();
        let allowed = deadline.saturating_duration_since(begun);
        let outcome = tokio::time::timeout(allowed, attempt()).await.unwrap_or_else(|_elapsed| {
            let hurried = allowed < HURRIED.min(self.limits.call_timeout / 2);
            let outcome = if hurried { Outcome::Neutral } else { Outcome::Failure };
            Err(Missed::late(&self.name, allowed, outcome))
        });
        permit.report(
            outcome.as_ref().map_or_else(|m| m.outcome, |_| Outcome::Success),
            begun.elapsed(),
        );
        self.show();
        Ok(outcome)
    }

    /// The wait before another attempt, if there is to be one.
    fn before(
        &self,
        missed: &Missed,
        repeatable: Repeatable,
        retries: u32,
        deadline: Instant,
    ) -> Option<Duration> {
        // A session that is not known there: the call was not begun. Once for each call.
        if missed.sign == Sign::SessionLost && retries == 0 {
            return Some(Duration::ZERO);
        }
        let safe = match missed.setback {
            Setback::NeverSent | Setback::Throttled => true,
            Setback::Unknown | Setback::Silent => repeatable == Repeatable::Always,
            Setback::Final => false,
        };
        if !safe || retries >= self.limits.retries_max {
            return None;
        }
        let floor = match &*missed.trouble {
            Trouble::Failed(failure) => failure.retry_after,
            Trouble::Refused(_) | Trouble::Challenged { .. } => None,
        };
        let wait = WAITS.wait(retries, fastrand::f64(), floor);
        let left = deadline.saturating_duration_since(Instant::now());
        (wait < left && self.withdraw()).then_some(wait)
    }

    fn deposit(&self) {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).deposit(Instant::now());
    }

    fn withdraw(&self) -> bool {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).withdraw(Instant::now())
    }

    /// A place among the calls under way, after a bounded wait among a bounded number.
    async fn place(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Missed> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let crowded = |why| Missed::crowded(&self.name, why);
        let waiting = Waiting::join(&self.waiting);
        if waiting.before >= usize::from(self.limits.calls_waiting_max) {
            return Err(crowded("too many calls wait for it"));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = self.limits.calls_wait_max.min(left);
        match tokio::time::timeout(patience, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(crowded("no call to it ended in time to make room")),
        }
    }

    fn shut(&self, wait: Duration) -> Trouble {
        let wait = wait.max(Duration::from_secs(1));
        let message = format!(
            "{} has failed too often and is not asked now; try again in {} s",
            self.name,
            wait.as_secs()
        );
        Failure::new(Kind::CircuitOpen, message).of_service(&self.name).retry_after(wait).into()
    }

    /// What a call would be told now, where it would not be made.
    pub(super) fn refusal(&self) -> Option<Trouble> {
        let refused = self.breaker.refuses(Instant::now())?;
        Some(self.shut(refused.retry_after))
    }

    /// Logs a change of the breaker's state, once.
    fn show(&self) {
        let state = self.breaker.state();
        let now = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        if self.shown.swap(now, Ordering::AcqRel) != now {
            log::warn!("breaker changed upstream={} state={}", self.name, state.as_str());
        }
    }
}

fn policy(limits: &Limits) -> Policy {
    Policy {
        failure_threshold: limits.breaker_failures.max(1),
        bad_ratio: 0.5,
        window_calls_min: 20,
        window: Duration::from_secs(10),
        slow_call: Duration::ZERO,
        reset_timeout: limits.breaker_reset,
        reopen_factor: 2.0,
        open_max: limits.breaker_open_max,
        jitter: 0.1,
        half_open_max_calls: 1,
        success_threshold: 1,
        probe_lease: limits.call_timeout + Duration::from_secs(1),
    }
}

/// One of those who wait; stops counting when it goes.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize) -> Self {
        Waiting { count, before: count.fetch_add(1, Ordering::AcqRel) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}
