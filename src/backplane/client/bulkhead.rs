//! Keeps one service from taking all of a worker's attention: so many calls at once, so many
//! waiting, so long.

use std::{cell::Cell, time::Duration};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::failure::{Failure, Kind};

/// The places for calls to one service on one worker.
pub(crate) struct Bulkhead {
    service: String,
    places: Semaphore,
    waiting: Cell<usize>,
    waiting_max: usize,
    wait_max: Duration,
}

/// One of those who wait; stops counting when it gets a place or goes away.
struct Waiting<'a>(&'a Cell<usize>);

impl Bulkhead {
    pub(crate) fn new(
        service: &str,
        places: usize,
        waiting_max: usize,
        wait_max: Duration,
    ) -> Self {
        Bulkhead {
            service: service.to_owned(),
            places: Semaphore::new(places.max(1)),
            waiting: Cell::new(0),
            waiting_max,
            wait_max,
        }
    }

    /// A place that is free now, if there is one and nobody waits for it.
    pub(crate) fn free_place(&self) -> Option<SemaphorePermit<'_>> {
        if self.waiting.get() > 0 {
            return None;
        }
        self.places.try_acquire().ok()
    }

    /// A place, after a bounded wait among a bounded number; in order of coming.
    ///
    /// # Errors
    /// `overloaded` when too many wait or none came free in time.
    pub(crate) async fn place(&self, remaining: Duration) -> Result<SemaphorePermit<'_>, Failure> {
        if self.waiting.get() >= self.waiting_max {
            return Err(self.full("too many calls wait for it"));
        }
        self.waiting.set(self.waiting.get() + 1);
        let waiting = Waiting(&self.waiting);
        let placed =
            tokio::time::timeout(self.wait_max.min(remaining), self.places.acquire()).await;
        drop(waiting);
        match placed {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_closed)) => Err(self.full("it takes no more calls")),
            Err(_elapsed) => Err(self.full("no call to it ended in time to make room")),
        }
    }

    fn full(&self, why: &str) -> Failure {
        Failure::new(Kind::Overloaded, format!("{} is busy: {why}", self.service))
            .of_service(&self.service)
            .retry_after(Duration::from_secs(1))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn bulkhead() -> Bulkhead {
        tokio::time::pause();
        Bulkhead::new("memory", 2, 3, Duration::from_millis(100))
    }

    #[actix::test]
    async fn so_many_go_so_many_wait_and_the_others_are_refused_at_once() {
        let bulkhead = bulkhead();
        let held = [bulkhead.free_place().unwrap(), bulkhead.free_place().unwrap()];
        assert!(bulkhead.free_place().is_none());
        let begun = Instant::now();
        let answers = join_all((0..5).map(|_| async {
            let refused = bulkhead.place(LONG).await.map(drop).unwrap_err();
            (refused.kind, begun.elapsed())
        }))
        .await;
        let at_once = answers.iter().filter(|(_, waited)| waited.is_zero()).count();
        assert_eq!(at_once, 2);
        assert!(answers.iter().all(
            |(kind, waited)| *kind == Kind::Overloaded && *waited <= Duration::from_millis(101)
        ));
        drop(held);
        assert!(bulkhead.free_place().is_some(), "nobody waits any more");
    }

    #[actix::test]
    async fn a_place_that_comes_free_goes_to_the_one_who_waited_and_a_deadline_ends_the_wait() {
        let bulkhead = bulkhead();
        let first = bulkhead.free_place().unwrap();
        let _second = bulkhead.free_place().unwrap();
        let waiting = bulkhead.place(LONG);
        let ending = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(first);
            assert!(bulkhead.free_place().is_none(), "somebody is before us");
        };
        let (placed, ()) = futures_util::join!(waiting, ending);
        let begun = Instant::now();
        assert!(bulkhead.place(Duration::from_millis(20)).await.is_err());
        assert!(begun.elapsed() < Duration::from_millis(25));
        drop(placed);
        assert!(bulkhead.free_place().is_some());
    }
}
