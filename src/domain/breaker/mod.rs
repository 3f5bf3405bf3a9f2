//! When to stop calling an endpoint, and when to trust it again: the circuit breaker's rules.
//!
//! Closed: calls go through; a run of failures, or a bad share of the last seconds' calls, opens
//! it. Open: calls are refused for a while, which grows while probes fail. `HalfOpen`: a set number
//! of probes may go; enough successes close it, one failure opens it again. Outcomes may be
//! neutral, because a caller's mistake says nothing about the endpoint. Every admission belongs to
//! a generation; what an older one reports is void.

mod words;

pub use words::{Forced, Gate, Outcome, Policy, Refused, State, Ticket, Transition};

use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

use crate::domain::window::{Tally, Window};

/// How long a health check is not believed after it passed and the probe it let go failed; doubles
/// each time, up to the reset time-out. Otherwise an endpoint whose checks pass and whose calls
/// fail would have a probe after every check.
pub const DISBELIEF: Duration = Duration::from_secs(1);
/// Doublings of that at most.
const DISBELIEF_DOUBLINGS_MAX: u32 = 16;
/// Taken for an open time that no clock can hold.
const OPEN_TIME_MAX: Duration = Duration::from_secs(86_400);

/// The state of one breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: Policy,
    state: State,
    forced: Option<Forced>,
    generation: u64,
    failures: u32,
    successes: u32,
    window: Arc<Window>,
    /// The probes under way, and when each one's lease ends.
    probes: Vec<(u64, Instant)>,
    probes_begun: u64,
    /// Probes in a row that failed: openings without a closing between them.
    reopenings: u32,
    /// Those of them that a passed health check had let go.
    misled: u32,
    probe_at: Instant,
    hinted: bool,
    since: Instant,
    random: u64,
}

impl Breaker {
    /// A closed breaker; `seed` decides how its open times are spread.
    #[must_use]
    pub fn closed(policy: Policy, seed: u64, now: Instant) -> Self {
        Breaker {
            policy,
            state: State::Closed,
            forced: None,
            generation: 0,
            failures: 0,
            successes: 0,
            window: Arc::new(Window::new(policy.window, now)),
            probes: Vec::new(),
            probes_begun: 0,
            reopenings: 0,
            misled: 0,
            probe_at: now,
            hinted: false,
            since: now,
            random: seed,
        }
    }

    /// May a call go now? `Ok` must be answered by [`Breaker::record`] with the ticket. The call
    /// that finds it half-open is itself the first probe.
    ///
    /// # Errors
    /// [`Refused`] while open, or half-open with all probes under way.
    pub fn admit(&mut self, now: Instant) -> (Result<Ticket, Refused>, Option<Transition>) {
        match self.forced {
            Some(Forced::Open) => {
                return (Err(Refused { retry_after: self.policy.reset_timeout }), None);
            }
            Some(Forced::Closed) => return (Ok(Ticket::closed(self.generation)), None),
            None => {}
        }
        let mut transition = self.expire_probes(now);
        if self.state == State::Open {
            if now < self.probe_at {
                return (Err(Refused { retry_after: self.probe_at - now }), transition);
            }
            let (reason, hinted) = if self.hinted {
                ("a health check passed", true)
            } else {
                ("reset time-out passed", false)
            };
            transition = Some(self.go(State::HalfOpen, reason, now));
            self.hinted = hinted;
        }
        if self.state == State::Closed {
            return (Ok(Ticket::closed(self.generation)), transition);
        }
        if self.probes_full() {
            return (Err(Refused { retry_after: Duration::ZERO }), transition);
        }
        self.probes_begun = self.probes_begun.wrapping_add(1);
        self.probes.push((self.probes_begun, now + self.policy.probe_lease));
        let ticket = Ticket { generation: self.generation, probe: Some(self.probes_begun) };
        (Ok(ticket), transition)
    }

