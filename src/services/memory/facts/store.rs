//! The facts in SQLite: rows, queries and writes.

use diesel::{
    connection::DefaultLoadingMode,
    dsl::sql,
    prelude::*,
    sql_types::{Bool, Text},
};

use crate::{
    backplane::{clock, database::storage_failure},
    contract::{
        fact::Fact,
        log::{Entry, Numbered},
    },
    domain::{
        facts::{Findable, Validity, folded, prepare},
        failure::Failure,
        retrieval::Prepared,
    },
    services::memory::{
        changes,
        facts::end_of,
        schema::{memory_facts, memory_items},
        store::{PAGE_BYTES_MAX, Removed},
    },
};

/// One row.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = memory_facts)]
pub(in crate::services::memory) struct FactRow {
    pub(super) seq: i64,
    pub(super) id: String,
    pub(super) user_id: String,
    pub(super) subject: String,
    pub(super) subject_folded: String,
    pub(super) key: Option<String>,
    pub(super) key_folded: Option<String>,
    pub(super) text: String,
    pub(super) source_item_id: Option<String>,
    pub(super) recorded_at: i64,
    pub(super) valid_from: i64,
    pub(super) valid_to: Option<i64>,
    pub(super) superseded_by: Option<String>,
    pub(super) superseded_at: Option<i64>,
}

impl FactRow {
    /// What its texts have, in bytes.
    pub(in crate::services::memory) fn bytes(&self) -> usize {
        self.subject.len() + self.text.len() + self.key.as_deref().map_or(0, str::len)
    }

    fn validity(&self) -> Validity {
        Validity { from: self.valid_from, to: self.valid_to }
    }

    fn says_the_same_as(&self, other: &FactRow) -> bool {
        let said = |row: &FactRow| {
            let FactRow { subject, key, text, source_item_id, .. } = row;
            (subject.clone(), key.clone(), text.clone(), source_item_id.clone())
        };
        said(self) == said(other)
    }

    /// What is searched of it.
    pub(super) fn prepared(&self) -> Prepared {
        prepare(&Findable {
            seq: self.seq,
            user_id: &self.user_id,
            id: &self.id,
            subject: &self.subject,
            key: self.key.as_deref(),
            text: &self.text,
            at: self.valid_from.min(self.recorded_at),
        })
    }
}

impl From<FactRow> for Fact {
    fn from(row: FactRow) -> Self {
        Fact {
            seq: row.seq,
            id: row.id,
            user_id: row.user_id,
            subject: row.subject,
            key: row.key,
            text: row.text,
            source_item_id: row.source_item_id,
            recorded_at: clock::rfc3339(row.recorded_at),
            valid_from: clock::rfc3339(row.valid_from),
            valid_to: row.valid_to.map(clock::rfc3339),
            superseded_by: row.superseded_by,
            superseded_at: row.superseded_at.map(clock::rfc3339),
        }
    }
}

/// A fact that is to be remembered; its number is not given out yet.
#[derive(Clone, Debug)]
pub struct NewFact {
    pub(super) row: FactRow,
    /// The fact whose place it takes in any case.
    pub(super) supersedes: Option<String>,
}

/// What came of remembering a fact.
#[derive(Clone, Debug)]
pub enum Noted {
    /// Remembered now.
    Now {
        /// As it is stored.
        fact: Box<Fact>,
        /// Ids of those whose place it took.
        superseded: Vec<String>,
        /// What the log says of it.
        entries: Vec<Numbered>,
    },
    /// Remembered before.
    Before {
        /// As it is stored.
        fact: Box<Fact>,
        /// Whether it says the same.
        same_body: bool,
    },
    /// There is no such fact to take the place of.
    Unknown,
    /// Another fact took that place.
    Taken {
        /// Which.
        by: String,
    },
}

fn find(
    connection: &mut SqliteConnection,
    user_id: &str,
    id: &str,
) -> QueryResult<Option<FactRow>> {
    memory_facts::table
        .select(FactRow::as_select())
        .filter(memory_facts::user_id.eq(user_id))
        .filter(memory_facts::id.eq(id))
        .first(connection)
        .optional()
}

