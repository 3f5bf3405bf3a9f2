//! The ways in which circuit breakers are known to go wrong, one test for each, and the breaker's
//! own rules one by one. Numbers 5, 9 and 11 are the client's: `failure/replies.rs`.

use std::time::Duration;

use cortex::domain::{
    breaker::{Breaker, Forced, Outcome, Policy, Refused, State, Transition},
    reply::classify,
};
use tokio::time::Instant;

use super::policy;

const RESET: Duration = Duration::from_secs(30);
const LEASE: Duration = Duration::from_secs(31);
const SECOND: Duration = Duration::from_secs(1);

fn call(breaker: &mut Breaker, outcome: Outcome, now: Instant) -> Option<Transition> {
    let ticket = breaker.admit(now).0.unwrap();
    breaker.record(ticket, outcome, now)
}

fn opened_with(policy: Policy, now: Instant) -> Breaker {
    let mut breaker = Breaker::closed(policy, 7, now);
    for _ in 0..policy.failure_threshold {
        call(&mut breaker, Outcome::Failure, now);
    }
    assert_eq!(breaker.state(), State::Open);
    breaker
}

fn opened(now: Instant) -> Breaker {
    opened_with(policy(), now)
}

#[test]
fn bug_01_a_probe_that_never_reports_cannot_wedge_half_open() {
    let now = Instant::now();
    let mut breaker = opened(now);
    assert!(breaker.admit(now + RESET).0.is_ok());
    let lost = now + RESET + LEASE;
    let (refused, transition) = breaker.admit(lost);
    assert!(refused.is_err());
    assert_eq!(transition.unwrap().reason, "probe did not report in time");
    assert!(breaker.admit(lost + RESET * 2).0.is_ok());
}

#[test]
fn bug_01_a_neutral_probe_gives_its_place_back() {
    let now = Instant::now();
    let mut breaker = opened(now);
    for _ in 0..10 {
        assert_eq!(call(&mut breaker, Outcome::Neutral, now + RESET), None);
        assert_eq!(breaker.state(), State::HalfOpen);
    }
}

#[test]
fn bug_01_a_report_gives_back_its_own_place_and_no_other() {
    let now = Instant::now();
    let mut breaker = opened_with(Policy { half_open_max_calls: 2, ..policy() }, now);
    let due = now + RESET;
    let _lost = breaker.admit(due).0.unwrap();
    let second = breaker.admit(due + SECOND * 20).0.unwrap();
    breaker.record(second, Outcome::Neutral, due + SECOND * 20);
    let after_first_lease = due + LEASE;
    breaker.admit(after_first_lease).0.unwrap_err();
    assert_eq!(breaker.state(), State::Open, "it is the first that is lost");
}

#[test]
fn bug_02_the_call_that_finds_it_half_open_is_itself_the_probe() {
    let now = Instant::now();
    let mut breaker = opened(now);
    let (first, transition) = breaker.admit(now + RESET);
    assert!(first.is_ok());
    assert_eq!(transition.unwrap().to, State::HalfOpen);
    for _ in 0..20 {
        assert!(breaker.admit(now + RESET).0.is_err());
    }
}

#[test]
fn bug_03_callers_mistakes_do_not_open_it() {
    let now = Instant::now();
    let mut breaker = Breaker::closed(policy(), 7, now);
    for _ in 0..100 {
        for status in [400, 401, 403, 404, 405, 408, 409, 413, 422, 429] {
            assert_eq!(call(&mut breaker, classify(status, false).0, now), None, "{status}");
        }
        assert_eq!(call(&mut breaker, classify(503, true).0, now), None);
    }
    assert_eq!((breaker.state(), breaker.failures()), (State::Closed, 0));
}

#[test]
fn bug_04_callers_mistakes_are_no_evidence_of_health() {
    let now = Instant::now();
    let mut breaker = Breaker::closed(policy(), 7, now);
    for _ in 0..4 {
        call(&mut breaker, Outcome::Failure, now);
        call(&mut breaker, classify(404, false).0, now);
    }
    assert_eq!(breaker.failures(), 4, "the run is not broken");
    assert_eq!(breaker.tally(now).calls, 4, "the share is not watered down");
    call(&mut breaker, Outcome::Failure, now);
    call(&mut breaker, classify(422, false).0, now + RESET);
    assert_eq!(breaker.state(), State::HalfOpen, "a 422 closes nothing");
}

