//! How long an endpoint takes, and how long its silence may be borne.

use std::time::Duration;

/// Time after which a latency has faded to about a third (Finagle's "peak EWMA").
pub const FADE: Duration = Duration::from_secs(10);
/// Share of a new sample in what a tool usually takes.
const SAMPLE_SHARE: f64 = 0.05;

/// A latency seen `gap` ago, as far as it still counts: an endpoint nobody calls gets another
/// chance in time.
#[must_use]
pub fn faded(latency: Duration, gap: Duration) -> Duration {
    latency.mul_f64(weight(gap))
}

/// A latency after a new `sample`, `gap` after the last: it rises at once and falls slowly, so that
/// one bad answer is heeded and one good answer does not excuse it.
#[must_use]
pub fn peak(before: Duration, sample: Duration, gap: Duration) -> Duration {
    mixed(before, sample, 1.0 - weight(gap))
}

/// What a tool usually takes after a new `sample`; it fades with samples, not with time.
#[must_use]
pub fn usual(before: Option<Duration>, sample: Duration) -> Duration {
    before.map_or(sample, |before| mixed(before, sample, SAMPLE_SHARE))
}

/// How long a call may be without an answer while another endpoint could take it: never less than
/// `floor`, and `factor` times what such a call usually takes.
#[must_use]
pub fn stall_limit(floor: Duration, factor: f64, usual: Option<Duration>) -> Duration {
    let seconds = usual.unwrap_or_default().as_secs_f64() * factor.max(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).max(floor)
}

fn mixed(before: Duration, sample: Duration, share: f64) -> Duration {
    if sample >= before {
        sample
    } else {
        before.mul_f64(1.0 - share).saturating_add(sample.mul_f64(share))
    }
}

fn weight(gap: Duration) -> f64 {
    (-gap.as_secs_f64() / FADE.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_latency_rises_at_once_and_falls_slowly() {
        assert_eq!(peak(ms(2), ms(300), ms(1)), ms(300));
        let after = peak(ms(300), ms(2), ms(1000));
        assert!((ms(250)..ms(300)).contains(&after), "{after:?}");
        assert!(faded(ms(300), Duration::from_secs(60)) < ms(1));
        assert_eq!(faded(ms(300), Duration::ZERO), ms(300));
    }

    #[test]
    fn slow_tools_may_be_silent_for_longer() {
        assert_eq!(stall_limit(ms(250), 10.0, None), ms(250));
        assert_eq!(stall_limit(ms(250), 10.0, Some(ms(3))), ms(250));
        assert_eq!(stall_limit(ms(250), 10.0, Some(ms(500))), ms(5000));
        assert_eq!(stall_limit(ms(250), f64::MAX, Some(ms(500))), Duration::MAX);
        let mut usually = usual(None, ms(1000));
        for _ in 0..200 {
            usually = usual(Some(usually), ms(2));
        }
        assert!(usually < ms(4), "{usually:?}");
    }
}
