//! The outbox in SQLite: entries in the order they came.

use diesel::prelude::*;

use crate::{
    backplane::database::storage_failure, domain::failure::Failure,
    services::conversation::schema::outbox,
};

/// An input that waits for memory.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = outbox)]
pub struct Row {
    /// Its place in the order.
    pub place: i64,
    /// The id it will be stored under.
    pub message_id: String,
    /// Whose it is.
    pub user_id: String,
    /// Where it was said.
    pub conversation_id: String,
    /// What memory is given, as JSON.
    pub input: String,
    /// When it was taken, in microseconds since 1970.
    pub created_at: i64,
}

/// What came of an entry, to be noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Memory has it.
    Delivered,
    /// Memory would never take it; why.
    Refused(String),
    /// Its id belongs to another input: it goes on under this one, with this body.
    Renamed {
        /// The new id.
        message_id: String,
        /// The new body, as JSON.
        input: String,
    },
}

/// Adds an entry; the one that has its id already, if any.
///
/// # Errors
/// Whatever the database says.
pub fn add(connection: &mut SqliteConnection, row: &Row) -> QueryResult<Option<Row>> {
    let added = diesel::insert_into(outbox::table)
        .values((
            outbox::message_id.eq(&row.message_id),
            outbox::user_id.eq(&row.user_id),
            outbox::conversation_id.eq(&row.conversation_id),
            outbox::input.eq(&row.input),
            outbox::created_at.eq(row.created_at),
        ))
        .on_conflict_do_nothing()
        .execute(connection)?;
    if added > 0 {
        return Ok(None);
    }
    outbox::table
        .filter(outbox::message_id.eq(&row.message_id))
        .select(Row::as_select())
        .first(connection)
        .map(Some)
}

/// Notes what came of the entry at `place`.
///
/// # Errors
/// Whatever the database says.
pub fn note(connection: &mut SqliteConnection, place: i64, note: &Note) -> QueryResult<()> {
    let entry = outbox::table.find(place);
    let changed = match note {
        Note::Delivered => diesel::delete(entry).execute(connection),
        Note::Refused(why) => {
            diesel::update(entry).set(outbox::refusal.eq(why)).execute(connection)
        }
        Note::Renamed { message_id, input } => diesel::update(entry)
            .set((outbox::message_id.eq(message_id), outbox::input.eq(input)))
            .execute(connection),
    };
    changed.map(|_| ())
}

/// The oldest entries that wait: at most `count`, and at most `bytes` of bodies unless the first
/// alone has more.
///
/// # Errors
/// `database_error`.
pub fn oldest(
    connection: &mut SqliteConnection,
    count: i64,
    bytes: usize,
) -> Result<Vec<Row>, Failure> {
    // Sizes first: a thousand large bodies are not to be read for the first few of them.
    let sizes = waiting(connection, count)?;
    let mut left = i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut last = None;
    for (place, _, _, size) in sizes {
        left -= size;
        if left < 0 && last.is_some() {
            break;
        }
        last = Some(place);
    }
    let Some(last) = last else { return Ok(Vec::new()) };
    outbox::table
        .filter(outbox::refusal.is_null())
        .filter(outbox::place.le(last))
        .order(outbox::place)
        .select(Row::as_select())
        .load(connection)
        .map_err(|error| storage_failure(&error))
}

/// An entry without its body: place, user, conversation, bytes of the body.
pub type Outline = (i64, String, String, i64);

/// What waits, oldest first, without the bodies.
///
/// # Errors
/// `database_error`.
pub fn waiting(connection: &mut SqliteConnection, count: i64) -> Result<Vec<Outline>, Failure> {
    outbox::table
        .filter(outbox::refusal.is_null())
        .order(outbox::place)
        .limit(count)
        .select((
            outbox::place,
            outbox::user_id,
            outbox::conversation_id,
            diesel::dsl::sql::<diesel::sql_types::BigInt>("length(CAST(input AS BLOB))"),
        ))
        .load(connection)
        .map_err(|error| storage_failure(&error))
}

/// Lets what was refused wait again: whatever refused it may have been mended meanwhile.
///
/// # Errors
/// `database_error`.
pub fn forgive(connection: &mut SqliteConnection) -> Result<usize, Failure> {
    diesel::update(outbox::table.filter(outbox::refusal.is_not_null()))
        .set(outbox::refusal.eq(None::<String>))
        .execute(connection)
        .map_err(|error| storage_failure(&error))
}

/// When the oldest entry that waits was taken, and how many were refused for good.
///
/// # Errors
/// `database_error`.
pub fn state(connection: &mut SqliteConnection) -> Result<(Option<i64>, i64), Failure> {
    let oldest = outbox::table
        .filter(outbox::refusal.is_null())
        .order(outbox::place)
        .select(outbox::created_at)
        .first(connection)
        .optional();
    let refused = outbox::table.filter(outbox::refusal.is_not_null()).count();
    oldest
        .and_then(|oldest| Ok((oldest, refused.get_result(connection)?)))
        .map_err(|error| storage_failure(&error))
}
