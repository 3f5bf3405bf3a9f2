//! The facts in the index: on disk as memory's log tells them, in memory whole, because they are few
//! and each question asks whether they hold at its moment.

use std::collections::BTreeMap;

use diesel::{connection::DefaultLoadingMode, prelude::*};

use crate::{
    backplane::clock,
    contract::fact::Fact,
    domain::{
        facts::{Findable, Validity, prepare},
        failure::{Failure, Kind},
        retrieval::Prepared,
    },
    services::cognition::index::schema::indexed_facts,
};

/// What a fact takes beside its texts, in bytes, about.
const FACT_BYTES: usize = 320;

/// A fact that holds, or may hold one day.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) fact: Fact,
    pub(super) validity: Validity,
}

impl Known {
    /// A fact of the log; `None` when another took its place and it never holds again.
    pub(super) fn of(fact: Fact) -> Option<Self> {
        let at = |text: &str| clock::parse(text).unwrap_or_default();
        let validity =
            Validity { from: at(&fact.valid_from), to: fact.valid_to.as_deref().map(at) };
        let superseded = fact.superseded_at.as_deref().map(at);
        let over = superseded.is_some_and(|superseded| validity.is_over_at(superseded));
        (!over).then_some(Known { fact, validity })
    }

    /// What is searched of it.
    pub(super) fn prepared(&self) -> Prepared {
        let fact = &self.fact;
        let recorded = clock::parse(&fact.recorded_at).unwrap_or_default();
        prepare(&Findable {
            seq: fact.seq,
            user_id: &fact.user_id,
            id: &fact.id,
            subject: &fact.subject,
            key: fact.key.as_deref(),
            text: &fact.text,
            at: self.validity.from.min(recorded),
        })
    }

    fn bytes(&self) -> usize {
        self.fact.subject.len() + self.fact.text.len() + FACT_BYTES
    }
}

/// The facts of one user, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Facts {
    known: BTreeMap<i64, Known>,
    bytes: usize,
}

impl Facts {
    pub(super) fn of(known: Vec<Known>) -> Self {
        let mut facts = Facts::default();
        for known in known {
            facts.put(known);
        }
        facts
    }

    pub(super) fn put(&mut self, known: Known) {
        let seq = known.fact.seq;
        self.remove(seq);
        self.bytes += known.bytes();
        self.known.insert(seq, known);
    }

    pub(super) fn remove(&mut self, seq: i64) {
        if let Some(known) = self.known.remove(&seq) {
            self.bytes = self.bytes.saturating_sub(known.bytes());
        }
    }

    pub(super) fn get(&self, seq: i64) -> Option<&Known> {
        self.known.get(&seq)
    }

    /// What they take, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[derive(Insertable)]
#[diesel(table_name = indexed_facts)]
struct NewRow<'a> {
    user_id: &'a str,
    seq: i64,
    fact: String,
}

/// Puts a fact there, in the place of one with its number.
///
/// # Errors
/// `database_error`.
pub(super) fn put(connection: &mut SqliteConnection, fact: &Fact) -> Result<(), Failure> {
    let json = serde_json::to_string(fact)
        .map_err(|error| Failure::new(Kind::Internal, format!("fact not written: {error}")))?;
    let row = NewRow { user_id: &fact.user_id, seq: fact.seq, fact: json };
    diesel::replace_into(indexed_facts::table).values(&row).execute(connection)?;
    Ok(())
}

/// Removes what a user has between two numbers, both included.
///
/// # Errors
/// `database_error`.
pub(super) fn remove(
    connection: &mut SqliteConnection,
    user_id: &str,
    (from, to): (i64, i64),
) -> Result<(), Failure> {
    let gone = indexed_facts::table
        .filter(indexed_facts::user_id.eq(user_id))
        .filter(indexed_facts::seq.between(from, to));
    diesel::delete(gone).execute(connection)?;
    Ok(())
}

/// All facts of a user.
///
/// # Errors
/// `database_error`, also when one cannot be read.
pub(super) fn load(
    connection: &mut SqliteConnection,
    user_id: &str,
) -> Result<Vec<Known>, Failure> {
    let rows = indexed_facts::table
        .select(indexed_facts::fact)
        .filter(indexed_facts::user_id.eq(user_id))
        .load_iter::<String, DefaultLoadingMode>(connection)?;
    let mut known = Vec::new();
    for row in rows {
        let fact = serde_json::from_str(&row?).map_err(|error| {
            Failure::new(Kind::Storage, format!("an indexed fact cannot be read: {error}"))
        })?;
        known.extend(Known::of(fact));
    }
    Ok(known)
}

/// A row, to be compared with that of another index.
pub(super) type Row = (String, i64, String);

/// Rows after one of a user and number, in their order.
///
/// # Errors
/// `database_error`.
pub(super) fn rows(
    connection: &mut SqliteConnection,
    (user_id, seq): &(String, i64),
    limit: i64,
) -> Result<Vec<Row>, Failure> {
    use indexed_facts::dsl;
    Ok(dsl::indexed_facts
        .filter(dsl::user_id.gt(user_id).or(dsl::user_id.eq(user_id).and(dsl::seq.gt(seq))))
        .order((dsl::user_id.asc(), dsl::seq.asc()))
        .limit(limit)
        .load(connection)?)
}
