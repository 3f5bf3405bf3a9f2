//! When to stop calling an endpoint, and when to trust it again: the circuit breaker's rules.
//!
//! Closed: calls go through; a run of failures opens it. Open: calls are refused until the reset
//! time-out has passed. `HalfOpen`: a set number of probes may go; enough successes close it, one
//! failure opens it again. Outcomes have three values, because a caller's mistake says nothing
//! about the endpoint. Every admission belongs to a generation; what an older one reports is void.

use std::time::Duration;
use tokio::time::Instant;

/// The numbers a breaker goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Consecutive failed attempts that open it (at least 1).
    pub failure_threshold: u32,
    /// How long it stays open before a probe may go.
    pub reset_timeout: Duration,
    /// Probes in flight at once while half-open (at least 1).
    pub half_open_max_calls: u32,
    /// Successful probes that close it (at least 1).
    pub success_threshold: u32,
    /// A probe that has not reported for this long counts as failed.
    pub probe_lease: Duration,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls go through.
    Closed,
    /// Calls are refused.
    Open,
    /// A few probes go through.
    HalfOpen,
}

impl State {
    /// The word shown to people and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
        }
    }
}

/// An operator's will over the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// Refuse every call.
    Open,
    /// Let every call through.
    Closed,
}

/// How an admitted call ended, as far as the endpoint's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint did its work.
    Success,
    /// The endpoint did not.
    Failure,
    /// Says nothing about the endpoint: the caller's mistake, a cancellation, throttling.
    Neutral,
}

/// The call is refused; a probe may go after `retry_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Time until the next probe may go; zero when one is under way.
    pub retry_after: Duration,
}

/// What an admission is good for: it must come back with an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    generation: u64,
    probe: bool,
}

/// A change of state, with its reason: what is logged, counted and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Why.
    pub reason: &'static str,
}