/// Remembers a fact, unless its owner has one of that id. It takes the place of those of its subject
/// and key that hold at a moment at which it holds, and of the one it names.
///
/// # Errors
/// The database's own, for the writer to judge.
pub(in crate::services::memory) fn remember(
    connection: &mut SqliteConnection,
    new: &NewFact,
) -> QueryResult<Noted> {
    let row = &new.row;
    if let Some(known) = find(connection, &row.user_id, &row.id)? {
        let same_body = known.says_the_same_as(row);
        return Ok(Noted::Before { fact: Box::new(known.into()), same_body });
    }
    let mut old = in_its_place(connection, row)?;
    if let Some(id) = &new.supersedes {
        let Some(named) = find(connection, &row.user_id, id)? else { return Ok(Noted::Unknown) };
        if let Some(by) = named.superseded_by {
            return Ok(Noted::Taken { by });
        }
        if !old.iter().any(|old| old.seq == named.seq) {
            old.push(named);
        }
    }
    let (mut superseded, mut entries) = (Vec::new(), Vec::new());
    for old in old {
        superseded.push(old.id.clone());
        entries.push(supersede(connection, old, row)?);
    }
    let seq = changes::fact(connection, &row.user_id, None)?;
    let row = FactRow { seq, ..row.clone() };
    diesel::insert_into(memory_facts::table).values(&row).execute(connection)?;
    let fact = Box::new(Fact::from(row));
    entries.push(Numbered { seq, entry: Entry::Fact(fact.clone()) });
    Ok(Noted::Now { fact, superseded, entries })
}

/// Facts of the same subject and key that hold when the new one does, and whose place nobody took.
fn in_its_place(connection: &mut SqliteConnection, new: &FactRow) -> QueryResult<Vec<FactRow>> {
    use memory_facts::dsl;
    let Some(key_folded) = &new.key_folded else { return Ok(Vec::new()) };
    let same: Vec<FactRow> = dsl::memory_facts
        .select(FactRow::as_select())
        .filter(dsl::user_id.eq(&new.user_id))
        .filter(dsl::subject_folded.eq(&new.subject_folded))
        .filter(dsl::key_folded.eq(key_folded))
        .filter(dsl::superseded_by.is_null())
        .order(dsl::seq.asc())
        .load(connection)?;
    Ok(same.into_iter().filter(|old| old.validity().meets(new.validity())).collect())
}

fn supersede(
    connection: &mut SqliteConnection,
    old: FactRow,
    new: &FactRow,
) -> QueryResult<Numbered> {
    use memory_facts::dsl;
    let old = FactRow {
        valid_to: old.validity().ended_by(new.validity()).to,
        superseded_by: Some(new.id.clone()),
        superseded_at: Some(new.recorded_at),
        ..old
    };
    diesel::update(dsl::memory_facts.find(old.seq))
        .set((
            dsl::valid_to.eq(old.valid_to),
            dsl::superseded_by.eq(&old.superseded_by),
            dsl::superseded_at.eq(old.superseded_at),
        ))
        .execute(connection)?;
    let seq = changes::fact(connection, &old.user_id, Some(old.seq))?;
    Ok(Numbered { seq, entry: Entry::Fact(Box::new(old.into())) })
}

/// Removes one fact of a user.
///
/// # Errors
/// The database's own, for the writer to judge.
pub(in crate::services::memory) fn remove(
    connection: &mut SqliteConnection,
    user_id: &str,
    id: &str,
) -> QueryResult<Removed> {
    use memory_facts::dsl;
    let theirs = dsl::memory_facts.filter(dsl::user_id.eq(user_id)).filter(dsl::id.eq(id));
    let seq: Option<i64> =
        diesel::delete(theirs).returning(dsl::seq).get_result(connection).optional()?;
    let Some(seq) = seq else { return Ok(Removed::default()) };
    let entry = Some(changes::removed(connection, user_id, seq, id)?);
    Ok(Removed { count: 0, facts: 1, entry })
}

/// Removes all facts of a user, without a word in the log; says how many.
///
/// # Errors
/// The database's own, for the writer to judge.
pub(in crate::services::memory) fn remove_all(
    connection: &mut SqliteConnection,
    user_id: &str,
) -> QueryResult<usize> {
    diesel::delete(memory_facts::table.filter(memory_facts::user_id.eq(user_id)))
        .execute(connection)
}

/// Which facts of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Which {
    pub(super) user_id: String,
    /// About this, folded.
    pub(super) subject: Option<String>,
    /// With this key, folded.
    pub(super) key: Option<String>,
    /// That hold at this moment, in microseconds since the Unix epoch; all when absent.
    pub(super) at: Option<i64>,
}

/// In which order, and how many at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The newest, newest first.
    Newest(i64),
    /// Those after a number of the log, oldest first.
    After(i64, i64),
}

