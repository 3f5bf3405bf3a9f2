//! What an HTTP status says about the endpoint that sent it, and about asking again.

use crate::domain::{backoff::Setback, breaker::Outcome};

/// Header by which a reply says that asking again is of no use.
pub const RETRY_HEADER: &str = "x-cortex-retry";

/// A setback as a reply's [`RETRY_HEADER`] changes it: `never` makes any setback final.
#[must_use]
pub fn obeying(setback: Setback, retry: Option<&str>) -> Setback {
    let never = retry.is_some_and(|word| word.trim().eq_ignore_ascii_case("never"));
    if never { Setback::Final } else { setback }
}

/// The breaker's outcome of a reply, and how to hold the setback it is; `None` for success.
///
/// A tool's own 4xx says nothing about the endpoint's health; 429, and 503 with `Retry-After`, are
/// an endpoint that protects itself, not a broken one.
#[must_use]
pub fn classify(status: u16, retry_after: bool) -> (Outcome, Option<Setback>) {
    match status {
        200..=299 => (Outcome::Success, None),
        429 => (Outcome::Neutral, Some(Setback::Throttled)),
        503 if retry_after => (Outcome::Neutral, Some(Setback::Throttled)),
        408 => (Outcome::Neutral, Some(Setback::Unknown)),
        // Refused before any work, because it was meant for another.
        421 => (Outcome::Neutral, Some(Setback::NeverSent)),
        500 | 502 | 503 | 504 => (Outcome::Failure, Some(Setback::Unknown)),
        501 | 505..=599 => (Outcome::Failure, Some(Setback::Final)),
        _ => (Outcome::Neutral, Some(Setback::Final)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_mistakes_are_neutral_and_final() {
        for status in [400, 401, 403, 404, 405, 409, 413, 422] {
            assert_eq!(classify(status, false), (Outcome::Neutral, Some(Setback::Final)));
        }
    }

    #[test]
    fn a_reply_may_forbid_asking_again() {
        assert_eq!(obeying(Setback::Throttled, Some(" Never ")), Setback::Final);
        for word in [None, Some(""), Some("later")] {
            assert_eq!(obeying(Setback::Unknown, word), Setback::Unknown);
        }
    }

    #[test]
    fn throttling_is_neutral_and_may_be_repeated_outages_are_failures() {
        assert_eq!(classify(429, false).0, Outcome::Neutral);
        assert_eq!(classify(503, true), (Outcome::Neutral, Some(Setback::Throttled)));
        assert_eq!(classify(503, false), (Outcome::Failure, Some(Setback::Unknown)));
        assert_eq!(classify(200, false), (Outcome::Success, None));
    }
}
