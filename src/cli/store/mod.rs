//! Commands that care for the stores of this machine: backup, restore, check.

pub(super) mod backup;
pub(super) mod check;
mod progress;
pub(super) mod restore;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use diesel::SqliteConnection;
use diesel_migrations::EmbeddedMigrations;
use serde_json::{Value, json};

use super::trouble::{Outcome, Trouble};
use crate::{
    backplane::{
        config::Data,
        database::{self, Store},
    },
    services::{cognition, conversation, memory},
};

/// Which stores a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Which {
    /// What core keeps: users, workspaces, conversations.
    Core,
    /// What memory keeps: every input.
    Memory,
    /// Both.
    All,
}

/// Where this machine keeps its stores.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data of this machine")]
pub(super) struct Stores {
    /// Which stores [default: the one of DATABASE_URL if that is set, else all].
    #[arg(long)]
    store: Option<Which>,
    /// Directory of the databases.
    #[arg(long, env = "CORTEX_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// One database: `sqlite:///absolute/path` or `sqlite://relative/path` [default: core.db and
    /// memory.db in the data directory].
    #[arg(long, env = "DATABASE_URL")]
    database_url: Option<String>,
}

impl Stores {
    /// The stores that were asked for and exist, core's first: what core's knows as given to memory
    /// is then in a copy of memory's, which is made after it.
    fn chosen(&self) -> Outcome<Vec<(Store, PathBuf)>> {
        if let Some(path) = self.named()? {
            return Ok(vec![(self.owner_of(&path)?, path)]);
        }
        let places = self.places(self.data_dir.as_path());
        let there: Vec<(Store, PathBuf)> =
            places.iter().filter(|(_, path)| path.exists()).cloned().collect();
        match (there.is_empty(), places.first()) {
            (true, Some((_, first))) => Err(Trouble::Unopened(format!(
                "{} does not exist; --data-dir or DATABASE_URL names the store",
                first.display()
            ))),
            _ => Ok(there),
        }
    }

    /// Where stores of this choice are in a folder.
    fn places(&self, folder: &Path) -> Vec<(Store, PathBuf)> {
        [Store::Core, Store::Memory]
            .into_iter()
            .filter(|store| self.means(*store))
            .map(|store| (store, folder.join(file_name(store))))
            .collect()
    }

    fn means(&self, store: Store) -> bool {
        match self.store {
            None | Some(Which::All) => true,
            Some(Which::Core) => store == Store::Core,
            Some(Which::Memory) => store == Store::Memory,
        }
    }

    /// The file of `DATABASE_URL`, if that is set.
    fn named(&self) -> Outcome<Option<PathBuf>> {
        let Some(url) = self.database_url.clone().filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        if self.store == Some(Which::All) {
            return Err(Trouble::Unopened(
                "DATABASE_URL names one store: say which with --store, or unset it".to_owned(),
            ));
        }
        let data = Data {
            data_dir: self.data_dir.clone(),
            database_url: Some(url),
            db_pool_size: 1,
            db_pool_timeout: std::time::Duration::ZERO,
        };
        let file = match self.store {
            Some(Which::Core) => conversation::DATABASE_FILE,
            Some(Which::Memory | Which::All) | None => memory::DATABASE_FILE,
        };
        data.sqlite_path(file).map(Some).map_err(Trouble::Unopened)
    }

    /// Whose store the file is; what was asked for must agree.
    fn owner_of(&self, path: &Path) -> Outcome<Store> {
        let owner = owner(&mut open(path)?, path)?;
        if self.means(owner) {
            return Ok(owner);
        }
        let text = format!("{} is the store of {}", path.display(), owner.name());
        Err(Trouble::Unopened(text))
    }
}

/// The name of a store's file in a folder.
fn file_name(store: Store) -> &'static str {
    match store {
        Store::Core => conversation::DATABASE_FILE,
        Store::Memory => memory::DATABASE_FILE,
        Store::Cognition => cognition::index::DATABASE_FILE,
    }
}

fn migrations(store: Store) -> EmbeddedMigrations {
    match store {
        Store::Core => conversation::MIGRATIONS,
        Store::Memory => memory::MIGRATIONS,
        Store::Cognition => cognition::index::MIGRATIONS,
    }
}

/// Opens a store for reading alone.
fn open(path: &Path) -> Outcome<SqliteConnection> {
    database::open_read_only(path).map_err(|failure| Trouble::Unopened(failure.message))
}

/// Whose store this is, which must be one of ours.
fn owner(connection: &mut SqliteConnection, path: &Path) -> Outcome<Store> {
    let owner =
        database::owner(connection).map_err(|failure| Trouble::Unopened(failure.message))?;
    owner.ok_or_else(|| Trouble::Unopened(format!("{} is no store of Cortex", path.display())))
}

/// What a store holds, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holding {
    /// What is counted, and how many.
    counts: Vec<(&'static str, i64)>,
    /// The newest sequence number, where the store is a log.
    last_seq: Option<i64>,
    /// Size of the file, in bytes.
    bytes: u64,
}

impl Holding {
    /// Counts what is in an open store.
    fn of(store: Store, connection: &mut SqliteConnection, path: &Path) -> Outcome<Self> {
        let tables: &[(&str, &str)] = match store {
            Store::Core => &[
                ("users", "users"),
                ("workspaces", "workspaces"),
                ("conversations", "conversations"),
            ],
            Store::Memory => &[("items", "memory_items")],
            Store::Cognition => &[("items", "indexed_items")],
        };
        let mut counts = Vec::new();
        for (what, table) in tables {
            let query = format!("SELECT count(*) AS count FROM {table}");
            counts.push((*what, counted(connection, &query, path)?));
        }
        let outbox = "SELECT count(*) AS count FROM sqlite_schema WHERE name = 'outbox'";
        if store == Store::Core && counted(connection, outbox, path)? > 0 {
            let waiting = "SELECT count(*) AS count FROM outbox";
            counts.push(("inputs in the outbox", counted(connection, waiting, path)?));
        }
        let last_seq = match store {
            Store::Core | Store::Cognition => None,
            Store::Memory => Some(
                memory::store::head(connection)
                    .map_err(|failure| Trouble::Unopened(failure.message))?,
            ),
        };
        let bytes = std::fs::metadata(path).map(|file| file.len()).unwrap_or_default();
        Ok(Holding { counts, last_seq, bytes })
    }

    /// For people, in one line.
    fn text(&self) -> String {
        let mut parts: Vec<String> =
            self.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        parts.extend(self.last_seq.map(|seq| format!("last sequence number {seq}")));
        parts.push(progress::size(self.bytes));
        parts.join(", ")
    }

    /// For programs.
    fn json(&self) -> Value {
        let counts: serde_json::Map<String, Value> =
            self.counts.iter().map(|(what, count)| ((*what).to_owned(), json!(count))).collect();
        json!({ "counts": counts, "last_seq": self.last_seq, "bytes": self.bytes })
    }
}

fn counted(connection: &mut SqliteConnection, query: &str, path: &Path) -> Outcome<i64> {
    database::count(connection, query)
        .map_err(|failure| Trouble::Unopened(format!("{}: {}", path.display(), failure.message)))
}