/// The state of one breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: Policy,
    state: State,
    forced: Option<Forced>,
    generation: u64,
    failures: u32,
    successes: u32,
    probes: Vec<Instant>,
    probe_at: Instant,
    hinted: bool,
    since: Instant,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn closed(policy: Policy, now: Instant) -> Self {
        Breaker {
            policy,
            state: State::Closed,
            forced: None,
            generation: 0,
            failures: 0,
            successes: 0,
            probes: Vec::new(),
            probe_at: now,
            hinted: false,
            since: now,
        }
    }

    /// May a call go now? `Ok` must be answered by [`Breaker::record`] with the ticket.
    ///
    /// # Errors
    /// [`Refused`] while open, or half-open with all probes under way.
    pub fn admit(&mut self, now: Instant) -> (Result<Ticket, Refused>, Option<Transition>) {
        match self.forced {
            Some(Forced::Open) => {
                return (Err(Refused { retry_after: self.policy.reset_timeout }), None);
            }
            Some(Forced::Closed) => return (Ok(self.ticket(false)), None),
            None => {}
        }
        let mut transition = self.expire_probes(now);
        if self.state == State::Open {
            if now < self.probe_at {
                return (Err(Refused { retry_after: self.probe_at - now }), transition);
            }
            let reason =
                if self.hinted { "a health check passed" } else { "reset time-out passed" };
            transition = Some(self.go(State::HalfOpen, reason, now));
        }
        if self.state == State::Closed {
            return (Ok(self.ticket(false)), transition);
        }
        if self.probes.len() >= usize::try_from(self.policy.half_open_max_calls).unwrap_or(1) {
            return (Err(Refused { retry_after: Duration::ZERO }), transition);
        }
        self.probes.push(now + self.policy.probe_lease);
        (Ok(self.ticket(true)), transition)
    }

    /// Takes an outcome back. Outcomes of an older generation change nothing.
    pub fn record(&mut self, ticket: Ticket, outcome: Outcome, now: Instant) -> Option<Transition> {
        if ticket.generation != self.generation || self.forced.is_some() {
            return None;
        }
        if ticket.probe && !self.probes.is_empty() {
            self.probes.remove(0);
        }
        match (self.state, outcome) {
            (State::Closed, Outcome::Success) => {
                self.failures = 0;
                None
            }
            (State::Closed, Outcome::Failure) => {
                self.failures = self.failures.saturating_add(1);
                (self.failures >= self.policy.failure_threshold)
                    .then(|| self.open("consecutive failures", now))
            }
            (State::HalfOpen, Outcome::Success) => {
                self.successes = self.successes.saturating_add(1);
                (self.successes >= self.policy.success_threshold)
                    .then(|| self.go(State::Closed, "probe succeeded", now))
            }
            (State::HalfOpen, Outcome::Failure) => Some(self.open("probe failed", now)),
            (State::Closed | State::HalfOpen, Outcome::Neutral) | (State::Open, _) => None,
        }
    }

    /// Independent evidence (a health check that passed) lets the next probe go at once.
    pub fn hint_recovered(&mut self, now: Instant) {
        if self.state == State::Open && self.probe_at > now {
            self.probe_at = now;
            self.hinted = true;
        }
    }

    /// Sets or lifts an operator's will. Lifting starts again from closed.
    pub fn force(&mut self, forced: Option<Forced>, now: Instant) -> Option<Transition> {
        let before = self.state();
        self.forced = forced;
        let to = match forced {
            Some(Forced::Open) => State::Open,
            Some(Forced::Closed) | None => State::Closed,
        };
        let changed = self.go(to, "set by an operator", now);
        (before != changed.to).then_some(Transition { from: before, ..changed })
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
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

    /// Time until a probe may go; `None` unless open.
    #[must_use]
    pub fn next_probe(&self, now: Instant) -> Option<Duration> {
        match (self.state, self.forced) {
            (State::Open, None) => Some(self.probe_at.saturating_duration_since(now)),
            (State::Open, Some(_)) | (State::Closed | State::HalfOpen, _) => None,
        }
    }

    fn ticket(&self, probe: bool) -> Ticket {
        Ticket { generation: self.generation, probe }
    }

    /// Probes whose lease has run out count as failed, so that half-open cannot last for ever.
    fn expire_probes(&mut self, now: Instant) -> Option<Transition> {
        (self.state == State::HalfOpen && self.probes.iter().any(|lease| *lease <= now))
            .then(|| self.open("probe did not report in time", now))
    }

    fn open(&mut self, reason: &'static str, now: Instant) -> Transition {
        self.probe_at = now + self.policy.reset_timeout;
        self.go(State::Open, reason, now)
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
        Transition { from, to, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: Duration = Duration::from_secs(30);

    fn policy() -> Policy {
        Policy {
            failure_threshold: 5,
            reset_timeout: RESET,
            half_open_max_calls: 1,
            success_threshold: 1,
            probe_lease: Duration::from_secs(31),
        }
    }

    fn call(breaker: &mut Breaker, outcome: Outcome, now: Instant) -> Option<Transition> {
        let ticket = breaker.admit(now).0.unwrap();
        breaker.record(ticket, outcome, now)
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::closed(policy(), now);
        for _ in 0..5 {
            call(&mut breaker, Outcome::Failure, now);
        }
        assert_eq!(breaker.state(), State::Open);
        breaker
    }

    #[tokio::test]
    async fn opens_only_after_consecutive_failures() {
        let now = Instant::now();
        let mut breaker = Breaker::closed(policy(), now);
        for _ in 0..4 {
            assert_eq!(call(&mut breaker, Outcome::Failure, now), None);
        }
        call(&mut breaker, Outcome::Success, now);
        for _ in 0..4 {
            call(&mut breaker, Outcome::Failure, now);
        }
        assert_eq!(breaker.state(), State::Closed, "a success in between resets the run");
        let transition = call(&mut breaker, Outcome::Failure, now).unwrap();
        assert_eq!((transition.from, transition.to), (State::Closed, State::Open));
    }

    #[tokio::test]
    async fn neutral_outcomes_neither_count_nor_reset() {
        let now = Instant::now();
        let mut breaker = Breaker::closed(policy(), now);
        for _ in 0..4 {
            call(&mut breaker, Outcome::Failure, now);
        }
        for _ in 0..100 {
            assert_eq!(call(&mut breaker, Outcome::Neutral, now), None);
        }
        assert_eq!(breaker.failures(), 4);
        call(&mut breaker, Outcome::Failure, now);
        assert_eq!(breaker.state(), State::Open);
    }

    #[tokio::test]
    async fn refuses_with_the_time_to_wait_then_lets_one_probe_through() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + Duration::from_secs(10);
        assert_eq!(breaker.admit(later).0, Err(Refused { retry_after: Duration::from_secs(20) }));
        let due = now + RESET;
        let (first, transition) = breaker.admit(due);
        assert!(first.is_ok());
        assert_eq!(transition.unwrap().to, State::HalfOpen);
        for _ in 0..20 {
            assert!(breaker.admit(due).0.is_err(), "the flip itself holds the only probe");
        }
    }

    #[tokio::test]
    async fn a_failed_probe_opens_again_for_the_full_time() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let due = now + RESET;
        assert_eq!(call(&mut breaker, Outcome::Failure, due).unwrap().reason, "probe failed");
        assert_eq!(breaker.next_probe(due), Some(RESET));
    }

    #[tokio::test]
    async fn a_successful_probe_closes() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(call(&mut breaker, Outcome::Success, now + RESET).unwrap().to, State::Closed);
        assert!(breaker.admit(now + RESET).0.is_ok());
    }

    #[tokio::test]
    async fn a_neutral_probe_gives_its_place_back() {
        let now = Instant::now();
        let mut breaker = opened(now);
        for _ in 0..10 {
            assert_eq!(call(&mut breaker, Outcome::Neutral, now + RESET), None);
            assert_eq!(breaker.state(), State::HalfOpen);
        }
    }

    #[tokio::test]
    async fn a_probe_that_never_reports_cannot_wedge_half_open() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(breaker.admit(now + RESET).0.is_ok());
        let lost = now + RESET + Duration::from_secs(31);
        assert!(breaker.admit(lost).0.is_err());
        assert_eq!(breaker.state(), State::Open);
        assert!(breaker.admit(lost + RESET).0.is_ok());
    }

    #[tokio::test]
    async fn outcomes_of_an_older_generation_are_void() {
        let now = Instant::now();
        let mut breaker = Breaker::closed(policy(), now);
        let old = breaker.admit(now).0.unwrap();
        for _ in 0..5 {
            call(&mut breaker, Outcome::Failure, now);
        }
        assert_eq!(breaker.record(old, Outcome::Success, now), None);
        assert_eq!(breaker.state(), State::Open);
        let due = now + RESET;
        let probe = breaker.admit(due).0.unwrap();
        breaker.record(old, Outcome::Failure, due);
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(breaker.record(probe, Outcome::Success, due).is_some());
    }

    #[tokio::test]
    async fn a_passed_health_check_lets_the_probe_go_at_once() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.hint_recovered(now + Duration::from_secs(1));
        let (probe, transition) = breaker.admit(now + Duration::from_secs(1));
        assert!(probe.is_ok());
        assert_eq!(transition.unwrap().reason, "a health check passed");
    }

    #[tokio::test]
    async fn an_operator_overrules_and_lifting_starts_from_closed() {
        let now = Instant::now();
        let mut breaker = Breaker::closed(policy(), now);
        assert!(breaker.force(Some(Forced::Open), now).is_some());
        assert!(breaker.admit(now + RESET * 10).0.is_err());
        breaker.force(Some(Forced::Closed), now);
        for _ in 0..50 {
            let ticket = breaker.admit(now).0.unwrap();
            assert_eq!(breaker.record(ticket, Outcome::Failure, now), None);
        }
        assert_eq!(breaker.state(), State::Closed, "what is forced does not trip inside");
        breaker.force(None, now);
        assert_eq!(breaker.state(), State::Closed);
    }
}
