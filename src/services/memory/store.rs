//! The items in SQLite: rows, queries and writes.

pub(super) use super::numbers::set_head;
pub use super::numbers::{go_on_after, head, log_head};

use diesel::{connection::DefaultLoadingMode, prelude::*};
use serde_json::{Map, Value};

use crate::{
    backplane::database::storage_failure,
    contract::{
        item::{ATTACHED_BYTES_MAX, Item},
        log::Numbered,
    },
    domain::failure::Failure,
    services::memory::{
        changes, facts,
        intake::{Changes, NewItem},
        schema::{memory_items, store_id},
    },
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = memory_items)]
pub(super) struct Row {
    seq: i64,
    id: String,
    user_id: String,
    sender_id: String,
    conversation_id: Option<String>,
    role: String,
    sender: Option<String>,
    caption: Option<String>,
    content: String,
    content_type: String,
    timestamp: String,
    metadata: String,
    extra: String,
}

#[derive(Insertable)]
#[diesel(table_name = memory_items)]
struct NewRow<'a> {
    id: &'a str,
    user_id: &'a str,
    sender_id: &'a str,
    conversation_id: Option<&'a str>,
    role: &'a str,
    sender: Option<&'a str>,
    caption: Option<&'a str>,
    content: &'a str,
    content_type: &'a str,
    timestamp: &'a str,
    metadata: String,
    extra: String,
    body_hash: &'a str,
}

impl Row {
    /// What its texts have, in bytes. Measured before it is parsed: as values it takes many times
    /// its length.
    pub(super) fn bytes(&self) -> usize {
        let caption = self.caption.as_deref().map_or(0, str::len);
        self.content.len() + self.metadata.len() + self.extra.len() + caption
    }
}

impl From<Row> for Item {
    fn from(row: Row) -> Self {
        Item {
            seq: row.seq,
            id: row.id,
            user_id: row.user_id,
            sender_id: row.sender_id,
            conversation_id: row.conversation_id,
            role: row.role,
            sender: row.sender,
            caption: row.caption,
            content: row.content,
            content_type: row.content_type,
            timestamp: row.timestamp,
            metadata: read_map(&row.metadata),
            extra: read_map(&row.extra),
        }
    }
}

fn read_map(text: &str) -> Map<String, Value> {
    match serde_json::from_str(text) {
        Ok(map) => map,
        Err(error) => {
            log::error!("stored JSON cannot be read cause={error}");
            Map::new()
        }
    }
}

fn write_map(map: &Map<String, Value>) -> String {
    Value::Object(map.clone()).to_string()
}

/// What one page's items hold at most, in bytes, beyond its first item: an answer stays below what
/// clients take, however large the items are.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Which items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this user.
    pub user_id: Option<String>,
    /// Only those of this conversation.
    pub conversation_id: Option<String>,
    /// Only those of one of these users; empty means no such bound.
    pub members: Vec<String>,
}

/// Which of them, and in which order. The number is how many at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The newest, newest first.
    Newest(i64),
    /// Those after a sequence number, in store order.
    After(i64, i64),
    /// Those before a sequence number, newest first.
    Before(i64, i64),
}

/// One page of items, cut short where their text passes [`PAGE_BYTES_MAX`]; at least one item
/// if there is any.
///
/// # Errors
/// `database_error`.
pub fn page(
    connection: &mut SqliteConnection,
    filter: &Filter,
    page: Page,
) -> Result<Vec<Item>, Failure> {
    Ok(page_upto(connection, filter, page, i64::MAX)?.items)
}

/// A page of items, and where it was cut.
#[derive(Default)]
pub(super) struct ItemPage {
    pub(super) items: Vec<Item>,
    /// The last number of a page that was cut short; `None` when there are no more.
    pub(super) read_to: Option<i64>,
}

