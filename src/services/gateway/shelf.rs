//! Listings that are kept: asked for once for all who wait, given while a new one is on its way,
//! and never waited for longer than a listing may take.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{Turns, listing::Listing, turning::Changed};
use crate::domain::failure::{Failure, Kind};

/// For how long, and for how many.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// A listing is asked for anew when it is older.
    pub fresh_for: Duration,
    /// After a failure it is not asked for again for so long.
    pub pause: Duration,
    /// Listings kept at most; beyond that those that are not fresh are forgotten, or all.
    pub entries_max: usize,
}

/// Whose listing: of a source, as a principal sees it, or as everybody does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The source.
    pub source: Arc<str>,
    /// The principal; `None` where it is the same for all.
    pub principal: Option<Arc<str>>,
}

/// What is known of a source.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last listing it gave.
    pub listing: Option<Arc<Listing>>,
    /// Why it gave none when it was asked last.
    pub trouble: Option<Failure>,
    asked_at: Option<Instant>,
    /// Asked for at this moment.
    under_way: bool,
    /// What it gave is known to be no longer true; of which lists clients were told so.
    told: Option<Changed>,
    /// How often it was told so.
    turns: u64,
    /// Somebody who listed had to go without it.
    missed: bool,
}

impl Known {
    /// Whether there is nothing to wait for: what it offers is known, or that it is slow.
    fn is_enough(&self) -> bool {
        let slow = self.trouble.as_ref().is_some_and(|trouble| trouble.kind == Kind::Timeout);
        !self.under_way || (self.listing.is_some() && self.told.is_none()) || slow
    }
}

/// The listings. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Shelf {
    keeping: Keeping,
    slots: Arc<Mutex<HashMap<Key, watch::Sender<Known>>>>,
    /// Counts what clients have not been told of when it comes to light.
    turns: watch::Sender<Turns>,
}

impl Shelf {
    /// An empty shelf; what changes on it is counted in `turns`.
    #[must_use]
    pub fn new(keeping: Keeping, turns: watch::Sender<Turns>) -> Self {
        Shelf { keeping, slots: Arc::default(), turns }
    }

    /// What is known under `key`, at `deadline` at the latest; `ask` asks the source, when that is
    /// needed, and goes on after the deadline. A listing that is only old is given at once, and one
    /// that did not come in time the last time is not waited for.
    pub async fn get<F, A>(&self, key: Key, deadline: Instant, ask: F) -> Known
    where
        F: FnOnce() -> A,
        A: Future<Output = Result<Listing, Failure>> + Send + 'static,
    {
        let slot = self.asked(key, ask);
        let mut hearing = slot.subscribe();
        let waited = tokio::time::timeout_at(deadline, hearing.wait_for(Known::is_enough));
        let late = waited.await.is_err();
        slot.send_if_modified(|known| {
            if late {
                known.trouble.get_or_insert_with(|| {
                    Failure::new(Kind::Timeout, "it did not list what it offers in time")
                });
            }
            known.missed |= known.listing.is_none();
            false
        });
        slot.borrow().clone()
    }

    /// What is known under `key` at this moment; `ask` asks the source, when that is needed.
    pub fn now<F, A>(&self, key: Key, ask: F) -> Known
    where
        F: FnOnce() -> A,
        A: Future<Output = Result<Listing, Failure>> + Send + 'static,
    {
        self.asked(key, ask).borrow().clone()
    }

    fn asked<F, A>(&self, key: Key, ask: F) -> watch::Sender<Known>
    where
        F: FnOnce() -> A,
        A: Future<Output = Result<Listing, Failure>> + Send + 'static,
    {
        let slot = self.slot(key);
        let now = Instant::now();
        let mut begins = false;
        slot.send_if_modified(|known| {
            begins = !known.under_way && self.keeping.is_due(known, now);
            known.under_way |= begins;
            false
        });
        if begins {
            let turns = slot.borrow().turns;
            let tell = self.turns.clone();
            let finishing = Finishing { slot: slot.clone(), answer: None, turns, tell };
            let asking = ask();
            tokio::spawn(async move {
                let mut finishing = finishing;
                finishing.answer = Some(asking.await);
            });
        }
        slot
    }

