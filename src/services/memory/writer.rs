//! The one writer: commits what has gathered in groups, and answers after the commit.
//!
//! A thread of its own, because SQLite has one writer and an fsync takes milliseconds: while one
//! commit is on its way to the disk, the next group gathers. 64 callers share one fsync.

use std::{
    os::unix::fs::MetadataExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use diesel::{SqliteConnection, connection::SimpleConnection as _};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    backplane::{
        database::{self, storage_failure},
        fanout::{Broadcast, Bus},
        keeper::{RESTART_WINDOW, RESTARTS_MAX, panic_text},
        metrics::Metrics,
        vitals::{House, Vitals},
    },
    contract::item::Item,
    domain::{
        budget::RestartBudget,
        failure::{Failure, Kind},
    },
    services::memory::{
        condition::Condition,
        intake::{Changes, NewItem},
        live,
        store::{self, Inserted, Updated},
    },
};

/// Writes that wait for the writer; more are refused.
pub const WRITES_WAITING_MAX: usize = 8192;
/// Writes one commit carries at most.
pub const WRITES_PER_COMMIT_MAX: usize = 1024;

/// Time a probe of the store may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);
/// Writes of a failed group that fail alone in a row until the rest is not tried any more.
const SINGLES_FAILING_MAX: usize = 2;

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
    /// How many were removed.
    Removed(usize),
}

enum Job {
    Write { write: Write, deadline: Instant, reply: oneshot::Sender<Result<Written, Failure>> },
    Close(oneshot::Sender<()>),
}

type Waiting = (Write, oneshot::Sender<Result<Written, Failure>>);

/// The way to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
    condition: Condition,
}

