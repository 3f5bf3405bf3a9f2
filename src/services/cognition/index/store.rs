//! The index on disk: what memory's log says, applied entry by entry, and up to where it was.

use diesel::{connection::SimpleConnection as _, prelude::*};

use crate::{
    backplane::clock,
    contract::{
        fact::Fact,
        item::Item,
        log::{Entry, Numbered},
    },
    domain::{
        failure::{Failure, Kind},
        retrieval::{Prepared, RULES_VERSION, Source},
        text::head,
    },
    services::cognition::{
        index::{
            facts::{self, Known},
            schema::{index_cursor, indexed_facts, indexed_items, prepared_items},
        },
        memory::JUDGED_CHARS_MAX,
    },
};

/// Up to where the log is in the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Queryable, Selectable, AsChangeset)]
#[diesel(table_name = index_cursor)]
#[diesel(treat_none_as_null = true)]
pub struct Cursor {
    /// The last number that was applied.
    pub seq: i64,
    /// What the part of the log is called that it lies in.
    pub epoch: Option<String>,
    /// Items there are.
    pub items: i64,
}

/// What an entry means to the index of its user.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// This item is there, in the place of one with its number.
    Put(Box<Prepared>),
    /// This fact is there, in the place of one with its number.
    Keep(Box<Known>),
    /// The item or fact of this number is gone.
    Drop(i64),
    /// All items and facts with lower numbers are gone.
    Forget(i64),
}

/// One effect, whose it is, and which number of the log it has.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) user_id: String,
    pub(super) seq: i64,
    pub(super) effect: Effect,
}

#[derive(Insertable)]
#[diesel(table_name = indexed_items)]
struct NewRow<'a> {
    user_id: &'a str,
    seq: i64,
    conversation_id: Option<&'a str>,
    role: &'a str,
    at: i64,
    item: String,
}

#[derive(Insertable)]
#[diesel(table_name = prepared_items)]
struct NewPrepared<'a> {
    user_id: &'a str,
    seq: i64,
    rules: i32,
    prepared: Vec<u8>,
}

/// What an item contributes to the index. Its first part counts, if it is very long.
pub(super) fn prepare(item: &Item) -> Prepared {
    Prepared::of(&Source {
        seq: item.seq,
        session: item.conversation_id.as_deref().unwrap_or_default(),
        sender: item.sender.as_deref().unwrap_or(&item.sender_id),
        role: &item.role,
        at: time_of(item) / 1000,
        content: head(&item.content, JUDGED_CHARS_MAX),
        caption: item.caption.as_deref().map(|caption| head(caption, JUDGED_CHARS_MAX)),
    })
}

/// When it was said, in microseconds since the Unix epoch.
pub(super) fn time_of(item: &Item) -> i64 {
    clock::parse(&item.timestamp).unwrap_or_default()
}

/// Up to where the log is in the index.
///
/// # Errors
/// `database_error`.
pub(super) fn cursor(connection: &mut SqliteConnection) -> Result<Cursor, Failure> {
    Ok(index_cursor::table.select(Cursor::as_select()).first(connection)?)
}

/// Applies entries in their order, and with them up to where the log is known then: all or none.
/// What is in the index already changes nothing.
///
/// # Errors
/// `database_error`.
pub(super) fn apply(
    connection: &mut SqliteConnection,
    entries: &[Numbered],
    upto: i64,
) -> Result<(Cursor, Vec<Change>), Failure> {
    // It can be made again: losing the last commits to a power failure costs reading them again.
    connection.batch_execute("PRAGMA synchronous = NORMAL")?;
    connection.immediate_transaction(|connection| {
        let mut cursor = cursor(connection)?;
        let mut changes = Vec::with_capacity(entries.len());
        for Numbered { seq, entry } in entries {
            if *seq > cursor.seq {
                let change = apply_one(connection, *seq, entry, &mut cursor)?;
                changes.extend(change);
                cursor.seq = *seq;
            }
        }
        cursor.seq = cursor.seq.max(upto);
        diesel::update(index_cursor::table).set(&cursor).execute(connection)?;
        Ok((cursor, changes))
    })
}

fn apply_one(
    connection: &mut SqliteConnection,
    seq: i64,
    entry: &Entry,
    cursor: &mut Cursor,
) -> Result<Option<Change>, Failure> {
    let (user_id, effect) = match entry {
        Entry::Stored(item) => {
            cursor.items += 1;
            (&item.user_id, Effect::Put(Box::new(put(connection, item)?)))
        }
        Entry::Changed(item) => (&item.user_id, Effect::Put(Box::new(put(connection, item)?))),
        Entry::Fact(fact) => (&fact.user_id, keep(connection, fact)?),
        Entry::Removed { user_id, item_seq, .. } => {
            facts::remove(connection, user_id, (*item_seq, *item_seq))?;
            cursor.items -= remove(connection, user_id, (*item_seq, *item_seq))?;
            (user_id, Effect::Drop(*item_seq))
        }
        Entry::Forgotten { user_id } => {
            cursor.items -= remove(connection, user_id, (i64::MIN, seq))?;
            facts::remove(connection, user_id, (i64::MIN, seq))?;
            (user_id, Effect::Forget(seq))
        }
        Entry::Began { epoch } => {
            cursor.epoch = Some(epoch.clone());
            return Ok(None);
        }
        Entry::Within { .. } => return Ok(None),
    };
    Ok(Some(Change { user_id: user_id.clone(), seq, effect }))
}

