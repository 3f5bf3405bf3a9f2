//! What the index tells of a user's items beside their ranking: the items themselves, the newest of
//! them, and what a conversation is.

use std::collections::{BTreeMap, HashSet};

use diesel::{
    prelude::*,
    sql_types::{BigInt, Nullable, Text},
};

use crate::{
    contract::item::Item,
    domain::failure::Failure,
    services::cognition::index::{
        conditions::{Conditions, rows_of},
        schema::indexed_items,
        store::read_item,
    },
};

/// Participants of a conversation that are named (count).
const PARTICIPANTS_MAX: i64 = 100;

/// The items of these numbers that are there.
///
/// # Errors
/// `database_error`.
pub(super) fn items(
    connection: &mut SqliteConnection,
    user_id: &str,
    seqs: &[i64],
) -> Result<BTreeMap<i64, Item>, Failure> {
    let rows: Vec<(i64, String)> = indexed_items::table
        .select((indexed_items::seq, indexed_items::item))
        .filter(indexed_items::user_id.eq(user_id))
        .filter(indexed_items::seq.eq_any(seqs))
        .load(connection)?;
    rows.into_iter().map(|(seq, json)| Ok((seq, read_item(&json)?))).collect()
}

/// The newest items by their time, newest first.
///
/// # Errors
/// `database_error`.
pub(super) fn newest(
    connection: &mut SqliteConnection,
    user_id: &str,
    conditions: &Conditions,
    limit: i64,
) -> Result<Vec<Item>, Failure> {
    let rows: Vec<String> = indexed_items::table
        .select(indexed_items::item)
        .filter(rows_of(user_id, conditions))
        .order((indexed_items::at.desc(), indexed_items::seq.desc()))
        .limit(limit)
        .load(connection)?;
    rows.iter().map(|json| read_item(json)).collect()
}

/// The numbers of all items that fulfil conditions which the rules do not know: a walk over all
/// of the user's items.
///
/// # Errors
/// `database_error`.
pub(super) fn fulfilling(
    connection: &mut SqliteConnection,
    user_id: &str,
    conditions: &Conditions,
) -> Result<HashSet<i64>, Failure> {
    let seqs: Vec<i64> = indexed_items::table
        .select(indexed_items::seq)
        .filter(rows_of(user_id, conditions))
        .load(connection)?;
    Ok(seqs.into_iter().collect())
}

/// What a conversation of a user is.
#[derive(Clone, Debug, Default)]
pub(in crate::services::cognition) struct About {
    /// Messages it has (count).
    pub(in crate::services::cognition) messages: usize,
    /// Who spoke, in the order of first appearance, at most 100.
    pub(in crate::services::cognition) participants: Vec<String>,
    /// Its oldest message.
    pub(in crate::services::cognition) first: Option<Item>,
}

#[derive(QueryableByName)]
struct Speaker {
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// # Errors
/// `database_error`.
pub(super) fn about(
    connection: &mut SqliteConnection,
    user_id: &str,
    conversation_id: &str,
) -> Result<About, Failure> {
    let speakers: Vec<Speaker> = diesel::sql_query(
        "SELECT coalesce(item ->> '$.sender', item ->> '$.sender_id') AS name, count(*) AS count \
         FROM indexed_items WHERE user_id = ? AND conversation_id = ? \
         GROUP BY 1 ORDER BY min(at), min(seq)",
    )
    .bind::<Text, _>(user_id)
    .bind::<Text, _>(conversation_id)
    .load(connection)?;
    let messages: i64 = speakers.iter().map(|speaker| speaker.count).sum();
    let most = usize::try_from(PARTICIPANTS_MAX).unwrap_or(usize::MAX);
    let first: Option<String> = indexed_items::table
        .select(indexed_items::item)
        .filter(rows_of(user_id, &Conditions::of_conversation(Some(conversation_id))))
        .order((indexed_items::at.asc(), indexed_items::seq.asc()))
        .first(connection)
        .optional()?;
    Ok(About {
        messages: usize::try_from(messages).unwrap_or_default(),
        participants: speakers.into_iter().filter_map(|speaker| speaker.name).take(most).collect(),
        first: first.map(|json| read_item(&json)).transpose()?,
    })
}
