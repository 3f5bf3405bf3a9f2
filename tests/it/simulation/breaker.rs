//! A breaker with its actor, between callers that cancel, hang and get lost and an endpoint that
//! falls ill and recovers: never more probes than allowed, and closed in time after healing.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use cortex::{
    backplane::{
        breaker::{BreakerActor, BreakerCell, KeptBreaker, Permit},
        metrics::Metrics,
        vitals::House,
    },
    domain::breaker::{Outcome, Policy, State},
};
use futures_util::future::{LocalBoxFuture, join_all};
use tokio::time::{Instant, sleep};

use super::{Chance, World, run};

/// Schedules of an ordinary run.
const SCHEDULES: u64 = 1000;
const CALLERS: usize = 6;
/// The longest a call takes, when it is not lost.
const CALL_MAX: u64 = 1500;
/// Time between health checks while there is doubt.
const CHECKED_EVERY: Duration = Duration::from_secs(1);

fn policy(chance: &mut Chance) -> Policy {
    let below = |chance: &mut Chance, most| u32::try_from(1 + chance.below(most)).unwrap();
    Policy {
        failure_threshold: below(chance, 5),
        bad_ratio: *chance.of(&[0.0, 0.5]),
        window_calls_min: 10,
        window: Duration::from_secs(10),
        slow_call: *chance.of(&[Duration::ZERO, Duration::from_millis(1400)]),
        reset_timeout: Duration::from_secs(5),
        reopen_factor: 2.0,
        open_max: Duration::from_secs(300),
        jitter: 0.1,
        half_open_max_calls: below(chance, 3),
        success_threshold: below(chance, 2),
        probe_lease: Duration::from_secs(2),
    }
}

struct Rig {
    world: World,
    policy: Policy,
    breaker: KeptBreaker,
    well: Cell<bool>,
    healed: Cell<bool>,
    /// Probes under way, and when their leases end.
    probes: RefCell<Vec<(u64, Instant)>>,
    asked: Cell<u64>,
}

impl Rig {
    fn cell(&self) -> &std::sync::Arc<BreakerCell> {
        &self.breaker.cell
    }

    /// What must hold after every step.
    fn look(&self) {
        let (now, state) = (Instant::now(), self.cell().state());
        let mut probes = self.probes.borrow_mut();
        if state != State::HalfOpen {
            probes.clear();
        }
        probes.retain(|(_, lease)| *lease > now);
        let most = usize::try_from(self.policy.half_open_max_calls).unwrap();
        self.world.must(probes.len() <= most, format!("{} probes of {most}", probes.len()));
        let inside = self.cell().view().state;
        self.world.must(state == inside, format!("shows {state:?} and is {inside:?}"));
    }

    fn admit(&self) -> Option<(u64, Permit)> {
        let number = self.asked.get();
        self.asked.set(number + 1);
        let admitted = self.cell().admit();
        // Whoever is let in while it is half-open is a probe.
        if admitted.is_ok() && self.cell().state() == State::HalfOpen {
            self.world.note(format!("probe {number}"));
            let lease = Instant::now() + self.policy.probe_lease;
            self.probes.borrow_mut().push((number, lease));
        }
        self.look();
        if admitted.is_err() && self.cell().state() == State::HalfOpen {
            // A place that was given back is free for the next one.
            let (taken, most) = (self.probes.borrow().len(), self.policy.half_open_max_calls);
            let full = u32::try_from(taken).unwrap() >= most;
            self.world.must(full, format!("refused with {taken} probes of {most} under way"));
        }
        admitted.ok().map(|permit| (number, permit))
    }

