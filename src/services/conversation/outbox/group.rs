//! What one commit of the outbox does to the table, and to the ledger that counts it.

use std::time::Duration;

use diesel::SqliteConnection;
use tokio::sync::oneshot;

use super::{
    Put,
    store::{self, Note, Outline, Row},
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

/// What somebody wants done with entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Everything of a user is taken out.
    Forget(String),
    /// The entry of this id is taken out.
    Drop(String),
    /// The entry of this id waits again, or takes its turn now.
    Retry(String),
}

/// What one commit is about.
pub(super) struct Group {
    pub(super) entering: Vec<Row>,
    pub(super) notes: Vec<(Row, Note)>,
    pub(super) orders: Vec<Order>,
}

/// What a commit has shown.
pub(super) struct Done {
    /// What came of each entry that was put in.
    pub(super) puts: Vec<Put>,
    /// Whether each entry that was noted was still there.
    pub(super) noted: Vec<bool>,
    /// The entries each order was about, as they were before it.
    pub(super) orders: Vec<Vec<Outline>>,
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
    for entry in store::all(connection)? {
        let Outline { user_id, conversation_id, refused, .. } = &entry;
        if *refused {
            ledger.refuse(user_id, conversation_id, entry.size());
        } else {
            ledger.add(user_id, conversation_id, entry.size());
        }
    }
    Ok(ledger)
}

/// One transaction: entries in, notes down.
///
/// # Errors
/// `database_error`; then nothing has changed.
pub(super) fn write(connection: &mut SqliteConnection, group: &Group) -> Result<Done, Failure> {
    connection
        .immediate_transaction(|connection| {
            let mut noted = Vec::with_capacity(group.notes.len());
            for (row, note) in &group.notes {
                noted.push(store::note(connection, row.place, note)?);
            }
            let mut puts = Vec::with_capacity(group.entering.len());
            for row in &group.entering {
                let known = store::add(connection, row)?;
                puts.push(known.map_or(Put::Waits, |known| Put::Known(known.input)));
            }
            let mut orders = Vec::with_capacity(group.orders.len());
            for order in &group.orders {
                orders.push(match order {
                    Order::Forget(user) => store::forget(connection, user)?,
                    Order::Drop(id) => store::drop_one(connection, id)?,
                    Order::Retry(id) => store::retry(connection, id)?,
                });
            }
            Ok(Done { puts, noted, orders })
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
            ledger.refuse(&row.user_id, &row.conversation_id, bytes);
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

/// Counts what an order has changed.
pub(super) fn follow(ledger: &mut Ledger, order: &Order, entries: &[Outline]) {
    for entry in entries {
        let Outline { user_id, conversation_id, .. } = entry;
        match (order, entry.refused) {
            (Order::Forget(_) | Order::Drop(_), true) => ledger.unrefuse(user_id, entry.size()),
            (Order::Forget(_) | Order::Drop(_), false) => {
                ledger.remove(user_id, conversation_id, entry.size());
            }
            (Order::Retry(_), true) => {
                ledger.unrefuse(user_id, entry.size());
                ledger.add(user_id, conversation_id, entry.size());
            }
            (Order::Retry(_), false) => {}
        }
    }
}

/// Why an entry does not fit, with the numbers.
pub(super) fn refused(full: Full, ledger: &Ledger, limits: Limits) -> Failure {
    let load = ledger.load();
    let text = match full {
        Full::Whole => format!(
            "memory is away and the outbox is full: {} of {} inputs, {} of {} bytes",
            load.entries + ledger.refused().entries,
            limits.entries_max,
            load.bytes + ledger.refused().bytes,
            limits.bytes_max
        ),
        Full::Refused => format!(
            "memory is away and the outbox takes no more: it keeps {} inputs that memory refuses, \
             which an operator must look at (`cortex outbox`)",
            ledger.refused().entries
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
