//! Budgets: how many retries a service may cost, and how many restarts an actor may take.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// A token bucket that keeps retries from feeding an outage.
///
/// Every first attempt puts `ratio` tokens in, a steady trickle of `floor_per_second` helps at low
/// traffic, every retry takes one out. The numbers are Finagle's and linkerd's (20 %, 10 per second,
/// window 10 s).
#[derive(Clone, Debug)]
pub struct RetryBudget {
    ratio: f64,
    floor_per_second: f64,
    most: f64,
    tokens: f64,
    at: Instant,
}

impl RetryBudget {
    /// A full bucket that holds what `window` of the trickle brings.
    #[must_use]
    pub fn new(ratio: f64, floor_per_second: f64, window: Duration, now: Instant) -> Self {
        let most = (floor_per_second * window.as_secs_f64()).max(1.0);
        RetryBudget { ratio, floor_per_second, most, tokens: most, at: now }
    }

    /// A first attempt goes out.
    pub fn deposit(&mut self, now: Instant) {
        self.trickle(now);
        self.tokens = (self.tokens + self.ratio).min(self.most);
    }

    /// May a retry go out? Takes its token if so.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        self.trickle(now);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }

    fn trickle(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.floor_per_second).min(self.most);
        self.at = now;
    }
}

/// How often something may be started again within a window.
#[derive(Clone, Debug)]
pub struct RestartBudget {
    most: usize,
    window: Duration,
    restarts: VecDeque<Instant>,
}

impl RestartBudget {
    /// At most `most` restarts in any `window`.
    #[must_use]
    pub fn new(most: usize, window: Duration) -> Self {
        RestartBudget { most, window, restarts: VecDeque::new() }
    }

    /// Takes one restart from the budget: how many there were in the window before it, or `None`
    /// when there is none left.
    pub fn take(&mut self, now: Instant) -> Option<u32> {
        while self.restarts.front().is_some_and(|at| now.duration_since(*at) >= self.window) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= self.most {
            return None;
        }
        let before = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        self.restarts.push_back(now);
        Some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn retries_stay_a_share_of_the_traffic() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(0.2, 0.0, Duration::from_secs(10), now);
        assert!(budget.withdraw(now), "the bucket starts with one");
        for _ in 0..4 {
            budget.deposit(now);
        }
        assert!(!budget.withdraw(now), "0.8 of a token is not one");
        budget.deposit(now);
        assert!(budget.withdraw(now));
    }

    #[tokio::test]
    async fn a_trickle_allows_retries_at_low_traffic() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(0.2, 10.0, Duration::from_secs(10), now);
        let granted = (0..500).filter(|_| budget.withdraw(now)).count();
        assert_eq!(granted, 100);
        assert!(budget.withdraw(now + Duration::from_millis(150)));
        assert!(!budget.withdraw(now + Duration::from_millis(150)));
    }

    #[tokio::test]
    async fn restarts_are_counted_in_a_sliding_window() {
        let now = Instant::now();
        let mut budget = RestartBudget::new(2, Duration::from_secs(30));
        assert_eq!(budget.take(now), Some(0));
        assert_eq!(budget.take(now + Duration::from_secs(20)), Some(1));
        assert_eq!(budget.take(now + Duration::from_secs(29)), None);
        assert_eq!(budget.take(now + Duration::from_secs(31)), Some(1));
    }
}
