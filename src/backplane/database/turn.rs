//! Fair turns between the processes that write one store.
//!
//! SQLite lets waiting writers ask again after ever longer sleeps, so that one busy process starves
//! the others. Two file locks make a queue of it: who wants to write takes `next`, then waits for
//! `write`, then lets go of `next`. Whoever just wrote cannot overtake the one who waits.
//!
//! A turn is a courtesy: what keeps the store right is the database's own lock. So a process that
//! was stopped while it had its turn, but not the database, costs the others some waiting once and
//! no more.

use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::hold::open_beside;
use crate::domain::failure::Failure;

/// How often whoever waits for a lock asks for it. File locks have no wait with a deadline.
const ASKING_INTERVAL: Duration = Duration::from_millis(1);

/// This process's place in the queue of writers.
#[derive(Debug)]
pub struct Turns {
    next: Arc<File>,
    write: Arc<File>,
    /// Whether the last wait was in vain: then the others are not waited for until they move.
    stuck: bool,
}

/// Some process's turn to write, until dropped.
#[derive(Debug)]
pub struct Turn(Arc<File>);

impl Turns {
    /// The queue of those who write the store at `path`.
    ///
    /// # Errors
    /// `database_error` when the lock files beside it cannot be made.
    pub fn beside(path: &Path) -> Result<Self, Failure> {
        let open = |extension| open_beside(path, extension).map(Arc::new);
        Ok(Turns { next: open("next")?, write: open("write")?, stuck: false })
    }

    /// Waits for this process's turn, on this thread, until `until` at most. `None` when it did not
    /// come: then go on without it, the database's own lock decides.
    pub fn take(&mut self, until: Instant) -> Option<Turn> {
        let until = if self.stuck { Instant::now() } else { until };
        let turn = wait_for(&self.next, until).and_then(|_first| wait_for(&self.write, until));
        if turn.is_none() && !self.stuck {
            log::warn!("another process does not end its turn to write");
        }
        self.stuck = turn.is_none();
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            log::error!("a turn to write did not end cause={error}");
        }
    }
}

fn wait_for(lock: &Arc<File>, until: Instant) -> Option<Turn> {
    loop {
        match lock.try_lock() {
            Ok(()) => return Some(Turn(Arc::clone(lock))),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::park_timeout(ASKING_INTERVAL);
            }
            Err(TryLockError::WouldBlock) => return None,
            Err(TryLockError::Error(error)) => {
                log::debug!("no turns on this file system cause={error}");
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Two writers that would write all the time, each with its own open files as two processes
    /// have: neither gets two turns while the other waits.
    #[test]
    fn two_busy_writers_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (turns, taken) = mpsc::channel();
        let gate = Arc::new(std::sync::Barrier::new(2));
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let mut queue = Turns::beside(&path).unwrap();
                let (turns, gate) = (turns.clone(), Arc::clone(&gate));
                std::thread::spawn(move || {
                    gate.wait();
                    for _ in 0..20 {
                        let turn = queue.take(Instant::now() + SOON).expect("a turn");
                        turns.send(writer).unwrap();
                        // Long enough for the other to come and ask.
                        std::thread::park_timeout(ASKING_INTERVAL * 5);
                        drop(turn);
                    }
                })
            })
            .collect();
        drop(turns);
        let order: Vec<i32> = taken.iter().collect();
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(order.len(), 40);
        let first_twenty: i32 = order[..20].iter().sum();
        assert!((5..=15).contains(&first_twenty), "{order:?}");
    }

    #[test]
    fn a_turn_that_does_not_end_is_waited_for_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut stopped, mut other) =
            (Turns::beside(&path).unwrap(), Turns::beside(&path).unwrap());
        let turn = stopped.take(Instant::now()).unwrap();
        let patience = Duration::from_millis(20);
        let begun = Instant::now();
        assert!(other.take(begun + patience).is_none());
        assert!(begun.elapsed() >= patience);
        assert!(other.take(Instant::now() + SOON).is_none());
        assert!(begun.elapsed() < SOON, "the second time nobody waits");
        drop(turn);
        assert!(other.take(Instant::now() + SOON).is_some(), "and all is well again");
    }
}