    /// What a source gave is no longer true, for anybody; `told` says of which lists clients are
    /// told so now.
    pub fn outdate(&self, source: &str, told: Changed) {
        for (key, slot) in self.lock().iter() {
            if key.source.as_ref() == source {
                slot.send_if_modified(|known| {
                    known.told = Some(known.told.unwrap_or_default().and(told));
                    known.asked_at = None;
                    known.turns += 1;
                    false
                });
            }
        }
    }

    /// Forgets a source.
    pub fn forget(&self, source: &str) {
        self.lock().retain(|key, _| key.source.as_ref() != source);
    }

    fn slot(&self, key: Key) -> watch::Sender<Known> {
        let mut slots = self.lock();
        if slots.len() >= self.keeping.entries_max && !slots.contains_key(&key) {
            let now = Instant::now();
            slots.retain(|_, slot| !self.keeping.is_due(&slot.borrow(), now));
            if slots.len() >= self.keeping.entries_max {
                slots.clear();
            }
        }
        slots.entry(key).or_insert_with(|| watch::Sender::new(Known::default())).clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, watch::Sender<Known>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeping {
    fn is_due(&self, known: &Known, now: Instant) -> bool {
        let Some(asked_at) = known.asked_at else { return true };
        let keep = if known.trouble.is_some() { self.pause } else { self.fresh_for };
        now.saturating_duration_since(asked_at) >= keep
    }
}

/// Ends an asking, whichever way it ends: also when the work was dropped or panicked.
struct Finishing {
    slot: watch::Sender<Known>,
    answer: Option<Result<Listing, Failure>>,
    /// How often it had been outdated when it was asked.
    turns: u64,
    tell: watch::Sender<Turns>,
}

impl Drop for Finishing {
    fn drop(&mut self) {
        let answer = self.answer.take().unwrap_or_else(|| {
            Err(Failure::new(Kind::Unavailable, "the asking ended without an answer"))
        });
        let mut changed = Changed::default();
        self.slot.send_modify(|known| {
            known.under_way = false;
            // What changed while it was asked may not be in the answer.
            let current = known.turns == self.turns;
            known.asked_at = current.then(Instant::now);
            match answer {
                Ok(listing) => {
                    let before = known.listing.take();
                    if before.is_some() || known.missed {
                        let before = before.unwrap_or_default();
                        changed = Changed::between(&before, &listing);
                    }
                    changed = changed.except(known.told.unwrap_or_default());
                    known.listing = Some(Arc::new(listing));
                    known.trouble = None;
                    known.missed = false;
                    known.told = known.told.filter(|_| !current);
                }
                Err(failure) => known.trouble = Some(failure),
            }
        });
        changed.count(&self.tell);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rmcp::model::{JsonObject, Tool};

    use super::*;

    const KEEPING: Keeping = Keeping {
        fresh_for: Duration::from_secs(30),
        pause: Duration::from_secs(1),
        entries_max: 4,
    };

    fn shelf() -> Shelf {
        Shelf::new(KEEPING, watch::Sender::default())
    }

    fn key(source: &str) -> Key {
        Key { source: source.into(), principal: None }
    }

    fn listing(name: &str) -> Listing {
        let tool = Tool::new(name.to_owned(), "x", JsonObject::new());
        Listing { tools: vec![tool], ..Listing::default() }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(2)
    }

    fn name(known: &Known) -> Option<String> {
        Some(known.listing.as_ref()?.tools.first()?.name.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_wait_ask_once() {
        let (shelf, asked) = (shelf(), Arc::new(AtomicUsize::new(0)));
        let get = || {
            let asked = Arc::clone(&asked);
            shelf.get(key("a"), soon(), move || async move {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(listing("t"))
            })
        };
        let (one, two, three) = tokio::join!(get(), get(), get());
        for known in [one, two, three] {
            assert_eq!(name(&known).as_deref(), Some("t"));
        }
        get().await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_named_at_the_deadline_and_known_when_it_answers() {
        let shelf = shelf();
        let begun = Instant::now();
        let known = shelf
            .get(key("a"), soon(), || async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Ok(listing("late"))
            })
            .await;
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        assert_eq!((name(&known), known.trouble.unwrap().kind), (None, Kind::Timeout));
        tokio::time::sleep(Duration::from_secs(4)).await;
        let known = shelf.get(key("a"), soon(), std::future::pending).await;
        assert_eq!(name(&known).as_deref(), Some("late"), "nobody had to ask again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_listing_is_given_while_it_is_renewed_an_outdated_one_is_not() {
        let shelf = shelf();
        shelf.get(key("a"), soon(), || async { Ok(listing("old")) }).await;
        tokio::time::sleep(Duration::from_secs(31)).await;
        let renew = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(listing("new"))
        };
        let begun = Instant::now();
        let known = shelf.get(key("a"), soon(), renew).await;
        assert_eq!((name(&known).as_deref(), begun.elapsed()), (Some("old"), Duration::ZERO));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let known = shelf.get(key("a"), soon(), std::future::pending).await;
        assert_eq!(name(&known).as_deref(), Some("new"));
        shelf.outdate("a", Changed::ALL);
        let known = shelf
            .get(key("a"), soon(), || async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(listing("newest"))
            })
            .await;
        assert_eq!(name(&known).as_deref(), Some("newest"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_at_once_and_not_repeated_at_once() {
        let (shelf, asked) = (shelf(), Arc::new(AtomicUsize::new(0)));
        let get = || {
            let asked = Arc::clone(&asked);
            shelf.get(key("a"), soon(), move || async move {
                asked.fetch_add(1, Ordering::Relaxed);
                Err(Failure::new(Kind::Connection, "gone"))
            })
        };
        for _ in 0..3 {
            assert_eq!(get().await.trouble.unwrap().kind, Kind::Connection);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        get().await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_while_it_is_asked_is_asked_again() {
        let shelf = shelf();
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(listing("before"))
        };
        let (_, ()) = tokio::join!(shelf.get(key("a"), soon(), slow), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            shelf.outdate("a", Changed::ALL);
        });
        let known = shelf.get(key("a"), soon(), || async { Ok(listing("after")) }).await;
        assert_eq!(name(&known).as_deref(), Some("after"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_while_asking_ends_the_asking() {
        let shelf = shelf();
        let known = shelf.get(key("a"), soon(), || async { panic!("on purpose") }).await;
        assert_eq!(known.trouble.unwrap().kind, Kind::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_kept_than_may_be() {
        let shelf = shelf();
        for number in 0..20 {
            let name = format!("s{number}");
            shelf.get(key(&name), soon(), || async { Ok(listing("t")) }).await;
        }
        assert!(shelf.lock().len() <= KEEPING.entries_max);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_slow_is_not_waited_for_again() {
        let shelf = shelf();
        let hang = || async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Err(Failure::new(Kind::Timeout, "too slow"))
        };
        shelf.get(key("a"), soon(), hang).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let begun = Instant::now();
        let known = shelf.get(key("a"), soon(), hang).await;
        assert_eq!((begun.elapsed(), known.trouble.unwrap().kind), (Duration::ZERO, Kind::Timeout));
        tokio::time::sleep(Duration::from_secs(10)).await;
        shelf.get(key("a"), soon(), || async { Ok(listing("t")) }).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let known = shelf.get(key("a"), soon(), std::future::pending).await;
        assert_eq!(name(&known).as_deref(), Some("t"), "it was asked in the background");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_to_light_is_counted_once_and_what_was_told_is_not() {
        let shelf = shelf();
        let tools = || shelf.turns.borrow().tools;
        let next = |name: &'static str| {
            shelf.get(key("a"), soon(), move || async move { Ok(listing(name)) })
        };
        next("first").await;
        assert_eq!(tools(), 0, "nobody has seen less");
        tokio::time::sleep(Duration::from_secs(31)).await;
        next("second").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(tools(), 1, "it was not told of");
        shelf.outdate("a", Changed::ALL);
        next("third").await;
        assert_eq!(tools(), 1, "it was told of before");
        let fail = || async { Err(Failure::new(Kind::Connection, "gone")) };
        shelf.get(key("b"), soon(), fail).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        shelf.get(key("b"), soon(), || async { Ok(listing("back")) }).await;
        assert_eq!(tools(), 2, "somebody had to go without it");
    }
}
