//! What happened to items after they were stored, and the log as a whole: items and changes under
//! one row of numbers.

use diesel::{connection::DefaultLoadingMode, prelude::*};

use crate::{
    backplane::database::storage_failure,
    contract::{
        item::Item,
        log::{Entry, Numbered},
    },
    domain::failure::{Failure, Kind},
    services::memory::{
        facts::FactRow,
        schema::{memory_changes, memory_facts, memory_items},
        store::{self, Filter, Page, Row},
    },
};

const CHANGED: &str = "changed";
const FACT: &str = "fact";
const REMOVED: &str = "removed";
const FORGOTTEN: &str = "forgotten";
const BEGAN: &str = "began";

#[derive(Default, Insertable)]
#[diesel(table_name = memory_changes)]
struct NewChange<'a> {
    seq: i64,
    kind: &'a str,
    user_id: Option<&'a str>,
    item_seq: Option<i64>,
    item_id: Option<&'a str>,
    epoch: Option<&'a str>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = memory_changes)]
struct Change {
    seq: i64,
    kind: String,
    user_id: Option<String>,
    item_seq: Option<i64>,
    item_id: Option<String>,
    epoch: Option<String>,
}

/// The next number of the log, given out.
fn next_number(connection: &mut SqliteConnection) -> QueryResult<i64> {
    let seq = store::log_head(connection)? + 1;
    store::set_head(connection, seq)?;
    Ok(seq)
}

fn note(connection: &mut SqliteConnection, change: &NewChange<'_>) -> QueryResult<i64> {
    use memory_changes::dsl;
    let seq = next_number(connection)?;
    if let Some(item_seq) = change.item_seq {
        diesel::delete(dsl::memory_changes.filter(dsl::item_seq.eq(item_seq)))
            .execute(connection)?;
    }
    diesel::insert_into(dsl::memory_changes)
        .values(&NewChange { seq, ..*change })
        .execute(connection)?;
    Ok(seq)
}

/// Notes that an item is another now; gives the number of the change.
///
/// # Errors
/// The database's own, for the writer to judge.
pub(super) fn changed(connection: &mut SqliteConnection, item: &Item) -> QueryResult<i64> {
    let (user_id, item_seq) = (Some(item.user_id.as_str()), Some(item.seq));
    note(connection, &NewChange { kind: CHANGED, user_id, item_seq, ..NewChange::default() })
}

/// Notes that the fact of this number is another now, or of a new one that it is there; gives the
/// number of the change, which is a new one's own.
///
/// # Errors
/// The database's own, for the writer to judge.
pub(super) fn fact(
    connection: &mut SqliteConnection,
    user_id: &str,
    known: Option<i64>,
) -> QueryResult<i64> {
    use memory_changes::dsl;
    let change =
        NewChange { kind: FACT, user_id: Some(user_id), item_seq: known, ..<_>::default() };
    let seq = note(connection, &change)?;
    if known.is_none() {
        diesel::update(dsl::memory_changes.find(seq))
            .set(dsl::item_seq.eq(seq))
            .execute(connection)?;
    }
    Ok(seq)
}

/// Notes that an item or a fact was removed; gives the entry.
///
/// # Errors
/// The database's own, for the writer to judge.
pub(super) fn removed(
    connection: &mut SqliteConnection,
    user_id: &str,
    item_seq: i64,
    item_id: &str,
) -> QueryResult<Numbered> {
    let change = NewChange {
        kind: REMOVED,
        user_id: Some(user_id),
        item_seq: Some(item_seq),
        item_id: Some(item_id),
        ..NewChange::default()
    };
    let seq = note(connection, &change)?;
    let (user_id, item_id) = (user_id.to_owned(), item_id.to_owned());
    Ok(Numbered { seq, entry: Entry::Removed { user_id, item_seq, item_id } })
}

/// Notes that everything of a user was removed, in the place of all that was noted of them.
///
/// # Errors
/// The database's own, for the writer to judge.
pub(super) fn forgotten(connection: &mut SqliteConnection, user_id: &str) -> QueryResult<Numbered> {
    use memory_changes::dsl;
    diesel::delete(dsl::memory_changes.filter(dsl::user_id.eq(user_id))).execute(connection)?;
    let change = NewChange { kind: FORGOTTEN, user_id: Some(user_id), ..NewChange::default() };
    let seq = note(connection, &change)?;
    Ok(Numbered { seq, entry: Entry::Forgotten { user_id: user_id.to_owned() } })
}

/// Notes that a process goes on with the log from here: whatever another copy of the store says of
/// the numbers from here on, it is another log.
///
/// # Errors
/// The database's own, for the writer to judge.
pub(super) fn began(connection: &mut SqliteConnection) -> QueryResult<Numbered> {
    let epoch = uuid::Uuid::new_v4().simple().to_string();
    let change = NewChange { kind: BEGAN, epoch: Some(&epoch), ..NewChange::default() };
    let seq = note(connection, &change)?;
    Ok(Numbered { seq, entry: Entry::Began { epoch } })
}

