//! The lines to one upstream: which calls share one, when one is made, given up or made anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicU64},
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::{runtime, time::Instant};

use super::{
    Surroundings,
    call::{Call, Missed, Sign},
    child,
    door::Door,
    ears::Ears,
    era::{self, Peer},
    old,
    pipe::Pipe,
    restarts::Restarts,
    slot::{InUse, Slot, Taken, held},
    web::{Request, Web},
};
use crate::contract::upstream::{Limits, Program, Share, Transport, UpstreamSpec};

/// What every line to an upstream is made with.
pub(super) struct Parts {
    pub(super) limits: Limits,
    pub(super) ears: Ears,
    pub(super) runtime: runtime::Handle,
    pub(super) ids: Arc<AtomicU64>,
}

/// A line to an upstream.
#[derive(Clone)]
pub(super) enum Line {
    Web(Arc<Web>),
    Pipe(Arc<Pipe>),
}

impl Line {
    pub(super) async fn ask(
        &self,
        request: &Request,
        call: Option<&Call>,
    ) -> Result<Box<RawValue>, Missed> {
        match self {
            Line::Web(web) => web.ask(request, call).await,
            Line::Pipe(pipe) => pipe.ask(request, call).await,
        }
    }

    pub(super) fn peer(&self) -> Option<&Peer> {
        match self {
            Line::Web(web) => Some(&web.peer),
            Line::Pipe(pipe) => pipe.peer(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        match self {
            Line::Web(_) => true,
            Line::Pipe(pipe) => pipe.is_open(),
        }
    }
}

/// How lines are made.
enum Way {
    Web(Arc<Door>),
    Old(Arc<Door>),
    Child(Program),
}

/// Which calls share a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Shared,
    Principal(Arc<str>),
    Session(Arc<str>),
}

/// The lines to one upstream.
pub(super) struct Lines {
    pub(super) parts: Parts,
    way: Way,
    share: Share,
    surroundings: Surroundings,
    /// Of 2026-07-28 or not, once that is known.
    era: Mutex<Option<bool>>,
    /// The one line to a web server without sessions.
    open_to_all: RwLock<Option<Line>>,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    restarts: Mutex<Restarts>,
    /// Told of every line that comes up.
    pub(super) made: tokio::sync::Notify,
}

impl Lines {
    /// # Errors
    /// A sentence naming what is wrong with the settings.
    pub(super) fn new(
        spec: &UpstreamSpec,
        surroundings: Surroundings,
        runtime: runtime::Handle,
    ) -> Result<Self, String> {
        let limits = spec.limits;
        let door = |remote| Door::new(&spec.name, remote, limits, &surroundings).map(Arc::new);
        let (way, share) = match &spec.transport {
            Transport::Http(remote) => (Way::Web(door(remote)?), remote.share),
            Transport::Sse(remote) => (Way::Old(door(remote)?), remote.share),
            Transport::Stdio(program) => (Way::Child(program.clone()), program.share),
        };
        let ears = Ears::new(&spec.name);
        let parts = Parts { limits, ears, runtime, ids: Arc::new(AtomicU64::new(1)) };
        Ok(Lines {
            parts,
            way,
            share,
            surroundings,
            era: Mutex::default(),
            open_to_all: RwLock::default(),
            slots: Mutex::default(),
            restarts: Mutex::new(Restarts::new()),
            made: tokio::sync::Notify::new(),
        })
    }

    /// A line for this call: the one there is, or a new one.
    pub(super) async fn take(self: &Arc<Self>, call: &Call) -> Result<Taken, Missed> {
        if let Some(line) = self.for_all() {
            return Ok(Taken { line, _in_use: None });
        }
        let in_use = self.slot(self.key(call))?;
        let line = self.line(&in_use.0, call).await?;
        Ok(Taken { line, _in_use: Some(in_use) })
    }

    /// The line that changes and listings go by, if there is one.
    pub(super) fn common(&self) -> Option<Line> {
        let shared = || held(&self.slots).get(&Key::Shared).and_then(|slot| slot.ready());
        self.for_all().or_else(shared)
    }

