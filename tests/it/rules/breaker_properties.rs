//! What must hold of a breaker under any interleaving of calls, outcomes, checks, orders and time.

use std::time::Duration;

use cortex::domain::breaker::{Breaker, Forced, Outcome, Policy, State, Ticket};
use proptest::prelude::*;
use tokio::time::Instant;

use super::policy;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A call asks.
    Admit,
    /// One of the calls under way ends.
    Record(usize, Outcome),
    /// One of them is lost: it will never report.
    Lose(usize),
    /// Time passes.
    Pass(Duration),
    /// A health check comes back.
    Checked(bool),
    /// An operator orders.
    Force(Option<Forced>),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        1 => Just(Outcome::Success),
        1 => Just(Outcome::Slow),
        3 => Just(Outcome::Failure),
        1 => Just(Outcome::Neutral),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let forced = prop_oneof![Just(None), Just(Some(Forced::Open)), Just(Some(Forced::Closed)),];
    prop_oneof![
        8 => Just(Step::Admit),
        8 => (any::<usize>(), outcome()).prop_map(|(which, outcome)| Step::Record(which, outcome)),
        1 => any::<usize>().prop_map(Step::Lose),
        4 => (0u64..40_000).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        2 => any::<bool>().prop_map(Step::Checked),
        1 => forced.prop_map(Step::Force),
    ]
}

fn numbers() -> impl Strategy<Value = Policy> {
    (1u32..6, 1u32..4, 1u32..4, 0.0f64..1.0, 1.0f64..3.0, 0.0f64..0.2).prop_map(
        |(failure_threshold, half_open_max_calls, success_threshold, bad_ratio, factor, jitter)| {
            Policy {
                failure_threshold,
                half_open_max_calls,
                success_threshold,
                bad_ratio,
                reopen_factor: factor,
                jitter,
                ..policy()
            }
        },
    )
}

/// A breaker with the calls under way, kept apart: probes with their leases.
struct World {
    policy: Policy,
    breaker: Breaker,
    now: Instant,
    under_way: Vec<Ticket>,
    /// Probes of the present generation that have not reported, with the end of their lease.
    probes: Vec<(Ticket, Instant)>,
}

impl World {
    fn new(policy: Policy, seed: u64) -> Self {
        let now = Instant::now();
        let breaker = Breaker::closed(policy, seed, now);
        World { policy, breaker, now, under_way: Vec::new(), probes: Vec::new() }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Admit => {
                if let Ok(ticket) = self.breaker.admit(self.now).0 {
                    self.under_way.push(ticket);
                    if ticket.is_probe() {
                        self.probes.push((ticket, self.now + self.policy.probe_lease));
                    }
                }
            }
            Step::Record(which, outcome) if !self.under_way.is_empty() => {
                let ticket = self.under_way.swap_remove(which % self.under_way.len());
                self.breaker.record(ticket, outcome, self.now);
                self.probes.retain(|(probe, _)| *probe != ticket);
            }
            Step::Lose(which) if !self.under_way.is_empty() => {
                self.under_way.swap_remove(which % self.under_way.len());
            }
            Step::Record(..) | Step::Lose(_) => {}
            Step::Pass(time) => self.now += time,
            Step::Checked(passed) => self.breaker.checked(passed, self.now),
            Step::Force(forced) => {
                self.breaker.force(forced, self.now);
            }
        }
        let generation = self.breaker.generation();
        self.probes.retain(|(probe, _)| probe.generation() == generation);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_more_probes_than_allowed(
        policy in numbers(), seed: u64, steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut world = World::new(policy, seed);
        for step in steps {
            world.take(step);
            let most = usize::try_from(policy.half_open_max_calls).unwrap();
            prop_assert!(world.probes.len() <= most, "{} probes", world.probes.len());
            if world.breaker.state() == State::Closed {
                prop_assert!(world.probes.is_empty());
                prop_assert!(world.breaker.failures() < policy.failure_threshold);
            }
        }
    }

    #[test]
    fn closes_in_time_once_probes_succeed(
        policy in numbers(), seed: u64, steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new(policy, seed);
        for step in steps {
            world.take(step);
        }
        if world.breaker.forced().is_some() {
            world.breaker.force(None, world.now);
        }
        // Whatever was under way is lost. The open time that may still come, after the leases.
        let longest = policy.open_max.mul_f64(1.0 + policy.jitter);
        let begun = world.now;
        let limit = begun + policy.probe_lease + longest + Duration::from_secs(1);
        while world.breaker.state() != State::Closed {
            prop_assert!(world.now <= limit, "open after {:?}", world.now - begun);
            if let Ok(ticket) = world.breaker.admit(world.now).0 {
                world.breaker.record(ticket, Outcome::Success, world.now);
            } else {
                world.now += Duration::from_millis(500);
            }
        }
    }

    #[test]
    fn neutral_outcomes_never_change_the_state(
        policy in numbers(), seed: u64, steps in prop::collection::vec(step(), 0..200), more in 1usize..50,
    ) {
        let mut world = World::new(policy, seed);
        for step in steps {
            world.take(step);
        }
        for _ in 0..more {
            // The admission itself may end an open time or a lease; the outcome must not.
            let Ok(ticket) = world.breaker.admit(world.now).0 else { break };
            let seen = |breaker: &Breaker| {
                let tally = breaker.tally(world.now);
                (breaker.state(), breaker.generation(), breaker.failures(), tally)
            };
            let before = seen(&world.breaker);
            prop_assert_eq!(world.breaker.record(ticket, Outcome::Neutral, world.now), None);
            prop_assert_eq!(seen(&world.breaker), before);
        }
        if world.breaker.state() == State::HalfOpen {
            prop_assert!(world.breaker.admit(world.now).0.is_ok() || !world.probes.is_empty());
        }
    }

    #[test]
    fn what_an_operator_forced_holds_whatever_happens(
        policy in numbers(), seed: u64, open: bool, steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new(policy, seed);
        let forced = if open { Forced::Open } else { Forced::Closed };
        world.breaker.force(Some(forced), world.now);
        for step in steps.into_iter().filter(|step| !matches!(step, Step::Force(_))) {
            world.take(step);
            prop_assert_eq!(world.breaker.admit(world.now).0.is_err(), open);
        }
    }
}
