//! The conversation service of core: who may say what where, and what is said goes to memory.

pub mod bond;
pub mod follower;
mod intake;
pub mod login;
pub mod outbox;
mod schema;
pub mod spaces;
pub mod store;
pub mod table;

use std::{collections::HashSet, path::Path, rc::Rc, time::Duration};

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::{
    backplane::{
        client::{self, Clients},
        config::Data,
        database::{self, Database, Store},
        metrics::Metrics,
    },
    contract::{
        conversation::{Conversation, Forgotten},
        item::{DEFAULT_CONVERSATION, Item},
    },
    domain::{
        backoff::Repeatable,
        failure::{Failure, Kind},
        permission::{self, Wish},
        principal::Principal,
    },
};
use follower::Reach;
pub use intake::{Fate, Taken};
use outbox::Outbox;

/// The schema, oldest first.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/core/sqlite");
/// Name of the database file in the data directory.
pub const DATABASE_FILE: &str = "core.db";
/// Stores up to this size are looked over before they are used, in bytes.
const STORE_CHECK_MAX: u64 = 64 * 1024 * 1024;
/// Items of one piece of what a reader missed: a reader that stops reading holds no more.
const REPLAYED_AT_ONCE: usize = 50;
/// Messages shown with a conversation, newest first.
pub const MESSAGES_SHOWN: usize = 100;

/// A user who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The identity.
    pub id: String,
    /// Display name; may be empty.
    pub name: String,
    /// Mail address; may be empty.
    pub email: String,
}

/// The conversation service as one worker has it.
#[derive(Clone)]
pub struct Conversations {
    database: Database,
    clients: Rc<Clients>,
    outbox: Outbox,
    reach: watch::Receiver<Reach>,
    store_patience: Duration,
}

/// Opens core's store at `path` and brings its schema up.
///
/// # Errors
/// `database_error` naming what cannot be opened.
pub fn open(path: &Path, data: &Data, metrics: &Metrics) -> Result<Database, Failure> {
    let mut connection = database::connect(path)?;
    database::look_over(&mut connection, path, STORE_CHECK_MAX)
        .and_then(|()| database::migrate(&mut connection, MIGRATIONS, Store::Core))
        .map_err(|failure| database::naming(path, failure))?;
    Database::open(path, data.db_pool_size, data.db_pool_timeout, false, metrics)
}

