//! Memory: keeps every input, durably, and serves it back as tools, resources and live streams.

mod announcer;
pub mod audit;
mod bulk;
mod changes;
mod condition;
mod entries;
mod facts;
pub mod intake;
mod live;
mod numbers;
mod schema;
mod shapes;
mod shelf;
pub mod store;
mod table;
mod thread;
pub mod writer;

pub use table::host;

use std::{path::Path, time::Duration};

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    backplane::{
        clock,
        config::{Data, Storage, Streams},
        context,
        database::{self, Database, Store, Turns, storage_failure},
        drain::Drain,
        fanout::Bus,
        metrics::Metrics,
        vitals::House,
    },
    contract::item::{ALREADY_EXISTS, Item, Stored},
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
        storage_fault::Fault,
    },
};
use announcer::Announcer;
use store::{Filter, Page, Removed, Updated};
use writer::{Write, Writer, Written};

/// The schema, oldest first.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/memory/sqlite");
/// Name of the database file in the data directory.
pub const DATABASE_FILE: &str = "memory.db";
/// Most items one answer holds.
pub const PAGE_ITEMS_MAX: i64 = 1000;
/// Items of a history when the reader names no limit.
pub const PAGE_ITEMS_DEFAULT: i64 = 100;
/// Time a write may wait when its caller sets no deadline.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// The memory service of one process; every worker holds a clone.
#[derive(Clone)]
pub struct Memory {
    writer: Writer,
    reads: Database,
    bus: Bus,
    drain: Drain,
    keep_alive: Duration,
}

/// Makes the store at `path` ready for use, or says why it cannot be: looks it over, brings its
/// schema up, and sees that it takes a write. Several processes may do so at once.
///
/// # Errors
/// `database_error` naming the file, with what to do.
pub fn prepare(path: &Path, storage: &Storage) -> Result<(), Failure> {
    let mut turns = Turns::beside(path)?;
    let mut turn = || turns.take(Instant::now() + storage.store_lock_timeout);
    // One process at a time makes the file and its log, and one brings the schema up.
    let making = turn();
    let mut connection = database::connect(path)?;
    drop(making);
    database::look_over(&mut connection, path, storage.store_check_max)?;
    let migrating = turn();
    database::migrate(&mut connection, MIGRATIONS, Store::Memory)?;
    drop(migrating);
    // A log that was left behind may be on the disk in part only, if the disk failed before.
    database::checkpoint(&mut connection).map_err(|error| storage_failure(&error))?;
    match connection.immediate_transaction(store::touch) {
        Ok(()) => Ok(()),
        // It can still be read, and takes writes again by itself.
        Err(error) if may_start(&error) => {
            log::error!("the store takes no writes yet cause={error}");
            Ok(())
        }
        Err(error) => Err(storage_failure(&error)),
    }
}

/// Whether memory may start though its first write failed.
fn may_start(error: &diesel::result::Error) -> bool {
    matches!(Fault::of(&error.to_string()), Fault::Full | Fault::Locked)
}

/// What memory's live streams stand on.
pub struct Live {
    /// Where committed items are announced.
    pub bus: Bus,
    /// The signal to leave.
    pub drain: Drain,
}

impl Memory {
    /// Opens the store at `path`, which is prepared, and starts the writer.
    ///
    /// # Errors
    /// `database_error` naming what cannot be opened.
    pub fn open(
        path: &Path,
        (data, storage): (&Data, &Storage),
        streams: &Streams,
        live: Live,
        house: &House,
        metrics: &Metrics,
    ) -> Result<Self, Failure> {
        let connection = database::connect(path)?;
        let reads = Database::open(path, data.db_pool_size, data.db_pool_timeout, true, metrics)?;
        let bus = live.bus.clone();
        let writer = Writer::start(
            path.to_owned(),
            connection,
            storage,
            reads.damage().clone(),
            |head| Announcer::new(bus, head),
            house,
            metrics,
        )?;
        Ok(Memory {
            writer,
            reads,
            bus: live.bus,
            drain: live.drain,
            keep_alive: streams.stream_keep_alive,
        })
    }