impl Writer {
    /// Starts the writer's thread with a connection to `path`; committed items go to `bus`.
    pub fn start(
        path: PathBuf,
        connection: SqliteConnection,
        bus: Bus,
        house: &House,
        metrics: &Metrics,
    ) -> Writer {
        let (queue, jobs) = mpsc::channel(WRITES_WAITING_MAX);
        let condition = Condition::default();
        let vitals = house.enter("writer (thread)", None);
        let thread = Thread {
            inode: std::fs::metadata(&path).map(|file| file.ino()).ok(),
            path,
            connection: Some(connection),
            jobs,
            bus,
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
        Writer { queue, condition }
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
        self.queue.try_send(Job::Write { write, deadline, reply }).map_err(|refused| {
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

struct Thread {
    path: PathBuf,
    /// The file's identity when it was opened.
    inode: Option<u64>,
    connection: Option<SqliteConnection>,
    jobs: mpsc::Receiver<Job>,
    bus: Bus,
    metrics: Metrics,
    condition: Condition,
    house: House,
    vitals: Arc<Vitals>,
}

impl Thread {
    fn run(mut self) {
        let mut budget = RestartBudget::new(RESTARTS_MAX, RESTART_WINDOW);
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            let cause = format!("panicked: {}", panic_text(panic.as_ref()));
            self.connection = None;
            if budget.take(Instant::now()).is_none() {
                self.house.give_up(&self.vitals, &cause);
                return;
            }
            self.vitals.fell(cause);
            self.vitals.restarted();
        }
    }

    /// Works until told to close, or until nobody is left to write.
    fn work(&mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let (batch, close) = self.gather(first);
            self.commit(batch);
            if let Some(done) = close {
                self.checkpoint();
                if done.send(()).is_err() {
                    log::debug!("nobody waited for the writer's end");
                }
                return;
            }
        }
        self.checkpoint();
    }

    /// What has gathered, without what is too late.
    fn gather(&mut self, first: Job) -> (Vec<Waiting>, Option<oneshot::Sender<()>>) {
        let now = Instant::now();
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Close(done) => return (batch, Some(done)),
                Job::Write { write, deadline, reply } if deadline > now => {
                    if !reply.is_closed() {
                        batch.push((write, reply));
                    }
                }
                Job::Write { reply, .. } => answer(
                    reply,
                    Err(Failure::new(Kind::Timeout, "the deadline passed before the write began")),
                ),
            }
            let more = batch.len() < WRITES_PER_COMMIT_MAX;
            next = if more { self.jobs.try_recv().ok() } else { None };
        }
        (batch, None)
    }

    /// Commits a batch as one transaction; if that fails, each write alone, so that one bad write
    /// does not take the others with it.
    fn commit(&mut self, batch: Vec<Waiting>) {
        if batch.is_empty() {
            return;
        }
        match self.transact(&batch) {
            Ok(results) => {
                self.announce(&batch, &results);
                for ((_, reply), result) in batch.into_iter().zip(results) {
                    answer(reply, Ok(result));
                }
            }
            Err(failure) if batch.len() == 1 => {
                for (_, reply) in batch {
                    answer(reply, Err(failure.clone()));
                }
            }
            Err(_) => self.commit_each(batch),
        }
    }

    /// Each write alone, for as long as the store works at all.
    fn commit_each(&mut self, batch: Vec<Waiting>) {
        let mut failed_in_a_row = 0;
        for (write, reply) in batch {
            if failed_in_a_row >= SINGLES_FAILING_MAX {
                answer(reply, Err(Failure::new(Kind::Storage, "the store failed")));
            } else if !reply.is_closed() {
                self.commit(vec![(write, reply)]);
                let failed = self.condition.trouble().is_some();
                failed_in_a_row = if failed { failed_in_a_row + 1 } else { 0 };
            }
        }
    }

    fn transact(&mut self, batch: &[Waiting]) -> Result<Vec<Written>, Failure> {
        let begun = Instant::now();
        self.condition.begins();
        self.same_file().inspect_err(|failure| {
            self.condition.committed(Some(failure.to_string()));
        })?;
        let connection = reopened(&mut self.connection, &self.path)
            .inspect_err(|failure| self.condition.committed(Some(failure.to_string())))?;
        let result = connection.immediate_transaction(|connection| {
            batch.iter().map(|(write, _)| apply(connection, write)).collect::<Result<Vec<_>, _>>()
        });
        self.metrics.db_operation("commit", "memory_items", begun.elapsed());
        let waiting = self.jobs.len();
        self.metrics.queue_depth("writer", waiting);
        if result.is_ok() {
            self.metrics.committed(batch.len());
        }
        self.condition.committed(result.as_ref().err().map(ToString::to_string));
        result.map_err(|error| {
            // After a failed commit the connection's state is not to be trusted.
            self.connection = None;
            storage_failure(&error).retry_after(Duration::from_secs(1))
        })
    }

    /// Whether the file written to is still the one at the path: a deleted file takes writes that
    /// nobody will ever read.
    fn same_file(&self) -> Result<(), Failure> {
        let there = std::fs::metadata(&self.path).map(|file| file.ino()).ok();
        if there.is_some() && there == self.inode {
            return Ok(());
        }
        log::error!("the store's file is gone or was replaced path={}", self.path.display());
        Err(Failure::new(Kind::Storage, "the store's file is gone or was replaced"))
    }

    fn announce(&self, batch: &[Waiting], results: &[Written]) {
        let mut events: Vec<Broadcast> = Vec::with_capacity(batch.len());
        for ((write, _), written) in batch.iter().zip(results) {
            match (write, written) {
                (Write::Store(new), Written::Stored { seq }) => {
                    events.extend(live::broadcast(&new.item, *seq));
                }
                (Write::StoreAll(new), Written::StoredAll(inserted)) => {
                    events.extend(new.iter().zip(inserted).filter_map(|(new, inserted)| {
                        match inserted {
                            Inserted::Now(seq) => live::broadcast(&new.item, *seq),
                            Inserted::Before { .. } => None,
                        }
                    }));
                }
                _ => {}
            }
        }
        if !events.is_empty() {
            self.bus.publish(events);
        }
    }

    fn checkpoint(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if let Err(error) = connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)") {
            log::warn!("last checkpoint failed cause={error}");
        }
    }
}

fn reopened<'a>(
    connection: &'a mut Option<SqliteConnection>,
    path: &Path,
) -> Result<&'a mut SqliteConnection, Failure> {
    if connection.is_none() {
        *connection = Some(database::connect(path).map_err(|failure| {
            log::error!("the store cannot be opened cause={failure}");
            Failure::new(Kind::Storage, "the store cannot be opened")
                .retry_after(Duration::from_secs(1))
        })?);
    }
    connection.as_mut().ok_or_else(|| Failure::new(Kind::Storage, "the store is not open"))
}

fn apply(connection: &mut SqliteConnection, write: &Write) -> diesel::QueryResult<Written> {
    Ok(match write {
        Write::Store(new) => match store::insert(connection, new)? {
            Inserted::Now(seq) => Written::Stored { seq },
            Inserted::Before { item, same_body } => Written::Known { item, same_body },
        },
        Write::StoreAll(new) => Written::StoredAll(
            new.iter()
                .map(|new| store::insert(connection, new))
                .collect::<diesel::QueryResult<_>>()?,
        ),
        Write::Update { user_id, id, changes } => {
            Written::Changed(store::update(connection, user_id, id, changes)?)
        }
        Write::Probe => {
            store::touch(connection)?;
            Written::Removed(0)
        }
        Write::Remove { user_id, id } => {
            Written::Removed(store::remove(connection, user_id, id.as_deref())?)
        }
    })
}

fn answer(reply: oneshot::Sender<Result<Written, Failure>>, result: Result<Written, Failure>) {
    if reply.send(result).is_err() {
        log::debug!("a writer's answer found nobody waiting");
    }
}
