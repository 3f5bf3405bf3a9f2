//! Whether the index is what memory's log says: compared, row by row, with one that is made anew.

use std::path::Path;

use diesel::{connection::SimpleConnection as _, prelude::*};
use serde_json::Value;

use crate::{
    backplane::database::{self, Store},
    domain::failure::Failure,
    services::cognition::index::{
        MIGRATIONS, facts,
        fresh::page_of,
        schema::{indexed_items, prepared_items},
        store::{self, Cursor},
    },
};

/// Differences that are named (count).
const NAMED_MAX: usize = 20;
/// Rows compared at once (count).
const ROWS_AT_ONCE: i64 = 500;

/// An index that is made anew from pages of memory's log, to compare another one with.
pub struct Anew {
    connection: SqliteConnection,
}

/// An item with what is searched of it.
#[derive(Debug, PartialEq, Queryable)]
struct Row {
    user_id: String,
    seq: i64,
    conversation_id: Option<String>,
    role: String,
    at: i64,
    item: String,
    rules: Option<i32>,
    prepared: Option<Vec<u8>>,
}

impl Anew {
    /// An empty one in a new file.
    ///
    /// # Errors
    /// `database_error` naming the file.
    pub fn make(path: &Path) -> Result<Self, Failure> {
        let mut connection = database::connect(path)?;
        database::migrate(&mut connection, MIGRATIONS, Store::Cognition)?;
        Ok(Anew { connection })
    }

    /// Takes in a page of `log/entries`; says up to where it is then, and whether there may be more.
    ///
    /// # Errors
    /// `bad_reply` when it is no such page, `database_error`.
    pub fn take_in(&mut self, page: Vec<Value>) -> Result<(i64, bool), Failure> {
        let (entries, upto, more) = page_of(page)?;
        store::apply(&mut self.connection, &entries, upto)?;
        Ok((upto, more))
    }

    /// Where another index is otherwise than this one; empty when they are alike. Both are looked
    /// at as they are at one moment. `None` when they are not at the same place in the log.
    ///
    /// # Errors
    /// `database_error`.
    pub fn differences(
        &mut self,
        index: &mut SqliteConnection,
    ) -> Result<Option<Vec<String>>, Failure> {
        let own = &mut self.connection;
        index.transaction(|index| {
            let (known, made) = (store::cursor(index)?, store::cursor(own)?);
            if known.seq != made.seq {
                return Ok(None);
            }
            let mut found = of_cursors(&known, &made);
            found.extend(of_rows(index, own)?);
            found.extend(of_facts(index, own)?);
            for connection in [index, own] {
                let stray = "SELECT count(*) AS count FROM prepared_items AS p WHERE NOT EXISTS \
                             (SELECT 1 FROM indexed_items AS i WHERE i.user_id = p.user_id AND \
                             i.seq = p.seq)";
                let count = database::count(connection, stray)?;
                if count > 0 {
                    found.push(format!("{count} items are searched that are not there"));
                }
            }
            Ok(Some(found))
        })
    }
}

/// Up to where an index on disk is.
///
/// # Errors
/// `database_error`.
pub fn position(index: &mut SqliteConnection) -> Result<i64, Failure> {
    index.batch_execute("PRAGMA query_only = ON")?;
    Ok(store::cursor(index)?.seq)
}

fn of_cursors(known: &Cursor, made: &Cursor) -> Vec<String> {
    let mut found = Vec::new();
    if known.items != made.items {
        found.push(format!("counts {} items, there are {}", known.items, made.items));
    }
    // Pages do not say in which part of the log they begin.
    if made.epoch.is_some() && known.epoch != made.epoch {
        found.push("is of another log".to_owned());
    }
    found
}

fn of_rows(
    index: &mut SqliteConnection,
    made: &mut SqliteConnection,
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut after = (String::new(), i64::MIN);
    loop {
        let theirs = rows(index, &after, ROWS_AT_ONCE)?;
        let ours = rows(made, &after, ROWS_AT_ONCE)?;
        let differing = theirs.iter().zip(&ours).find(|(theirs, ours)| theirs != ours);
        if let Some((theirs, ours)) = differing {
            found.push(format!(
                "item {} of {} in the index, item {} of {} made anew, or what is kept of them \
                 differs",
                theirs.seq, theirs.user_id, ours.seq, ours.user_id
            ));
        } else if theirs.len() != ours.len() {
            let more = if theirs.len() > ours.len() { &theirs } else { &ours };
            let which = if theirs.len() > ours.len() { "the index" } else { "memory" };
            let extra = more.get(theirs.len().min(ours.len()));
            found.extend(
                extra.map(|row| format!("only {which} has item {} of {}", row.seq, row.user_id)),
            );
        }
        let Some(last) = ours.last().filter(|_| found.len() < NAMED_MAX) else { return Ok(found) };
        after = (last.user_id.clone(), last.seq);
    }
}

/// Where the facts differ: the first such place.
fn of_facts(
    index: &mut SqliteConnection,
    made: &mut SqliteConnection,
) -> Result<Option<String>, Failure> {
    let mut after = (String::new(), i64::MIN);
    loop {
        let theirs = facts::rows(index, &after, ROWS_AT_ONCE)?;
        let ours = facts::rows(made, &after, ROWS_AT_ONCE)?;
        if theirs != ours {
            let alike = theirs.iter().zip(&ours).take_while(|(theirs, ours)| theirs == ours);
            let place = alike.count();
            let first = theirs.get(place).or(ours.get(place));
            return Ok(first.map(|(user_id, seq, _)| {
                format!("fact {seq} of {user_id} is in one of them only, or differs")
            }));
        }
        let Some((user_id, seq, _)) = ours.last() else { return Ok(None) };
        after = (user_id.clone(), *seq);
    }
}

fn rows(
    connection: &mut SqliteConnection,
    (user_id, seq): &(String, i64),
    limit: i64,
) -> Result<Vec<Row>, Failure> {
    use indexed_items::dsl;
    Ok(dsl::indexed_items
        .left_join(
            prepared_items::table
                .on(prepared_items::user_id.eq(dsl::user_id).and(prepared_items::seq.eq(dsl::seq))),
        )
        .select((
            dsl::user_id,
            dsl::seq,
            dsl::conversation_id,
            dsl::role,
            dsl::at,
            dsl::item,
            prepared_items::rules.nullable(),
            prepared_items::prepared.nullable(),
        ))
        .filter(dsl::user_id.gt(user_id).or(dsl::user_id.eq(user_id).and(dsl::seq.gt(seq))))
        .order((dsl::user_id.asc(), dsl::seq.asc()))
        .limit(limit)
        .load(connection)?)
}
