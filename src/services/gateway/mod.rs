//! The gateway: one server of the Model Context Protocol in front of every service and every
//! upstream, each of which may be slow, sick or gone without hurting the others.

mod asker;
mod calling;
pub mod catalogue;
mod foreign;
pub mod listing;
mod missing;
pub mod own;
mod parked;
pub mod passes;
mod passing;
pub mod roster;
mod sealed;
pub mod search;
pub mod server;
pub mod shelf;
pub mod turning;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use futures_util::future::join_all;
use tokio::{sync::watch, task::AbortHandle, time::Instant};

pub use parked::Lot;
pub use sealed::Seal;

use crate::{
    backplane::{
        config,
        mcp::Pages,
        upstream::{Call, Change, Upstream, Upstreams},
    },
    domain::{
        failure::Failure,
        gateway::access::{Rules, name_of},
        principal::Principal,
    },
};
use catalogue::{Catalogue, Part};
use listing::Listing;
use own::Own;
use shelf::{Keeping, Key, Known, Shelf};
use turning::Changed;

/// Listings kept at most.
const LISTINGS_MAX: usize = 10_000;
/// Catalogues kept at most; beyond that all are made anew.
const CATALOGUES_MAX: usize = 1000;

/// Listings by source.
pub type Listings = HashMap<Arc<str>, Arc<Listing>>;

/// How often the lists of each kind changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// Tools.
    pub tools: u64,
    /// Prompts.
    pub prompts: u64,
    /// Resources.
    pub resources: u64,
}

/// A source that could not say what it offers.
#[derive(Clone, Debug)]
pub struct Missing {
    /// Its name.
    pub source: Arc<str>,
    /// What its tools' names begin with.
    pub prefix: Arc<str>,
    /// Why.
    pub failure: Failure,
    /// Whether what it offered before is shown.
    pub shown: bool,
}

/// What there is for one principal at this moment, and who is missing.
#[derive(Clone, Debug)]
pub struct View {
    /// What there is.
    pub catalogue: Arc<Catalogue>,
    /// The listings it was made of, by source.
    pub listings: Arc<Listings>,
    /// Who is missing.
    pub missing: Vec<Missing>,
}

/// The gateway. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) own: Own,
    pub(crate) upstreams: Upstreams,
    pub(crate) settings: Arc<config::Gateway>,
    pub(crate) pages: Pages,
    pub(crate) lot: Lot,
    pub(crate) seal: Arc<Seal>,
    feeds: Arc<Mutex<HashMap<String, AbortHandle>>>,
    shelf: Shelf,
    rules: Arc<RwLock<Arc<Rules>>>,
    kept: Arc<Mutex<HashMap<String, Kept>>>,
    turns: watch::Sender<Turns>,
    /// The upstreams whose listings may be on the shelf.
    known: Arc<Mutex<Arc<BTreeMap<String, Upstream>>>>,
    /// For whom those who are missing are asked again.
    looked_for: Arc<Mutex<HashSet<Arc<str>>>>,
}

/// A catalogue that was made, and of what.
struct Kept {
    parts: Vec<Part>,
    rules: Arc<Rules>,
    catalogue: Arc<Catalogue>,
    listings: Arc<Listings>,
}

impl Gateway {
    /// A gateway to our own services and to `upstreams`. What clients keep between the rounds of a
    /// call is sealed with `secret`.
    ///
    /// # Errors
    /// As [`Seal::new`].
    pub fn new(
        own: Own,
        upstreams: Upstreams,
        settings: &config::Gateway,
        pages: Pages,
        secret: &str,
    ) -> Result<Self, Failure> {
        let keeping = Keeping {
            fresh_for: settings.gateway_list_fresh,
            pause: settings.gateway_list_pause,
            entries_max: LISTINGS_MAX,
        };
        let seal = Seal::new(secret, settings.gateway_parked_timeout)?;
        let turns: watch::Sender<Turns> = watch::Sender::default();
        Ok(Gateway {
            own,
            upstreams,
            settings: Arc::new(settings.clone()),
            pages,
            lot: Lot::new(settings.gateway_parked_max, settings.gateway_parked_timeout),
            seal: Arc::new(seal),
            feeds: Arc::default(),
            shelf: Shelf::new(keeping, turns.clone()),
            rules: Arc::default(),
            kept: Arc::default(),
            turns,
            known: Arc::default(),
            looked_for: Arc::default(),
        })
    }

