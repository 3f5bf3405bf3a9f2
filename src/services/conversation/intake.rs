//! Taking an input: checked, then stored in memory or kept in the outbox, and only then
//! acknowledged.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Caller, Conversations,
    follower::{self, Reach},
    id_of,
    outbox::{Entry, Put},
};
use crate::{
    backplane::{
        clock,
        context::{self, RequestContext},
    },
    contract::{
        conversation::{Input, Received},
        item::{
            ALREADY_EXISTS, ATTACHED_BYTES_MAX, DEFAULT_CONVERSATION, METADATA_DEPTH_MAX,
            NAME_CHARS_MAX, ROLE_USER, Stored, is_flat_enough, json_bytes,
        },
    },
    domain::{
        backoff::Repeatable,
        failure::{Failure, FieldProblem, Kind},
        outbox::is_for_good,
    },
};

/// Part of a caller's own deadline that memory may use; the rest is for the outbox.
const MEMORYS_PART: f64 = 0.75;

/// When a caller may come back whose input was not taken, where memory does not say.
const COME_BACK: Duration = Duration::from_secs(1);

/// Where an input has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on disk in memory.
    Stored,
    /// It is on disk in the outbox, on its way to memory.
    Pending,
}

/// An input that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What is answered.
    pub received: Received,
    /// Where it is.
    pub fate: Fate,
    /// Whether it had been taken before, under the same idempotency key.
    pub replayed: bool,
}

/// The id of a user's input with an idempotency key: the same for the same user and key, and for
/// nothing else.
fn keyed_id(user_id: &str, key: &str) -> String {
    id_of(&["cortex input", user_id, key])
}

/// What memory is given: `input_data` of the item.
fn body(caller: &Caller, received: &Received) -> Map<String, Value> {
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
    input
}

/// What memory would refuse is refused here: an acknowledged input must be one that it takes.
fn check(caller: &Caller, received: &Received) -> Result<(), Failure> {
    if json_bytes(&received.metadata) > ATTACHED_BYTES_MAX {
        let message = format!("holds more than {ATTACHED_BYTES_MAX} bytes");
        return Err(Failure::invalid_field("metadata", message, "value_error"));
    }
    if !is_flat_enough(&received.metadata, METADATA_DEPTH_MAX) {
        let message = format!("must be nested at most {METADATA_DEPTH_MAX} levels deep");
        return Err(Failure::invalid_field("metadata", message, "value_error"));
    }
    let fits = |text: &str| !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX;
    if !fits(&received.conversation_id) {
        let message = format!("must have 1 to {NAME_CHARS_MAX} characters");
        return Err(Failure::invalid_field("conversation_id", message, "value_error"));
    }
    if fits(&caller.id) {
        return Ok(());
    }
    Err(Failure::new(Kind::Unauthorized, "the token's subject is empty or too long"))
}

/// The key was used for another input.
fn key_used() -> Failure {
    Failure::invalid(vec![FieldProblem {
        at: vec!["header".to_owned(), "Idempotency-Key".to_owned()],
        message: "was used before for another input".to_owned(),
        kind: "value_error",
    }])
}

impl Conversations {
    /// Takes an input: acknowledged once it is on disk in memory, or in the outbox if memory
    /// cannot take it. With an idempotency `key`, the same input again gets the same answer and is
    /// stored once.
    ///
    /// # Errors
    /// `validation_error`; `resource_not_found` or `permission_denied` for the conversation;
    /// `timeout` when the caller waits no longer; why the outbox could not keep it.
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
        check(caller, &received)?;
        // What follows something that waits must wait behind it.
        let (user, conversation) = (&caller.id, &received.conversation_id);
        let deadline = Instant::now() + self.memorys_part();
        let cause = if self.outbox.released(user, conversation, deadline).await {
            match self.store(caller, &received, deadline).await {
                Ok(stored) => return stored_as(received, stored, key.is_some()),
                Err(failure) if is_for_good(failure.kind) || gave_up() => return Err(failure),
                Err(failure) if !self.outbox.is_in_use() => return Err(to_come_back(failure)),
                Err(failure) => Some(failure),
            }
        } else {
            None
        };
        self.keep(caller, received, key.is_some(), cause).await
    }

    /// How long memory has to take an input.
    fn memorys_part(&self) -> Duration {
        let left = context::current_or(self.store_patience).remaining();
        left.mul_f64(MEMORYS_PART).min(self.store_patience)
    }

    /// Stores an input in memory, by `deadline`.
    async fn store(
        &self,
        caller: &Caller,
        received: &Received,
        deadline: Instant,
    ) -> Result<Stored, Failure> {
        let mut arguments = Map::new();
        arguments.insert("user_id".to_owned(), json!(caller.id));
        arguments.insert("input_data".to_owned(), Value::Object(body(caller, received)));
        let storing = async {
            // Known to be away at the start: it takes nothing, and need not be asked.
            let reach = *self.reach.borrow();
            if reach.since().is_none() {
                let patience = if reach == Reach::Away {
                    Duration::ZERO
                } else {
                    context::current_or(self.store_patience).remaining()
                };
                follower::begun(self.reach.clone(), patience).await?;
            }
            // The id makes a repetition harmless.
            self.clients.of("memory")?.call("store_input", arguments, Repeatable::Always).await
        };
        let context = context::current_or(self.store_patience);
        let reply = RequestContext { deadline, ..context }.scope(storing).await?;
        serde_json::from_value(reply).map_err(|error| {
            Failure::new(Kind::BadReply, format!("memory did not confirm the input: {error}"))
                .of_service("memory")
        })
    }

    /// Keeps an input in the outbox.
    async fn keep(
        &self,
        caller: &Caller,
        received: Received,
        keyed: bool,
        cause: Option<Failure>,
    ) -> Result<Taken, Failure> {
        let input = Value::Object(body(caller, &received)).to_string();
        let entry = Entry {
            message_id: received.message_id.clone(),
            user_id: caller.id.clone(),
            conversation_id: received.conversation_id.clone(),
            input,
        };
        match self.outbox.put(entry, cause).await? {
            Put::Waits => Ok(Taken { received, fate: Fate::Pending, replayed: false }),
            Put::Known(before) => kept_before(received, &before, keyed),
        }
    }
}

