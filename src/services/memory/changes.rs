//! What happened to items after they were stored, and the log as a whole: items and changes under
//! one row of numbers.

use diesel::prelude::*;

use crate::{
    backplane::database::storage_failure,
    contract::{
        item::Item,
        log::{Entry, Numbered},
    },
    domain::failure::{Failure, Kind},
    services::memory::{
        schema::{memory_changes, memory_items},
        store::{self, Filter, Page, Row},
    },
};

const CHANGED: &str = "changed";
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

/// Notes that an item was removed; gives the entry.
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
        .select((Change::as_select(), Option::<Row>::as_select()))
        .filter(dsl::seq.gt(after))
        .filter(dsl::seq.le(upto))
        .into_boxed();
    if let Some(user_id) = user_id {
        query = query.filter(dsl::user_id.eq(user_id));
    }
    let rows = query
        .order(dsl::seq.asc())
        .limit(limit)
        .load_iter::<(Change, Option<Row>), diesel::connection::DefaultLoadingMode>(connection)
        .map_err(|error| storage_failure(&error))?;
    let (mut changes, mut bytes, mut count) = (Changes::default(), 0, 0);
    let mut last = after;
    for row in rows {
        let (change, row) = row.map_err(|error| storage_failure(&error))?;
        bytes += row.as_ref().map_or(0, Row::bytes);
        if bytes > store::PAGE_BYTES_MAX && last > after {
            changes.read_to = Some(last);
            return Ok(changes);
        }
        last = change.seq;
        count += 1;
        changes.entries.extend(entry(change, row)?);
    }
    changes.read_to = (count >= limit).then_some(last);
    Ok(changes)
}

/// A row as an entry; none where the item went away while the page was read, which a later entry
/// says.
fn entry(change: Change, row: Option<Row>) -> Result<Option<Numbered>, Failure> {
    let Change { seq, kind, user_id, item_seq, item_id, epoch } = change;
    let entry = match (kind.as_str(), user_id, epoch) {
        (CHANGED, ..) => row.map(|row| Entry::Changed(Box::new(Item::from(row)))),
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
mod tests {
    use std::collections::BTreeMap;

    use diesel::connection::SimpleConnection as _;
    use proptest::{prelude::*, test_runner::TestCaseError};
    use serde_json::json;

    use super::*;
    use crate::{
        backplane::database::{self, Store},
        services::memory::{
            MIGRATIONS,
            intake::{self, Changes as Wish},
        },
    };

    /// What is done to the store, or a page that the follower reads meanwhile.
    #[derive(Clone, Debug)]
    enum Step {
        Store(u8, u8),
        Update(u8, u8),
        Remove(u8, u8),
        Forget(u8),
        Begin,
        Follow(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (user, id) = (0..3_u8, 0..4_u8);
        let step = prop_oneof![
            4 => (user.clone(), id.clone()).prop_map(|(user, id)| Step::Store(user, id)),
            3 => (user.clone(), id.clone()).prop_map(|(user, id)| Step::Update(user, id)),
            2 => (user.clone(), id).prop_map(|(user, id)| Step::Remove(user, id)),
            1 => user.prop_map(Step::Forget),
            1 => Just(Step::Begin),
            4 => (1..4_i64).prop_map(Step::Follow),
        ];
        proptest::collection::vec(step, 1..40)
    }

    /// Whoever applies the entries in their order.
    #[derive(Default)]
    struct Follower {
        at: i64,
        epoch: String,
        items: BTreeMap<i64, Item>,
    }

    impl Follower {
        /// Reads one page; whether there are more.
        fn read(&mut self, store: &mut SqliteConnection, limit: i64) -> bool {
            let page = page(store, None, self.at, limit).unwrap();
            assert!(page.entries.is_sorted_by(|a, b| a.seq < b.seq));
            for Numbered { seq, entry } in page.entries {
                assert!(seq > self.at && seq <= page.upto);
                match entry {
                    Entry::Stored(item) | Entry::Changed(item) => {
                        self.items.insert(item.seq, *item);
                    }
                    Entry::Removed { item_seq, .. } => drop(self.items.remove(&item_seq)),
                    Entry::Forgotten { user_id } => {
                        self.items.retain(|at, item| *at > seq || item.user_id != user_id);
                    }
                    Entry::Began { epoch } => self.epoch = epoch,
                    Entry::Within { .. } => panic!("only streams begin with it"),
                }
            }
            self.at = page.upto;
            page.more
        }
    }

    fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
        let folder = tempfile::tempdir().unwrap();
        let mut store = database::connect(&folder.path().join("x.db")).unwrap();
        store.batch_execute("PRAGMA synchronous = OFF").unwrap();
        database::migrate(&mut store, MIGRATIONS, Store::Memory).unwrap();
        let mut early = Follower { epoch: epoch_at(&mut store, 0).unwrap(), ..Follower::default() };
        for (number, step) in steps.into_iter().enumerate() {
            let name = |number: u8| format!("{number}");
            let text = format!("{number}");
            match step {
                Step::Store(user, id) => {
                    let input = json!({"id": name(id), "content": text});
                    let input = input.as_object().unwrap().clone();
                    let item = intake::item(&name(user), input, 0).unwrap();
                    store::insert(&mut store, &item.into()).unwrap();
                }
                Step::Update(user, id) => {
                    let wish = Wish { content: Some(text), ..Wish::default() };
                    store::update(&mut store, &name(user), &name(id), &wish).unwrap();
                }
                Step::Remove(user, id) => {
                    store::remove(&mut store, &name(user), Some(&name(id))).unwrap();
                }
                Step::Forget(user) => {
                    store::remove(&mut store, &name(user), None).unwrap();
                }
                Step::Begin => drop(began(&mut store).unwrap()),
                Step::Follow(limit) => drop(early.read(&mut store, limit)),
            }
        }
        while early.read(&mut store, 2) {}
        let now = store::page(&mut store, &Filter::default(), Page::After(0, 1000)).unwrap();
        let now: BTreeMap<i64, Item> = now.into_iter().map(|item| (item.seq, item)).collect();
        prop_assert_eq!(&early.items, &now);
        prop_assert_eq!(early.at, store::head(&mut store).unwrap());
        prop_assert_eq!(early.epoch, epoch_at(&mut store, early.at).unwrap());
        let mut late = Follower::default();
        while late.read(&mut store, 3) {}
        prop_assert_eq!(&late.items, &now);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
        #[test]
        fn whoever_applies_all_entries_from_anywhere_ends_where_the_store_is(steps in steps()) {
            run(steps)?;
        }
    }

    #[test]
    fn a_copy_that_goes_on_by_itself_is_another_log_from_there_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = database::connect(&folder.path().join("x.db")).unwrap();
        database::migrate(&mut store, MIGRATIONS, Store::Memory).unwrap();
        let item = |id: &str| {
            let input = json!({"id": id, "content": "x"}).as_object().unwrap().clone();
            intake::item("u", input, 0).unwrap().into()
        };
        store::insert(&mut store, &item("1")).unwrap();
        let known = epoch_at(&mut store, 1).unwrap();
        // Restored from a backup made now, in the place of a store that had come to 5.
        store::go_on_after(&mut store, 5).unwrap();
        assert_eq!(epoch_at(&mut store, 1).unwrap(), known, "who knew no more has missed nothing");
        assert_ne!(epoch_at(&mut store, 5).unwrap(), known);
        let store::Inserted::Now(seq) = store::insert(&mut store, &item("2")).unwrap() else {
            panic!("it was not there")
        };
        assert_eq!(seq, 6);
    }
}
