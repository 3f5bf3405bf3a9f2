//! The outbox: inputs that memory cannot take at the moment are kept on disk, acknowledged, and
//! delivered in their order once memory takes them.

mod actor;
mod care;
mod carrying;
mod delivery;
mod group;
pub mod store;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    backplane::{
        clock, config, database::Database, locks::lock, metrics::Metrics, port::Port, vitals::House,
    },
    contract::outbox::{HELD, Kept, REFUSED, WAITING},
    domain::{
        failure::Failure,
        outbox::{Ledger, Load},
    },
    services::conversation::follower::Reach,
};
use actor::{Close, Enqueue, OutboxActor};
use care::Tend;
pub use delivery::Carrier;
use group::Order;
use store::Row;

/// Entries on their way to the disk at once; more are refused.
pub const ENTERING_MAX: usize = 4096;
/// Orders under way at once.
const ORDERS_MAX: usize = 64;
/// What an entry is called where it is not found.
const ENTRY: &str = "outbox entry";
/// Time an entry may take to reach the disk when its caller sets no deadline.
const ENTERING_PATIENCE: Duration = Duration::from_secs(10);

/// An input for the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The id it will be stored under.
    pub message_id: String,
    /// Whose it is.
    pub user_id: String,
    /// Where it was said.
    pub conversation_id: String,
    /// What memory is to be given, as JSON.
    pub input: String,
}

/// What came of putting an input in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is on disk.
    Waits,
    /// An input with its id waits already: its body, as JSON.
    Known(String),
}

/// How the outbox is.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What waits.
    pub load: Load,
    /// For how long the oldest has waited.
    pub oldest: Option<Duration>,
    /// Entries that memory would never take; they are kept, and tried again when core starts.
    pub refused: usize,
    /// How many of those are kept at most: then nothing more is taken.
    pub refused_max: usize,
    /// Conversations that are passed over because memory fails at one of their inputs.
    pub held: usize,
    /// Why one of them is.
    pub held_because: Option<String>,
    /// Why the last attempt to deliver failed, if it did.
    pub trouble: Option<String>,
}

/// How far the emptying is, for whoever waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    entries: usize,
    trouble: Option<String>,
}

type Shared = Arc<Mutex<Ledger>>;

/// The way to the outbox. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    enqueue: Port<Enqueue>,
    close: Port<Close>,
    tend: Port<Tend>,
    refused_max: usize,
    ledger: Shared,
    reader: Database,
    progress: watch::Receiver<Progress>,
    in_use: bool,
}

impl Outbox {
    /// Opens the outbox in core's store, with connections of its own in `database`, and starts
    /// delivering once the log is followed. How it is, is read over `reader`, so that whoever asks
    /// does not keep inputs waiting.
    ///
    /// # Errors
    /// `database_error` when what waits cannot be read.
    pub async fn start(
        (database, reader): (Database, Database),
        carrier: Carrier,
        reach: watch::Receiver<Reach>,
        settings: &config::Outbox,
        house: &House,
        metrics: &Metrics,
    ) -> Result<Self, Failure> {
        let limits = settings.limits();
        let tending = carrier.deadline + ENTERING_PATIENCE;
        let ledger = database
            .run("select", "outbox", move |connection| {
                let forgiven = store::forgive(connection)?;
                if forgiven > 0 {
                    log::warn!("refused inputs are tried once more entries={forgiven}");
                }
                group::ledger_of(connection, limits)
            })
            .await?;
        let waiting = ledger.load().entries;
        if waiting > 0 {
            log::info!("inputs wait in the outbox entries={waiting}");
        }
        let ledger = Arc::new(Mutex::new(ledger));
        let (progress, watched) = watch::channel(Progress { entries: waiting, trouble: None });
        let actor = OutboxActor::new(
            (database, carrier, reach),
            Arc::clone(&ledger),
            settings,
            progress,
            metrics.clone(),
        );
        let address = crate::backplane::keeper::start(house, "outbox", |_| actor);
        let enqueue = Port::to("outbox", &address, ENTERING_MAX, ENTERING_PATIENCE);
        let close = Port::to("outbox", &address, 1, ENTERING_PATIENCE);
        let tend = Port::to("outbox", &address, ORDERS_MAX, tending);
        let (in_use, refused_max) = (limits.entries_max > 0, limits.refused_max);
        Ok(Outbox { enqueue, close, tend, refused_max, ledger, reader, progress: watched, in_use })
    }

