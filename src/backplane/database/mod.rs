//! SQLite: connections with the right pragmas, migrations at start, and a pool behind a gate.

mod copy;
mod damage;
mod examine;
mod failures;
mod hold;
mod turn;
mod writes;

pub use self::{
    copy::{copy_into, partial_of, put_in_place},
    damage::Damage,
    examine::{
        Depth, count, foreign_keys, integrity, log_of, look_over, open_read_only, owner, versions,
    },
    failures::{failure_of, naming, storage_failure},
    hold::{Held, hold, hold_shared},
    turn::{Turn, Turns},
};

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use diesel::{
    connection::SimpleConnection,
    migration::MigrationSource,
    prelude::*,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
    sqlite::Sqlite,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _};
use tokio::time::Instant;

use self::{
    failures::of_file,
    writes::{Writes, probe},
};
use crate::{
    backplane::{gate::Gate, metrics::Metrics, seldom::Seldom},
    domain::failure::{Failure, Kind},
};

/// How long a statement waits for another process's lock.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// What a write-ahead log that grew under a long reader is cut back to, in bytes. It is otherwise
/// written back every 1000 pages (4 MiB) and used anew.
const LOG_BYTES_KEPT: u32 = 67_108_864;

/// Writes refused because the file is not the one that was opened.
static GONE: Seldom = Seldom::new();

/// The folder of a store, for its owner alone.
fn make_folder(path: &Path) -> Result<(), Failure> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(|error| Failure::new(Kind::Storage, format!("{}: {error}", parent.display())))
}

/// Opens a connection: write-ahead log, `synchronous=FULL` (an answered write survives power
/// loss), foreign keys on. A file that is not there is made.
///
/// # Errors
/// `database_error` naming the file, with what to do.
pub fn connect(path: &Path) -> Result<SqliteConnection, Failure> {
    make_folder(path)?;
    make_file(path)?;
    SqliteConnection::establish(&path.to_string_lossy())
        .map_err(|error| of_file(path, &error))
        .and_then(|mut connection| {
            set_pragmas(&mut connection, false).map_err(|error| of_file(path, &error))?;
            Ok(connection)
        })
}

/// Makes the file before SQLite does, so that nobody else can read it; its companions take its
/// mode. A file that is there is not opened: closing it again would drop the locks that other
/// connections of this process have on it (POSIX locks end with any close).
fn make_file(path: &Path) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(_made) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => hold::refuse_emptied(path),
        Err(error) => Err(of_file(path, &error)),
    }
}

fn set_pragmas(connection: &mut SqliteConnection, read_only: bool) -> QueryResult<()> {
    let busy = BUSY_TIMEOUT.as_millis();
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout = {busy}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = {LOG_BYTES_KEPT}; \
         PRAGMA query_only = {};",
        if read_only { "ON" } else { "OFF" },
    ))
}

/// Whose a database file is: written into it, so that two services are not given one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Core's.
    Core,
    /// Memory's.
    Memory,
    /// Cognition's, which can be made again from memory's.
    Cognition,
}

impl Store {
    /// The `application_id` of SQLite's header: "CtxC", "CtxM" and "CtxI".
    fn mark(self) -> i32 {
        match self {
            Store::Core => 0x4374_7843,
            Store::Memory => 0x4374_784d,
            Store::Cognition => 0x4374_7849,
        }
    }

    /// The name of the role it belongs to.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Store::Core => "core",
            Store::Memory => "memory",
            Store::Cognition => "cognition",
        }
    }
}

/// Marks a fresh file as ours; refuses one that is somebody else's.
fn claim(connection: &mut SqliteConnection, store: Store) -> Result<(), Failure> {
    let failed = |error: diesel::result::Error| Failure::new(Kind::Storage, error.to_string());
    let mark: ApplicationId =
        diesel::sql_query("PRAGMA application_id").get_result(connection).map_err(failed)?;
    match mark.application_id {
        0 => connection
            .batch_execute(&format!("PRAGMA application_id = {}", store.mark()))
            .map_err(failed),
        known if known == store.mark() => Ok(()),
        _ => Err(Failure::new(
            Kind::Storage,
            "DATABASE_URL: the file belongs to another service; give each its own",
        )),
    }
}

