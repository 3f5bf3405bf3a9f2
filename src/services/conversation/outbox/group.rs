//! What one commit of the outbox does to the table, and to the ledger that counts it.

use std::time::Duration;

use diesel::SqliteConnection;
use tokio::sync::oneshot;

use super::{
    Put,
    store::{self, Note, Row},
};
use crate::{
    backplane::database::storage_failure,
    domain::{
        failure::{Failure, Kind},
        outbox::{Full, Ledger, Limits},
    },
};

/// Where the answer to an entry goes.
pub(super) type Reply = oneshot::Sender<Result<Put, Failure>>;

/// Entries read at once when the ledger is made anew: all there can be.
const ALL: i64 = i64::MAX;

/// What one commit is about.
pub(super) struct Group {
    pub(super) entering: Vec<Row>,
    pub(super) notes: Vec<(Row, Note)>,
}

/// The ledger of what is on disk.
///
/// # Errors
/// `database_error`.
pub(super) fn ledger_of(
    connection: &mut SqliteConnection,
    limits: Limits,
) -> Result<Ledger, Failure> {
    let mut ledger = Ledger::new(limits);
    for (_, user, conversation, bytes) in store::waiting(connection, ALL)? {
        ledger.add(&user, &conversation, usize::try_from(bytes).unwrap_or_default());
    }
    Ok(ledger)
}

/// One transaction: entries in, notes down.
///
/// # Errors
/// `database_error`; then nothing has changed.
pub(super) fn write(connection: &mut SqliteConnection, group: &Group) -> Result<Vec<Put>, Failure> {
    connection
        .immediate_transaction(|connection| {
            for (row, note) in &group.notes {
                store::note(connection, row.place, note)?;
            }
            let mut results = Vec::with_capacity(group.entering.len());
            for row in &group.entering {
                let known = store::add(connection, row)?;
                results.push(known.map_or(Put::Waits, |known| Put::Known(known.input)));
            }
            Ok(results)
        })
        .map_err(|error: diesel::result::Error| {
            storage_failure(&error).retry_after(Duration::from_secs(1))
        })
}

/// Counts what became of an entry.
pub(super) fn settle(ledger: &mut Ledger, row: &Row, note: &Note) {
    let bytes = row.input.len();
    match note {
        Note::Delivered => ledger.remove(&row.user_id, &row.conversation_id, bytes),
        Note::Refused(why) => {
            log::error!("memory refuses an input for good message={} cause={why}", row.message_id);
            ledger.remove(&row.user_id, &row.conversation_id, bytes);
        }
        Note::Renamed { message_id, input } => {
            log::warn!(
                "an idempotency key stood for two inputs, the second was acknowledged while memory was away message={} now={message_id}",
                row.message_id
            );
            ledger.remove(&row.user_id, &row.conversation_id, bytes);
            ledger.add(&row.user_id, &row.conversation_id, input.len());
        }
    }
}

/// Why an entry does not fit, with the numbers.
pub(super) fn refused(full: Full, ledger: &Ledger, limits: Limits) -> Failure {
    let load = ledger.load();
    let text = match full {
        Full::Whole => format!(
            "memory is away and the outbox is full: {} of {} inputs, {} of {} bytes",
            load.entries, limits.entries_max, load.bytes, limits.bytes_max
        ),
        Full::Share => "memory is away and this user's share of the outbox is used up".to_owned(),
    };
    Failure::new(Kind::Overloaded, text).of_service("memory").retry_after(Duration::from_secs(1))
}

/// Tells whoever put an input in what came of it.
pub(super) fn answer(reply: Reply, put: Result<Put, Failure>) {
    if reply.send(put).is_err() {
        log::debug!("an input reached the outbox after its caller had gone");
    }
}
