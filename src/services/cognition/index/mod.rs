//! Cognition's index: what memory's log says, kept on this process's own disk, followed live, and
//! searched in memory user by user.

pub mod audit;
mod conditions;
mod facts;
mod follower;
mod fresh;
mod history;
mod open;
mod queries;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod users;

pub(super) use conditions::Conditions;
pub(super) use fresh::Fresh;
pub(super) use history::{History, Reach};
pub(super) use queries::About;
pub use store::Cursor;

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use tokio::sync::{Notify, watch};

use crate::{
    backplane::{
        client::ServicePort,
        config::Index as Settings,
        database::{Database, Held},
        gate::Gate,
        vitals::House,
    },
    contract::{fact::Fact, item::Item},
    domain::{
        failure::{Failure, Kind},
        retrieval::{Filter, Found, Question, Weights},
    },
};
use users::{State, User, Users};

/// The schema, oldest first.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/cognition/sqlite");
/// Name of the index's file in the data directory; further processes add a number.
pub const DATABASE_FILE: &str = "cognition.db";
/// Users whose indexes are read from disk at once (count).
const LOADS_AT_ONCE: u16 = 2;
/// Times an index is read from disk for one question, when too much changes meanwhile.
const LOADS_TRIED_MAX: u32 = 3;
/// Time a search or a read from disk waits for its turn.
const SEARCH_PATIENCE: Duration = Duration::from_secs(10);
/// The index counts as behind, for `/health`, when memory has so many entries more (count).
const BEHIND_TOLD: i64 = 10_000;

/// The index of one process; every worker holds a clone.
#[derive(Clone)]
pub struct Index {
    shared: Arc<Shared>,
}

struct Shared {
    /// One connection, which writes.
    writes: Database,
    reads: Database,
    users: Users,
    /// Connections of their own, so that a few large users do not take all.
    loads: Database,
    searches: Gate,
    /// Up to where memory's log is in the index.
    position: watch::Sender<i64>,
    /// The newest number that memory is known to have.
    head: AtomicI64,
    items: AtomicI64,
    trouble: Mutex<Option<String>>,
    anew: Notify,
    /// How often it was begun anew in this process's life.
    made: watch::Sender<u64>,
    settings: Settings,
    path: PathBuf,
    /// The file is this process's own for as long as this is kept.
    _held: Held,
}

/// How the index is, for health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Up to where memory's log is in it.
    pub position: i64,
    /// Entries that memory is known to have and the index has not.
    pub behind: i64,
    /// Items in it.
    pub items: i64,
    /// Its file, in bytes.
    pub bytes: u64,
    /// Users whose indexes are in memory.
    pub users: usize,
    /// What these take, in bytes.
    pub users_bytes: usize,
    /// Why it is not written.
    pub trouble: Option<String>,
    /// Whether it is so far behind that somebody should know.
    pub far_behind: bool,
}

/// A question to the index of one user.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) text: String,
    pub(super) limit: usize,
    pub(super) conditions: Conditions,
    pub(super) preferred: Option<String>,
    pub(super) recency_weight: Option<f64>,
    /// The moment at which facts hold that are found, in microseconds since the Unix epoch; none are
    /// when absent.
    pub(super) facts_at: Option<i64>,
}

/// What answers a question.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Best first.
    pub(super) found: Vec<Found>,
    /// Those that are facts, by their numbers.
    pub(super) facts: BTreeMap<i64, Fact>,
}

impl Index {
    /// Follows memory's log from now on, on this arbiter.
    pub fn follow(&self, house: &House, memory: ServicePort) {
        follower::Follower::start(house, memory, self.clone());
    }

    /// Up to where memory's log is in the index.
    #[must_use]
    pub fn position(&self) -> i64 {
        *self.shared.position.borrow()
    }

    /// Entries that memory is known to have and the index has not.
    #[must_use]
    pub fn behind(&self) -> i64 {
        (self.shared.head.load(Ordering::Relaxed) - self.position()).max(0)
    }