#[derive(QueryableByName)]
struct ApplicationId {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    application_id: i32,
}

/// Brings a database up to the newest schema.
///
/// # Errors
/// `database_error` naming the migration that failed, or when the schema is newer than this program.
pub fn migrate(
    connection: &mut SqliteConnection,
    migrations: EmbeddedMigrations,
    store: Store,
) -> Result<(), Failure> {
    claim(connection, store)?;
    refuse_newer(connection, &migrations)?;
    connection
        .run_pending_migrations(migrations)
        .map(|done| {
            for version in done {
                log::info!("migration applied version={version}");
            }
        })
        .map_err(|error| Failure::new(Kind::Storage, format!("migration failed: {error}")))?;
    hold::mark_made(connection)
}

/// Refuses a database that has a version of the schema which this program does not know.
///
/// # Errors
/// `database_error` naming that version.
pub fn refuse_newer(
    connection: &mut SqliteConnection,
    migrations: &EmbeddedMigrations,
) -> Result<(), Failure> {
    let listed = MigrationSource::<Sqlite>::migrations(migrations).map_err(|error| {
        Failure::new(Kind::Internal, format!("migrations cannot be listed: {error}"))
    })?;
    let known: BTreeSet<String> =
        listed.iter().map(|migration| migration.name().version().to_string()).collect();
    let applied = versions(connection)?;
    match applied.into_iter().find(|version| !known.contains(version)) {
        None => Ok(()),
        Some(version) => Err(Failure::new(
            Kind::Storage,
            format!(
                "the database was written by a newer cortex (schema {version}, this one knows up \
                 to {}): use that version, or restore a backup of this one",
                known.last().map_or("none", String::as_str),
            ),
        )),
    }
}

/// Writes the log back into the file as far as nobody reads it, and makes that durable.
///
/// # Errors
/// The database's own: among them that the disk does not take it.
pub fn checkpoint(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA wal_checkpoint(PASSIVE)")
}

/// As [`checkpoint`], and empties the log if nobody uses it at this moment.
///
/// # Errors
/// The database's own.
pub fn empty_log(connection: &mut SqliteConnection) -> QueryResult<()> {
    be_patient(connection, Duration::ZERO)?;
    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")
}

/// How long this connection waits for another process's lock from now on.
///
/// # Errors
/// The database's own.
pub fn be_patient(connection: &mut SqliteConnection, patience: Duration) -> QueryResult<()> {
    connection.batch_execute(&format!("PRAGMA busy_timeout = {}", patience.as_millis()))
}

#[derive(Debug)]
struct Pragmas {
    read_only: bool,
}

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Pragmas {
    fn on_acquire(&self, connection: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        set_pragmas(connection, self.read_only).map_err(diesel::r2d2::Error::QueryError)
    }
}

/// A pool of connections behind a gate. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pool: Pool<ConnectionManager<SqliteConnection>>,
    gate: Gate,
    metrics: Metrics,
    patience: Duration,
    path: PathBuf,
    /// The file's identity when it was opened.
    inode: Option<u64>,
    damage: Damage,
    writes: Writes,
}

