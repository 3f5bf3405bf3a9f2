//! How every actor of a process is: restarts, last cause, mailbox latency, and whether the process
//! as a whole may go on.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{WeakRecipient, prelude::*};
use tokio::{sync::watch, time::Instant};

use crate::backplane::locks::lock;

/// How often every actor is pinged.
pub const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long an actor may take to answer a ping before it counts as not answering.
pub const PING_DEADLINE: Duration = Duration::from_secs(2);

/// Asks an actor whether it still reads its mailbox.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ping;

/// Implements [`Handler<Ping>`] for an actor, which the keeper asks of everything it keeps.
#[macro_export]
macro_rules! answers_ping {
    ($actor:ty) => {
        impl actix::Handler<$crate::backplane::vitals::Ping> for $actor {
            type Result = ();
            fn handle(&mut self, _: $crate::backplane::vitals::Ping, _: &mut Self::Context) {}
        }
    };
}

/// Whether an actor works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It handles messages.
    Running,
    /// It fell and waits for its restart.
    Restarting,
    /// It fell too often and will not come back.
    Failed,
}

impl Life {
    /// The word shown to people and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Life::Running => "running",
            Life::Restarting => "restarting",
            Life::Failed => "failed",
        }
    }
}

#[derive(Debug)]
struct Condition {
    life: Life,
    last_cause: Option<String>,
}

/// The vital signs of one actor (or kept thread).
pub struct Vitals {
    /// Its name, unique enough for a person: `client:memory@worker-1`.
    pub name: String,
    restarts: AtomicU32,
    latency_micros: AtomicU64,
    unanswered: AtomicU32,
    condition: Mutex<Condition>,
    ping: Mutex<Option<WeakRecipient<Ping>>>,
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vitals").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What [`Vitals`] say at one moment.
#[derive(Clone, Debug)]
pub struct VitalSigns {
    /// Its name.
    pub name: String,
    /// Whether it works.
    pub life: Life,
    /// Restarts since the process began.
    pub restarts: u32,
    /// Why it last fell.
    pub last_cause: Option<String>,
    /// How long the last ping waited in its mailbox; `None` before the first.
    pub mailbox_latency: Option<Duration>,
    /// Pings in a row that were not answered in time.
    pub unanswered: u32,
}

impl Vitals {
    fn with<T>(&self, change: impl FnOnce(&mut Condition) -> T) -> T {
        change(&mut lock(&self.condition))
    }

    /// It fell, and will be restarted.
    pub fn fell(&self, cause: String) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.with(|condition| {
            condition.life = Life::Restarting;
            condition.last_cause = Some(cause);
        });
    }

    /// It runs again.
    pub fn restarted(&self) {
        self.with(|condition| {
            condition.life = Life::Running;
        });
    }

    fn failed(&self) {
        self.with(|condition| condition.life = Life::Failed);
    }

    /// What they say now.
    #[must_use]
    pub fn signs(&self) -> VitalSigns {
        let (life, last_cause) = self.with(|c| (c.life, c.last_cause.clone()));
        let latency = self.latency_micros.load(Ordering::Relaxed);
        VitalSigns {
            name: self.name.clone(),
            life,
            restarts: self.restarts.load(Ordering::Relaxed),
            last_cause,
            mailbox_latency: (latency != u64::MAX).then(|| Duration::from_micros(latency)),
            unanswered: self.unanswered.load(Ordering::Relaxed),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the timed question to every actor")]
    async fn take_pulse(&self) {
        let ping = lock(&self.ping).clone();
        let Some(recipient) = ping.and_then(|weak| weak.upgrade()) else {
            return;
        };
        let asked = Instant::now();
        if recipient.send(Ping).timeout(PING_DEADLINE).await.is_ok() {
            let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
            self.latency_micros.store(micros, Ordering::Relaxed);
            self.unanswered.store(0, Ordering::Relaxed);
        } else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The health book of a process: all its actors, and whether it must end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct House {
    actors: Arc<Mutex<Vec<Arc<Vitals>>>>,
    doom: Arc<watch::Sender<Option<String>>>,
    started: Instant,
}

impl Default for House {
    fn default() -> Self {
        House::new()
    }
}

impl House {
    /// An empty house.
    #[must_use]
    pub fn new() -> Self {
        House {
            actors: Arc::default(),
            doom: Arc::new(watch::Sender::new(None)),
            started: Instant::now(),
        }
    }

    /// Enters somebody into the book.
    #[must_use]
    pub fn enter(&self, name: &str, ping: Option<WeakRecipient<Ping>>) -> Arc<Vitals> {
        let vitals = Arc::new(Vitals {
            name: name.to_owned(),
            restarts: AtomicU32::new(0),
            latency_micros: AtomicU64::new(u64::MAX),
            unanswered: AtomicU32::new(0),
            condition: Mutex::new(Condition { life: Life::Running, last_cause: None }),
            ping: Mutex::new(ping),
        });
        lock(&self.actors).push(Arc::clone(&vitals));
        vitals
    }

    /// Takes somebody out of the book, who ended as meant.
    pub fn leave(&self, vitals: &Arc<Vitals>) {
        lock(&self.actors).retain(|other| !Arc::ptr_eq(other, vitals));
    }

    /// Somebody fell too often: the process is not ready from now on and is to end.
    pub fn give_up(&self, vitals: &Vitals, cause: &str) {
        vitals.failed();
        let reason = format!("{} fell too often, last: {cause}", vitals.name);
        log::error!("giving up actor={} cause={cause}", vitals.name);
        self.doom.send_replace(Some(reason));
    }

    /// Why the process is to end; changes from `None` at most once in earnest.
    #[must_use]
    pub fn doom(&self) -> watch::Receiver<Option<String>> {
        self.doom.subscribe()
    }

    /// How long the process has been up.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// What every actor's vitals say now, by name.
    #[must_use]
    pub fn signs(&self) -> Vec<VitalSigns> {
        let mut signs: Vec<VitalSigns> = self.all().iter().map(|vitals| vitals.signs()).collect();
        signs.sort_by(|a, b| a.name.cmp(&b.name));
        signs
    }

    /// Whether nobody has given up.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.doom.borrow().is_none()
    }

    /// Pings everybody every [`PING_INTERVAL`], for as long as the arbiter runs.
    pub async fn watch_over(self) {
        loop {
            let pulses = self.all();
            futures_util::future::join_all(pulses.iter().map(|vitals| vitals.take_pulse())).await;
            tokio::time::sleep(PING_INTERVAL).await;
        }
    }

    fn all(&self) -> Vec<Arc<Vitals>> {
        lock(&self.actors).clone()
    }
}
