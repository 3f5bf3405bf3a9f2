//! The shared part of a breaker: asked before every attempt and told after it, by every worker.
//!
//! What holds for all calls alike (closed, shut, forced) is read from one atomic word; a success
//! while all is well is one more atomic update, in the window. Only failures, probes and changes of
//! state take the lock.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{PastTransition, Transitioned};
use crate::{
    backplane::{locks::lock, port::Port},
    domain::{
        breaker::{Breaker, Forced, Gate, Outcome, Policy, Refused, State, Ticket, Transition},
        window::{Tally, Window},
    },
};

/// The gate's kind takes the low bits of the word, the generation the others.
const KIND_BITS: u32 = 3;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;
const PASS: u64 = 0;
const SHAKEN: u64 = 1;
const SHUT: u64 = 2;
const FULL: u64 = 3;
const ASK: u64 = 4;
const FORCED_OPEN: u64 = 5;
const FORCED_CLOSED: u64 = 6;

/// The shared part: asked before every attempt, told after it.
#[derive(Debug)]
pub struct BreakerCell {
    policy: Policy,
    epoch: Instant,
    /// What holds for every call until the next change, and the generation it belongs to.
    word: AtomicU64,
    /// Until when a shut or full gate refuses, in microseconds since the epoch.
    until: AtomicU64,
    window: Arc<Window>,
    breaker: Mutex<Breaker>,
    pub(super) past: Mutex<VecDeque<PastTransition>>,
    pub(super) actor: OnceLock<Port<Transitioned>>,
}

/// An admission. Dropped without an outcome (a cancelled call), it counts as neutral.
#[derive(Debug)]
pub struct Permit {
    cell: Arc<BreakerCell>,
    ticket: Option<Ticket>,
}

/// What is shown of a breaker.
#[derive(Clone, Debug)]
pub struct BreakerView {
    /// Where it stands.
    pub state: State,
    /// What an operator has ordered, if anything.
    pub forced: Option<Forced>,
    /// For how long.
    pub for_: Duration,
    /// Consecutive failures while closed.
    pub failures: u32,
    /// The calls of the last seconds, while closed.
    pub tally: Tally,
    /// Time until a probe may go, while open.
    pub next_probe: Option<Duration>,
    /// The last transitions, oldest first.
    pub past: Vec<PastTransition>,
}

impl BreakerCell {
    /// A closed cell without an actor, as rules and tests need it.
    #[must_use]
    pub fn closed(policy: Policy) -> Arc<Self> {
        let now = Instant::now();
        let breaker = Breaker::closed(policy, fastrand::u64(..), now);
        Arc::new(BreakerCell {
            policy,
            epoch: now,
            word: AtomicU64::new(PASS),
            until: AtomicU64::new(0),
            window: Arc::clone(breaker.window()),
            breaker: Mutex::new(breaker),
            past: Mutex::default(),
            actor: OnceLock::new(),
        })
    }

    /// May a call go out now?
    ///
    /// # Errors
    /// [`Refused`] with the time to wait.
    pub fn admit(self: &Arc<Self>) -> Result<Permit, Refused> {
        let word = self.word.load(Ordering::Acquire);
        let permit = |ticket| Ok(Permit { cell: Arc::clone(self), ticket });
        match word & KIND_MASK {
            PASS | SHAKEN => return permit(Some(Ticket::closed(word >> KIND_BITS))),
            FORCED_CLOSED => return permit(None),
            _ => {}
        }
        if let Some(refused) = self.refuses(Instant::now()) {
            return Err(refused);
        }
        let answer = self.change(|breaker| breaker.admit(Instant::now()));
        answer.and_then(|ticket| permit(Some(ticket)))
    }

