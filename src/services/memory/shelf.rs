//! The writer's hand on the store: takes its turn, transacts, and after a failure opens the store
//! anew and sees that nothing acknowledged is gone before it goes on.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use diesel::{QueryResult, SqliteConnection, result::Error as DieselError};
use tokio::time::Instant;

use crate::{
    backplane::database::{self, Turns, failure_of, storage_failure},
    contract::log::Numbered,
    domain::{
        failure::{Failure, Kind},
        storage_fault::Fault,
    },
    services::memory::{changes, store},
};

/// Pause between attempts to open a store that failed, when nothing is to be written.
const LOOKING_PAUSE: Duration = Duration::from_secs(1);

/// A transaction that was not made.
#[derive(Debug)]
pub(super) struct Refused {
    /// Why.
    pub(super) failure: Failure,
    /// Whether any other write would be refused alike.
    pub(super) all: bool,
}

/// A transaction that is on the disk.
#[derive(Debug)]
pub(super) struct Committed<T> {
    /// What it gave.
    pub(super) result: T,
    /// The head of the log that it found, and the one it left.
    pub(super) heads: (i64, i64),
    /// The mark that this process made in the log with its first transaction, before the rest.
    pub(super) mark: Option<Numbered>,
}

/// A store that is written by this process, and perhaps by others.
pub(super) struct Shelf {
    path: PathBuf,
    /// The file's identity when it was first opened.
    inode: Option<u64>,
    connection: Option<SqliteConnection>,
    turns: Turns,
    /// Longest wait for other processes.
    patience: Duration,
    /// The newest head of the log this process knows to be on the disk.
    head: i64,
    /// A look opens a store that failed not before then; a write does at once.
    looks_again: Instant,
    /// Whether this process has marked in the log that it goes on with it.
    marked: bool,
}

impl Shelf {
    /// The store at `path`, open through `connection`, with the log at `head`.
    pub(super) fn new(
        path: PathBuf,
        connection: SqliteConnection,
        turns: Turns,
        patience: Duration,
        head: i64,
    ) -> Self {
        let inode = inode(&path);
        let looks_again = Instant::now();
        let (connection, marked) = (Some(connection), false);
        Shelf { path, inode, connection, turns, patience, head, looks_again, marked }
    }

    /// The connection, if it is open.
    pub(super) fn connection(&mut self) -> Option<&mut SqliteConnection> {
        self.connection.as_mut()
    }

    /// Gives the connection up: its state is not known. The next use opens another.
    pub(super) fn distrust(&mut self) {
        self.connection = None;
    }

    /// The head of the log, whoever wrote it; `None` while the store cannot be read.
    pub(super) fn look(&mut self) -> Option<i64> {
        if self.connection.is_none() && Instant::now() < self.looks_again {
            return None;
        }
        if let Err(failure) = self.reopen() {
            log::debug!("the log was not looked at cause={failure}");
            return None;
        }
        match store::log_head(self.connection.as_mut()?) {
            Ok(head) => {
                self.head = head;
                Some(head)
            }
            Err(error) => {
                log::debug!("the log was not looked at cause={error}");
                self.distrust();
                None
            }
        }
    }

    /// Runs `work` as one transaction of writes that wait since `asked`, and returns once it is on
    /// the disk. `work` may run only to be taken back.
    pub(super) fn transact<T>(
        &mut self,
        asked: Instant,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<Committed<T>, Refused> {
        self.same_file()?;
        self.reopen().map_err(|failure| {
            log::error!("the store cannot be opened cause={failure}");
            Refused { failure, all: true }
        })?;
        // Half the patience for the queue of writers, the rest for the database's own lock: a
        // process that was stopped in its turn does not keep us from a database that is free.
        let end = asked + self.patience;
        let turn = self.turns.take(end.min(Instant::now() + self.patience / 2));
        let left = end.saturating_duration_since(Instant::now());
        let Some(connection) = self.connection.as_mut() else {
            return Err(refused(Fault::Unopenable));
        };
        let marked = self.marked;
        let done = database::be_patient(connection, left).and_then(|()| {
            connection.immediate_transaction(|connection| {
                let before = store::log_head(connection)?;
                // An empty log has the mark that it was made with.
                let unmarked = !marked && before > 0;
                let mark = unmarked.then(|| changes::began(connection)).transpose()?;
                let result = work(connection)?;
                Ok(Committed { result, heads: (before, store::log_head(connection)?), mark })
            })
        });
        drop(turn);
        match done {
            Ok(committed) => {
                self.head = committed.heads.1;
                self.marked = true;
                Ok(committed)
            }
            Err(error) => Err(self.judge(&error)),
        }
    }

    /// After a failed transaction the connection's state is not to be trusted; a disk that failed
    /// to make a write durable says so once only.
    fn judge(&mut self, error: &DieselError) -> Refused {
        self.distrust();
        let all = Fault::of(&error.to_string()).concerns_all();
        Refused { failure: storage_failure(error), all }
    }

    /// Whether the file written to is still the one at the path: a deleted file takes writes that
    /// nobody will ever read.
    fn same_file(&self) -> Result<(), Refused> {
        let there = inode(&self.path);
        if there.is_some() && there == self.inode {
            return Ok(());
        }
        log::error!("the store's file is gone or was replaced path={}", self.path.display());
        let text = "the store's file is gone or was replaced: put it back, or start memory anew";
        Err(Refused { failure: Failure::new(Kind::Storage, text), all: true })
    }

    /// Opens the store again if it is not open: writes the log back, which shows whether the disk
    /// takes writes, and sees that the log has what was acknowledged.
    fn reopen(&mut self) -> Result<(), Failure> {
        if self.connection.is_some() {
            return Ok(());
        }
        self.looks_again = Instant::now() + LOOKING_PAUSE;
        // Opening makes a file that is not there, and an empty one takes its log with it.
        self.same_file().map_err(|refused| refused.failure)?;
        let mut connection =
            database::connect(&self.path).map_err(|failure| failure.retry_after(LOOKING_PAUSE))?;
        let head = database::checkpoint(&mut connection)
            .and_then(|()| store::log_head(&mut connection))
            .map_err(|error| failure_of(Fault::of(&error.to_string())))?;
        if head < self.head {
            log::error!("the log is shorter than it was from={} to={head}", self.head);
            return Err(failure_of(Fault::Damaged));
        }
        log::info!("the store was opened again head={head}");
        self.connection = Some(connection);
        Ok(())
    }

    /// What a process does last: writes the log back, as far as others let it.
    pub(super) fn leave(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if let Err(error) = database::empty_log(connection) {
            log::warn!("last checkpoint failed cause={error}");
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).map(|file| file.ino()).ok()
}

fn refused(fault: Fault) -> Refused {
    Refused { failure: failure_of(fault), all: fault.concerns_all() }
}
