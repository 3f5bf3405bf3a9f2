//! The one writer: commits what has gathered in groups, and answers after the commit.
//!
//! A thread of its own, because SQLite has one writer and an fsync takes milliseconds: while one
//! commit is on its way to the disk, the next group gathers. 64 callers share one fsync.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use diesel::SqliteConnection;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};

use crate::{
    backplane::{
        config::Storage,
        database::{Damage, Turns},
        metrics::Metrics,
        vitals::House,
    },
    contract::item::Item,
    domain::failure::{Failure, Kind},
    services::memory::{
        announcer::Announcer,
        condition::Condition,
        facts::{NewFact, Noted},
        intake::{Changes, NewItem},
        shelf::Shelf,
        store::{self, Inserted, Removed, Updated},
        thread::Thread,
    },
};

/// Writes that wait for the writer; more are refused.
pub const WRITES_WAITING_MAX: usize = 8192;

/// Time a probe of the store may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// What may be written.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new item; known ids change nothing.
    Store(Box<NewItem>),
    /// Several new items, all or none, in their order.
    StoreAll(Vec<NewItem>),
    /// Changes to an item.
    Update {
        /// Whose.
        user_id: String,
        /// Which.
        id: String,
        /// What changes.
        changes: Box<Changes>,
    },
    /// A new fact, which may take the place of others; known ids change nothing.
    Remember(Box<NewFact>),
    /// Removes one fact.
    Forget {
        /// Whose.
        user_id: String,
        /// Which.
        id: String,
    },
    /// Writes nothing new, to see whether the store takes writes again.
    Probe,
    /// Removes one item, or all of a user.
    Remove {
        /// Whose.
        user_id: String,
        /// Which; `None` is all.
        id: Option<String>,
    },
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Written {
    /// Stored now.
    Stored {
        /// Its place in the log.
        seq: i64,
    },
    /// Stored before.
    Known {
        /// As it is stored.
        item: Box<Item>,
        /// Whether what was said is the same.
        same_body: bool,
    },
    /// What came of each of several.
    StoredAll(Vec<Inserted>),
    /// What came of the change.
    Changed(Updated),
    /// What came of a fact.
    Remembered(Noted),
    /// What was removed.
    Removed(Removed),
}

/// What the writer's thread is given.
pub(super) enum Job {
    /// To be written by then, and answered.
    Write {
        /// What.
        write: Write,
        /// When it was asked for.
        asked: Instant,
        /// When nobody needs it any more.
        deadline: Instant,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Written, Failure>>,
    },
    /// To look for what other processes stored.
    Look,
    /// To end.
    Close(oneshot::Sender<()>),
}

/// The way to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
    condition: Condition,
    store_id: Arc<str>,
}

impl Writer {
    /// Starts the writer's thread with a connection to `path`; committed items go to `bus`, those of
    /// other processes too, for which it looks every [`Storage::store_poll_interval`].
    ///
    /// # Errors
    /// `database_error` when the end of the log cannot be read or the queue of writers not be joined.
    pub fn start(
        path: PathBuf,
        mut connection: SqliteConnection,
        storage: &Storage,
        damage: Damage,
        announcer: impl FnOnce(i64) -> Announcer,
        house: &House,
        metrics: &Metrics,
    ) -> Result<Writer, Failure> {
        let (queue, jobs) = mpsc::channel(WRITES_WAITING_MAX);
        let condition = Condition::default();
        let head = store::head(&mut connection)?;
        let store_id = store::identity(&mut connection)?.into();
        let turns = Turns::beside(&path)?;
        let vitals = house.enter("writer (thread)", None);
        let shelf = Shelf::new(path, connection, turns, storage.store_lock_timeout, head);
        let looking = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            shelf,
            damage,
            jobs,
            looking: Arc::clone(&looking),
            announcer: announcer(head),
            metrics: metrics.clone(),
            condition: condition.clone(),
            house: house.clone(),
            vitals: Arc::clone(&vitals),
        };
        let spawned =
            std::thread::Builder::new().name("writer".to_owned()).spawn(move || thread.run());
        if let Err(error) = spawned {
            house.give_up(&vitals, &format!("thread not started: {error}"));
        }
        actix_rt::spawn(keep_looking(queue.downgrade(), looking, storage.store_poll_interval));
        Ok(Writer { queue, condition, store_id })
    }

    /// Which store it writes.
    #[must_use]
    pub fn store_id(&self) -> Arc<str> {
        Arc::clone(&self.store_id)
    }

    /// What is wrong with it, if anything. If the last commit failed, another is tried first.
    pub async fn trouble(&self) -> Option<String> {
        self.condition.trouble()?;
        let probing = self.write(Write::Probe, Instant::now() + PROBE_PATIENCE);
        if let Err(failure) = probing.await {
            log::debug!("the store takes no writes yet cause={failure}");
        }
        self.condition.trouble()
    }

    /// Writes, and answers once it is on disk. What is not begun by `deadline` is not written.
    ///
    /// # Errors
    /// `overloaded` when too many writes wait, `timeout`, `database_error`.
    pub async fn write(&self, write: Write, deadline: Instant) -> Result<Written, Failure> {
        let (reply, answer) = oneshot::channel();
        let asked = Instant::now();
        self.queue.try_send(Job::Write { write, asked, deadline, reply }).map_err(|refused| {
            let text = match refused {
                mpsc::error::TrySendError::Full(_) => "too many writes wait",
                mpsc::error::TrySendError::Closed(_) => "the writer has ended",
            };
            Failure::new(Kind::Overloaded, text).retry_after(Duration::from_secs(1))
        })?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_dropped)) => {
                Err(Failure::new(Kind::Storage, "the writer fell during this write")
                    .retry_after(Duration::from_secs(1)))
            }
            // It may still reach the disk: its id makes a repetition harmless.
            Err(_elapsed) => {
                Err(Failure::new(Kind::Timeout, "the write was not confirmed by the deadline"))
            }
        }
    }

    /// Commits what is queued, then ends the thread.
    pub async fn close(&self, patience: Duration) {
        let (done, closed) = oneshot::channel();
        let closing = async {
            if self.queue.send(Job::Close(done)).await.is_ok() && closed.await.is_err() {
                log::error!("the writer ended without its last checkpoint");
            }
        };
        if tokio::time::timeout(patience, closing).await.is_err() {
            log::error!("the writer did not end within {} s", patience.as_secs());
        }
    }
}

/// Has the writer look for what other processes stored, every so often; one look waits at most.
/// Ends with the writer.
async fn keep_looking(queue: mpsc::WeakSender<Job>, looking: Arc<AtomicBool>, every: Duration) {
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(queue) = queue.upgrade() else { return };
        if looking.swap(true, Ordering::AcqRel) {
            continue;
        }
        match queue.try_send(Job::Look) {
            Ok(()) => {}
            // Those who fill the queue have it look anyway: each commit does.
            Err(mpsc::error::TrySendError::Full(_)) => looking.store(false, Ordering::Release),
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}
