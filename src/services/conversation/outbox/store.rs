//! The outbox in SQLite: entries in the order they came.

use diesel::prelude::*;

use crate::{
    backplane::database::storage_failure,
    domain::{failure::Failure, outbox::DEFAULT_CONVERSATION},
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

/// Notes what came of the entry at `place`; whether it was still there.
///
/// # Errors
/// Whatever the database says.
pub fn note(connection: &mut SqliteConnection, place: i64, note: &Note) -> QueryResult<bool> {
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
    changed.map(|rows| rows > 0)
}

/// The oldest entries that wait: at most `count`, and at most `bytes` of bodies unless the first
/// alone has more; those of some users' conversations are left out.
///
/// # Errors
/// `database_error`.
pub fn oldest(
    connection: &mut SqliteConnection,
    count: i64,
    bytes: usize,
    without: &[(String, String)],
) -> Result<Vec<Row>, Failure> {
    // Sizes first: a thousand large bodies are not to be read for the first few of them.
    let mut sizes = outbox::table
        .filter(outbox::refusal.is_null())
        .order(outbox::place)
        .limit(count)
        .select((outbox::place, length()))
        .into_boxed();
    for (user, conversation) in without {
        sizes = if conversation == DEFAULT_CONVERSATION {
            let same = outbox::conversation_id.eq(conversation).and(outbox::user_id.eq(user));
            sizes.filter(diesel::dsl::not(same))
        } else {
            sizes.filter(outbox::conversation_id.ne(conversation))
        };
    }
    let sizes: Vec<(i64, i64)> = sizes.load(connection).map_err(|error| storage_failure(&error))?;
    let mut left = i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut places = Vec::with_capacity(sizes.len());
    for (place, size) in sizes {
        left -= size;
        if left < 0 && !places.is_empty() {
            break;
        }
        places.push(place);
    }
    outbox::table
        .filter(outbox::place.eq_any(places))
        .order(outbox::place)
        .select(Row::as_select())
        .load(connection)
        .map_err(|error| storage_failure(&error))
}

/// An entry without its body.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Outline {
    /// Its place in the order.
    pub place: i64,
    /// Whose it is.
    pub user_id: String,
    /// Where it was said.
    pub conversation_id: String,
    /// Bytes of its body.
    pub bytes: i64,
    /// Whether memory has refused it for good.
    pub refused: bool,
}

impl Outline {
    /// Bytes of its body.
    #[must_use]
    pub fn size(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or_default()
    }
}

type OutlineColumns = (
    outbox::place,
    outbox::user_id,
    outbox::conversation_id,
    diesel::expression::SqlLiteral<diesel::sql_types::BigInt>,
    diesel::expression::SqlLiteral<diesel::sql_types::Bool>,
);

fn outline() -> OutlineColumns {
    (outbox::place, outbox::user_id, outbox::conversation_id, length(), is_refused())
}

/// An entry as it is listed, without its body.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Listed {
    /// Its place in the order.
    pub place: i64,
    /// The id it was acknowledged under.
    pub message_id: String,
    /// Whose it is.
    pub user_id: String,
    /// Where it was said.
    pub conversation_id: String,
    /// When it was taken, in microseconds since 1970.
    pub created_at: i64,
    /// Bytes of its body.
    pub bytes: i64,
    /// Why memory would never take it, if it said so.
    pub refusal: Option<String>,
}

type ListedColumns = (
    outbox::place,
    outbox::message_id,
    outbox::user_id,
    outbox::conversation_id,
    outbox::created_at,
    diesel::expression::SqlLiteral<diesel::sql_types::BigInt>,
    outbox::refusal,
);

fn listed() -> ListedColumns {
    (
        outbox::place,
        outbox::message_id,
        outbox::user_id,
        outbox::conversation_id,
        outbox::created_at,
        length(),
        outbox::refusal,
    )
}

fn length() -> diesel::expression::SqlLiteral<diesel::sql_types::BigInt> {
    diesel::dsl::sql("length(CAST(input AS BLOB))")
}

fn is_refused() -> diesel::expression::SqlLiteral<diesel::sql_types::Bool> {
    diesel::dsl::sql("refusal IS NOT NULL")
}

/// All there is, oldest first, without the bodies.
///
/// # Errors
/// `database_error`.
pub fn all(connection: &mut SqliteConnection) -> Result<Vec<Outline>, Failure> {
    outbox::table
        .order(outbox::place)
        .select(outline())
        .load(connection)
        .map_err(|error| storage_failure(&error))
}

/// Takes everything of a user out, whatever it waits for.
///
/// # Errors
/// Whatever the database says.
pub fn forget(connection: &mut SqliteConnection, user: &str) -> QueryResult<Vec<Outline>> {
    let theirs = outbox::table.filter(outbox::user_id.eq(user));
    let gone = theirs.select(outline()).load(connection)?;
    diesel::delete(theirs).execute(connection)?;
    Ok(gone)
}

/// Takes an entry out.
///
/// # Errors
/// Whatever the database says.
pub fn drop_one(connection: &mut SqliteConnection, id: &str) -> QueryResult<Vec<Outline>> {
    let one = outbox::table.filter(outbox::message_id.eq(id));
    let gone = one.select(outline()).load(connection)?;
    diesel::delete(one).execute(connection)?;
    Ok(gone)
}

/// Lets an entry wait again, if it was refused; as it was before.
///
/// # Errors
/// Whatever the database says.
pub fn retry(connection: &mut SqliteConnection, id: &str) -> QueryResult<Vec<Outline>> {
    let one = outbox::table.filter(outbox::message_id.eq(id));
    let before = one.select(outline()).load(connection)?;
    diesel::update(one).set(outbox::refusal.eq(None::<String>)).execute(connection)?;
    Ok(before)
}

/// One page of the entries after a place in the order, without their bodies: all, or those that
/// were refused.
///
/// # Errors
/// `database_error`.
pub fn page(
    connection: &mut SqliteConnection,
    refused: bool,
    after: i64,
    limit: i64,
) -> Result<Vec<Listed>, Failure> {
    let mut query = outbox::table
        .filter(outbox::place.gt(after))
        .order(outbox::place)
        .limit(limit)
        .select(listed())
        .into_boxed();
    if refused {
        query = query.filter(outbox::refusal.is_not_null());
    }
    query.load(connection).map_err(|error| storage_failure(&error))
}

/// One entry, with its body.
///
/// # Errors
/// `database_error`.
pub fn find(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<(Listed, String)>, Failure> {
    outbox::table
        .filter(outbox::message_id.eq(id))
        .select((listed(), outbox::input))
        .first(connection)
        .optional()
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

/// When the oldest entry that waits was taken.
///
/// # Errors
/// `database_error`.
pub fn oldest_since(connection: &mut SqliteConnection) -> Result<Option<i64>, Failure> {
    outbox::table
        .filter(outbox::refusal.is_null())
        .order(outbox::place)
        .select(outbox::created_at)
        .first(connection)
        .optional()
        .map_err(|error| storage_failure(&error))
}
