//! Which endpoint takes an attempt: the balance proposes, the breakers decide.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::RETRY_HINT_MAX;
use crate::{
    backplane::{breaker::Permit, discovery::Endpoint},
    domain::{
        balance::{Candidate, order},
        failure::{Failure, Kind},
    },
};

/// Picks the endpoint for an attempt and asks its breaker; with none left, says how long to wait.
///
/// # Errors
/// `circuit_open` when all refuse, `service_not_found` when there is none.
pub(crate) fn admit(
    service: &str,
    endpoints: &[Arc<Endpoint>],
    tried: &[String],
) -> Result<(Arc<Endpoint>, Permit), Failure> {
    // With a single endpoint there is nothing to choose.
    if let [only] = endpoints {
        if only.is_foreign() {
            return Err(strange(service));
        }
        return match only.breaker().admit() {
            Ok(permit) => Ok((Arc::clone(only), permit)),
            Err(refused) => Err(open(service, refused.retry_after)),
        };
    }
    let now = Instant::now();
    let candidates: Vec<Candidate> = endpoints
        .iter()
        .map(|endpoint| endpoint.candidate(tried.contains(&endpoint.url), now))
        .collect();
    let mut wait: Option<Duration> = None;
    for index in order(&candidates, fastrand::u64(..)) {
        let Some(endpoint) = endpoints.get(index).filter(|one| !one.is_foreign()) else {
            continue;
        };
        match endpoint.breaker().admit() {
            Ok(permit) => return Ok((Arc::clone(endpoint), permit)),
            Err(refused) => {
                wait = Some(wait.map_or(refused.retry_after, |w| w.min(refused.retry_after)));
            }
        }
    }
    Err(wait.map_or_else(|| none_of(service, endpoints), |wait| open(service, wait)))
}

/// The failure of a call that no endpoint would take now, if that is so. Takes no probe's place.
pub(crate) fn refused_by_all(service: &str, endpoints: &[Arc<Endpoint>]) -> Option<Failure> {
    let now = Instant::now();
    let mut soonest: Option<Duration> = None;
    for endpoint in endpoints.iter().filter(|one| !one.is_foreign()) {
        let wait = endpoint.breaker().refuses(now)?.retry_after;
        soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait)));
    }
    Some(soonest.map_or_else(|| none_of(service, endpoints), |wait| open(service, wait)))
}

/// Whether another endpoint, not tried by this call, could take over from one that is silent.
pub(crate) fn another_could(
    endpoints: &[Arc<Endpoint>],
    at: &Endpoint,
    tried: &[String],
    limit: Duration,
) -> bool {
    let now = Instant::now();
    endpoints.iter().any(|other| {
        other.url != at.url && !tried.contains(&other.url) && other.could_take_over(limit, now)
    })
}

/// No endpoint could be asked at all: there is none, or they have another store.
fn none_of(service: &str, endpoints: &[Arc<Endpoint>]) -> Failure {
    if endpoints.is_empty() { nowhere(service) } else { strange(service) }
}

/// Every endpoint has another store than the one this process is bound to.
pub(crate) fn strange(service: &str) -> Failure {
    let text = format!("{service} has another store than the one that was followed so far");
    Failure::new(Kind::Unavailable, text).of_service(service).retry_after(RETRY_HINT_MAX)
}

fn nowhere(service: &str) -> Failure {
    Failure::new(Kind::ServiceNotFound, format!("{service} has no endpoint")).of_service(service)
}

fn open(service: &str, wait: Duration) -> Failure {
    let wait = wait.clamp(Duration::from_secs(1), RETRY_HINT_MAX);
    let seconds = wait.as_secs_f64().ceil();
    Failure::new(
        Kind::CircuitOpen,
        format!("{service} is not available: circuit open, try again in {seconds} s"),
    )
    .of_service(service)
    .retry_after(wait)
}