/// An id made of words: the same for the same words, and for no others that have no NUL in them
/// (UUIDv8 from SHA-256; RFC 9562, section 5.8).
fn id_of(words: &[&str]) -> String {
    let digest = Sha256::digest(words.join("\0").as_bytes());
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

impl Conversations {
    /// The service over core's store, this worker's clients, the outbox, and how far the log is
    /// followed. Memory has `store_patience` to take an input before it goes to the outbox.
    #[must_use]
    pub fn new(
        database: Database,
        clients: Rc<Clients>,
        outbox: Outbox,
        reach: watch::Receiver<Reach>,
        store_patience: Duration,
    ) -> Self {
        Conversations { database, clients, outbox, reach, store_patience }
    }

    /// Whether the caller takes part in a conversation. Everyone has one called `default`.
    ///
    /// # Errors
    /// `resource_not_found`, `permission_denied`.
    pub async fn must_take_part(&self, caller: &Caller, id: &str) -> Result<(), Failure> {
        if id == DEFAULT_CONVERSATION {
            return Ok(());
        }
        self.conversation(caller, id, Wish::Take).await.map(|_| ())
    }

    /// A conversation, if the caller may do what they wish with it.
    ///
    /// # Errors
    /// `resource_not_found`, `permission_denied`.
    pub async fn conversation(
        &self,
        caller: &Caller,
        id: &str,
        wish: Wish,
    ) -> Result<Conversation, Failure> {
        let wanted = id.to_owned();
        let found = self
            .database
            .run("select", "conversations", move |connection| {
                store::conversation(connection, &wanted)
            })
            .await?
            .ok_or_else(|| Failure::not_found("conversation", id))?;
        permission::conversation(&caller.id, &found.owner_id, &found.participant_ids, wish)?;
        Ok(found)
    }

    /// The newest messages of a conversation. Memory may be away: then there are none to show,
    /// and the second value says why.
    pub async fn messages(&self, conversation: &Conversation) -> (Vec<Value>, Option<Failure>) {
        // Only what participants said: an id is no secret, and memory lets every user store under
        // any conversation's name.
        let mut members: HashSet<&str> =
            conversation.participant_ids.iter().map(String::as_str).collect();
        members.insert(&conversation.owner_id);
        let named: Vec<String> = members.iter().map(|id| client::segment(id)).collect();
        let path = format!(
            "conversation/{}?limit={MESSAGES_SHOWN}&members={}",
            client::segment(&conversation.id),
            named.join(",")
        );
        let read = async { self.clients.of("memory")?.read(path).await };
        match read.await {
            Ok(items) => (items, None),
            Err(failure) => {
                log::warn!("messages not shown conversation={} cause={failure}", conversation.id);
                (Vec::new(), Some(failure))
            }
        }
    }

    /// What the caller said after `seq`, in the log's order: one page, empty at the end of it.
    ///
    /// # Errors
    /// Why memory could not be read.
    pub async fn said_after(
        &self,
        caller: &Caller,
        conversation_id: Option<&str>,
        seq: i64,
    ) -> Result<Vec<Item>, Failure> {
        let user = client::segment(&caller.id);
        let place = match conversation_id {
            Some(id) => format!("history/{user}/conversation/{}", client::segment(id)),
            None => format!("history/{user}"),
        };
        let page = self
            .clients
            .of("memory")?
            .read(format!("{place}?after={seq}&limit={REPLAYED_AT_ONCE}"))
            .await?;
        serde_json::from_value(Value::Array(page)).map_err(|error| {
            Failure::new(Kind::BadReply, format!("memory's items were not understood: {error}"))
                .of_service("memory")
        })
    }

    /// The newest sequence number of memory's log.
    ///
    /// # Errors
    /// Why memory could not be read.
    pub async fn log_head(&self) -> Result<i64, Failure> {
        let answer = self.clients.of("memory")?.read("log/head".to_owned()).await?;
        answer.first().and_then(|head| head.get("seq")?.as_i64()).ok_or_else(|| {
            Failure::new(Kind::BadReply, "memory did not say how far its log is")
                .of_service("memory")
        })
    }

    /// What waits for memory.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Forgets everything `user_id` ever said: what waits in the outbox, and then what memory has.
    /// If memory is away the first is done and the second is not: ask again.
    ///
    /// # Errors
    /// `permission_denied`; why the outbox or memory could not do it.
    pub async fn forget(&self, caller: &Principal, user_id: &str) -> Result<Forgotten, Failure> {
        caller.must_act_for(user_id)?;
        // In this order: what were still on its way would come after memory has forgotten.
        let withdrawn = self.outbox.forget(user_id).await?;
        let mut arguments = Map::new();
        arguments.insert("user_id".to_owned(), user_id.into());
        let call = self.clients.of("memory")?;
        let reply = call.call("forget_user", arguments, Repeatable::Always).await?;
        let deleted = reply.get("deleted").and_then(Value::as_u64).ok_or_else(|| {
            Failure::new(Kind::BadReply, "memory did not confirm that it has forgotten")
                .of_service("memory")
        })?;
        // A memory of before there were facts has none.
        let facts = reply.get("facts").and_then(Value::as_u64).unwrap_or_default();
        Ok(Forgotten { user_id: user_id.to_owned(), deleted, facts, withdrawn })
    }

    /// Asks cognition for `tool` in the caller's name.
    ///
    /// # Errors
    /// Why cognition could not be asked, or its own failure.
    pub async fn ask_cognition(
        &self,
        caller: &Caller,
        tool: &str,
        mut arguments: Map<String, Value>,
    ) -> Result<Value, Failure> {
        arguments.insert("user_id".to_owned(), caller.id.clone().into());
        self.clients.of("cognition")?.call(tool, arguments, Repeatable::Always).await
    }
}
