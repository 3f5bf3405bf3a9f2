//! Telling seldom: what may happen thousands of times a second is logged once a second, with how
//! often it happened.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use crate::backplane::locks::lock;

/// The shortest time between two lines.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How often something happened that was not told yet.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    count: u64,
    told: Option<Instant>,
}

impl Seldom {
    /// Nothing has happened yet.
    #[must_use]
    pub const fn new() -> Self {
        Seldom(Mutex::new(Untold { count: 0, told: None }))
    }

    /// It happened; if it is time to tell, how often since it was last told.
    pub fn happened(&self) -> Option<u64> {
        let mut untold = lock(&self.0);
        untold.count += 1;
        if untold.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return None;
        }
        untold.told = Some(Instant::now());
        Some(std::mem::take(&mut untold.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_the_rest_once_a_second_with_their_number() {
        let seldom = Seldom::new();
        assert_eq!(seldom.happened(), Some(1));
        assert_eq!((seldom.happened(), seldom.happened()), (None, None));
        tokio::time::advance(TOLD_EVERY).await;
        assert_eq!(seldom.happened(), Some(3));
        assert_eq!(seldom.happened(), None);
    }
}
