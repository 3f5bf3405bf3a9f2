//! The indexes of users in memory: read from disk when they are first asked, kept up with the log
//! by its follower, and dropped again when they take too much together.
//!
//! A change reaches an index that is being read from disk as well: it waits until that is done, and
//! counts if it is newer than what was read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::OnceCell;

use crate::{
    contract::item::Item,
    domain::retrieval::{Index, Prepared},
    services::cognition::index::{
        facts::{Facts, Known},
        store::{Change, Effect},
    },
};

/// Changes that wait for one index that is being read from disk; with more it is dropped, and read
/// again when it is next asked.
const CHANGES_WAITING_MAX: usize = 50_000;

/// One user's index.
#[derive(Default)]
pub(super) struct State {
    /// What is searched.
    pub(super) index: Index,
    /// The facts in it.
    pub(super) facts: Facts,
    /// Changes up to here are in it.
    upto: i64,
    /// What is in it before it is on disk, read from memory: items, or that one is gone.
    ahead: BTreeMap<i64, Option<Item>>,
    /// What the disk still has with lower numbers than this is gone; 0 when nothing is.
    gone_before: i64,
    /// The last number of what is ahead.
    ahead_upto: i64,
    /// Changes that came while it was read from disk; `None` when that is done.
    waiting: Option<Vec<Change>>,
}

/// A user whose index is in memory, or about to be.
pub(super) struct User {
    state: RwLock<State>,
    /// Filled when it was read from disk; whoever comes meanwhile waits without a thread.
    pub(super) loaded: OnceCell<()>,
    bytes: AtomicUsize,
    used: AtomicU64,
}

/// All users whose indexes are in memory.
pub(super) struct Users {
    loaded: Mutex<HashMap<String, Arc<User>>>,
    bytes_max: usize,
    /// Counts uses, to know who was not used for longest.
    uses: AtomicU64,
}

impl State {
    /// Applies a change that is on disk.
    fn apply(&mut self, change: &Change) {
        if change.seq >= self.ahead_upto {
            self.ahead.clear();
            self.gone_before = 0;
        }
        self.advance(change);
    }

    fn advance(&mut self, change: &Change) {
        if change.seq <= self.upto {
            return;
        }
        self.upto = change.seq;
        match &change.effect {
            Effect::Put(item) => {
                self.index.replace(item);
            }
            Effect::Keep(known) => {
                self.index.replace(&known.prepared());
                self.facts.put(Known::clone(known));
            }
            Effect::Drop(seq) => {
                self.index.remove(*seq);
                self.facts.remove(*seq);
            }
            // What is in it so far all has lower numbers.
            Effect::Forget(_) => {
                self.index = Index::default();
                self.facts = Facts::default();
            }
        }
    }

    /// The item of this number, if it is not on disk yet: `Some(None)` if it is gone.
    pub(super) fn ahead(&self, seq: i64) -> Option<Option<&Item>> {
        let gone = (seq < self.gone_before).then_some(None);
        self.ahead.get(&seq).map(Option::as_ref).or(gone)
    }

    /// What it takes, in bytes, about.
    fn bytes(&self) -> usize {
        self.index.bytes() + self.facts.bytes()
    }

    /// Everything of the user up to here is in it.
    pub(super) fn upto(&self) -> i64 {
        self.upto
    }

    /// All that is known before it is on disk.
    pub(super) fn all_ahead(&self) -> &BTreeMap<i64, Option<Item>> {
        &self.ahead
    }

    /// What the disk has with lower numbers than this is gone; 0 when nothing is.
    pub(super) fn gone_before(&self) -> i64 {
        self.gone_before
    }

    /// Takes in what memory has and the disk has not: changes in the log's order, with the items
    /// they are about.
    pub(super) fn run_ahead(&mut self, changes: Vec<(Change, Option<Item>)>) {
        for (change, item) in changes {
            if change.seq <= self.upto {
                continue;
            }
            match &change.effect {
                Effect::Put(prepared) => {
                    self.ahead.insert(prepared.seq, item);
                }
                // Facts are in memory whole: nothing is read from disk for them.
                Effect::Keep(_) => {}
                Effect::Drop(seq) => {
                    self.ahead.insert(*seq, None);
                }
                Effect::Forget(before) => {
                    self.gone_before = *before;
                    self.ahead.clear();
                }
            }
            self.ahead_upto = self.ahead_upto.max(change.seq);
            self.advance(&change);
        }
    }
}

