//! SQLite: connections with the right pragmas, migrations at start, and a pool behind a gate.

use std::{
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use diesel::{
    connection::SimpleConnection,
    prelude::*,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
    result::{DatabaseErrorKind, Error as DieselError},
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _};
use tokio::time::Instant;

use crate::{
    backplane::{gate::Gate, metrics::Metrics},
    domain::failure::{Failure, Kind},
};

/// How long a statement waits for another process's lock.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A store that is this process's alone, for as long as this is kept; also a killed process lets go.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "the lock lives as long as the file")] std::fs::File);

/// Takes a store for this process.
///
/// # Errors
/// `database_error` when another process has it, or the lock file beside it cannot be made.
pub fn hold(path: &Path) -> Result<Held, Failure> {
    let lock = path.with_added_extension("lock");
    let named =
        |error: std::io::Error| Failure::new(Kind::Storage, format!("{}: {error}", lock.display()));
    make_folder(path)?;
    let mut options = std::fs::OpenOptions::new();
    let file =
        options.write(true).create(true).truncate(false).mode(0o600).open(&lock).map_err(named)?;
    file.try_lock().map_err(|_held| {
        let text = format!("{} is in use by another process", path.display());
        Failure::new(Kind::Storage, text)
    })?;
    Ok(Held(file))
}

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
/// loss), foreign keys on.
///
/// # Errors
/// `database_error` naming the file.
pub fn connect(path: &Path) -> Result<SqliteConnection, Failure> {
    make_folder(path)?;
    // Made before SQLite does, so that nobody else can read it; its companions take its mode.
    let made =
        std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map_err(|error| Failure::new(Kind::Storage, format!("{}: {error}", path.display())))?;
    let named = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Storage, format!("{}: {error}", path.display()))
    };
    let mut connection =
        SqliteConnection::establish(&path.to_string_lossy()).map_err(|error| named(&error))?;
    set_pragmas(&mut connection, false).map_err(|error| named(&error))?;
    Ok(connection)
}

fn set_pragmas(connection: &mut SqliteConnection, read_only: bool) -> QueryResult<()> {
    let busy = BUSY_TIMEOUT.as_millis();
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout = {busy}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON; PRAGMA query_only = {};",
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
}

impl Store {
    /// The `application_id` of SQLite's header: "CtxC" and "CtxM".
    fn mark(self) -> i32 {
        match self {
            Store::Core => 0x4374_7843,
            Store::Memory => 0x4374_784d,
        }
    }
}

/// Marks a fresh file as ours; refuses one that is somebody else's.
fn claim(connection: &mut SqliteConnection, store: Store) -> Result<(), Failure> {
    let failed = |error: DieselError| Failure::new(Kind::Storage, error.to_string());
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
/// `database_error` naming the migration that failed.
pub fn migrate(
    connection: &mut SqliteConnection,
    migrations: EmbeddedMigrations,
    store: Store,
) -> Result<(), Failure> {
    claim(connection, store)?;
    connection
        .run_pending_migrations(migrations)
        .map(|done| {
            for version in done {
                log::info!("migration applied version={version}");
            }
        })
        .map_err(|error| Failure::new(Kind::Storage, format!("migration failed: {error}")))
}

impl From<DieselError> for Failure {
    fn from(error: DieselError) -> Self {
        storage_failure(&error)
    }
}

/// What a failed statement means: a duplicate is the caller's, the rest is ours and logged here.
#[must_use]
pub fn storage_failure(error: &DieselError) -> Failure {
    if let DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) = error {
        return Failure::new(Kind::Conflict, "it exists already");
    }
    if let DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) = error {
        return Failure::new(Kind::Conflict, "it refers to something that does not exist");
    }
    log::error!("statement failed cause={error}");
    Failure::new(Kind::Storage, "the store failed")
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
        })
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
        let (pool, metrics, patience) = (self.pool.clone(), self.metrics.clone(), self.patience);
        self.gate
            .run(move |waited| {
                let begun = Instant::now();
                let mut connection = pool.get_timeout(patience).map_err(|error| {
                    log::error!("no database connection cause={error}");
                    Failure::new(Kind::Storage, "no database connection")
                        .retry_after(Duration::from_secs(1))
                })?;
                metrics.db_acquired(waited + begun.elapsed());
                let result = work(&mut connection);
                drop(connection);
                metrics.db_released();
                metrics.db_operation(operation, table, begun.elapsed());
                result
            })
            .await?
    }

    /// Whether a statement succeeds, and the size of the file.
    ///
    /// # Errors
    /// As [`Database::run`].
    pub async fn check(&self) -> Result<u64, Failure> {
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
