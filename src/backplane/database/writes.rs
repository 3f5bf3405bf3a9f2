//! Whether a store takes writes: what the last one has shown, for health.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use diesel::{QueryableByName, connection::SimpleConnection as _, prelude::*};
use tokio::time::Instant;

use super::storage_failure;
use crate::{
    backplane::locks::lock,
    domain::{
        failure::{Failure, Kind},
        storage_fault::Fault,
    },
};

/// A failed write is told for so long, also when others succeed: where there is no room for a large
/// one, there may be some for a small one.
const TOLD_FOR: Duration = Duration::from_secs(2);

/// Why a write failed and when, if the store was the cause. Cheap to clone; clones share what they
/// know.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes(Arc<Mutex<Option<(String, Instant)>>>);

impl Writes {
    /// A write was made, or failed.
    pub(super) fn learn<T>(&self, result: &Result<T, Failure>) {
        let mut failed = lock(&self.0);
        match result {
            Ok(_) if failed.as_ref().is_some_and(|(_, at)| at.elapsed() >= TOLD_FOR) => {
                *failed = None;
            }
            Err(failure) if is_the_stores(failure) => {
                *failed = Some((failure.message.clone(), Instant::now()));
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Whether a write has failed, and it is time to try another. Seldom: where room is short, each
    /// takes some of it.
    pub(super) fn probe_is_due(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|(_, at)| at.elapsed() >= TOLD_FOR)
    }

    /// Whether it is known to be well.
    ///
    /// # Errors
    /// `database_error` with what was wrong a moment ago.
    pub(super) fn refuse(&self) -> Result<(), Failure> {
        match lock(&self.0).as_ref() {
            Some((why, _)) => Err(Failure::new(Kind::Storage, why.clone())),
            None => Ok(()),
        }
    }
}

/// Whether the store is the cause, and not what was to be written.
fn is_the_stores(failure: &Failure) -> bool {
    matches!(failure.kind, Kind::Storage | Kind::Overloaded)
        && Fault::ALL.iter().any(|fault| failure.message == fault.sentence())
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    user_version: i32,
}

/// Writes what changes nothing, to see whether the store takes writes again.
pub(super) fn probe(connection: &mut SqliteConnection) -> Result<(), Failure> {
    connection
        .immediate_transaction(|connection| {
            let Version { user_version } =
                diesel::sql_query("PRAGMA user_version").get_result(connection)?;
            connection.batch_execute(&format!("PRAGMA user_version = {user_version}"))
        })
        .map_err(|error| storage_failure(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::database::failure_of;

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_is_told_for_a_while_and_until_one_succeeds_a_callers_mistake_is_not() {
        let writes = Writes::default();
        let known = writes.clone();
        writes.learn::<()>(&Err(Failure::not_found("item", "1")));
        assert_eq!(known.refuse(), Ok(()));
        writes.learn::<()>(&Err(failure_of(Fault::Full)));
        writes.learn::<()>(&Err(Failure::not_found("item", "1")));
        writes.learn(&Ok(()));
        assert_eq!(known.refuse().unwrap_err().message, Fault::Full.sentence());
        assert!(!known.probe_is_due());
        tokio::time::advance(TOLD_FOR).await;
        assert!(known.refuse().is_err(), "nothing has shown that it is well");
        assert!(known.probe_is_due());
        writes.learn(&Ok(()));
        assert_eq!(known.refuse(), Ok(()));
    }
}