impl Database {
    /// A pool of `size` connections to the file; with `read_only` they refuse to write.
    ///
    /// # Errors
    /// `database_error` when the pool cannot be made.
    pub fn open(
        path: &Path,
        size: u16,
        patience: Duration,
        read_only: bool,
        metrics: &Metrics,
    ) -> Result<Self, Failure> {
        let pool = Pool::builder()
            .max_size(u32::from(size))
            .min_idle(Some(1))
            .connection_timeout(patience.max(Duration::from_millis(1)))
            .connection_customizer(Box::new(Pragmas { read_only }))
            .build(ConnectionManager::new(path.to_string_lossy()))
            .map_err(|error| Failure::new(Kind::Storage, format!("{}: {error}", path.display())))?;
        Ok(Database {
            pool,
            gate: Gate::new("database", usize::from(size), patience),
            metrics: metrics.clone(),
            patience,
            path: path.to_owned(),
            inode: std::fs::metadata(path).map(|file| file.ino()).ok(),
            damage: Damage::default(),
            writes: Writes::default(),
        })
    }

    /// Another pool of `size` connections to the same file, which shares what is known of it.
    ///
    /// # Errors
    /// `database_error` when the pool cannot be made.
    pub fn beside(&self, size: u16, patience: Duration) -> Result<Self, Failure> {
        let other = Database::open(&self.path, size, patience, false, &self.metrics)?;
        let (damage, writes) = (self.damage.clone(), self.writes.clone());
        Ok(Database { damage, writes, inode: self.inode, ..other })
    }

    /// Whether what is written now would be found again: the file is still the one that was opened,
    /// and whole as far as is known. Asked before a commit that acknowledges something.
    ///
    /// # Errors
    /// `database_error` naming what is wrong.
    pub fn may_be_written(&self) -> Result<(), Failure> {
        self.damage.refuse()?;
        if self.is_the_file() {
            return Ok(());
        }
        if let Some(count) = GONE.happened() {
            let path = self.path.display();
            log::error!("the store's file is gone or was replaced path={path} count={count}");
        }
        let text =
            "the store's file is gone or was replaced: put it back, or start the process anew";
        Err(Failure::new(Kind::Storage, text))
    }

    /// Whether the file at the path is the one that was opened.
    fn is_the_file(&self) -> bool {
        let there = std::fs::metadata(&self.path).map(|file| file.ino()).ok();
        there.is_some() && there == self.inode
    }

    /// Whether the store is known to be damaged; clones share it.
    #[must_use]
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Runs `work` with a connection on a blocking thread.
    ///
    /// # Errors
    /// What `work` answers; `overloaded` when no connection came free in time.
    pub async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        table: &'static str,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let own = self.clone();
        let is_write = !matches!(operation, "select" | "check");
        if is_write {
            self.may_be_written()?;
        }
        self.gate
            .run(move |waited| {
                let begun = Instant::now();
                let Database { pool, metrics, .. } = &own;
                let mut connection = pool.get_timeout(own.patience).map_err(|error| {
                    log::error!("no database connection cause={error}");
                    Failure::new(Kind::Storage, "no database connection")
                        .retry_after(Duration::from_secs(1))
                })?;
                metrics.db_acquired(waited + begun.elapsed());
                let result = work(&mut connection);
                if let Err(failure) = &result {
                    own.damage.learn(failure);
                }
                drop(connection);
                if is_write {
                    own.writes.learn(&result);
                }
                metrics.db_released();
                metrics.db_operation(operation, table, begun.elapsed());
                result
            })
            .await?
    }

    /// Whether a statement succeeds, and the size of the file. If the last write failed, another is
    /// tried first. A store that was found damaged once
    /// stays so until the process ends.
    ///
    /// # Errors
    /// As [`Database::run`].
    pub async fn check(&self) -> Result<u64, Failure> {
        self.may_be_written()?;
        if self.writes.probe_is_due() {
            self.run("probe", "sqlite", probe).await?;
        }
        self.writes.refuse()?;
        self.run("check", "sqlite", |connection| {
            connection
                .batch_execute("SELECT count(*) FROM sqlite_schema")
                .map_err(|error| storage_failure(&error))
        })
        .await?;
        let bytes = std::fs::metadata(&self.path).map(|file| file.len()).unwrap_or_default();
        self.metrics.db_size(bytes);
        Ok(bytes)
    }
}
