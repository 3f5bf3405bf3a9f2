//! The numbers of the log: the newest that was given out, and where they go on.

use diesel::prelude::*;

use crate::{
    backplane::database::storage_failure, domain::failure::Failure, services::memory::changes,
};

/// The newest sequence number ever given out; 0 before the first.
///
/// # Errors
/// `database_error`.
pub fn head(connection: &mut SqliteConnection) -> Result<i64, Failure> {
    log_head(connection).map_err(|error| storage_failure(&error))
}

/// As [`head`].
///
/// # Errors
/// The database's own, for the writer to judge.
pub fn log_head(connection: &mut SqliteConnection) -> QueryResult<i64> {
    // Not max(seq): the newest item may have been deleted, and its number is not used again.
    diesel::select(diesel::dsl::sql::<diesel::sql_types::BigInt>(
        "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'memory_items'), 0)",
    ))
    .get_result(connection)
}

/// Gives out numbers after `head` only, and after its own. What another copy of the store says of
/// the numbers in between is another log, and whoever follows it must learn that.
///
/// # Errors
/// The database's own.
pub fn go_on_after(connection: &mut SqliteConnection, head: i64) -> QueryResult<()> {
    connection.immediate_transaction(|connection| {
        // A store of an older version gets its first mark with its new schema.
        let marked = "SELECT count(*) FROM sqlite_schema WHERE name = 'memory_changes'";
        let marked: i64 =
            diesel::dsl::sql::<diesel::sql_types::BigInt>(marked).get_result(connection)?;
        if marked > 0 {
            changes::began(connection)?;
        }
        let own = log_head(connection)?;
        set_head(connection, head.max(own))
    })
}

/// The numbers go on after `head`.
pub(super) fn set_head(connection: &mut SqliteConnection, head: i64) -> QueryResult<()> {
    let known = diesel::sql_query("UPDATE sqlite_sequence SET seq = ? WHERE name = 'memory_items'")
        .bind::<diesel::sql_types::BigInt, _>(head)
        .execute(connection)?;
    if known > 0 {
        return Ok(());
    }
    diesel::sql_query("INSERT INTO sqlite_sequence (name, seq) VALUES ('memory_items', ?)")
        .bind::<diesel::sql_types::BigInt, _>(head)
        .execute(connection)
        .map(|_| ())
}