impl User {
    /// Reads it; a panic elsewhere does not spoil it, the log's follower would have fallen as well.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what was read from disk, which held the log up to `upto`, and then the changes
    /// that waited. `false` when there were too many: it is not to be used.
    pub(super) fn fill(&self, upto: i64, mut items: Vec<Prepared>, facts: Vec<Known>) -> bool {
        items.extend(facts.iter().map(Known::prepared));
        let (index, facts) = (Index::of(items), Facts::of(facts));
        let mut state = self.write();
        let Some(waiting) = state.waiting.take() else { return true };
        if waiting.len() > CHANGES_WAITING_MAX {
            state.waiting = Some(Vec::new());
            return false;
        }
        state.index = index;
        state.facts = facts;
        state.upto = upto;
        for change in &waiting {
            state.apply(change);
        }
        self.bytes.store(state.bytes(), Ordering::Relaxed);
        true
    }
}

impl Users {
    pub(super) fn new(bytes_max: usize) -> Self {
        Users { loaded: Mutex::default(), bytes_max, uses: AtomicU64::new(0) }
    }

    fn all<T>(&self, look: impl FnOnce(&mut HashMap<String, Arc<User>>) -> T) -> T {
        look(&mut self.loaded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A user, who may have to be loaded first.
    pub(super) fn of(&self, user_id: &str) -> Arc<User> {
        let use_ = self.uses.fetch_add(1, Ordering::Relaxed);
        let user = self.all(|loaded| match loaded.get(user_id) {
            Some(user) => Arc::clone(user),
            None => {
                let waiting = Some(Vec::new());
                let user = Arc::new(User {
                    state: RwLock::new(State { waiting, ..State::default() }),
                    loaded: OnceCell::new(),
                    bytes: AtomicUsize::new(0),
                    used: AtomicU64::new(use_),
                });
                loaded.insert(user_id.to_owned(), Arc::clone(&user));
                user
            }
        });
        user.used.store(use_, Ordering::Relaxed);
        user
    }

    /// A user who is in memory already.
    pub(super) fn known(&self, user_id: &str) -> Option<Arc<User>> {
        self.all(|loaded| loaded.get(user_id).cloned())
    }

    /// Passes on what is on disk now to those who are in memory.
    pub(super) fn apply(&self, changes: &[Change]) {
        let mut by_user: HashMap<&str, Vec<&Change>> = HashMap::new();
        for change in changes {
            by_user.entry(&change.user_id).or_default().push(change);
        }
        for (user_id, changes) in by_user {
            let Some(user) = self.known(user_id) else { continue };
            let mut state = user.write();
            if let Some(waiting) = &mut state.waiting {
                if waiting.len() <= CHANGES_WAITING_MAX {
                    waiting.extend(changes.into_iter().cloned());
                }
                continue;
            }
            for change in changes {
                state.apply(change);
            }
            user.bytes.store(state.bytes(), Ordering::Relaxed);
        }
        self.make_room();
    }

    /// Drops those who were not used for longest, until the rest takes no more than it may. The
    /// last one stays, however large.
    pub(super) fn make_room(&self) {
        self.all(|loaded| {
            let size = |user: &Arc<User>| user.bytes.load(Ordering::Relaxed);
            let mut bytes: usize = loaded.values().map(size).sum();
            if bytes <= self.bytes_max {
                return;
            }
            let mut by_use: Vec<(u64, String, usize)> = loaded
                .iter()
                .filter(|(_, user)| user.loaded.initialized())
                .map(|(id, user)| (user.used.load(Ordering::Relaxed), id.clone(), size(user)))
                .collect();
            by_use.sort_unstable();
            by_use.pop();
            for (_, id, size) in by_use {
                if bytes <= self.bytes_max {
                    return;
                }
                loaded.remove(&id);
                bytes = bytes.saturating_sub(size);
            }
        });
    }

    /// Drops everyone: what they know is of another log.
    pub(super) fn clear(&self) {
        self.all(HashMap::clear);
    }

    /// How many are in memory, and what they take together (bytes).
    pub(super) fn holding(&self) -> (usize, usize) {
        self.all(|loaded| {
            let bytes = loaded.values().map(|user| user.bytes.load(Ordering::Relaxed)).sum();
            (loaded.len(), bytes)
        })
    }
}
