//! The outbox: inputs that memory cannot take at the moment are kept on disk, acknowledged, and
//! delivered in their order once memory takes them.

mod actor;
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
    domain::{
        failure::Failure,
        outbox::{Ledger, Load},
    },
    services::conversation::follower::Reach,
};
use actor::{Close, Enqueue, OutboxActor};
pub use delivery::Carrier;
use store::Row;

/// Entries on their way to the disk at once; more are refused.
pub const ENTERING_MAX: usize = 4096;
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
    pub refused: u64,
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
        let in_use = limits.entries_max > 0;
        Ok(Outbox { enqueue, close, ledger, reader, progress: watched, in_use })
    }

    /// Whether there is one: without, memory's own failure is the answer.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.in_use
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
        let done = progress.wait_for(|p| p.trouble.is_some() || !self.holds(user, conversation));
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
        let (oldest, refused) = self.reader.run("select", "outbox", store::state).await?;
        let age = |since: i64| {
            Duration::from_micros(u64::try_from(clock::now_micros() - since).unwrap_or_default())
        };
        Ok(State {
            load: lock(&self.ledger).load(),
            oldest: oldest.map(age),
            refused: u64::try_from(refused).unwrap_or_default(),
            trouble: self.progress.borrow().trouble.clone(),
        })
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