/// What the part of the log is called in which `seq` lies.
///
/// # Errors
/// `database_error`.
pub(super) fn epoch_at(connection: &mut SqliteConnection, seq: i64) -> Result<String, Failure> {
    use memory_changes::dsl;
    let epoch: Option<Option<String>> = dsl::memory_changes
        .select(dsl::epoch)
        .filter(dsl::epoch.is_not_null())
        .filter(dsl::seq.le(seq))
        .order(dsl::seq.desc())
        .first(connection)
        .optional()
        .map_err(|error| storage_failure(&error))?;
    epoch.flatten().ok_or_else(|| Failure::new(Kind::Storage, "the log has no beginning"))
}

/// A page of the log.
#[derive(Debug, Default)]
pub(super) struct LogPage {
    /// The entries, in order.
    pub(super) entries: Vec<Numbered>,
    /// Everything up to here was read: the last entry, or the log's head when there are no more.
    pub(super) upto: i64,
    /// Whether there may be more.
    pub(super) more: bool,
}

/// Entries of the log after a number: of everyone, or of one user.
///
/// Each item is as it is now, also where the entry is of an earlier moment; what happened to it
/// since comes later in the log. So whoever applies all entries in order ends where memory is.
///
/// # Errors
/// `database_error`.
pub(super) fn page(
    connection: &mut SqliteConnection,
    user_id: Option<&str>,
    after: i64,
    limit: i64,
) -> Result<LogPage, Failure> {
    // Read first: what is stored meanwhile has higher numbers, and is for the next page.
    let head = store::head(connection)?;
    let filter = Filter { user_id: user_id.map(str::to_owned), ..Filter::default() };
    let stored = store::page_upto(connection, &filter, Page::After(after, limit), head)?;
    let changes = changes_between(connection, user_id, (after, head), limit)?;
    let upto = [stored.read_to, changes.read_to].into_iter().flatten().min();
    let within = |seq: i64| upto.is_none_or(|upto| seq <= upto);
    let stored = stored
        .items
        .into_iter()
        .map(|item| Numbered { seq: item.seq, entry: Entry::Stored(Box::new(item)) });
    let mut entries: Vec<Numbered> =
        stored.chain(changes.entries).filter(|entry| within(entry.seq)).collect();
    entries.sort_by_key(|entry| entry.seq);
    Ok(LogPage { entries, upto: upto.unwrap_or(head).max(after), more: upto.is_some() })
}

#[derive(Default)]
struct Changes {
    entries: Vec<Numbered>,
    /// Where the page was cut; `None` if it was not.
    read_to: Option<i64>,
}

fn changes_between(
    connection: &mut SqliteConnection,
    user_id: Option<&str>,
    (after, upto): (i64, i64),
    limit: i64,
) -> Result<Changes, Failure> {
    use memory_changes::dsl;
    let mut query = dsl::memory_changes
        .left_join(memory_items::table.on(dsl::item_seq.eq(memory_items::seq.nullable())))
        .left_join(memory_facts::table.on(dsl::item_seq.eq(memory_facts::seq.nullable())))
        .select((Change::as_select(), Option::<Row>::as_select(), Option::<FactRow>::as_select()))
        .filter(dsl::seq.gt(after))
        .filter(dsl::seq.le(upto))
        .into_boxed();
    if let Some(user_id) = user_id {
        query = query.filter(dsl::user_id.eq(user_id));
    }
    let rows = query
        .order(dsl::seq.asc())
        .limit(limit)
        .load_iter::<(Change, Option<Row>, Option<FactRow>), DefaultLoadingMode>(connection)
        .map_err(|error| storage_failure(&error))?;
    let (mut changes, mut bytes, mut count) = (Changes::default(), 0, 0);
    let mut last = after;
    for row in rows {
        let (change, row, fact) = row.map_err(|error| storage_failure(&error))?;
        bytes += row.as_ref().map_or(0, Row::bytes) + fact.as_ref().map_or(0, FactRow::bytes);
        if bytes > store::PAGE_BYTES_MAX && last > after {
            changes.read_to = Some(last);
            return Ok(changes);
        }
        last = change.seq;
        count += 1;
        changes.entries.extend(entry(change, row, fact)?);
    }
    changes.read_to = (count >= limit).then_some(last);
    Ok(changes)
}

/// A row as an entry; none where the item or fact went away while the page was read, which a later
/// entry says.
fn entry(
    change: Change,
    row: Option<Row>,
    fact: Option<FactRow>,
) -> Result<Option<Numbered>, Failure> {
    let Change { seq, kind, user_id, item_seq, item_id, epoch } = change;
    let entry = match (kind.as_str(), user_id, epoch) {
        (CHANGED, ..) => row.map(|row| Entry::Changed(Box::new(Item::from(row)))),
        (FACT, ..) => fact.map(|fact| Entry::Fact(Box::new(fact.into()))),
        (REMOVED, Some(user_id), _) => item_seq
            .zip(item_id)
            .map(|(item_seq, item_id)| Entry::Removed { user_id, item_seq, item_id }),
        (FORGOTTEN, Some(user_id), _) => Some(Entry::Forgotten { user_id }),
        (BEGAN, _, Some(epoch)) => Some(Entry::Began { epoch }),
        _ => return Err(Failure::new(Kind::Storage, format!("entry {seq} is of no known kind"))),
    };
    Ok(entry.map(|entry| Numbered { seq, entry }))
}

#[cfg(test)]
mod tests;
