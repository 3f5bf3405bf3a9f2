//! How long to wait before trying again, and whether trying again is right at all.

use std::time::Duration;

/// Exponential back-off with full jitter.
///
/// The wait before retry `n` (from 0) is uniform in `0..=min(cap, initial · factor^n)`; see
/// "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015), variant "full jitter".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first ceiling.
    pub initial: Duration,
    /// Growth per retry.
    pub factor: f64,
    /// The highest ceiling.
    pub cap: Duration,
}

impl Backoff {
    /// The ceiling before retry `n`, counted from 0.
    #[must_use]
    pub fn ceiling(&self, n: u32) -> Duration {
        let exponent = i32::try_from(n.min(64)).unwrap_or(64);
        let seconds = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        if seconds.is_finite() && seconds < self.cap.as_secs_f64() {
            Duration::from_secs_f64(seconds.max(0.0))
        } else {
            self.cap
        }
    }

    /// The wait before retry `n`; `unit` is uniform in 0..1. A `floor` (from `Retry-After`) is kept.
    #[must_use]
    pub fn wait(&self, n: u32, unit: f64, floor: Option<Duration>) -> Duration {
        let jittered = self.ceiling(n).mul_f64(unit.clamp(0.0, 1.0));
        floor.map_or(jittered, |least| jittered.max(least))
    }
}

/// What makes sending a call a second time harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeatable {
    /// Reads, and writes that carry an idempotency key.
    Always,
    /// Only when it certainly was never sent.
    IfNeverSent,
}

/// How an attempt failed, as far as repeating it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// The connection was never made: nothing was sent.
    NeverSent,
    /// It may or may not have been done: broken connection, time-out, 5xx.
    Unknown,
    /// Refused before any work, with a request to slow down (429, 503 with `Retry-After`).
    Throttled,
    /// No answer for so long that another endpoint is asked; whether it was done is unknown.
    Silent,
    /// An answer that will not change by asking again (4xx).
    Final,
}

/// The waits between the attempts of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waits {
    /// After trouble.
    pub trouble: Backoff,
    /// After a request to slow down: longer, because the endpoint is alive and has said so.
    pub throttled: Backoff,
}

impl Waits {
    /// The wait before retry `n` (from 0) after `setback`; `unit` is uniform in 0..1.
    ///
    /// `elsewhere` says that an endpoint this call has not tried admits calls: trouble at one is
    /// no reason to wait before asking another. A `floor` (from `Retry-After`) is always kept.
    #[must_use]
    pub fn before(
        &self,
        n: u32,
        setback: Setback,
        elsewhere: bool,
        unit: f64,
        floor: Option<Duration>,
    ) -> Duration {
        match setback {
            Setback::Throttled => self.throttled.wait(n, unit, floor),
            Setback::NeverSent | Setback::Unknown | Setback::Silent if elsewhere => {
                floor.unwrap_or_default()
            }
            Setback::NeverSent | Setback::Unknown | Setback::Silent | Setback::Final => {
                self.trouble.wait(n, unit, floor)
            }
        }
    }
}

/// Whether an attempt that failed in this way may be repeated.
#[must_use]
pub fn may_repeat(repeatable: Repeatable, setback: Setback) -> bool {
    match (setback, repeatable) {
        (Setback::Final, _) => false,
        (Setback::NeverSent | Setback::Throttled, _) => true,
        (Setback::Unknown | Setback::Silent, Repeatable::Always) => true,
        (Setback::Unknown | Setback::Silent, Repeatable::IfNeverSent) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Backoff =
        Backoff { initial: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(10) };

    #[test]
    fn ceilings_double_from_the_first_and_stop_at_the_cap() {
        let ceilings: Vec<u128> = (0..9).map(|n| DEFAULT.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(DEFAULT.ceiling(u32::MAX), DEFAULT.cap);
    }

    #[test]
    fn jitter_spans_the_whole_range_and_respects_retry_after() {
        assert_eq!(DEFAULT.wait(3, 0.0, None), Duration::ZERO);
        assert_eq!(DEFAULT.wait(3, 1.0, None), Duration::from_millis(800));
        assert_eq!(DEFAULT.wait(0, 0.5, Some(Duration::from_secs(2))), Duration::from_secs(2));
    }

    #[test]
    fn trouble_moves_on_at_once_a_request_to_slow_down_is_obeyed() {
        let throttled = Backoff { initial: Duration::from_secs(1), ..DEFAULT };
        let waits = Waits { trouble: DEFAULT, throttled };
        let wait = |setback, elsewhere| waits.before(0, setback, elsewhere, 1.0, None);
        assert_eq!(wait(Setback::Unknown, false), DEFAULT.initial);
        assert_eq!(wait(Setback::Unknown, true), Duration::ZERO);
        assert_eq!(wait(Setback::Throttled, true), Duration::from_secs(1));
        let told = Some(Duration::from_secs(3));
        assert_eq!(waits.before(0, Setback::Unknown, true, 0.0, told), Duration::from_secs(3));
    }

    #[test]
    fn only_what_is_safe_is_repeated() {
        assert!(may_repeat(Repeatable::IfNeverSent, Setback::NeverSent));
        assert!(!may_repeat(Repeatable::IfNeverSent, Setback::Unknown));
        assert!(may_repeat(Repeatable::Always, Setback::Unknown));
        assert!(!may_repeat(Repeatable::Always, Setback::Final));
    }
}