    /// What the upstream said of itself, if it was met.
    pub(super) fn peer(&self) -> Option<Peer> {
        let any = || held(&self.slots).values().find_map(|slot| slot.ready());
        self.for_all().or_else(any)?.peer().cloned()
    }

    /// Lines that are up.
    pub(super) fn count(&self) -> usize {
        if self.for_all().is_some() {
            return 1;
        }
        held(&self.slots).values().filter(|slot| slot.ready().is_some()).count()
    }

    fn for_all(&self) -> Option<Line> {
        self.open_to_all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn key(&self, call: &Call) -> Key {
        let session = call.client.as_ref().and_then(|client| client.session.clone());
        let principal = call.principal.clone();
        // Who can be asked is asked on a line of its own; children are dearer.
        let own = call.can_be_asked() && !matches!(self.way, Way::Child(_));
        match (self.share, session) {
            (Share::Session, Some(session)) => Key::Session(session),
            (_, Some(session)) if own => Key::Session(session),
            (Share::Principal | Share::Session, _) => principal.map_or(Key::Shared, Key::Principal),
            (Share::Shared, _) => Key::Shared,
        }
    }

    fn most(&self) -> (usize, Duration) {
        match &self.way {
            Way::Child(program) => (program.children_max.into(), program.idle_timeout),
            Way::Web(_) | Way::Old(_) => {
                (self.parts.limits.sessions_max.into(), self.parts.limits.session_idle)
            }
        }
    }

    /// The place of a line; the longest unused one makes room when there are too many.
    fn slot(&self, key: Key) -> Result<InUse, Missed> {
        let mut slots = held(&self.slots);
        if let Some(slot) = slots.get(&key) {
            return Ok(InUse::of(slot));
        }
        if slots.len() >= self.most().0.max(1) {
            let unused = slots.iter().filter(|(_, slot)| !slot.is_used());
            let oldest =
                unused.min_by_key(|(_, slot)| *held(&slot.used)).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else {
                let why = "it has as many sessions as it may have";
                return Err(Missed::crowded(&self.parts.ears.name, why));
            };
            slots.remove(&oldest);
        }
        let slot = Slot::new();
        slots.insert(key, Arc::clone(&slot));
        Ok(InUse::of(&slot))
    }

    /// The slot's line; one of those who find none makes it, the others wait for that.
    async fn line(self: &Arc<Self>, slot: &Arc<Slot>, call: &Call) -> Result<Line, Missed> {
        let since = Instant::now();
        if let Some(line) = slot.ready() {
            return Ok(line);
        }
        let making = Arc::clone(&slot.making).lock_owned().await;
        if let Some(line) = slot.ready().or_else(|| self.for_all()) {
            return Ok(line);
        }
        if let Some((at, missed)) = &*held(&slot.failed)
            && *at > since
        {
            return Err(missed.clone());
        }
        let (lines, slot, call) = (Arc::clone(self), Arc::clone(slot), call.clone());
        // On its own task: that this caller may go must not hurt those who wait.
        let made = self.parts.runtime.spawn(async move {
            let _making = making;
            let made = lines.make(&call).await;
            match &made {
                Ok(line) => {
                    *held(&slot.line) = Some(line.clone());
                    lines.made.notify_waiters();
                }
                Err(missed) => *held(&slot.failed) = Some((Instant::now(), missed.clone())),
            }
            made
        });
        made.await.unwrap_or_else(|_ended| {
            Err(Missed::unreached(&self.parts.ears.name, "this process is ending"))
        })
    }

    /// Whether its lines are children, which end when nobody asks them.
    pub(super) fn are_children(&self) -> bool {
        matches!(self.way, Way::Child(_))
    }

    /// Meets the upstream; on the upstreams' runtime.
    async fn make(&self, call: &Call) -> Result<Line, Missed> {
        let limits = &self.parts.limits;
        let name = &self.parts.ears.name;
        let allowed = match &self.way {
            Way::Child(program) => program.start_timeout,
            Way::Web(_) | Way::Old(_) => limits.connect_timeout + limits.probe_timeout * 2,
        };
        let making = async {
            match &self.way {
                Way::Web(door) => {
                    let web = era::meet_web(&self.parts, door, self.era(), Some(call)).await?;
                    Ok(Line::Web(web))
                }
                Way::Old(_) | Way::Child(_) => match self.pipe(call).await {
                    Err(missed) if missed.sign == Sign::OtherEra => {
                        // It did not outlive the question which era it is of.
                        *held(&self.era) = Some(false);
                        self.pipe(call).await
                    }
                    made => made,
                },
            }
        };
        let made: Result<Line, Missed> = tokio::time::timeout(allowed, making)
            .await
            .unwrap_or_else(|_elapsed| Err(era::not_met(name, allowed)));
        let line = made.inspect_err(|missed| {
            log::info!("upstream not met upstream={name} cause={}", missed.trouble);
        })?;
        if let Some(peer) = line.peer() {
            log::info!("upstream met upstream={name} version={}", peer.version);
            *held(&self.era) = Some(peer.modern);
            if peer.modern && matches!(line, Line::Web(_)) {
                *self.open_to_all.write().unwrap_or_else(PoisonError::into_inner) =
                    Some(line.clone());
            }
        }
        Ok(line)
    }

    async fn pipe(&self, call: &Call) -> Result<Line, Missed> {
        let Parts { limits, ears, runtime, ids } = &self.parts;
        let (pipe, outgoing) = Pipe::new(ears.clone(), *limits, runtime.clone(), Arc::clone(ids));
        let mut era = self.era();
        match &self.way {
            Way::Child(program) => {
                let started = held(&self.restarts).begin(&ears.name, Instant::now());
                started?;
                child::start(program, &self.surroundings, &pipe, outgoing)?;
            }
            Way::Old(door) | Way::Web(door) => {
                era = Some(false);
                old::start(Arc::clone(door), &pipe, outgoing).await?;
            }
        }
        let told = call.client.is_some() && self.share == Share::Session
            || !matches!(self.way, Way::Child(_));
        era::meet_pipe(&pipe, era, Some(call).filter(|_| told)).await?;
        if matches!(self.way, Way::Child(_)) {
            held(&self.restarts).succeeded();
        }
        Ok(Line::Pipe(pipe))
    }

    fn era(&self) -> Option<bool> {
        *held(&self.era)
    }

    /// Gives up a line that is not good any more; whoever comes next makes a new one.
    pub(super) fn give_up(&self, line: &Line, sign: Sign) {
        if sign == Sign::OtherEra {
            *held(&self.era) = None;
        }
        let same = |other: &Line| match (line, other) {
            (Line::Web(one), Line::Web(other)) => Arc::ptr_eq(one, other),
            (Line::Pipe(one), Line::Pipe(other)) => Arc::ptr_eq(one, other),
            (Line::Web(_), Line::Pipe(_)) | (Line::Pipe(_), Line::Web(_)) => false,
        };
        let mut for_all = self.open_to_all.write().unwrap_or_else(PoisonError::into_inner);
        if for_all.as_ref().is_some_and(same) {
            *for_all = None;
        }
        drop(for_all);
        let mut old = Vec::new();
        for slot in held(&self.slots).values() {
            let mut kept = held(&slot.line);
            if kept.as_ref().is_some_and(same) {
                old.extend(kept.take());
            }
        }
    }

    /// Time without a call after which a line is ended.
    pub(super) fn idle(&self) -> Duration {
        self.most().1
    }

    /// Ends what nobody has used for long, or uses any more.
    pub(super) fn sweep(&self, now: Instant) {
        let idle = self.most().1;
        held(&self.slots).retain(|_, slot| {
            slot.is_used() || now.saturating_duration_since(*held(&slot.used)) < idle
        });
    }

    /// Ends every line.
    pub(super) fn clear(&self) {
        held(&self.slots).clear();
        *self.open_to_all.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