#[test]
fn bug_06_every_attempt_counts_not_every_exhausted_call() {
    let now = Instant::now();
    let mut breaker = Breaker::closed(policy(), 7, now);
    let attempts_of_two_calls = [3, 2];
    for attempts in attempts_of_two_calls {
        for _ in 0..attempts {
            call(&mut breaker, Outcome::Failure, now);
        }
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn bug_07_only_the_clock_it_is_given_counts() {
    let now = Instant::now();
    let mut breaker = opened(now);
    tokio::time::advance(RESET * 100).await;
    assert!(breaker.admit(now + SECOND).0.is_err(), "time that passed unseen changes nothing");
    assert!(breaker.admit(now + RESET).0.is_ok());
}

#[test]
fn bug_07_a_clock_that_seems_to_go_back_does_no_harm() {
    let now = Instant::now();
    let later = now + RESET * 10;
    let mut breaker = Breaker::closed(policy(), 7, later);
    for _ in 0..5 {
        call(&mut breaker, Outcome::Failure, now);
    }
    assert_eq!(breaker.next_probe(now), Some(RESET));
    assert!(breaker.admit(now + RESET).0.is_ok());
}

#[test]
fn bug_08_a_window_remembers_for_its_whole_length_and_no_longer() {
    let now = Instant::now();
    let mut breaker = Breaker::closed(Policy { failure_threshold: 1000, ..policy() }, 7, now);
    for second in 0..9 {
        call(&mut breaker, Outcome::Failure, now + SECOND * second);
        call(&mut breaker, Outcome::Success, now + SECOND * second);
    }
    assert_eq!(breaker.state(), State::Closed, "18 calls are not enough");
    call(&mut breaker, Outcome::Success, now + SECOND * 9);
    let opened = call(&mut breaker, Outcome::Failure, now + SECOND * 9).unwrap();
    assert_eq!(opened.reason, "too many failed or slow calls");
}

#[test]
fn bug_10_outcomes_of_an_older_generation_are_void() {
    let now = Instant::now();
    let mut breaker = Breaker::closed(policy(), 7, now);
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
    assert_eq!(breaker.record(probe, Outcome::Failure, due), None, "and none counts twice");
    assert_eq!(breaker.failures(), 0);
}

#[test]
fn opens_only_after_consecutive_failures() {
    let now = Instant::now();
    let mut breaker = Breaker::closed(policy(), 7, now);
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

#[test]
fn slow_answers_open_it_by_their_share_and_a_slow_probe_does_not_close_it() {
    let now = Instant::now();
    let slow = Policy { slow_call: SECOND, ..policy() };
    assert_eq!(slow.judge(Outcome::Success, SECOND), Outcome::Slow);
    assert_eq!(slow.judge(Outcome::Neutral, SECOND), Outcome::Neutral);
    assert_eq!(policy().judge(Outcome::Success, RESET), Outcome::Success, "off unless set");
    let mut breaker = Breaker::closed(slow, 7, now);
    for _ in 0..10 {
        assert_eq!(call(&mut breaker, Outcome::Success, now), None);
    }
    for _ in 0..9 {
        assert_eq!(call(&mut breaker, Outcome::Slow, now), None);
    }
    assert_eq!(call(&mut breaker, Outcome::Slow, now).unwrap().to, State::Open);
    assert_eq!(call(&mut breaker, Outcome::Slow, now + RESET).unwrap().reason, "probe was slow");
}

#[test]
fn the_open_time_grows_while_probes_fail_to_its_cap_and_starts_anew_after_a_success() {
    let now = Instant::now();
    let mut breaker = opened(now);
    let mut at = now;
    for seconds in [30, 60, 120, 240, 300, 300] {
        let wait = breaker.next_probe(at).unwrap();
        assert_eq!(wait, SECOND * seconds);
        at += wait;
        call(&mut breaker, Outcome::Failure, at);
    }
    at += breaker.next_probe(at).unwrap();
    assert_eq!(call(&mut breaker, Outcome::Success, at).unwrap().to, State::Closed);
    for _ in 0..5 {
        call(&mut breaker, Outcome::Failure, at);
    }
    assert_eq!(breaker.next_probe(at), Some(RESET));
}

#[test]
fn open_times_are_spread_but_not_far() {
    let now = Instant::now();
    let spread = Policy { jitter: 0.1, failure_threshold: 1, ..policy() };
    let times: Vec<Duration> = (0..100)
        .map(|seed| {
            let mut breaker = Breaker::closed(spread, seed, now);
            call(&mut breaker, Outcome::Failure, now);
            breaker.next_probe(now).unwrap()
        })
        .collect();
    assert!(times.iter().all(|time| (SECOND * 27..=SECOND * 33).contains(time)));
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(*least < SECOND * 28 && *most > SECOND * 32, "{least:?} {most:?}");
}

#[test]
fn refuses_with_the_time_to_wait() {
    let now = Instant::now();
    let mut breaker = opened(now);
    let refused = breaker.admit(now + SECOND * 10).0;
    assert_eq!(refused, Err(Refused { retry_after: SECOND * 20 }));
}

#[test]
fn a_passed_check_lets_the_probe_go_at_once() {
    let now = Instant::now();
    let mut breaker = opened(now);
    breaker.checked(true, now + SECOND);
    let (probe, transition) = breaker.admit(now + SECOND);
    assert!(probe.is_ok());
    assert_eq!(transition.unwrap().reason, "a health check passed");
}

#[test]
fn checks_that_pass_while_calls_fail_are_believed_less_and_less() {
    let now = Instant::now();
    let mut breaker = opened(now);
    let mut probes = 0;
    for tenth in 0..600 {
        let at = now + SECOND / 10 * tenth;
        breaker.checked(true, at);
        if let Ok(ticket) = breaker.admit(at).0 {
            probes += 1;
            breaker.record(ticket, Outcome::Failure, at);
        }
    }
    assert!((4..=6).contains(&probes), "{probes} probes in a minute");
    let later = now + SECOND * 61;
    breaker.checked(false, later);
    breaker.checked(true, later + SECOND);
    assert!(breaker.admit(later + SECOND).0.is_ok(), "a check that failed restores the trust");
}

#[test]
fn an_operator_overrules_rules_and_checks_and_lifting_starts_from_closed() {
    let now = Instant::now();
    let mut breaker = Breaker::closed(policy(), 7, now);
    assert!(breaker.force(Some(Forced::Open), now).is_some());
    breaker.checked(true, now);
    assert!(breaker.admit(now + RESET * 100).0.is_err());
    assert_eq!(breaker.next_probe(now), None);
    breaker.force(Some(Forced::Closed), now);
    for _ in 0..50 {
        assert_eq!(call(&mut breaker, Outcome::Failure, now), None);
    }
    assert_eq!(breaker.state(), State::Closed, "what is forced does not trip inside");
    assert_eq!(breaker.force(None, now), None, "closed it was, closed it is");
    assert_eq!(breaker.state(), State::Closed);
}
