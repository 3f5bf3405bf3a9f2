//! Properties of the other rules of calling: waits, budgets, the balance, the roster.

use std::time::Duration;

use cortex::domain::{
    backoff::{Backoff, Setback, Waits},
    balance::{Candidate, order},
    breaker::State,
    budget::RetryBudget,
    latency,
    roster::{CHECKS_TO_DOWN, Record, Status},
};
use proptest::prelude::*;
use tokio::time::Instant;

fn candidate() -> impl Strategy<Value = Candidate> {
    let latency = prop::option::of((0u64..10_000_000).prop_map(Duration::from_micros));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (0u32..1000, latency, flags).prop_map(
        |(outstanding, latency, (usable, refusing, probe_due, tried))| Candidate {
            outstanding,
            latency,
            usable,
            refusing,
            probe_due,
            tried,
        },
    )
}

fn setback() -> impl Strategy<Value = Setback> {
    prop_oneof![
        Just(Setback::NeverSent),
        Just(Setback::Unknown),
        Just(Setback::Throttled),
        Just(Setback::Silent),
        Just(Setback::Final),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_wait_stays_in_bounds_and_obeys_retry_after(
        n: u32, setback in setback(), elsewhere: bool, unit in 0.0f64..=1.0,
        floor in prop::option::of(0u64..100_000), factor in 0.0f64..1e9,
    ) {
        let cap = Duration::from_secs(10);
        let trouble = Backoff { initial: Duration::from_millis(100), factor, cap };
        let throttled = Backoff { initial: Duration::from_secs(1), ..trouble };
        let floor = floor.map(Duration::from_millis);
        let wait = Waits { trouble, throttled }.before(n, setback, elsewhere, unit, floor);
        prop_assert!(wait >= floor.unwrap_or_default());
        prop_assert!(wait <= cap.max(floor.unwrap_or_default()));
        if setback == Setback::Throttled {
            prop_assert!(wait <= throttled.ceiling(n).max(floor.unwrap_or_default()));
        }
    }

    #[test]
    fn a_budget_never_spends_more_than_it_has(
        ratio in 0.0f64..1.0, floor in 0.0f64..50.0,
        steps in prop::collection::vec((any::<bool>(), 0u64..200), 0..500),
    ) {
        let start = Instant::now();
        let (mut now, mut deposits, mut spent) = (start, 0.0, 0.0);
        let window = Duration::from_secs(10);
        let mut budget = RetryBudget::new(ratio, floor, window, now);
        let most = (floor * window.as_secs_f64()).max(1.0);
        for (deposit, ms) in steps {
            now += Duration::from_millis(ms);
            if deposit {
                budget.deposit(now);
                deposits += ratio;
            } else if budget.withdraw(now) {
                spent += 1.0;
            }
            let trickled = floor * (now - start).as_secs_f64();
            prop_assert!(spent <= most + deposits + trickled + 1e-6, "{spent} spent");
        }
        let left = (0..10_000).filter(|_| budget.withdraw(now)).count();
        prop_assert!(f64::from(u32::try_from(left).unwrap()) <= most + 1e-6, "{left} at once");
    }

    #[test]
    fn an_ejected_endpoint_is_never_first_while_another_is_healthy(
        candidates in prop::collection::vec(candidate(), 0..12), roll: u64,
    ) {
        let order = order(&candidates, roll);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..candidates.len()).collect::<Vec<_>>(), "each exactly once");
        let Some(first) = order.first().map(|first| candidates[*first]) else { return Ok(()) };
        if candidates.iter().any(|c| !c.refusing) {
            prop_assert!(!first.refusing);
        }
        let healthy = candidates.iter().filter(|c| c.usable && !c.refusing).count();
        if healthy > 0 && healthy * 2 >= candidates.len() {
            prop_assert!(first.usable, "no panic: what checks say counts");
            let untried = candidates.iter().any(|c| c.usable && !c.refusing && !c.tried);
            prop_assert!(!untried || !first.tried);
        }
    }

    #[test]
    fn equal_endpoints_get_equal_shares(count in 2usize..9, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut calls = vec![0u32; count];
        for _ in 0..1000 * count {
            let candidates: Vec<Candidate> = calls
                .iter()
                .map(|calls| Candidate {
                    outstanding: *calls,
                    latency: Some(Duration::from_millis(3)),
                    usable: true,
                    refusing: false,
                    probe_due: false,
                    tried: false,
                })
                .collect();
            calls[order(&candidates, random.u64(..))[0]] += 1;
        }
        let (least, most) = (calls.iter().min().unwrap(), calls.iter().max().unwrap());
        prop_assert!(most - least <= 10, "{calls:?}");
    }

    #[test]
    fn a_latency_is_never_above_the_worst_seen(
        samples in prop::collection::vec((0u64..60_000, 0u64..100_000), 1..50),
    ) {
        let mut known = Duration::ZERO;
        for (sample, gap) in &samples {
            let (sample, gap) = (Duration::from_millis(*sample), Duration::from_millis(*gap));
            known = latency::peak(known, sample, gap);
            prop_assert!(known >= sample, "a bad answer is heeded at once");
        }
        let worst = Duration::from_millis(samples.iter().map(|(sample, _)| *sample).max().unwrap());
        prop_assert!(known <= worst + Duration::from_micros(1));
    }

    #[test]
    fn an_endpoint_is_checked_for_ever_and_one_success_brings_it_back(
        checks in prop::collection::vec((any::<bool>(), 0u64..60), 0..50), trouble: bool,
    ) {
        let (interval, probe) = (Duration::from_secs(30), Duration::from_secs(1));
        let mut now = Instant::now();
        let mut record = Record::unknown(now);
        let mut misses = 0;
        for (passed, seconds) in checks {
            now += Duration::from_secs(seconds);
            record.asked(now);
            misses = if passed { 0 } else { misses + 1 };
            let result = if passed { Ok(Duration::ZERO) } else { Err("no answer".to_owned()) };
            record.checked(now, result, now);
            prop_assert_eq!(record.status == Status::Unhealthy, misses >= CHECKS_TO_DOWN);
            prop_assert!(record.due(trouble, interval, probe, now + interval));
            let doubt = trouble || misses > 0;
            prop_assert_eq!(record.due(trouble, interval, probe, now + probe), doubt);
        }
        now += probe;
        record.checked(now, Ok(Duration::ZERO), now);
        prop_assert!(record.usable(State::Open), "usable at once");
    }
}