    /// Takes an outcome back. Outcomes of an older generation change nothing.
    pub fn record(&mut self, ticket: Ticket, outcome: Outcome, now: Instant) -> Option<Transition> {
        if ticket.generation != self.generation || self.forced.is_some() {
            return None;
        }
        self.probes.retain(|(probe, _)| ticket.probe != Some(*probe));
        if self.state == State::Closed && outcome != Outcome::Neutral {
            self.window.count(outcome != Outcome::Success, now);
        }
        match (self.state, outcome) {
            (State::Closed, Outcome::Success) => {
                self.failures = 0;
                None
            }
            (State::Closed, Outcome::Slow) => {
                self.failures = 0;
                self.open_on_share(now)
            }
            (State::Closed, Outcome::Failure) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.policy.failure_threshold {
                    return Some(self.open("consecutive failures", now));
                }
                self.open_on_share(now)
            }
            (State::HalfOpen, Outcome::Success) => {
                self.successes = self.successes.saturating_add(1);
                if self.successes < self.policy.success_threshold {
                    return None;
                }
                self.reopenings = 0;
                self.misled = 0;
                Some(self.go(State::Closed, "probe succeeded", now))
            }
            (State::HalfOpen, Outcome::Slow) => Some(self.open("probe was slow", now)),
            (State::HalfOpen, Outcome::Failure) => Some(self.open("probe failed", now)),
            (State::Closed | State::HalfOpen, Outcome::Neutral) | (State::Open, _) => None,
        }
    }

    /// Independent evidence. A health check that passed lets the next probe go at once, unless the
    /// last one it let go has failed a moment ago; one that failed shows that checks can be
    /// believed. What an operator has forced stays.
    pub fn checked(&mut self, passed: bool, now: Instant) {
        if self.state != State::Open || self.forced.is_some() {
            return;
        }
        if !passed {
            self.misled = 0;
        } else if now >= self.since + self.disbelief() && self.probe_at > now {
            self.probe_at = now;
            self.hinted = true;
        }
    }

    /// Sets or lifts an operator's will. Lifting starts again from closed.
    pub fn force(&mut self, forced: Option<Forced>, now: Instant) -> Option<Transition> {
        let before = self.state;
        self.forced = forced;
        self.reopenings = 0;
        self.misled = 0;
        let to = match forced {
            Some(Forced::Open) => State::Open,
            Some(Forced::Closed) | None => State::Closed,
        };
        let changed = self.go(to, "set by an operator", now);
        (before != changed.to).then_some(changed)
    }

    /// What holds for every call until the next change.
    #[must_use]
    pub fn gate(&self) -> Gate {
        match (self.forced, self.state) {
            (Some(Forced::Open), _) => Gate::ForcedOpen,
            (Some(Forced::Closed), _) => Gate::ForcedClosed,
            (None, State::Closed) if self.failures == 0 => Gate::Pass,
            (None, State::Closed) => Gate::Shaken,
            (None, State::Open) => Gate::Shut(self.probe_at),
            (None, State::HalfOpen) => {
                let first = self.probes.iter().map(|(_, lease)| *lease).min();
                first.filter(|_| self.probes_full()).map_or(Gate::Ask, Gate::Full)
            }
        }
    }

    /// The window, for counting a success without asking.
    #[must_use]
    pub fn window(&self) -> &Arc<Window> {
        &self.window
    }

    /// The generation of what is admitted now.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// What an operator has ordered, if anything.
    #[must_use]
    pub fn forced(&self) -> Option<Forced> {
        self.forced
    }

    /// Since when it stands there.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Consecutive failures counted while closed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The calls of the last seconds, while closed.
    #[must_use]
    pub fn tally(&self, now: Instant) -> Tally {
        self.window.tally(now)
    }

    /// Time until a probe may go; `None` unless open.
    #[must_use]
    pub fn next_probe(&self, now: Instant) -> Option<Duration> {
        match (self.state, self.forced) {
            (State::Open, None) => Some(self.probe_at.saturating_duration_since(now)),
            (State::Open, Some(_)) | (State::Closed | State::HalfOpen, _) => None,
        }
    }

    fn probes_full(&self) -> bool {
        let most = usize::try_from(self.policy.half_open_max_calls.max(1)).unwrap_or(1);
        self.probes.len() >= most
    }

    /// Probes whose lease has run out count as failed, so that half-open cannot last for ever.
    fn expire_probes(&mut self, now: Instant) -> Option<Transition> {
        (self.state == State::HalfOpen && self.probes.iter().any(|(_, lease)| *lease <= now))
            .then(|| self.open("probe did not report in time", now))
    }

    fn open_on_share(&mut self, now: Instant) -> Option<Transition> {
        let Policy { bad_ratio, window_calls_min, .. } = self.policy;
        (bad_ratio > 0.0 && self.window.tally(now).is_bad(window_calls_min, bad_ratio))
            .then(|| self.open("too many failed or slow calls", now))
    }

    fn open(&mut self, reason: &'static str, now: Instant) -> Transition {
        if self.state == State::HalfOpen {
            self.reopenings = self.reopenings.saturating_add(1);
            self.misled = if self.hinted { self.misled.saturating_add(1) } else { 0 };
        }
        let open_time = self.open_time();
        self.probe_at = now.checked_add(open_time).unwrap_or(now + OPEN_TIME_MAX);
        self.go(State::Open, reason, now)
    }

    /// How long to stay open this time. It grows while probes fail, because each of them is a
    /// user's call; recovery does not wait for it, but for a health check.
    fn open_time(&mut self) -> Duration {
        let Policy { reset_timeout, reopen_factor, open_max, jitter, .. } = self.policy;
        let growth = reopen_factor.max(1.0).powi(i32::try_from(self.reopenings).unwrap_or(1000));
        let grown = Duration::try_from_secs_f64(reset_timeout.as_secs_f64() * growth)
            .unwrap_or(open_max)
            .min(open_max.max(reset_timeout));
        grown.mul_f64(1.0 + jitter.clamp(0.0, 1.0) * (2.0 * self.next_random() - 1.0))
    }

    fn disbelief(&self) -> Duration {
        let doublings = self.misled.min(DISBELIEF_DOUBLINGS_MAX);
        if doublings == 0 {
            return Duration::ZERO;
        }
        DISBELIEF.saturating_mul(1 << doublings).min(self.policy.reset_timeout)
    }

    /// Uniform in 0..=1 (splitmix64): part of the state, so that a rule stays a function of it.
    fn next_random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from(mixed >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }

    fn go(&mut self, to: State, reason: &'static str, now: Instant) -> Transition {
        let from = self.state;
        self.state = to;
        self.since = now;
        self.generation = self.generation.wrapping_add(1);
        self.failures = 0;
        self.successes = 0;
        self.hinted = false;
        self.probes.clear();
        self.window.clear();
        Transition { from, to, reason }
    }
}
