//! How memory's writer is: what `/health` says of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::backplane::locks::lock;

/// Time a commit may take before the writer counts as stuck.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

/// How the writer is. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition(Arc<Mutex<Doing>>);

#[derive(Debug, Default)]
struct Doing {
    last_error: Option<String>,
    committing_since: Option<Instant>,
}

impl Condition {
    fn with<T>(&self, look: impl FnOnce(&mut Doing) -> T) -> T {
        look(&mut lock(&self.0))
    }

    /// A commit begins.
    pub(super) fn begins(&self) {
        self.with(|doing| doing.committing_since = Some(Instant::now()));
    }

    /// A commit ended, perhaps with an error.
    pub(super) fn committed(&self, error: Option<String>) {
        self.with(|doing| *doing = Doing { last_error: error, committing_since: None });
    }

    /// What is wrong with it, if anything: the last commit failed, or one takes too long.
    pub(super) fn trouble(&self) -> Option<String> {
        self.with(|doing| {
            let stuck = doing.committing_since.is_some_and(|at| at.elapsed() > COMMIT_PATIENCE);
            if stuck {
                Some("a commit takes too long".to_owned())
            } else {
                doing.last_error.clone()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_commit_and_one_without_end_are_trouble_a_good_one_ends_it() {
        tokio::time::pause();
        let condition = Condition::default();
        assert_eq!(condition.trouble(), None);
        condition.begins();
        assert_eq!(condition.trouble(), None);
        tokio::time::advance(COMMIT_PATIENCE + Duration::from_secs(1)).await;
        assert!(condition.trouble().is_some());
        condition.committed(Some("disk full".to_owned()));
        assert_eq!(condition.trouble().as_deref(), Some("disk full"));
        condition.begins();
        condition.committed(None);
        assert_eq!(condition.trouble(), None);
    }
}
