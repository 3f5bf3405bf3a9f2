//! How healthy an endpoint is, from what its health checks say over time.

use std::time::Duration;
use tokio::time::Instant;

use crate::domain::breaker::State;

/// Failed checks in a row until an endpoint is held for down. One success is enough for up.
pub const CHECKS_TO_DOWN: u32 = 3;

/// What discovery holds an endpoint for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Not checked yet; usable.
    Unknown,
    /// The last check passed.
    Healthy,
    /// The last check failed, but not often enough to be sure; usable.
    Suspect,
    /// Several checks in a row failed.
    Unhealthy,
}

impl Status {
    /// The word shown to people and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Unknown => "unknown",
            Status::Healthy => "healthy",
            Status::Suspect => "suspect",
            Status::Unhealthy => "unhealthy",
        }
    }

    /// Whether calls should go there when there is a choice.
    #[must_use]
    pub fn usable(self) -> bool {
        match self {
            Status::Unknown | Status::Healthy | Status::Suspect => true,
            Status::Unhealthy => false,
        }
    }
}

/// The health record of one endpoint.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it is held for.
    pub status: Status,
    /// Why; empty while healthy.
    pub reason: String,
    /// Since when the status holds.
    pub since: Instant,
    /// When a check last passed.
    pub last_success: Option<Instant>,
    /// How long the last check took.
    pub latency: Option<Duration>,
    misses: u32,
    /// When the last check was begun.
    asked_at: Option<Instant>,
    /// When the newest check that has come back was begun.
    answered: Option<Instant>,
}

impl Record {
    /// Nothing known yet.
    #[must_use]
    pub fn unknown(now: Instant) -> Self {
        Record {
            status: Status::Unknown,
            reason: "not checked yet".to_owned(),
            since: now,
            last_success: None,
            latency: None,
            misses: 0,
            asked_at: None,
            answered: None,
        }
    }

    /// A check begins.
    pub fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    /// A check that was begun at `asked` came back; returns whether the status changed. In doubt a
    /// check does not wait for the one before it, so they may come back in another order: what was
    /// asked before the newest answer changes nothing.
    pub fn checked(
        &mut self,
        asked: Instant,
        result: Result<Duration, String>,
        now: Instant,
    ) -> bool {
        if self.answered.is_some_and(|newest| asked < newest) {
            return false;
        }
        self.answered = Some(asked);
        let before = self.status;
        match result {
            Ok(latency) => {
                self.status = Status::Healthy;
                self.reason.clear();
                self.last_success = Some(now);
                self.latency = Some(latency);
                self.misses = 0;
            }
            Err(reason) => {
                self.misses = self.misses.saturating_add(1);
                self.status =
                    if self.misses >= CHECKS_TO_DOWN { Status::Unhealthy } else { Status::Suspect };
                self.reason = reason;
            }
        }
        let changed = before != self.status;
        if changed {
            self.since = now;
        }
        changed
    }

    /// Whether calls should go there when there is a choice. While its breaker is not closed, a
    /// single failed check is enough to keep users' calls from probing it.
    #[must_use]
    pub fn usable(&self, breaker: State) -> bool {
        let doubted = breaker != State::Closed && self.status == Status::Suspect;
        self.status.usable() && !doubted
    }

    /// There is a sign of change: the next check is due now.
    pub fn check_soon(&mut self) {
        self.asked_at = None;
    }

    /// Whether it is time for the next check: at once when never checked, every `interval` while
    /// all is well, every `probe_interval` while there is doubt (`trouble`, or a failed check).
    #[must_use]
    pub fn due(
        &self,
        trouble: bool,
        interval: Duration,
        probe_interval: Duration,
        now: Instant,
    ) -> bool {
        let doubt = trouble || matches!(self.status, Status::Suspect | Status::Unhealthy);
        let pause = if doubt { probe_interval.min(interval) } else { interval };
        self.asked_at.is_none_or(|at| now.saturating_duration_since(at) >= pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const PROBE: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn down_after_three_failures_up_after_one_success() {
        let now = Instant::now();
        let mut record = Record::unknown(now);
        assert!(record.status.usable());
        for _ in 0..2 {
            record.checked(now, Err("connection refused".into()), now);
            assert!(record.status.usable());
        }
        assert!(record.checked(now, Err("connection refused".into()), now));
        assert_eq!(record.status, Status::Unhealthy);
        let later = now + Duration::from_secs(5);
        assert!(record.checked(later, Ok(Duration::from_millis(2)), later));
        assert_eq!((record.status, record.since), (Status::Healthy, later));
        assert_eq!(record.last_success, Some(later));
    }

    #[tokio::test]
    async fn checks_come_at_once_then_regularly_and_often_while_in_doubt() {
        let now = Instant::now();
        let mut record = Record::unknown(now);
        assert!(record.due(false, INTERVAL, PROBE, now));
        record.asked(now);
        record.checked(now, Ok(Duration::ZERO), now);
        let soon = now + PROBE;
        assert!(!record.due(false, INTERVAL, PROBE, soon));
        assert!(record.due(true, INTERVAL, PROBE, soon), "its breaker is open");
        record.check_soon();
        assert!(record.due(false, INTERVAL, PROBE, now), "there is a sign of change");
        record.asked(now);
        record.checked(now, Err("x".into()), now);
        assert!(record.due(false, INTERVAL, PROBE, soon));
    }

    #[tokio::test]
    async fn a_check_that_hung_does_not_undo_a_later_one_that_passed() {
        let now = Instant::now();
        let mut record = Record::unknown(now);
        let later = now + PROBE;
        record.checked(later, Ok(Duration::ZERO), later);
        assert!(!record.checked(now, Err("no answer".into()), later + PROBE));
        assert_eq!(record.status, Status::Healthy);
    }

    #[tokio::test]
    async fn one_failed_check_keeps_probes_away_while_the_breaker_is_open() {
        let now = Instant::now();
        let mut record = Record::unknown(now);
        assert!(record.usable(State::Open), "nothing is known against it");
        record.checked(now, Err("no answer".into()), now);
        assert!(record.usable(State::Closed));
        assert!(!record.usable(State::Open) && !record.usable(State::HalfOpen));
    }
}