    /// How it is.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let (users, users_bytes) = self.shared.users.holding();
        let trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Condition {
            position: self.position(),
            behind: self.behind(),
            items: self.shared.items.load(Ordering::Relaxed),
            bytes: std::fs::metadata(&self.shared.path).map_or(0, |file| file.len()),
            users,
            users_bytes,
            trouble,
            far_behind: self.behind() > BEHIND_TOLD,
        }
    }

    /// Has it made anew from the beginning of memory's log; returns when that has begun, after
    /// `patience` at most.
    ///
    /// # Errors
    /// `service_unavailable` when it does not begin in time, because it cannot be written.
    pub async fn make_anew(&self, patience: Duration) -> Result<(), Failure> {
        let mut made = self.shared.made.subscribe();
        self.shared.anew.notify_one();
        match tokio::time::timeout(patience, made.changed()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                let text = "the index is not written at the moment; it begins as soon as it is";
                Err(Failure::new(Kind::Unavailable, text).retry_after(Duration::from_secs(5)))
            }
        }
    }

    async fn anew(&self) {
        self.shared.anew.notified().await;
    }

    fn heard_of(&self, head: i64) {
        self.shared.head.store(head, Ordering::Relaxed);
    }

    fn trouble(&self, trouble: Option<String>) {
        *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Whether the file is damaged or gone: only a new start mends that.
    fn is_lost(&self) -> bool {
        self.shared.writes.may_be_written().is_err()
    }

    fn batch_max(&self) -> usize {
        usize::from(self.shared.settings.index_batch_max)
    }

    fn retry_max(&self) -> Duration {
        self.shared.settings.index_retry_max
    }

    async fn cursor(&self) -> Result<Cursor, Failure> {
        self.shared.writes.run("select", "index_cursor", store::cursor).await
    }

    async fn begin(&self, epoch: String) -> Result<(), Failure> {
        let begin = move |connection: &mut _| store::begin(connection, &epoch);
        self.shared.writes.run("update", "index_cursor", begin).await
    }

    async fn renew(&self, limit: i64) -> Result<usize, Failure> {
        let renew = move |connection: &mut _| store::renew(connection, limit);
        self.shared.writes.run("update", "prepared_items", renew).await
    }

    async fn clear(&self) -> Result<(), Failure> {
        self.shared.writes.run("delete", "indexed_items", store::clear).await?;
        self.shared.users.clear();
        self.shared.items.store(0, Ordering::Relaxed);
        self.shared.position.send_replace(0);
        self.shared.made.send_modify(|made| *made += 1);
        Ok(())
    }

    /// Applies entries as memory wrote them, on disk and then in memory, and says so to who waits.
    pub(super) async fn apply_written(
        &self,
        batch: Arc<Vec<(i64, String)>>,
        upto: i64,
    ) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        let apply = move |connection: &mut _| {
            let entries = follower::understood(&batch)?;
            let (cursor, changes) = store::apply(connection, &entries, upto)?;
            shared.users.apply(&changes);
            Ok(cursor)
        };
        let cursor = self.shared.writes.run("update", "indexed_items", apply).await?;
        self.shared.items.store(cursor.items, Ordering::Relaxed);
        self.shared.head.fetch_max(cursor.seq, Ordering::Relaxed);
        self.shared.position.send_replace(cursor.seq);
        Ok(())
    }

    /// A user whose index is in memory, read from disk if need be.
    async fn user(&self, user_id: &str) -> Result<Arc<User>, Failure> {
        let user = self.shared.users.of(user_id);
        let load = || async {
            for _ in 0..LOADS_TRIED_MAX {
                if self.load(user_id, &user).await? {
                    self.shared.users.make_room();
                    return Ok(());
                }
            }
            let text = "too much changes while the index is read; try again soon";
            Err(Failure::new(Kind::Overloaded, text).retry_after(Duration::from_secs(1)))
        };
        user.loaded.get_or_try_init(load).await?;
        Ok(user)
    }

    async fn load(&self, user_id: &str, user: &Arc<User>) -> Result<bool, Failure> {
        let (user_id, user) = (user_id.to_owned(), Arc::clone(user));
        let load = move |connection: &mut _| {
            let (upto, items, facts) = store::load(connection, &user_id)?;
            Ok(user.fill(upto, items, facts))
        };
        self.shared.loads.run("select", "prepared_items", load).await
    }

    /// What of a user's items and facts answers a question best, best first. Facts have no
    /// conversation, role or metadata: conditions on these leave them out.
    ///
    /// # Errors
    /// `overloaded` when no turn came in time; why the index could not be read.
    pub(super) async fn search(&self, user_id: &str, asked: Asked) -> Result<Answer, Failure> {
        let fulfilling = self.fulfilling(user_id, &asked.conditions).await?;
        let user = self.user(user_id).await?;
        let search = move |_waited| {
            let state = user.read();
            let facts_at = asked.facts_at.filter(|_| asked.conditions.are_of_time_alone());
            let allows = |seq: i64| match (state.facts.get(seq), &fulfilling, state.ahead(seq)) {
                (Some(known), ..) => facts_at.is_some_and(|at| known.validity.holds_at(at)),
                (None, None, _) => true,
                (None, Some(_), Some(item)) => {
                    item.is_some_and(|item| asked.conditions.hold_of(item))
                }
                (None, Some(seqs), None) => seqs.contains(&seq),
            };
            let filter = Filter { allows: Some(&allows), ..asked.conditions.filter() };
            let question = Question {
                text: &asked.text,
                limit: asked.limit,
                recency_weight: asked.recency_weight,
                filter,
                preferred_session: asked.preferred.as_deref(),
                ..Question::default()
            };
            let found = state.index.search(&question, &Weights::default());
            let fact = |found: &Found| Some((found.seq, state.facts.get(found.seq)?.fact.clone()));
            let facts = found.iter().filter_map(fact).collect();
            Answer { found, facts }
        };
        self.shared.searches.run(search).await
    }

    /// Which items fulfil conditions on metadata, if there are any.
    async fn fulfilling(
        &self,
        user_id: &str,
        conditions: &Conditions,
    ) -> Result<Option<HashSet<i64>>, Failure> {
        if conditions.metadata.is_empty() {
            return Ok(None);
        }
        let (user_id, conditions) = (user_id.to_owned(), conditions.clone());
        let read = move |connection: &mut _| queries::fulfilling(connection, &user_id, &conditions);
        self.shared.reads.run("select", "indexed_items", read).await.map(Some)
    }

    /// The items of these numbers that are there.
    ///
    /// # Errors
    /// Why the index could not be read.
    pub(super) async fn items(
        &self,
        user_id: &str,
        seqs: Vec<i64>,
    ) -> Result<BTreeMap<i64, Item>, Failure> {
        let ahead: BTreeMap<i64, Option<Item>> = match self.shared.users.known(user_id) {
            Some(user) => {
                let state = user.read();
                let ahead = |seq: &i64| Some((*seq, state.ahead(*seq)?.cloned()));
                seqs.iter().filter_map(ahead).collect()
            }
            None => BTreeMap::new(),
        };
        let user_id = user_id.to_owned();
        let read = move |connection: &mut _| queries::items(connection, &user_id, &seqs);
        let mut items = self.shared.reads.run("select", "indexed_items", read).await?;
        for (seq, item) in ahead {
            match item {
                Some(item) => drop(items.insert(seq, item)),
                None => drop(items.remove(&seq)),
            }
        }
        Ok(items)
    }

    /// The newest items by their time, newest first.
    ///
    /// # Errors
    /// Why the index could not be read.
    pub(super) async fn newest(
        &self,
        user_id: &str,
        conditions: Conditions,
        limit: usize,
    ) -> Result<Vec<Item>, Failure> {
        let known = self.shared.users.known(user_id);
        let user_id = user_id.to_owned();
        let read = move |connection: &mut _| {
            // As many more as may be gone.
            let gone = known.as_ref().map_or(0, |user| user.read().all_ahead().len());
            let most = i64::try_from(limit.saturating_add(gone)).unwrap_or(i64::MAX);
            let mut items = queries::newest(connection, &user_id, &conditions, most)?;
            if let Some(user) = known {
                merge_ahead(&mut items, &user.read(), &conditions);
            }
            items.truncate(limit);
            Ok(items)
        };
        self.shared.reads.run("select", "indexed_items", read).await
    }

    /// What a conversation of a user is, as far as it is on disk.
    ///
    /// # Errors
    /// Why the index could not be read.
    pub(super) async fn about(
        &self,
        user_id: &str,
        conversations: Vec<String>,
    ) -> Result<BTreeMap<String, About>, Failure> {
        let user_id = user_id.to_owned();
        let read = move |connection: &mut _| {
            let about = |id: String| {
                let about = queries::about(connection, &user_id, &id)?;
                Ok((id, about))
            };
            conversations.into_iter().map(about).collect()
        };
        self.shared.reads.run("select", "indexed_items", read).await
    }
}

/// Puts what is not on disk yet in its place among items, newest first.
fn merge_ahead(items: &mut Vec<Item>, state: &State, conditions: &Conditions) {
    items.retain(|item| state.ahead(item.seq).is_none());
    let ahead = state.all_ahead().values().flatten().filter(|item| conditions.hold_of(item));
    items.extend(ahead.cloned());
    items.sort_by_cached_key(|item| std::cmp::Reverse((store::time_of(item), item.seq)));
}