/// What a fact of the log means: it is there, or gone when another took its place.
fn keep(connection: &mut SqliteConnection, fact: &Fact) -> Result<Effect, Failure> {
    let Some(known) = Known::of(fact.clone()) else {
        facts::remove(connection, &fact.user_id, (fact.seq, fact.seq))?;
        return Ok(Effect::Drop(fact.seq));
    };
    facts::put(connection, fact)?;
    Ok(Effect::Keep(Box::new(known)))
}

fn put(connection: &mut SqliteConnection, item: &Item) -> Result<Prepared, Failure> {
    let prepared = prepare(item);
    let json = serde_json::to_string(item)
        .map_err(|error| Failure::new(Kind::Internal, format!("item not written: {error}")))?;
    let row = NewRow {
        user_id: &item.user_id,
        seq: item.seq,
        conversation_id: item.conversation_id.as_deref(),
        role: &item.role,
        at: time_of(item),
        item: json,
    };
    diesel::replace_into(indexed_items::table).values(&row).execute(connection)?;
    put_prepared(connection, &item.user_id, &prepared)?;
    Ok(prepared)
}

fn put_prepared(
    connection: &mut SqliteConnection,
    user_id: &str,
    prepared: &Prepared,
) -> Result<(), Failure> {
    let row = NewPrepared {
        user_id,
        seq: prepared.seq,
        rules: i32::from(RULES_VERSION),
        prepared: prepared.to_bytes(),
    };
    diesel::replace_into(prepared_items::table).values(&row).execute(connection)?;
    Ok(())
}

/// Removes what a user has between two numbers, both included; says how many.
fn remove(
    connection: &mut SqliteConnection,
    user_id: &str,
    (from, to): (i64, i64),
) -> Result<i64, Failure> {
    let gone = indexed_items::table
        .filter(indexed_items::user_id.eq(user_id))
        .filter(indexed_items::seq.between(from, to));
    let count = diesel::delete(gone).execute(connection)?;
    let gone = prepared_items::table
        .filter(prepared_items::user_id.eq(user_id))
        .filter(prepared_items::seq.between(from, to));
    diesel::delete(gone).execute(connection)?;
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Notes what the part of the log is called that an empty index begins in.
///
/// # Errors
/// `database_error`.
pub(super) fn begin(connection: &mut SqliteConnection, epoch: &str) -> Result<(), Failure> {
    diesel::update(index_cursor::table).set(index_cursor::epoch.eq(epoch)).execute(connection)?;
    Ok(())
}

/// Empties the index: it is to be made again from the beginning of the log.
///
/// # Errors
/// `database_error`.
pub(super) fn clear(connection: &mut SqliteConnection) -> Result<(), Failure> {
    connection.immediate_transaction(|connection| {
        diesel::delete(indexed_items::table).execute(connection)?;
        diesel::delete(prepared_items::table).execute(connection)?;
        diesel::delete(indexed_facts::table).execute(connection)?;
        diesel::update(index_cursor::table).set(&Cursor::default()).execute(connection)?;
        Ok(())
    })
}

/// Prepares some items anew that were prepared by other rules; says how many there were.
///
/// # Errors
/// `database_error`.
pub(super) fn renew(connection: &mut SqliteConnection, limit: i64) -> Result<usize, Failure> {
    connection.immediate_transaction(|connection| {
        let old: Vec<(String, String)> = prepared_items::table
            .inner_join(
                indexed_items::table.on(prepared_items::user_id
                    .eq(indexed_items::user_id)
                    .and(prepared_items::seq.eq(indexed_items::seq))),
            )
            .select((indexed_items::user_id, indexed_items::item))
            .filter(prepared_items::rules.ne(i32::from(RULES_VERSION)))
            .limit(limit)
            .load(connection)?;
        for (user_id, item) in &old {
            put_prepared(connection, user_id, &prepare(&read_item(item)?))?;
        }
        Ok(old.len())
    })
}

/// An item as it was written.
///
/// # Errors
/// `database_error` when it cannot be read.
pub(super) fn read_item(json: &str) -> Result<Item, Failure> {
    serde_json::from_str(json).map_err(|error| {
        Failure::new(Kind::Storage, format!("an indexed item cannot be read: {error}"))
    })
}

/// All that one user's items contribute, their facts, and up to where of the log that is.
///
/// # Errors
/// `database_error`.
pub(super) fn load(
    connection: &mut SqliteConnection,
    user_id: &str,
) -> Result<(i64, Vec<Prepared>, Vec<Known>), Failure> {
    // One view of all.
    connection.transaction(|connection| {
        let cursor = cursor(connection)?;
        let rows = prepared_items::table
            .select((prepared_items::seq, prepared_items::prepared))
            .filter(prepared_items::user_id.eq(user_id))
            .order(prepared_items::seq.asc())
            .load_iter::<(i64, Vec<u8>), diesel::connection::DefaultLoadingMode>(connection)?;
        let (mut items, mut old) = (Vec::new(), Vec::new());
        for row in rows {
            let (seq, bytes) = row?;
            match Prepared::from_bytes(&bytes) {
                Some(prepared) => items.push(prepared),
                None => old.push(seq),
            }
        }
        for seq in old {
            // Prepared by other rules, and not renewed yet.
            let json: String = indexed_items::table
                .select(indexed_items::item)
                .find((user_id, seq))
                .first(connection)?;
            items.push(prepare(&read_item(&json)?));
        }
        Ok((cursor.seq, items, facts::load(connection, user_id)?))
    })
}