/// A page of facts, cut short where their text passes [`PAGE_BYTES_MAX`], and whether there may be
/// more.
///
/// # Errors
/// `database_error`.
pub(super) fn page(
    connection: &mut SqliteConnection,
    which: &Which,
    order: Order,
) -> Result<(Vec<FactRow>, bool), Failure> {
    use memory_facts::dsl;
    let mut query = dsl::memory_facts
        .select(FactRow::as_select())
        .filter(dsl::user_id.eq(&which.user_id))
        .into_boxed();
    if let Some(subject) = &which.subject {
        query = query.filter(dsl::subject_folded.eq(subject));
    }
    if let Some(key) = &which.key {
        query = query.filter(dsl::key_folded.eq(key));
    }
    if let Some(at) = which.at {
        query = query
            .filter(dsl::valid_from.le(at))
            .filter(dsl::valid_to.is_null().or(dsl::valid_to.gt(at)));
    }
    let (query, limit) = match order {
        Order::Newest(limit) => (query.order(dsl::seq.desc()), limit),
        Order::After(seq, limit) => (query.filter(dsl::seq.gt(seq)).order(dsl::seq.asc()), limit),
    };
    let (mut facts, mut bytes) = (Vec::new(), 0);
    let rows = query.limit(limit).load_iter::<FactRow, DefaultLoadingMode>(connection)?;
    for row in rows {
        let row = row.map_err(|error| storage_failure(&error))?;
        bytes += row.bytes();
        if bytes > PAGE_BYTES_MAX && !facts.is_empty() {
            return Ok((facts, true));
        }
        facts.push(row);
    }
    let full = i64::try_from(facts.len()).is_ok_and(|count| count >= limit);
    Ok((facts, full))
}

/// Subjects of a user's facts that begin like this, in their order.
///
/// # Errors
/// `database_error`.
pub(super) fn subjects(
    connection: &mut SqliteConnection,
    user_id: &str,
    beginning: &str,
    limit: i64,
) -> Result<Vec<String>, Failure> {
    use memory_facts::dsl;
    let beginning = folded(beginning);
    Ok(dsl::memory_facts
        .select(sql::<Text>("min(subject)"))
        .filter(dsl::user_id.eq(user_id))
        .filter(dsl::subject_folded.ge(&beginning))
        .filter(dsl::subject_folded.lt(end_of(&beginning)))
        .group_by(dsl::subject_folded)
        .order(dsl::subject_folded.asc())
        .limit(limit)
        .load(connection)?)
}

/// Conversations of a user whose ids begin like this, in their order.
///
/// # Errors
/// `database_error`.
pub(super) fn conversations(
    connection: &mut SqliteConnection,
    user_id: &str,
    beginning: &str,
    limit: i64,
) -> Result<Vec<String>, Failure> {
    use memory_items::dsl;
    let ids: Vec<Option<String>> = dsl::memory_items
        .select(dsl::conversation_id)
        .distinct()
        .filter(dsl::user_id.eq(user_id))
        .filter(dsl::conversation_id.ge(beginning))
        .filter(sql::<Bool>("conversation_id < ").bind::<Text, _>(end_of(beginning)))
        .order(dsl::conversation_id.asc())
        .limit(limit)
        .load(connection)?;
    Ok(ids.into_iter().flatten().collect())
}

#[cfg(test)]
pub(in crate::services::memory) mod tests {
    use super::*;

    /// A fact about a thing, whose id is `f` and a figure of its text.
    pub(in crate::services::memory) fn a_fact(user_id: &str, key: &str, text: &str) -> NewFact {
        let number: i64 = text.parse().unwrap();
        let row = FactRow {
            seq: 0,
            id: format!("f{}", number % 4),
            user_id: user_id.to_owned(),
            subject: "it".to_owned(),
            subject_folded: "it".to_owned(),
            key: Some(key.to_owned()),
            key_folded: Some(key.to_owned()),
            text: text.to_owned(),
            source_item_id: None,
            recorded_at: number * 1_000_000,
            valid_from: number * 1_000_000,
            valid_to: None,
            superseded_by: None,
            superseded_at: None,
        };
        NewFact { row, supersedes: None }
    }

    /// All facts of a user.
    pub(in crate::services::memory) fn all_of(
        connection: &mut SqliteConnection,
        user_id: &str,
    ) -> Vec<Fact> {
        let which = Which { user_id: user_id.to_owned(), ..Which::default() };
        let (rows, _) = page(connection, &which, Order::After(0, 1000)).unwrap();
        rows.into_iter().map(Fact::from).collect()
    }
}
