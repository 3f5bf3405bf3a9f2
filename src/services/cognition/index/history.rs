//! A whole history, read once from disk in bounded memory.

use std::collections::{BTreeMap, BTreeSet};

use diesel::{connection::DefaultLoadingMode, dsl::count_star, prelude::*};
use tokio::time::Instant;

use crate::{
    contract::item::Item,
    domain::{
        failure::Failure,
        understanding::{Survey, Topic},
    },
    services::cognition::{
        index::{
            Index,
            conditions::{Conditions, rows_of},
            queries,
            schema::indexed_items,
            store::read_item,
            users::State,
        },
        insight::ENTITY_TEXT_BYTES_MAX,
        memory::{Remembered, remembered},
    },
};

/// Topics of a history (count).
const TOPICS_MAX: usize = 10;
/// Items between two looks at the clock (count).
const ITEMS_UNWATCHED: usize = 64;

/// A history, as far as it was read.
#[derive(Default)]
pub(in crate::services::cognition) struct History {
    /// Its numbers and words.
    pub(in crate::services::cognition) survey: Survey,
    /// Its newest items, newest first, with as much text as is looked through for entities.
    pub(in crate::services::cognition) newest: Vec<Remembered>,
    /// What it is about.
    pub(in crate::services::cognition) topics: Vec<Topic>,
    /// The items whose sentences may sum it up.
    pub(in crate::services::cognition) chosen: Vec<i64>,
    /// These, and those that the topics name.
    pub(in crate::services::cognition) items: BTreeMap<i64, Remembered>,
    /// Items there are (count).
    pub(in crate::services::cognition) all: usize,
    newest_bytes: usize,
}

/// How far a history is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::services::cognition) struct Reach {
    /// Items, the newest first (count).
    pub(in crate::services::cognition) items: usize,
    /// Not longer than to here.
    pub(in crate::services::cognition) until: Instant,
}

/// What is not on disk yet, as it was at one moment.
struct Ahead {
    items: BTreeMap<i64, Option<Item>>,
    gone_before: i64,
}

impl Ahead {
    fn of(state: &State) -> Self {
        Ahead { items: state.all_ahead().clone(), gone_before: state.gone_before() }
    }

    /// Whether the disk has no say about this number.
    fn covers(&self, seq: i64) -> bool {
        seq < self.gone_before || self.items.contains_key(&seq)
    }
}

impl Index {
    /// A user's items that fulfil the conditions, taken in from the newest on.
    ///
    /// # Errors
    /// Why the index could not be read.
    pub(in crate::services::cognition) async fn history(
        &self,
        user_id: &str,
        conditions: Conditions,
        reach: Reach,
    ) -> Result<History, Failure> {
        let known = self.shared.users.known(user_id);
        let user_id = user_id.to_owned();
        let read = move |connection: &mut SqliteConnection| {
            let ahead = known.map(|user| Ahead::of(&user.read()));
            connection.transaction(|connection| {
                walk(connection, &user_id, &conditions, ahead.as_ref(), reach)
            })
        };
        // With those that read a whole index: a few large users do not take all connections.
        self.shared.loads.run("select", "indexed_items", read).await
    }
}

fn walk(
    connection: &mut SqliteConnection,
    user_id: &str,
    conditions: &Conditions,
    ahead: Option<&Ahead>,
    reach: Reach,
) -> Result<History, Failure> {
    let mut history = History::default();
    let newer: BTreeMap<i64, &Item> = ahead
        .into_iter()
        .flat_map(|ahead| &ahead.items)
        .filter_map(|(seq, item)| Some((*seq, item.as_ref()?)))
        .filter(|(_, item)| conditions.hold_of(item))
        .collect();
    for item in newer.values().rev().take(reach.items) {
        history.take((*item).clone());
    }
    let left = reach.items.saturating_sub(history.survey.items());
    let rows = indexed_items::table
        .select((indexed_items::seq, indexed_items::item))
        .filter(rows_of(user_id, conditions))
        .order((indexed_items::at.desc(), indexed_items::seq.desc()))
        .load_iter::<(i64, String), DefaultLoadingMode>(connection)?;
    let (mut read, mut cut) = (0_usize, false);
    for row in rows {
        let (seq, json) = row?;
        if ahead.is_some_and(|ahead| ahead.covers(seq)) {
            continue;
        }
        let late =
            read.is_multiple_of(ITEMS_UNWATCHED) && read > 0 && Instant::now() >= reach.until;
        if read >= left || late {
            cut = true;
            break;
        }
        read += 1;
        history.take(read_item(&json)?);
    }
    history.all = history.survey.items();
    if cut {
        let stored: i64 = indexed_items::table
            .select(count_star())
            .filter(rows_of(user_id, conditions))
            .first(connection)?;
        let stored = usize::try_from(stored).unwrap_or_default();
        history.all = history.all.max(stored.saturating_add(newer.len()));
    }
    history.settle();
    let wanted: Vec<i64> = history.wanted().into_iter().collect();
    let mut items = queries::items(connection, user_id, &wanted)?;
    for (seq, item) in newer {
        if wanted.binary_search(&seq).is_ok() {
            items.insert(seq, item.clone());
        }
    }
    history.keep(items.into_values());
    Ok(history)
}

impl History {
    /// Takes one item in, the newest first.
    fn take(&mut self, item: Item) {
        for item in remembered([item]) {
            self.survey.take(&item.utterance());
            if self.newest_bytes < ENTITY_TEXT_BYTES_MAX {
                self.newest_bytes += item.text().len().max(1);
                self.newest.push(item);
            }
        }
    }

    /// Decides what of it is to be read again.
    fn settle(&mut self) {
        self.topics = self.survey.topics(TOPICS_MAX);
        self.chosen = self.survey.chosen();
    }

    /// The numbers of the items that are told of.
    fn wanted(&self) -> BTreeSet<i64> {
        let examples = self.topics.iter().flat_map(|topic| &topic.examples);
        self.chosen.iter().chain(examples).copied().collect()
    }

    fn keep(&mut self, items: impl Iterator<Item = Item>) {
        self.items = remembered(items).into_iter().map(|item| (item.item.seq, item)).collect();
    }

    /// A history of these, newest first.
    #[cfg(test)]
    pub(in crate::services::cognition) fn of(items: Vec<Item>) -> Self {
        let mut history = History::default();
        items.iter().cloned().for_each(|item| history.take(item));
        history.all = items.len();
        history.settle();
        let wanted = history.wanted();
        history.keep(items.into_iter().filter(|item| wanted.contains(&item.seq)));
        history
    }
}
