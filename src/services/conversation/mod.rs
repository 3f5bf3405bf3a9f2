//! The conversation service of core: who may say what where, and what is said goes to memory.

pub mod follower;
pub mod login;
mod schema;
pub mod spaces;
pub mod store;

use std::{collections::HashSet, path::Path, rc::Rc, sync::Arc};

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    backplane::{
        client::{self, Clients},
        clock,
        config::Data,
        database::{self, Database, Store},
        fanout::Bus,
        metrics::Metrics,
    },
    contract::{
        conversation::{Conversation, Input, Received},
        item::{ALREADY_EXISTS, DEFAULT_CONVERSATION, Item, ROLE_USER, Stored},
    },
    domain::{
        backoff::Repeatable,
        failure::{Failure, FieldProblem, Kind},
        permission::{self, Wish},
    },
};
use follower::Beginning;

/// The schema, oldest first.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/core/sqlite");
/// Name of the database file in the data directory.
pub const DATABASE_FILE: &str = "core.db";
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
    bus: Bus,
    beginning: Arc<Beginning>,
}

/// Opens core's store at `path` and brings its schema up.
///
/// # Errors
/// `database_error` naming what cannot be opened.
pub fn open(path: &Path, data: &Data, metrics: &Metrics) -> Result<Database, Failure> {
    let mut connection = database::connect(path)?;
    database::migrate(&mut connection, MIGRATIONS, Store::Core)?;
    Database::open(path, data.db_pool_size, data.db_pool_timeout, false, metrics)
}

/// A taken input as the item it was stored as.
fn said(caller: &Caller, received: &Received, seq: i64) -> Item {
    Item {
        seq,
        id: received.message_id.clone(),
        user_id: caller.id.clone(),
        sender_id: caller.id.clone(),
        conversation_id: Some(received.conversation_id.clone()),
        role: ROLE_USER.to_owned(),
        sender: (!caller.name.is_empty()).then(|| caller.name.clone()),
        caption: None,
        content: received.content.clone(),
        content_type: "text".to_owned(),
        timestamp: received.timestamp.clone(),
        metadata: received.metadata.clone(),
        extra: Map::new(),
    }
}

/// An input that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What is answered.
    pub received: Received,
    /// Whether it had been taken before, under the same idempotency key.
    pub replayed: bool,
}

/// The id of a user's input with an idempotency key: the same for the same user and key, and for
/// nothing else (UUIDv8 from SHA-256; RFC 9562, section 5.8).
fn keyed_id(user_id: &str, key: &str) -> String {
    let digest = Sha256::new()
        .chain_update("cortex input\0")
        .chain_update(user_id)
        .chain_update("\0")
        .chain_update(key)
        .finalize();
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

impl Conversations {
    /// The service over core's store, this worker's clients, and the bus with its beginning.
    #[must_use]
    pub fn new(
        database: Database,
        clients: Rc<Clients>,
        bus: Bus,
        beginning: Arc<Beginning>,
    ) -> Self {
        Conversations { database, clients, bus, beginning }
    }

    /// Takes an input: checked, then stored in memory, and only then acknowledged. With an
    /// idempotency `key`, the same input again gets the same answer and is stored once.
    ///
    /// # Errors
    /// `validation_error`; `resource_not_found` or `permission_denied` for the conversation; why
    /// memory could not store it.
    pub async fn take(
        &self,
        caller: &Caller,
        input: Input,
        key: Option<&str>,
    ) -> Result<Taken, Failure> {
        let content = input
            .content
            .or(input.message)
            .ok_or_else(|| Failure::invalid_field("content", "field required", "missing"))?;
        let conversation_id =
            input.conversation_id.unwrap_or_else(|| DEFAULT_CONVERSATION.to_owned());
        self.must_take_part(caller, &conversation_id).await?;
        let received = Received {
            content,
            conversation_id,
            timestamp: clock::now_rfc3339(),
            metadata: input.metadata.unwrap_or_default(),
            message_id: match key {
                Some(key) => keyed_id(&caller.id, key),
                None => uuid::Uuid::now_v7().to_string(),
            },
        };
        let stored = self.store(caller, &received).await?;
        log::debug!("input stored seq={} conversation={}", stored.seq, received.conversation_id);
        let replayed = key.is_some() && stored.status == ALREADY_EXISTS;
        if replayed && stored.same_body == Some(false) {
            let message = "was used before for another input";
            return Err(Failure::invalid(vec![FieldProblem {
                at: vec!["header".to_owned(), "Idempotency-Key".to_owned()],
                message: message.to_owned(),
                kind: "value_error",
            }]));
        }
        if !replayed && self.beginning.acknowledged(stored.seq) {
            let item = said(caller, &received, stored.seq);
            self.bus.publish(vec![follower::broadcast(&item)]);
        }
        let timestamp = match stored.item {
            Some(before) => before.timestamp,
            None => received.timestamp,
        };
        Ok(Taken { received: Received { timestamp, ..received }, replayed })
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
        let page = self.clients.of("memory")?.read(format!("{place}?after={seq}")).await?;
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

    async fn store(&self, caller: &Caller, received: &Received) -> Result<Stored, Failure> {
        let mut input = Map::new();
        input.insert("id".to_owned(), received.message_id.clone().into());
        input.insert("content".to_owned(), received.content.clone().into());
        input.insert("conversation_id".to_owned(), received.conversation_id.clone().into());
        input.insert("timestamp".to_owned(), received.timestamp.clone().into());
        input.insert("role".to_owned(), ROLE_USER.into());
        input.insert("metadata".to_owned(), Value::Object(received.metadata.clone()));
        if !caller.name.is_empty() {
            input.insert("sender".to_owned(), caller.name.clone().into());
        }
        let mut arguments = Map::new();
        arguments.insert("user_id".to_owned(), json!(caller.id));
        arguments.insert("input_data".to_owned(), Value::Object(input));
        // The id makes a repetition harmless: memory stores it once.
        let reply =
            self.clients.of("memory")?.call("store_input", arguments, Repeatable::Always).await?;
        serde_json::from_value(reply).map_err(|error| {
            Failure::new(Kind::BadReply, format!("memory did not confirm the input: {error}"))
                .of_service("memory")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_to_one_id_per_user() {
        let id = keyed_id("ann", "k");
        assert_eq!(id, keyed_id("ann", "k"));
        assert_ne!(id, keyed_id("bob", "k"));
        assert_ne!(id, keyed_id("ann", "k2"));
        assert_ne!(keyed_id("a", "b\0c"), keyed_id("a\0b", "cc"));
        assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 8);
    }
}