    async fn be_a_caller(&self, mut chance: Chance, until: Instant) {
        while Instant::now() < until {
            sleep(chance.ms(10..400)).await;
            let Some((number, permit)) = self.admit() else { continue };
            let took = chance.ms(0..CALL_MAX);
            sleep(took).await;
            if !self.healed.get() && chance.percent(3) {
                // Lost: it never reports, and is never dropped.
                std::mem::forget(permit);
                continue;
            }
            self.probes.borrow_mut().retain(|(probe, _)| *probe != number);
            match chance.below(10) {
                0 => drop(permit),
                1 => permit.report(Outcome::Neutral, took),
                _ if self.well.get() => permit.report(Outcome::Success, Duration::ZERO),
                _ => permit.report(Outcome::Failure, took),
            }
            self.look();
        }
    }

    async fn check(&self, mut chance: Chance, until: Instant) {
        while Instant::now() < until {
            sleep(CHECKED_EVERY.mul_f64(0.9) + chance.ms(0..200)).await;
            // Checks may pass where calls fail.
            let passes = self.well.get() || (!self.healed.get() && chance.percent(30));
            self.cell().checked(passes);
            self.look();
        }
    }

    async fn change(&self, mut chance: Chance, until: Instant) {
        while Instant::now() < until {
            sleep(chance.ms(500..8000)).await;
            self.well.set(!self.well.get());
            self.world.note(if self.well.get() { "well" } else { "ill" });
        }
        self.well.set(true);
        self.healed.set(true);
        self.world.note("well for good");
    }

    /// After healing: the leases of lost probes, the time checks are not believed, which is no
    /// longer than the first open time, and a check and a call for each probe it takes.
    async fn must_close(&self, mut chance: Chance) {
        let Policy { probe_lease, reset_timeout, success_threshold, .. } = self.policy;
        let call = Duration::from_millis(CALL_MAX);
        let limit = probe_lease + reset_timeout + (CHECKED_EVERY + call) * (success_threshold + 1);
        let healed = Instant::now();
        let mut checked = healed;
        while self.cell().state() != State::Closed {
            if healed.elapsed() > limit {
                let view = self.cell().view();
                self.world.wrong(format!("not closed after {:?}: {view:?}", healed.elapsed()));
                return;
            }
            if checked.elapsed() >= CHECKED_EVERY {
                self.cell().checked(true);
                checked = Instant::now();
            }
            if let Some((number, permit)) = self.admit() {
                self.probes.borrow_mut().retain(|(probe, _)| *probe != number);
                permit.report(Outcome::Success, Duration::ZERO);
            }
            self.look();
            sleep(chance.ms(10..300)).await;
        }
        self.world.note(format!("closed {:?} after healing", healed.elapsed()));
    }
}

pub(super) fn schedule(world: World) -> LocalBoxFuture<'static, ()> {
    Box::pin(async move {
        let mut chance = world.chance();
        let (house, metrics) = (House::new(), Metrics::new("simulation"));
        let policy = policy(&mut chance);
        let rig = Rc::new(Rig {
            world: world.clone(),
            policy,
            breaker: BreakerActor::start(&house, &metrics, "memory", "http://m", policy),
            well: Cell::new(true),
            healed: Cell::new(false),
            probes: RefCell::default(),
            asked: Cell::new(0),
        });
        let until = Instant::now() + chance.ms(5_000..40_000);
        let callers = (0..CALLERS).map(|_| rig.be_a_caller(world.chance(), until));
        tokio::join!(
            join_all(callers),
            rig.check(world.chance(), until),
            rig.change(world.chance(), until),
        );
        rig.must_close(chance).await;
        // The actor has heard of every change by the time the next one asks.
        tokio::task::yield_now().await;
        sleep(Duration::from_millis(1)).await;
        let view = rig.cell().view();
        let last = view.past.last().map(|past| past.transition.to);
        world.must(last.is_none_or(|to| to == view.state), format!("told {last:?}: {view:?}"));
        for signs in house.signs() {
            world.must(signs.restarts == 0, format!("an actor fell: {signs:?}"));
        }
    })
}

#[test]
fn a_breaker_never_lets_too_many_probes_go_and_closes_after_healing() {
    run("breaker", SCHEDULES, schedule);
}
