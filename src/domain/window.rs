//! How many calls of the last seconds went badly: a sliding window that is written without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// Pieces a window is made of; it slides by one piece at a time.
pub const BUCKETS: u64 = 10;
/// Pieces a call may end late by; more means that the stamps have wrapped.
const NEWER_MAX: u64 = 3600;
/// A bucket is one word: a stamp (20 bits), all calls (22 bits), bad ones (22 bits).
const COUNT_BITS: u32 = 22;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const STAMP_MASK: u64 = (1 << 20) - 1;

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that ended in it.
    pub calls: u64,
    /// Those that failed or were slow.
    pub bad: u64,
}

impl Tally {
    /// Whether there are enough calls to judge by, and the share of bad ones reaches `ratio`.
    #[must_use]
    pub fn is_bad(self, calls_min: u32, ratio: f64) -> bool {
        let share = |count: u64| u32::try_from(count).map_or(f64::MAX, f64::from);
        self.calls >= u64::from(calls_min.max(1)) && share(self.bad) >= share(self.calls) * ratio
    }
}

/// A sliding window of [`BUCKETS`] pieces. Counting is one atomic update; what two threads count
/// while a piece is being reused may be lost, which a rate can bear.
#[derive(Debug)]
pub struct Window {
    epoch: Instant,
    piece: Duration,
    buckets: [AtomicU64; 10],
}

impl Window {
    /// An empty window over the last `length`.
    #[must_use]
    pub fn new(length: Duration, now: Instant) -> Self {
        let piece = (length / 10).max(Duration::from_millis(1));
        Window { epoch: now, piece, buckets: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Counts a call that ended.
    pub fn count(&self, bad: bool, now: Instant) {
        let stamp = self.stamp(now);
        let Some(bucket) = self.bucket(stamp) else { return };
        let one = (1 << COUNT_BITS) | u64::from(bad);
        let counted = |old: u64| {
            let (age, calls) = (age(stamp, old), calls(old));
            // Newer by a little means that this call ended late; by more, that the stamps wrapped.
            let is_newer = age > STAMP_MASK - NEWER_MAX;
            if calls == 0 || (age > 0 && !is_newer) {
                Some((stamp << (2 * COUNT_BITS)) | one)
            } else {
                // A full piece, and one that is newer than this call, stay as they are.
                (age == 0 && calls < COUNT_MAX).then_some(old + one)
            }
        };
        let _before = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
    }

    /// What the window holds now.
    #[must_use]
    pub fn tally(&self, now: Instant) -> Tally {
        let stamp = self.stamp(now);
        self.buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .filter(|bucket| age(stamp, *bucket) < BUCKETS)
            .fold(Tally::default(), |sum, bucket| Tally {
                calls: sum.calls + calls(bucket),
                bad: sum.bad + (bucket & COUNT_MAX),
            })
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }

    fn stamp(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.epoch).as_nanos();
        let piece = self.piece.as_nanos().max(1);
        u64::try_from(passed / piece).unwrap_or(u64::MAX)
    }

    fn bucket(&self, stamp: u64) -> Option<&AtomicU64> {
        self.buckets.get(usize::try_from(stamp % BUCKETS).ok()?)
    }
}

/// How many pieces ago the bucket was begun; stamps wrap after days, which the mask undoes.
fn age(stamp: u64, bucket: u64) -> u64 {
    stamp.wrapping_sub(bucket >> (2 * COUNT_BITS)) & STAMP_MASK
}

fn calls(bucket: u64) -> u64 {
    (bucket >> COUNT_BITS) & COUNT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_slide_out_after_the_windows_length() {
        let now = Instant::now();
        let window = Window::new(Duration::from_secs(10), now);
        window.count(true, now);
        window.count(false, now + Duration::from_secs(5));
        let at = |seconds| window.tally(now + Duration::from_secs(seconds));
        assert_eq!(at(9), Tally { calls: 2, bad: 1 });
        assert_eq!(at(10), Tally { calls: 1, bad: 0 });
        assert_eq!(at(15), Tally::default());
        window.count(true, now + Duration::from_secs(20));
        window.count(true, now);
        assert_eq!(at(20), Tally { calls: 1, bad: 1 }, "what comes late does not undo the new");
        window.clear();
        assert_eq!(at(20), Tally::default());
    }

    #[tokio::test]
    async fn a_window_still_counts_after_its_stamps_have_wrapped() {
        let now = Instant::now();
        let window = Window::new(Duration::from_secs(10), now);
        for days in [1, 7, 16, 25, 40, 49] {
            let later = now + Duration::from_secs(86_400 * days);
            window.count(true, later);
            assert_eq!(window.tally(later), Tally { calls: 1, bad: 1 }, "after {days} days");
        }
    }

    #[test]
    fn a_rate_needs_enough_calls() {
        assert!(!Tally { calls: 19, bad: 19 }.is_bad(20, 0.5));
        assert!(Tally { calls: 20, bad: 10 }.is_bad(20, 0.5));
        assert!(!Tally { calls: 20, bad: 9 }.is_bad(20, 0.5));
    }
}