    /// Whether a call would be refused now; asking takes no place of a probe. `None` while
    /// half-open with a place left.
    #[must_use]
    pub fn refuses(&self, now: Instant) -> Option<Refused> {
        let kind = self.word.load(Ordering::Acquire) & KIND_MASK;
        if kind == FORCED_OPEN {
            return Some(Refused { retry_after: self.policy.reset_timeout });
        }
        if kind != SHUT && kind != FULL {
            return None;
        }
        let until = self.epoch + Duration::from_micros(self.until.load(Ordering::Acquire));
        let wait = until.checked_duration_since(now).filter(|wait| !wait.is_zero())?;
        Some(Refused { retry_after: if kind == SHUT { wait } else { Duration::ZERO } })
    }

    /// Whether the next call would be a probe.
    #[must_use]
    pub fn awaits_probe(&self, now: Instant) -> bool {
        let kind = self.word.load(Ordering::Acquire) & KIND_MASK;
        kind == ASK || (kind == SHUT && self.refuses(now).is_none())
    }

    /// A health check came back: see [`Breaker::checked`].
    pub fn checked(&self, passed: bool) {
        self.change(|breaker| (breaker.checked(passed, Instant::now()), None));
    }

    /// Where it stands, and nothing else of it.
    #[must_use]
    pub fn state(&self) -> State {
        match self.word.load(Ordering::Acquire) & KIND_MASK {
            PASS | SHAKEN | FORCED_CLOSED => State::Closed,
            SHUT | FORCED_OPEN => State::Open,
            _ => State::HalfOpen,
        }
    }

    /// Where it stands, with all there is to show of it.
    #[must_use]
    pub fn view(&self) -> BreakerView {
        let now = Instant::now();
        let past = self.past().iter().cloned().collect();
        let breaker = self.lock();
        BreakerView {
            state: breaker.state(),
            forced: breaker.forced(),
            for_: now.saturating_duration_since(breaker.since()),
            failures: breaker.failures(),
            tally: breaker.tally(now),
            next_probe: breaker.next_probe(now),
            past,
        }
    }

    /// Sets or lifts an operator's will; returns the change, which the caller announces.
    pub(super) fn force(&self, forced: Option<Forced>) -> Option<Transition> {
        let mut breaker = self.lock();
        let transition = breaker.force(forced, Instant::now());
        self.show(&breaker);
        transition
    }

    pub(super) fn past(&self) -> MutexGuard<'_, VecDeque<PastTransition>> {
        lock(&self.past)
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.breaker)
    }

    /// Asks the breaker itself, shows what holds from now on, and tells its actor of a transition.
    fn change<T>(&self, ask: impl FnOnce(&mut Breaker) -> (T, Option<Transition>)) -> T {
        let mut breaker = self.lock();
        let (answer, transition) = ask(&mut breaker);
        self.show(&breaker);
        drop(breaker);
        self.announce(transition);
        answer
    }

    /// Makes the word say what the breaker says; only while it is locked.
    fn show(&self, breaker: &Breaker) {
        let (kind, until) = match breaker.gate() {
            Gate::Pass => (PASS, None),
            Gate::Shaken => (SHAKEN, None),
            Gate::Shut(until) => (SHUT, Some(until)),
            Gate::Full(until) => (FULL, Some(until)),
            Gate::Ask => (ASK, None),
            Gate::ForcedOpen => (FORCED_OPEN, None),
            Gate::ForcedClosed => (FORCED_CLOSED, None),
        };
        if let Some(until) = until {
            let micros = until.saturating_duration_since(self.epoch).as_micros();
            self.until.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Release);
        }
        self.word.store((breaker.generation() << KIND_BITS) | kind, Ordering::Release);
    }

    fn announce(&self, transition: Option<Transition>) {
        let (Some(transition), Some(actor)) = (transition, self.actor.get()) else {
            return;
        };
        if let Err(failure) = actor.tell(Transitioned(transition)) {
            log::warn!("breaker transition not recorded to={:?} cause={failure}", transition.to);
        }
    }

    /// Whether a success of that ticket changes nothing but the window.
    fn is_plain(&self, ticket: Ticket) -> bool {
        let word = self.word.load(Ordering::Acquire);
        !ticket.is_probe() && word == (ticket.generation() << KIND_BITS) | PASS
    }
}

