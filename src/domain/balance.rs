//! Which endpoint of a service takes the next call.

use std::{cmp::Ordering, time::Duration};

/// Taken for the latency of an endpoint nobody has called, when nothing is known of its sisters.
const LATENCY_UNKNOWN: Duration = Duration::from_millis(1);

/// What is known of an endpoint at the moment of choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Calls under way to it.
    pub outstanding: u32,
    /// How long it takes to answer; its silence counts. `None` before the first answer.
    pub latency: Option<Duration>,
    /// Whether discovery holds it for reachable (unknown counts as reachable).
    pub usable: bool,
    /// Whether its breaker refuses calls.
    pub refusing: bool,
    /// Whether its breaker waits for a probe.
    pub probe_due: bool,
    /// Whether this call has tried it already.
    pub tried: bool,
}

/// The order in which to ask endpoints for admission; `roll` is any random number.
///
/// Those that admit come before those that refuse, usable before not, untried before tried, and a
/// usable one whose breaker waits for a probe before all: one call finds out whether it is back,
/// which its old latency would put off. Of the best, two are drawn and the cheaper one goes first: latency times calls under way ("the power of
/// two choices", Mitzenmacher 2001, with Finagle's peak EWMA for the latency). Drawing keeps the
/// workers of many processes from running to the same endpoint at once.
///
/// When fewer than half of the endpoints are healthy, the health checks are not believed: all that
/// do not refuse share the calls, rather than a few being crushed (Envoy calls it panic mode).
#[must_use]
pub fn order(candidates: &[Candidate], roll: u64) -> Vec<usize> {
    let healthy = candidates.iter().filter(|c| c.usable && !c.refusing).count();
    let panic = healthy * 2 < candidates.len();
    let known = candidates.iter().filter_map(|c| c.latency).max().unwrap_or(LATENCY_UNKNOWN);
    let class =
        |c: &Candidate| (c.refusing, !c.usable && !panic, c.tried, !(c.probe_due && c.usable));
    let mut ranked: Vec<_> =
        candidates.iter().enumerate().map(|(index, c)| (index, class(c), cost(c, known))).collect();
    ranked.sort_by(|a, b| a.1.cmp(&b.1).then(cheaper(a.2, b.2)));
    let best = ranked.first().map(|first| first.1);
    let choices = ranked.iter().filter(|candidate| Some(candidate.1) == best).count();
    if choices > 1 {
        let (first, second) = draw(choices, roll);
        let price = |at: usize| ranked.get(at).map_or(f64::MAX, |candidate| candidate.2);
        let winner = if price(second) < price(first) { second } else { first };
        let winner = ranked.remove(winner);
        ranked.insert(0, winner);
    }
    ranked.into_iter().map(|(index, _, _)| index).collect()
}

/// Two different numbers below `count`, which is at least 2.
fn draw(count: usize, roll: u64) -> (usize, usize) {
    let below = |roll: u64, most: usize| usize::try_from(roll).unwrap_or_default() % most.max(1);
    let first = below(roll & u64::from(u32::MAX), count);
    let step = 1 + below(roll >> 32, count.saturating_sub(1));
    (first, (first + step) % count)
}

/// What a call costs there: the time it takes, as often as there are calls in front of it.
fn cost(candidate: &Candidate, known: Duration) -> f64 {
    // An answer faster than the clock can tell is still not free.
    let latency = candidate.latency.unwrap_or(known).max(Duration::from_micros(1));
    latency.as_secs_f64() * (f64::from(candidate.outstanding) + 1.0)
}

fn cheaper(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Candidate = Candidate {
        outstanding: 0,
        latency: None,
        usable: true,
        refusing: false,
        probe_due: false,
        tried: false,
    };

    #[test]
    fn admitting_comes_before_refusing_usable_before_not_untried_before_tried() {
        let candidates = [
            Candidate { refusing: true, ..GOOD },
            Candidate { usable: false, ..GOOD },
            Candidate { tried: true, ..GOOD },
            GOOD,
            GOOD,
            GOOD,
        ];
        for roll in 0..100 {
            let order = order(&candidates, roll << 31 | roll);
            assert!((3..6).contains(&order[0]), "{order:?}");
            assert_eq!(order[3..], [2, 1, 0]);
        }
        assert!(order(&[], 7).is_empty());
    }

    #[test]
    fn a_probe_that_is_due_goes_first_if_checks_say_nothing_against_it() {
        let due = Candidate { probe_due: true, latency: Some(Duration::from_secs(9)), ..GOOD };
        let down = Candidate { usable: false, ..due };
        for roll in 0..100 {
            assert_eq!(order(&[GOOD, due], roll)[0], 1);
            assert_eq!(order(&[GOOD, down], roll)[0], 0);
        }
    }

    #[test]
    fn a_silent_endpoint_is_shunned_however_few_calls_it_has() {
        let silent = Candidate { latency: Some(Duration::from_millis(200)), ..GOOD };
        let busy = Candidate { outstanding: 30, latency: Some(Duration::from_millis(3)), ..GOOD };
        for roll in 0..100 {
            assert_eq!(order(&[silent, busy], roll << 31 | roll)[0], 1);
        }
    }

    #[test]
    fn with_fewer_than_half_healthy_all_that_admit_share_the_calls() {
        let down = Candidate { usable: false, ..GOOD };
        let half = [GOOD, down];
        assert!((0..100).all(|roll| order(&half, roll)[0] == 0), "half is enough");
        let third = [GOOD, down, down];
        let mut firsts: Vec<usize> = (0..100).map(|roll| order(&third, roll)[0]).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts, [0, 1, 2]);
        let refusing = Candidate { refusing: true, ..down };
        assert!((0..100).all(|roll| order(&[GOOD, refusing, refusing], roll)[0] == 0));
    }
}
