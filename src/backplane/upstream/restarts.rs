//! How often a program may be started: the pause grows with each start that came to nothing, and
//! there are only so many starts in a time.

use std::time::Duration;

use tokio::time::Instant;

use super::call::Missed;
use crate::domain::{
    backoff::{Backoff, Setback},
    breaker::Outcome,
    budget::RestartBudget,
    failure::{Failure, Kind},
};

/// Starts within [`STARTS_WINDOW`]; children that serve many principals are started often.
const STARTS_MAX: usize = 60;
/// The window of that budget.
const STARTS_WINDOW: Duration = Duration::from_secs(60);
/// The pause after a start that came to nothing.
const PAUSE: Backoff =
    Backoff { initial: Duration::from_millis(250), factor: 2.0, cap: Duration::from_secs(60) };

/// The starts of one program.
pub(super) struct Restarts {
    budget: RestartBudget,
    failed: u32,
    not_before: Option<Instant>,
}

impl Restarts {
    pub(super) fn new() -> Self {
        Restarts {
            budget: RestartBudget::new(STARTS_MAX, STARTS_WINDOW),
            failed: 0,
            not_before: None,
        }
    }

    /// May it be started now? Counts as failed until [`Restarts::succeeded`].
    pub(super) fn begin(&mut self, name: &str, now: Instant) -> Result<(), Missed> {
        if let Some(wait) = self.not_before.and_then(|at| at.checked_duration_since(now))
            && !wait.is_zero()
        {
            return Err(refused(name, "it failed to start", wait));
        }
        if self.budget.take(now).is_none() {
            return Err(refused(name, "it was started too often", STARTS_WINDOW));
        }
        self.not_before = (self.failed > 0).then(|| now + PAUSE.ceiling(self.failed - 1));
        self.failed = self.failed.saturating_add(1);
        Ok(())
    }

    /// The last start came to something.
    pub(super) fn succeeded(&mut self) {
        self.failed = 0;
        self.not_before = None;
    }
}

fn refused(name: &str, why: &str, wait: Duration) -> Missed {
    let message = format!("{name}: {why}; try again in {} s", wait.as_secs().max(1));
    let failure = Failure::new(Kind::Unavailable, message).of_service(name).retry_after(wait);
    Missed::new(failure, Outcome::Neutral, Setback::Final)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn starts_that_come_to_nothing_are_paused_and_the_pause_grows() {
        let (mut restarts, now) = (Restarts::new(), Instant::now());
        assert!(restarts.begin("u", now).is_ok());
        assert!(restarts.begin("u", now).is_ok(), "the first failure may be bad luck");
        assert!(restarts.begin("u", now).is_err());
        let later = now + Duration::from_millis(250);
        assert!(restarts.begin("u", later).is_ok());
        assert!(restarts.begin("u", later + Duration::from_millis(499)).is_err());
        restarts.succeeded();
        assert!(restarts.begin("u", later).is_ok());
    }

    #[tokio::test]
    async fn there_are_only_so_many_starts_in_a_time() {
        let (mut restarts, now) = (Restarts::new(), Instant::now());
        for _ in 0..STARTS_MAX {
            assert!(restarts.begin("u", now).is_ok());
            restarts.succeeded();
        }
        assert!(restarts.begin("u", now).is_err());
        assert!(restarts.begin("u", now + STARTS_WINDOW).is_ok());
    }
}