    /// Whether there is one: without, memory's own failure is the answer.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.in_use
    }

    fn is_held(&self, user: &str, conversation: &str) -> bool {
        lock(&self.ledger).held(user, conversation).is_some()
    }

    fn holds(&self, user: &str, conversation: &str) -> bool {
        lock(&self.ledger).holds(user, conversation)
    }

    /// Waits until nothing of this conversation waits, as long as deliveries succeed and no longer
    /// than until `deadline`; whether that is so. A writer that never pauses would otherwise always find
    /// its last input still on its way, and never write to memory directly again.
    pub async fn released(&self, user: &str, conversation: &str, deadline: Instant) -> bool {
        if !self.holds(user, conversation) {
            return true;
        }
        let mut progress = self.progress.clone();
        let done = progress.wait_for(|p| {
            let hopeless = p.trouble.is_some() || self.is_held(user, conversation);
            hopeless || !self.holds(user, conversation)
        });
        tokio::time::timeout_at(deadline, done).await.is_ok() && !self.holds(user, conversation)
    }

    /// Puts an input in, which memory did not take because of `cause` if it was asked; answers once
    /// it is on disk.
    ///
    /// # Errors
    /// `overloaded` when the outbox is full, for all or for this user; `database_error`.
    pub async fn put(&self, entry: Entry, cause: Option<Failure>) -> Result<Put, Failure> {
        self.enqueue.ask(Enqueue { entry, cause }).await
    }

    /// How it is.
    ///
    /// # Errors
    /// `database_error`.
    pub async fn state(&self) -> Result<State, Failure> {
        let oldest = self.reader.run("select", "outbox", store::oldest_since).await?;
        let age = |since: i64| {
            Duration::from_micros(u64::try_from(clock::now_micros() - since).unwrap_or_default())
        };
        let ledger = lock(&self.ledger);
        let (held, held_because) = ledger.all_held();
        Ok(State {
            load: ledger.load(),
            oldest: oldest.map(age),
            refused: ledger.refused().entries,
            refused_max: self.refused_max,
            held,
            held_because,
            trouble: self.progress.borrow().trouble.clone(),
        })
    }

    /// One page of what it has, after a place in the order: all of it, or what was refused.
    ///
    /// # Errors
    /// `database_error`.
    pub async fn page(&self, refused: bool, after: i64, limit: i64) -> Result<Vec<Kept>, Failure> {
        let read = move |connection: &mut _| store::page(connection, refused, after, limit);
        let listed = self.reader.run("select", "outbox", read).await?;
        Ok(listed.into_iter().map(|entry| self.kept(entry, None)).collect())
    }

    /// One entry, with what memory is to be given.
    ///
    /// # Errors
    /// `resource_not_found`, `database_error`.
    pub async fn find(&self, id: &str) -> Result<Kept, Failure> {
        let wanted = id.to_owned();
        let read = move |connection: &mut _| store::find(connection, &wanted);
        match self.reader.run("select", "outbox", read).await? {
            Some((entry, input)) => Ok(self.kept(entry, serde_json::from_str(&input).ok())),
            None => Err(Failure::not_found(ENTRY, id)),
        }
    }

    fn kept(&self, entry: store::Listed, input: Option<serde_json::Value>) -> Kept {
        let held = lock(&self.ledger).held(&entry.user_id, &entry.conversation_id).map(Into::into);
        let (state, why) = match (entry.refusal, held) {
            (Some(refusal), _) => (REFUSED, Some(refusal)),
            (None, Some(held)) => (HELD, Some(held)),
            (None, None) => (WAITING, None),
        };
        Kept {
            place: entry.place,
            message_id: entry.message_id,
            user_id: entry.user_id,
            conversation_id: entry.conversation_id,
            state: state.to_owned(),
            why,
            since: clock::rfc3339(entry.created_at),
            bytes: entry.bytes,
            input,
        }
    }

    /// Lets an entry that was refused wait again, and one that is passed over take its turn.
    ///
    /// # Errors
    /// `resource_not_found`, `database_error`.
    pub async fn retry(&self, id: &str) -> Result<(), Failure> {
        self.order(Order::Retry(id.to_owned()), id).await
    }

    /// Takes an entry out, though it was acknowledged. One that is on its way to memory may still
    /// get there.
    ///
    /// # Errors
    /// `resource_not_found`, `database_error`.
    pub async fn drop_one(&self, id: &str) -> Result<(), Failure> {
        log::warn!("an input is dropped from the outbox by an operator message={id}");
        self.order(Order::Drop(id.to_owned()), id).await
    }

    async fn order(&self, order: Order, id: &str) -> Result<(), Failure> {
        match self.tend.ask(Tend(order)).await? {
            0 => Err(Failure::not_found(ENTRY, id)),
            _ => Ok(()),
        }
    }

    /// Takes out everything of a user; says how many entries that were. When this returns, nothing
    /// of what had been acknowledged before is on its way to memory.
    ///
    /// # Errors
    /// `database_error`; `timeout` when a batch under way does not end in time.
    pub async fn forget(&self, user: &str) -> Result<usize, Failure> {
        self.tend.ask(Tend(Order::Forget(user.to_owned()))).await
    }

    /// Waits until it is empty, as long as deliveries succeed and no longer than `patience`, and
    /// then delivers no more. What is left stays on disk.
    pub async fn flush(&self, patience: Duration) {
        let mut progress = self.progress.clone();
        let done = progress.wait_for(|p| p.entries == 0 || p.trouble.is_some());
        let in_time = tokio::time::timeout(patience, done).await.is_ok();
        let left = lock(&self.ledger).load().entries;
        if left > 0 {
            log::warn!("inputs stay in the outbox entries={left} in_time={in_time}");
        }
        if let Err(failure) = self.close.tell(Close) {
            log::debug!("the outbox was not told to close cause={failure}");
        }
    }
}

/// A row of an entry; its place is given out by the table.
fn row(entry: Entry) -> Row {
    let Entry { message_id, user_id, conversation_id, input } = entry;
    let created_at = clock::now_micros();
    Row { place: 0, message_id, user_id, conversation_id, input, created_at }
}
