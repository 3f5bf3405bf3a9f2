//! When requests are due: the window of a run, and the pacer that lets them go at a fixed rate.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

/// How finely the pacer lets requests go. Finer costs the generator more than it tells: tokio's own
/// timer has a grain of 1 ms, which a commit on a fast disk does not take.
const GRAIN: Duration = Duration::from_micros(250);
/// Longest rest of the pacer, so that it hears of the end.
const REST_MAX: Duration = Duration::from_millis(50);
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The times of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// When it starts, warming up.
    pub(super) start: Instant,
    /// When the measuring begins.
    pub(super) begin: Instant,
    /// When it ends.
    pub(super) end: Instant,
    rate: Option<u32>,
}

impl Schedule {
    /// A run that starts now, warms up, and is measured.
    pub(super) fn new(
        now: Instant,
        warm_up: Duration,
        duration: Duration,
        rate: Option<u32>,
    ) -> Self {
        let begin = now + warm_up;
        Schedule { start: now, begin, end: begin + duration, rate }
    }

    /// When the `turn`-th request of thread `number` of `threads` is due: they take turns.
    pub(super) fn due(&self, turn: u64, number: usize, threads: usize) -> Instant {
        let threads = u64::try_from(threads).unwrap_or(u64::MAX);
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let index = turn.saturating_mul(threads).saturating_add(number);
        let nanos =
            u128::from(index) * NANOS_PER_SECOND / u128::from(self.rate.unwrap_or(1).max(1));
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many requests have come due by `now`; `None` without a rate.
    pub(super) fn due_by(&self, now: Instant) -> Option<u64> {
        let rate = self.rate?;
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        // The first is due at once.
        let count = (nanos * u128::from(rate)).div_ceil(NANOS_PER_SECOND);
        Some(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Starts the thread that lets requests through the gates of the threads when they are due;
    /// `None` without a rate.
    pub(super) fn pace(
        self,
        gates: Vec<Arc<Semaphore>>,
        stopped: watch::Receiver<bool>,
    ) -> Option<JoinHandle<()>> {
        self.rate?;
        let pacer = thread::Builder::new().name("pacer".to_owned());
        let spawned = pacer.spawn(move || self.let_go(&gates, &stopped));
        spawned.inspect_err(|error| log::error!("the pacer was not started cause={error}")).ok()
    }

    fn let_go(self, gates: &[Arc<Semaphore>], stopped: &watch::Receiver<bool>) {
        let threads = u64::try_from(gates.len()).unwrap_or(u64::MAX).max(1);
        let mut gone = vec![0_u64; gates.len()];
        while !*stopped.borrow() {
            let now = Instant::now();
            let due = self.due_by(now.min(self.end)).unwrap_or_default();
            for ((gate, gone), number) in gates.iter().zip(&mut gone).zip(0_u64..) {
                let of_thread = due.saturating_sub(number).div_ceil(threads);
                let fresh = usize::try_from(of_thread.saturating_sub(*gone)).unwrap_or(0);
                gate.add_permits(fresh);
                *gone = of_thread;
            }
            if now >= self.end {
                return;
            }
            let next = self.due(due, 0, 1);
            thread::park_timeout(next.saturating_duration_since(now).clamp(GRAIN, REST_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn requests_are_due_at_the_rate_whatever_thread_sends_them() {
        let now = Instant::now();
        let schedule = Schedule::new(now, ms(100), ms(1000), Some(1000));
        assert_eq!(schedule.due(0, 0, 2), now);
        assert_eq!(schedule.due(0, 1, 2), now + ms(1));
        assert_eq!(schedule.due(7, 1, 2), now + ms(15));
        assert_eq!(schedule.due_by(now + ms(15)), Some(15));
        assert_eq!(schedule.due_by(now + ms(15) + Duration::from_nanos(1)), Some(16));
        assert_eq!((schedule.begin, schedule.end), (now + ms(100), now + ms(1100)));
        assert_eq!(Schedule::new(now, ms(0), ms(1), None).due_by(now), None);
    }

    #[test]
    fn the_pacer_lets_everything_through_by_the_end_shared_evenly() {
        let schedule = Schedule::new(Instant::now(), ms(0), ms(20), Some(5_000));
        let gates: Vec<_> = (0..3).map(|_| Arc::new(Semaphore::new(0))).collect();
        let (_stop, stopped) = watch::channel(false);
        schedule.pace(gates.clone(), stopped).unwrap().join().unwrap();
        let through: Vec<usize> = gates.iter().map(|gate| gate.available_permits()).collect();
        assert_eq!(through, [34, 33, 33]);
    }
}
