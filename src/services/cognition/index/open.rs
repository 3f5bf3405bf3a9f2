//! Opening the index: a file of this process's own, made again when it cannot be used.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::{
    backplane::{
        config::Index as Settings,
        database::{self, Database, Held, Store, log_of},
        gate::Gate,
        metrics::Metrics,
    },
    domain::failure::{Failure, Kind},
    services::cognition::index::{
        DATABASE_FILE, Index, LOADS_AT_ONCE, MIGRATIONS, SEARCH_PATIENCE, Shared,
        store::{self, Cursor},
        users::Users,
    },
};

/// Processes that share one data directory at most (count).
const REPLICAS_MAX: usize = 16;
/// Connections that read.
const READERS: u16 = 4;
/// Time a read waits for a connection.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(5);
/// Largest index that is looked over whole before it is used, in bytes.
const LOOKED_OVER_MAX: u64 = 67_108_864;

/// The file of one of the processes that share a directory, counted from 1.
fn file_of(number: usize) -> String {
    match (number, DATABASE_FILE.split_once('.')) {
        (2.., Some((name, ending))) => format!("{name}-{number}.{ending}"),
        _ => DATABASE_FILE.to_owned(),
    }
}

/// Takes the first file of the directory that no other process has.
fn take(folder: &Path) -> Result<(PathBuf, Held), Failure> {
    let mut refused = None;
    for number in 1..=REPLICAS_MAX {
        let path = folder.join(file_of(number));
        match database::hold(&path) {
            Ok(held) => return Ok((path, held)),
            Err(failure) if failure.message.ends_with("in use by another process") => {
                refused = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(refused.unwrap_or_else(|| Failure::new(Kind::Storage, "no file for the index")))
}

/// Makes the file ready for use.
fn prepare(path: &Path) -> Result<Cursor, Failure> {
    let mut connection = database::connect(path)?;
    database::look_over(&mut connection, path, LOOKED_OVER_MAX)?;
    database::migrate(&mut connection, MIGRATIONS, Store::Cognition)?;
    store::cursor(&mut connection)
}

/// Removes the file, so that it is made again: memory has all that was in it.
fn remove(path: &Path) -> Result<(), Failure> {
    let mut index = path.as_os_str().to_owned();
    index.push("-shm");
    // What says that a store was made goes as well, so that a new one may be.
    for file in [path.to_owned(), log_of(path), PathBuf::from(index)] {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let text = format!("{} cannot be removed: {error}", file.display());
                return Err(Failure::new(Kind::Storage, text));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

impl Index {
    /// Opens the index in the data directory. One that cannot be used is made again.
    ///
    /// # Errors
    /// `database_error` naming the file, when none can be made.
    pub fn open(settings: &Settings, metrics: &Metrics) -> Result<Self, Failure> {
        let (path, held) = take(&settings.data_dir)?;
        let cursor = match prepare(&path) {
            Ok(cursor) => cursor,
            Err(failure) => {
                log::error!("the index cannot be used and is made anew cause={failure}");
                remove(&path)?;
                prepare(&path)?
            }
        };
        let patience = CONNECTION_PATIENCE;
        let writes = Database::open(&path, 1, patience, false, metrics)?;
        let reads = Database::open(&path, READERS, patience, true, metrics)?;
        log::info!("index opened seq={} items={}", cursor.seq, cursor.items);
        Ok(Index {
            shared: Arc::new(Shared {
                users: Users::new(settings.index_memory_max),
                searches: Gate::new(
                    "the index",
                    usize::from(settings.index_searches_max),
                    SEARCH_PATIENCE,
                ),
                loads: Database::open(&path, LOADS_AT_ONCE, SEARCH_PATIENCE, true, metrics)?,
                position: watch::Sender::new(cursor.seq),
                head: AtomicI64::new(cursor.seq),
                items: AtomicI64::new(cursor.items),
                trouble: Mutex::default(),
                anew: Notify::new(),
                made: watch::Sender::new(0),
                settings: settings.clone(),
                path,
                _held: held,
                writes,
                reads,
            }),
        })
    }
}