/// Where nothing keeps the input, its caller must send it again: when is always said.
fn to_come_back(failure: Failure) -> Failure {
    let passes = matches!(
        failure.kind,
        Kind::Overloaded | Kind::Unavailable | Kind::CircuitOpen | Kind::Connection
    );
    if passes && failure.retry_after.is_none() {
        return failure.retry_after(COME_BACK);
    }
    failure
}

/// Whether the caller waits no longer: nothing that is done now would be heard.
fn gave_up() -> bool {
    context::current().is_some_and(|context| context.remaining().is_zero())
}

fn stored_as(received: Received, stored: Stored, keyed: bool) -> Result<Taken, Failure> {
    log::debug!("input stored seq={} conversation={}", stored.seq, received.conversation_id);
    let replayed = keyed && stored.status == ALREADY_EXISTS;
    if replayed && stored.same_body == Some(false) {
        return Err(key_used());
    }
    let timestamp = match stored.item {
        Some(before) => before.timestamp,
        None => received.timestamp,
    };
    Ok(Taken { received: Received { timestamp, ..received }, fate: Fate::Stored, replayed })
}

/// An input whose id waits in the outbox already: the same, or another under the same key.
fn kept_before(received: Received, before: &str, keyed: bool) -> Result<Taken, Failure> {
    let before: Map<String, Value> = serde_json::from_str(before).map_err(|error| {
        Failure::new(Kind::Storage, format!("an entry of the outbox cannot be read: {error}"))
    })?;
    let same = before.get("content").and_then(Value::as_str) == Some(&received.content)
        && before.get("conversation_id").and_then(Value::as_str) == Some(&received.conversation_id)
        && before.get("metadata").and_then(Value::as_object) == Some(&received.metadata);
    if !same {
        return Err(key_used());
    }
    let timestamp = before.get("timestamp").and_then(Value::as_str).unwrap_or(&received.timestamp);
    let received = Received { timestamp: timestamp.to_owned(), ..received };
    Ok(Taken { received, fate: Fate::Pending, replayed: keyed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received() -> Received {
        Received {
            content: "hi".into(),
            conversation_id: "c".into(),
            timestamp: "now".into(),
            metadata: Map::new(),
            message_id: "m".into(),
        }
    }

    fn caller(id: &str) -> Caller {
        Caller { id: id.into(), name: "Ann".into(), email: String::new() }
    }

    #[test]
    fn a_key_leads_to_one_id_per_user() {
        let id = keyed_id("ann", "k");
        assert_eq!(id, keyed_id("ann", "k"));
        // Stores hold such ids: what leads to them must never change.
        assert_eq!(id, "dab57e10-4f44-8fea-9bda-9e26b29a7555");
        assert_ne!(id, keyed_id("bob", "k"));
        assert_ne!(id, keyed_id("ann", "k2"));
        assert_ne!(keyed_id("a", "b\0c"), keyed_id("a\0b", "cc"));
        assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 8);
    }

    #[test]
    fn what_memory_would_refuse_is_refused_at_once() {
        assert_eq!(check(&caller("ann"), &received()), Ok(()));
        let mut heavy = received();
        heavy.metadata.insert("x".into(), "y".repeat(ATTACHED_BYTES_MAX).into());
        assert_eq!(check(&caller("ann"), &heavy).unwrap_err().kind, Kind::Validation);
        let mut deep = json!({});
        for _ in 0..METADATA_DEPTH_MAX {
            deep = json!([deep]);
        }
        let deep = Received { metadata: Map::from_iter([("x".to_owned(), deep)]), ..received() };
        assert_eq!(check(&caller("ann"), &deep).unwrap_err().kind, Kind::Validation);
        let odd = Received { conversation_id: "c".repeat(256), ..received() };
        assert_eq!(check(&caller("ann"), &odd).unwrap_err().kind, Kind::Validation);
        assert_eq!(check(&caller(""), &received()).unwrap_err().kind, Kind::Unauthorized);
    }

    #[test]
    fn a_repeated_input_gets_the_first_answer_and_another_one_is_refused() {
        let before = Value::Object(body(&caller("ann"), &received())).to_string();
        let again = Received { timestamp: "later".into(), ..received() };
        let taken = kept_before(again.clone(), &before, true).unwrap();
        assert_eq!((taken.received.timestamp.as_str(), taken.replayed), ("now", true));
        let other = Received { content: "ho".into(), ..again };
        assert_eq!(kept_before(other, &before, true).unwrap_err().kind, Kind::Validation);
    }
}