    /// Hears how often the lists changed.
    #[must_use]
    pub fn turns(&self) -> watch::Receiver<Turns> {
        self.turns.subscribe()
    }

    /// What there is for `principal`, within the listing deadline.
    pub async fn view(&self, principal: &Principal) -> View {
        let view = self.gather(principal, |_, _| true).await;
        if view.missing.iter().any(|missing| !missing.shown) {
            self.look_for_missing(principal);
        }
        view
    }

    /// What there is for `principal`: those that `awaited` names, by source and prefix, have until
    /// the listing deadline to say what they offer; of the others it is what is known.
    pub(crate) async fn gather(
        &self,
        principal: &Principal,
        awaited: impl Fn(&str, &str) -> bool,
    ) -> View {
        let deadline = Instant::now() + self.settings.gateway_list_deadline;
        let name: Arc<str> = name_of(principal).into();
        let until = |source: &str, prefix: &str| awaited(source, prefix).then_some(deadline);
        let ours = self.own.names();
        let own = ours.iter().map(|name| self.ask_own(name, until(name, name)));
        let all = self.upstreams.all();
        let others = all.values().filter(|upstream| !self.own.is_ours(upstream.name()));
        let others = others.map(|upstream| {
            self.ask_upstream(upstream, &name, until(upstream.name(), prefix_of(upstream)))
        });
        let (mut answers, others) = futures_util::join!(join_all(own), join_all(others));
        answers.extend(others);
        let (mut parts, mut missing) = (Vec::new(), Vec::new());
        for (source, prefix, known) in answers {
            if let Some(failure) = known.trouble {
                let (source, prefix) = (Arc::clone(&source), Arc::clone(&prefix));
                missing.push(Missing { source, prefix, failure, shown: known.listing.is_some() });
            }
            if let Some(listing) = known.listing {
                parts.push(Part { source, prefix, listing });
            }
        }
        let (catalogue, listings) = self.catalogue(parts, principal, &ours);
        View { catalogue, listings, missing }
    }

    /// Asks those who are missing again until nobody is, as long as there are clients to be told of
    /// it: those with a session do not come back by themselves.
    fn look_for_missing(&self, principal: &Principal) {
        let name: Arc<str> = name_of(principal).into();
        let mut looked_for = self.looked_for.lock().unwrap_or_else(PoisonError::into_inner);
        if looked_for.len() >= CATALOGUES_MAX || !looked_for.insert(Arc::clone(&name)) {
            return;
        }
        drop(looked_for);
        let (gateway, principal) = (self.clone(), principal.clone());
        tokio::spawn(async move {
            let mut pause = gateway.settings.gateway_list_pause;
            while gateway.turns.receiver_count() > 0 {
                tokio::time::sleep(pause).await;
                let view = gateway.gather(&principal, |_, _| true).await;
                if view.missing.iter().all(|missing| missing.shown) {
                    break;
                }
                pause = (pause * 2).min(gateway.settings.gateway_list_fresh.max(pause));
            }
            let mut done = gateway.looked_for.lock().unwrap_or_else(PoisonError::into_inner);
            done.remove(&name);
        });
    }

    async fn ask_own(&self, name: &str, until: Option<Instant>) -> (Arc<str>, Arc<str>, Known) {
        let source: Arc<str> = name.into();
        let key = Key { source: Arc::clone(&source), principal: None };
        let ask = || {
            let (own, name) = (self.own.clone(), name.to_owned());
            async move { own.list(name).await }
        };
        let mut known = match until {
            Some(deadline) => self.shelf.get(key, deadline, ask).await,
            None => self.shelf.now(key, ask),
        };
        known.trouble = known.trouble.or_else(|| self.own.refusal(name));
        (Arc::clone(&source), source, known)
    }

