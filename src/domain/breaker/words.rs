//! The breaker's words: its numbers, states, outcomes and answers.

use std::time::Duration;
use tokio::time::Instant;

/// The numbers a breaker goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Consecutive failed attempts that open it (at least 1).
    pub failure_threshold: u32,
    /// Share of failed or slow calls in the window that opens it; 0 is never.
    pub bad_ratio: f64,
    /// Calls the window must hold before its share counts (at least 1).
    pub window_calls_min: u32,
    /// The time the window looks back.
    pub window: Duration,
    /// An answer that takes this long counts as slow; zero is never.
    pub slow_call: Duration,
    /// How long it stays open before a probe may go, the first time.
    pub reset_timeout: Duration,
    /// Growth of that time with each probe that fails (at least 1).
    pub reopen_factor: f64,
    /// The longest it grows to.
    pub open_max: Duration,
    /// How far the time is spread at random, either way, as a share of it.
    pub jitter: f64,
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
    /// The endpoint did its work, but took too long.
    Slow,
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
    pub(super) generation: u64,
    pub(super) probe: Option<u64>,
}

impl Ticket {
    /// Of a call that goes through a closed breaker of that generation.
    #[must_use]
    pub fn closed(generation: u64) -> Self {
        Ticket { generation, probe: None }
    }

    /// Whether it holds one of the places for probes.
    #[must_use]
    pub fn is_probe(self) -> bool {
        self.probe.is_some()
    }

    /// The generation it belongs to.
    #[must_use]
    pub fn generation(self) -> u64 {
        self.generation
    }
}

impl Policy {
    /// The outcome of a call that took so long.
    #[must_use]
    pub fn judge(&self, outcome: Outcome, took: Duration) -> Outcome {
        let slow = !self.slow_call.is_zero() && took >= self.slow_call;
        if slow && outcome == Outcome::Success { Outcome::Slow } else { outcome }
    }
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

/// What holds for every call until the next change: the answer to most questions, without asking
/// the breaker itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Admits; a success changes nothing but the window.
    Pass,
    /// Admits; there are failures a success would undo.
    Shaken,
    /// Refuses until then: the next probe's time.
    Shut(Instant),
    /// Refuses until then, because all probes are under way: the first one's lease.
    Full(Instant),
    /// Depends: ask.
    Ask,
    /// An operator refuses.
    ForcedOpen,
    /// An operator admits.
    ForcedClosed,
}