/// As [`page`], of the items up to a number.
pub(super) fn page_upto(
    connection: &mut SqliteConnection,
    filter: &Filter,
    page: Page,
    upto: i64,
) -> Result<ItemPage, Failure> {
    use memory_items::dsl;
    let mut query = dsl::memory_items.select(Row::as_select()).into_boxed();
    if upto < i64::MAX {
        query = query.filter(dsl::seq.le(upto));
    }
    if let Some(user_id) = &filter.user_id {
        query = query.filter(dsl::user_id.eq(user_id));
    }
    if let Some(conversation_id) = &filter.conversation_id {
        query = query.filter(dsl::conversation_id.eq(conversation_id));
    }
    if !filter.members.is_empty() {
        query = query.filter(dsl::user_id.eq_any(&filter.members));
    }
    let (query, limit) = match page {
        Page::Newest(limit) => (query.order(dsl::seq.desc()), limit),
        Page::After(seq, limit) => (query.filter(dsl::seq.gt(seq)).order(dsl::seq.asc()), limit),
        Page::Before(seq, limit) => (query.filter(dsl::seq.lt(seq)).order(dsl::seq.desc()), limit),
    };
    // Row by row, so that no more than one row too many is ever held.
    let mut items: Vec<Item> = Vec::new();
    let mut bytes = 0;
    let rows = query.limit(limit).load_iter::<Row, DefaultLoadingMode>(connection);
    for row in rows.map_err(failed)? {
        let row = row.map_err(failed)?;
        bytes += row.bytes();
        if bytes > PAGE_BYTES_MAX && !items.is_empty() {
            let read_to = items.last().map(|item| item.seq);
            return Ok(ItemPage { items, read_to });
        }
        items.push(Item::from(row));
    }
    let full = i64::try_from(items.len()).is_ok_and(|count| count >= limit);
    let read_to = items.last().map(|item| item.seq).filter(|_| full);
    Ok(ItemPage { items, read_to })
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function of the error")]
fn failed(error: diesel::result::Error) -> Failure {
    storage_failure(&error)
}

/// The item `id` of `owner`; without an owner the oldest of that id.
///
/// # Errors
/// `database_error`.
pub fn find(
    connection: &mut SqliteConnection,
    owner: Option<&str>,
    id: &str,
) -> Result<Option<Item>, Failure> {
    use memory_items::dsl;
    let mut query = dsl::memory_items.select(Row::as_select()).filter(dsl::id.eq(id)).into_boxed();
    if let Some(owner) = owner {
        query = query.filter(dsl::user_id.eq(owner));
    }
    let row: Option<Row> = query
        .order(dsl::seq.asc())
        .first(connection)
        .optional()
        .map_err(|error| storage_failure(&error))?;
    Ok(row.map(Item::from))
}

/// Which store this is.
///
/// # Errors
/// `database_error`.
pub fn identity(connection: &mut SqliteConnection) -> Result<String, Failure> {
    store_id::table.select(store_id::id).first(connection).map_err(|error| storage_failure(&error))
}

/// Stores an item, unless its owner has one of that id.
///
/// # Errors
/// The database's own, for the writer to judge.
pub fn insert(connection: &mut SqliteConnection, new: &NewItem) -> QueryResult<Inserted> {
    use memory_items::dsl;
    let NewItem { item, body_hash } = new;
    let row = NewRow {
        id: &item.id,
        user_id: &item.user_id,
        sender_id: &item.sender_id,
        conversation_id: item.conversation_id.as_deref(),
        role: &item.role,
        sender: item.sender.as_deref(),
        caption: item.caption.as_deref(),
        content: &item.content,
        content_type: &item.content_type,
        timestamp: &item.timestamp,
        metadata: write_map(&item.metadata),
        extra: write_map(&item.extra),
        body_hash,
    };
    let inserted: Option<i64> = diesel::insert_into(dsl::memory_items)
        .values(&row)
        .on_conflict((dsl::user_id, dsl::id))
        .do_nothing()
        .returning(dsl::seq)
        .get_result(connection)
        .optional()?;
    if let Some(seq) = inserted {
        return Ok(Inserted::Now(seq));
    }
    let (known, hash): (Row, String) = dsl::memory_items
        .select((Row::as_select(), dsl::body_hash))
        .filter(dsl::user_id.eq(&item.user_id))
        .filter(dsl::id.eq(&item.id))
        .first(connection)?;
    let same_body = hash.is_empty() || hash == *body_hash;
    Ok(Inserted::Before { item: Box::new(Item::from(known)), same_body })
}

/// The hash of what an item of a user says, if there is one of that id; empty where it is not known.
///
/// # Errors
/// `database_error`.
pub fn body_hash(
    connection: &mut SqliteConnection,
    user_id: &str,
    id: &str,
) -> Result<Option<String>, Failure> {
    memory_items::table
        .select(memory_items::body_hash)
        .filter(memory_items::user_id.eq(user_id))
        .filter(memory_items::id.eq(id))
        .first(connection)
        .optional()
        .map_err(|error| storage_failure(&error))
}

/// What came of storing an item.
#[derive(Clone, Debug)]
pub enum Inserted {
    /// Stored now, under this sequence number.
    Now(i64),
    /// Known before.
    Before {
        /// As it is stored.
        item: Box<Item>,
        /// Whether what was said is the same.
        same_body: bool,
    },
}

/// What came of changing an item.
#[derive(Clone, Debug)]
pub enum Updated {
    /// The item as it is now, and the number of the change.
    Now(Box<Item>, i64),
    /// The user has no such item.
    Unknown,
    /// Its metadata would be larger than [`ATTACHED_BYTES_MAX`].
    TooLarge,
}

/// Changes an item of a user.
///
/// # Errors
/// The database's own, for the writer to judge.
pub fn update(
    connection: &mut SqliteConnection,
    user_id: &str,
    id: &str,
    changes: &Changes,
) -> QueryResult<Updated> {
    use memory_items::dsl;
    let row: Option<Row> = dsl::memory_items
        .select(Row::as_select())
        .filter(dsl::user_id.eq(user_id))
        .filter(dsl::id.eq(id))
        .first(connection)
        .optional()?;
    let Some(mut item) = row.map(Item::from) else { return Ok(Updated::Unknown) };
    if let Some(content) = &changes.content {
        item.content.clone_from(content);
    }
    if let Some(content_type) = &changes.content_type {
        item.content_type.clone_from(content_type);
    }
    if changes.conversation_id.is_some() {
        item.conversation_id.clone_from(&changes.conversation_id);
    }
    item.metadata.extend(changes.metadata.clone());
    let metadata = write_map(&item.metadata);
    if metadata.len() > ATTACHED_BYTES_MAX {
        return Ok(Updated::TooLarge);
    }
    diesel::update(dsl::memory_items.filter(dsl::seq.eq(item.seq)))
        .set((
            dsl::content.eq(&item.content),
            dsl::content_type.eq(&item.content_type),
            dsl::conversation_id.eq(&item.conversation_id),
            dsl::metadata.eq(metadata),
        ))
        .execute(connection)?;
    let at = changes::changed(connection, &item)?;
    Ok(Updated::Now(Box::new(item), at))
}

/// Writes something that changes nothing.
///
/// # Errors
/// The database's own, for the writer to judge.
pub fn touch(connection: &mut SqliteConnection) -> QueryResult<()> {
    diesel::sql_query("UPDATE sqlite_sequence SET seq = seq").execute(connection).map(|_| ())
}

/// What was removed.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// How many items.
    pub count: usize,
    /// How many facts.
    pub facts: usize,
    /// The entry of the log that says so, if there were any.
    pub entry: Option<Numbered>,
}

/// Removes one item of a user, or all of them; says how many.
///
/// # Errors
/// The database's own, for the writer to judge.
pub fn remove(
    connection: &mut SqliteConnection,
    user_id: &str,
    id: Option<&str>,
) -> QueryResult<Removed> {
    use memory_items::dsl;
    let theirs = dsl::memory_items.filter(dsl::user_id.eq(user_id));
    let Some(id) = id else {
        let count = diesel::delete(theirs).execute(connection)?;
        let facts = facts::remove_all(connection, user_id)?;
        let any = count + facts > 0;
        let entry = any.then(|| changes::forgotten(connection, user_id)).transpose()?;
        return Ok(Removed { count, facts, entry });
    };
    let seq: Option<i64> = diesel::delete(theirs.filter(dsl::id.eq(id)))
        .returning(dsl::seq)
        .get_result(connection)
        .optional()?;
    let Some(seq) = seq else { return Ok(Removed::default()) };
    let entry = Some(changes::removed(connection, user_id, seq, id)?);
    Ok(Removed { count: 1, facts: 0, entry })
}