    async fn ask_upstream(
        &self,
        upstream: &Upstream,
        principal: &Arc<str>,
        until: Option<Instant>,
    ) -> (Arc<str>, Arc<str>, Known) {
        let source: Arc<str> = upstream.name().into();
        let key = Key {
            source: Arc::clone(&source),
            principal: foreign::listed_for(upstream, principal),
        };
        let ask = || {
            let call = Call {
                principal: Some(Arc::clone(principal)),
                ..Call::within(upstream.spec().limits.list_timeout)
            };
            let (gateway, upstream) = (self.clone(), upstream.clone());
            async move {
                let listing = foreign::list(&upstream, &call).await?;
                gateway.feed(&upstream);
                Ok(listing)
            }
        };
        let mut known = match until {
            Some(deadline) => self.shelf.get(key, deadline, ask).await,
            None => self.shelf.now(key, ask),
        };
        known.trouble = known.trouble.or_else(|| upstream.refusal());
        (source, prefix_of(upstream).into(), known)
    }

    /// The upstream that a source is, where it is none of our own services.
    pub(crate) fn upstream(&self, source: &str) -> Option<Upstream> {
        self.upstreams.get(source).filter(|_| !self.own.is_ours(source))
    }

    /// Hears what changes at an upstream, from now until it is taken out.
    fn feed(&self, upstream: &Upstream) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if feeds.get(upstream.name()).is_some_and(|feed| !feed.is_finished()) {
            return;
        }
        let mut heard = upstream.changes();
        let (gateway, name) = (self.clone(), upstream.name().to_owned());
        let feed = tokio::spawn(async move {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                let changed = match heard.recv().await {
                    Ok(Change::Tools) => Changed { tools: true, ..Changed::default() },
                    Ok(Change::Prompts) => Changed { prompts: true, ..Changed::default() },
                    Ok(Change::Resources) => Changed { resources: true, ..Changed::default() },
                    Ok(Change::Resource(_)) => continue,
                    Err(RecvError::Lagged(_)) => Changed::ALL,
                    Err(RecvError::Closed) => return,
                };
                gateway.shelf.outdate(&name, changed);
                changed.count(&gateway.turns);
            }
        });
        feeds.insert(upstream.name().to_owned(), feed.abort_handle());
    }

    /// Puts new rules in the place of those there are.
    pub fn rule(&self, rules: Rules) {
        let mut there = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        if **there != rules {
            *there = Arc::new(rules);
            drop(there);
            Changed::ALL.count(&self.turns);
        }
    }

    /// Forgets what is known of upstreams that are not there any more, or not the same.
    pub(crate) fn catch_up(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.upstreams.all();
        if Arc::ptr_eq(&known, &now) {
            return;
        }
        for (name, before) in known.iter() {
            if !now.get(name).is_some_and(|now| now.is_same(before)) {
                self.shelf.forget(name);
                let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(feed) = feeds.remove(name) {
                    feed.abort();
                }
            }
        }
        *known = now;
        drop(known);
        Changed::ALL.count(&self.turns);
    }

    /// Keeps what is known in step with which upstreams and services there are, for ever.
    pub async fn keep_up(self) {
        let mut generation = self.upstreams.generation();
        let mut services = self.own.names();
        loop {
            tokio::select! {
                changed = generation.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(self.settings.gateway_list_pause) => {}
            }
            self.catch_up();
            let now = self.own.names();
            if now != services {
                services = now;
                Changed::ALL.count(&self.turns);
            }
        }
    }

    /// The catalogue of these parts; the one made before, when nothing has changed.
    fn catalogue(
        &self,
        parts: Vec<Part>,
        principal: &Principal,
        ours: &[String],
    ) -> (Arc<Catalogue>, Arc<Listings>) {
        let rules = Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner));
        let name = name_of(principal);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.get(&name)
            && Arc::ptr_eq(&found.rules, &rules)
            && catalogue::are_same(&found.parts, &parts)
        {
            return (Arc::clone(&found.catalogue), Arc::clone(&found.listings));
        }
        let catalogue = Arc::new(Catalogue::of(&parts, &rules, principal, ours));
        let listings = parts
            .iter()
            .map(|part| (Arc::clone(&part.source), Arc::clone(&part.listing)))
            .collect();
        let listings = Arc::new(listings);
        if kept.len() >= CATALOGUES_MAX {
            kept.clear();
        }
        let made = (Arc::clone(&catalogue), Arc::clone(&listings));
        kept.insert(name, Kept { parts, rules, catalogue, listings });
        made
    }
}

/// What an upstream's tools' names begin with.
fn prefix_of(upstream: &Upstream) -> &str {
    upstream.spec().prefix.as_deref().unwrap_or(upstream.name())
}