impl Permit {
    /// Reports how the call ended, and how long it took.
    pub fn report(mut self, outcome: Outcome, took: Duration) {
        let outcome = self.cell.policy.judge(outcome, took);
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        if outcome == Outcome::Neutral && !ticket.is_probe() {
            return;
        }
        let now = Instant::now();
        if outcome == Outcome::Success && self.cell.is_plain(ticket) {
            self.cell.window.count(false, now);
            return;
        }
        self.cell.change(|breaker| ((), breaker.record(ticket, outcome, now)));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.settle(Outcome::Neutral);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::policy, *};

    const NO_TIME: Duration = Duration::ZERO;

    #[actix::test]
    async fn a_cancelled_probe_gives_its_place_back() {
        tokio::time::pause();
        let cell = BreakerCell::closed(policy());
        cell.admit().unwrap().report(Outcome::Failure, NO_TIME);
        assert_eq!(cell.admit().unwrap_err().retry_after, Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(30)).await;
        for _ in 0..10 {
            drop(cell.admit().expect("a dropped probe frees the only place"));
        }
        let probe = cell.admit().unwrap();
        assert!(cell.admit().is_err(), "only one at a time");
        probe.report(Outcome::Success, NO_TIME);
        assert_eq!(cell.view().state, State::Closed);
    }

    #[actix::test]
    async fn neither_admission_nor_success_nor_refusal_takes_a_lock() {
        tokio::time::pause();
        let cell = BreakerCell::closed(policy());
        let unlocked = |cell: &Arc<BreakerCell>, admits: bool| {
            let held = cell.lock();
            let asked = Arc::clone(cell);
            let (done, ended) = std::sync::mpsc::channel();
            let asking = std::thread::spawn(move || {
                let admitted = asked.admit().map(|permit| permit.report(Outcome::Success, NO_TIME));
                done.send(admitted.is_ok()).unwrap();
            });
            let answer = ended.recv_timeout(Duration::from_secs(10));
            drop(held);
            asking.join().unwrap();
            assert_eq!(answer, Ok(admits), "{:?}", cell.state());
        };
        unlocked(&cell, true);
        assert_eq!(cell.view().tally, Tally { calls: 1, bad: 0 });
        let probe = |cell: &Arc<BreakerCell>| cell.change(|b| b.admit(Instant::now())).unwrap();
        cell.admit().unwrap().report(Outcome::Failure, NO_TIME);
        unlocked(&cell, false);
        tokio::time::advance(Duration::from_secs(30)).await;
        probe(&cell);
        unlocked(&cell, false);
        for forced in [Forced::Open, Forced::Closed] {
            cell.force(Some(forced));
            unlocked(&cell, forced == Forced::Closed);
        }
    }

    #[actix::test]
    async fn the_word_says_what_the_breaker_says_after_every_step() {
        tokio::time::pause();
        let cell = BreakerCell::closed(Policy { failure_threshold: 3, ..policy() });
        let mut held = Vec::new();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5000 {
            match random.u8(0..8) {
                0..3 => held.extend(cell.admit()),
                3..6 if !held.is_empty() => {
                    let outcomes = [Outcome::Success, Outcome::Failure, Outcome::Neutral];
                    let permit: Permit = held.swap_remove(random.usize(..held.len()));
                    permit.report(outcomes[random.usize(..3)], NO_TIME);
                }
                6 => tokio::time::advance(Duration::from_secs(random.u64(0..20))).await,
                _ => cell.checked(random.bool()),
            }
            let now = Instant::now();
            let breaker = cell.lock();
            assert_eq!(cell.state(), breaker.state());
            let said = cell.refuses(now);
            let asked = breaker.clone().admit(now).0;
            // Only the end of a lease is left for the breaker to find out.
            let lost = matches!(breaker.gate(), Gate::Full(lease) if lease <= now);
            assert_eq!(said.is_some() || lost, asked.is_err(), "{said:?} {:?}", breaker.gate());
        }
    }
}