    /// The reading side of the store, for health.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.reads
    }

    /// How the writer is, for health.
    #[must_use]
    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Commits what is queued and ends the writer.
    pub async fn close(&self, patience: Duration) {
        self.writer.close(patience).await;
    }

    /// Stores an input; answers once it is on disk.
    ///
    /// # Errors
    /// `validation_error`, `permission_denied`, or why it could not be stored.
    pub async fn store(
        &self,
        caller: &Principal,
        user_id: &str,
        input: Map<String, Value>,
    ) -> Result<Stored, Failure> {
        caller.must_act_for(user_id)?;
        let item = intake::item(user_id, input, clock::now_micros())?;
        let (user_id, item_id) = (item.user_id.clone(), item.id.clone());
        match self.write(Write::Store(Box::new(item.into()))).await? {
            Written::Stored { seq } => {
                let status = "stored".to_owned();
                Ok(Stored { status, user_id, item_id, seq, item: None, same_body: None })
            }
            Written::Known { item, same_body } => Ok(Stored {
                status: ALREADY_EXISTS.to_owned(),
                user_id,
                item_id,
                seq: item.seq,
                item: Some(*item),
                same_body: Some(same_body),
            }),
            Written::StoredAll(_)
            | Written::Changed(_)
            | Written::Remembered(_)
            | Written::Removed(_) => Err(wrong_answer()),
        }
    }

    /// Changes an item of `user_id`.
    ///
    /// # Errors
    /// `resource_not_found` when the user has no such item; else as [`Memory::store`].
    pub async fn update(
        &self,
        caller: &Principal,
        user_id: &str,
        id: &str,
        changes: intake::Changes,
    ) -> Result<Item, Failure> {
        caller.must_act_for(user_id)?;
        let (user_id, id) = (user_id.to_owned(), id.to_owned());
        let change = Write::Update { user_id, id: id.clone(), changes: Box::new(changes) };
        match self.write(change).await? {
            Written::Changed(Updated::Now(item, _)) => Ok(*item),
            Written::Changed(Updated::Unknown) => Err(Failure::not_found("item", id)),
            Written::Changed(Updated::TooLarge) => Err(intake::attached_too_much("metadata")),
            Written::Stored { .. }
            | Written::Known { .. }
            | Written::StoredAll(_)
            | Written::Remembered(_)
            | Written::Removed(_) => Err(wrong_answer()),
        }
    }

    /// Removes one item of `user_id`, or everything of them, facts included; says how much.
    ///
    /// # Errors
    /// As [`Memory::store`].
    pub async fn remove(
        &self,
        caller: &Principal,
        user_id: &str,
        id: Option<&str>,
    ) -> Result<Removed, Failure> {
        caller.must_act_for(user_id)?;
        let (user_id, id) = (user_id.to_owned(), id.map(str::to_owned));
        match self.write(Write::Remove { user_id, id }).await? {
            Written::Removed(removed) => Ok(removed),
            Written::Stored { .. }
            | Written::Known { .. }
            | Written::StoredAll(_)
            | Written::Changed(_)
            | Written::Remembered(_) => Err(wrong_answer()),
        }
    }

    /// The item `id`, if it exists and is the caller's to read.
    ///
    /// # Errors
    /// Why the store could not be read.
    pub async fn find(
        &self,
        caller: &Principal,
        owner: Option<&str>,
        id: &str,
    ) -> Result<Option<Item>, Failure> {
        if let Some(owner) = owner {
            caller.must_act_for(owner)?;
        }
        let owner = owner.or(caller.confined_to()).map(str::to_owned);
        let id = id.to_owned();
        self.reads
            .run("select", "memory_items", move |connection| {
                store::find(connection, owner.as_deref(), &id)
            })
            .await
    }

    /// One page of items.
    ///
    /// # Errors
    /// Why the store could not be read.
    pub async fn page(&self, filter: Filter, page: Page) -> Result<Vec<Item>, Failure> {
        self.reads
            .run("select", "memory_items", move |connection| store::page(connection, &filter, page))
            .await
    }

    /// The newest sequence number; 0 while nothing was ever stored.
    ///
    /// # Errors
    /// Why the store could not be read.
    pub async fn head(&self) -> Result<i64, Failure> {
        self.reads.run("select", "memory_items", store::head).await
    }

    async fn write(&self, write: Write) -> Result<Written, Failure> {
        self.writer.write(write, context::current_or(WRITE_PATIENCE).deadline).await
    }
}

/// What the writer never answers to what it was asked.
fn wrong_answer() -> Failure {
    Failure::new(Kind::Internal, "the writer gave a wrong answer")
}

/// Items as values, for an answer.
///
/// # Errors
/// `internal_error` when one cannot be written as JSON.
pub fn values(items: &[Item]) -> Result<Vec<Value>, Failure> {
    items.iter().map(value).collect()
}

/// One item as a value.
///
/// # Errors
/// `internal_error` when it cannot be written as JSON.
pub fn value(item: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(item)
        .map_err(|error| Failure::new(Kind::Internal, format!("item not written: {error}")))
}
