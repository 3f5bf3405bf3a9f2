//! Events of the output stream, in the vocabularies clients know.

use serde_json::{Value, json};

use crate::contract::item::{Item, ROLE_USER};

/// The rendering for `/output/stream`: `input` for what users said, `output` for replies.
pub const FACE_PLAIN: usize = 0;
/// The rendering for `/v1`: `message` with a `message_type`.
pub const FACE_MESSAGE: usize = 1;

/// An item as an event of the vocabulary `face`.
#[must_use]
pub fn face(item: &Item, face: usize) -> Value {
    if face == FACE_MESSAGE { message(item) } else { plain(item) }
}

/// An item as an event of the plain vocabulary. `output` satisfies both readings clients have of
/// it: `content` at the top, and `data` with `content` and `conversation_id`.
#[must_use]
pub fn plain(item: &Item) -> Value {
    let mut event = json!({
        "type": if item.role == ROLE_USER { "input" } else { "output" },
        "data": {
            "content": item.content,
            "conversation_id": item.conversation_id,
            "timestamp": item.timestamp,
            "message_id": item.id,
        },
        "user_id": item.user_id,
        "conversation_id": item.conversation_id,
        "timestamp": item.timestamp,
        "metadata": item.metadata,
    });
    if item.role != ROLE_USER
        && let Some(event) = event.as_object_mut()
    {
        event.insert("content".to_owned(), item.content.clone().into());
        event.insert("role".to_owned(), item.role.clone().into());
    }
    event
}

/// An item as an event of the `message` vocabulary.
#[must_use]
pub fn message(item: &Item) -> Value {
    json!({
        "type": "message",
        "message_type": item.role,
        "data": {
            "content": item.content,
            "conversation_id": item.conversation_id,
            "message_id": item.id,
            "timestamp": item.timestamp,
            "sender": {
                "id": item.sender_id,
                "name": item.sender.as_deref().unwrap_or(&item.sender_id),
                "role": item.role,
            },
        },
        "metadata": item.metadata,
    })
}

/// The first event of every stream.
#[must_use]
pub fn connected(user_id: &str, conversation_id: Option<&str>, timestamp: &str) -> Value {
    let mut event = json!({
        "type": "connection_established",
        "user_id": user_id,
        "timestamp": timestamp,
    });
    if let (Some(id), Some(event)) = (conversation_id, event.as_object_mut()) {
        event.insert("conversation_id".to_owned(), id.into());
    }
    event
}

/// The event that says why a stream ends.
#[must_use]
pub fn failed(message: &str, timestamp: &str) -> Value {
    json!({ "type": "error", "message": message, "timestamp": timestamp })
}

/// The event that says that a stream still lives.
#[must_use]
pub fn heartbeat(timestamp: &str) -> Value {
    json!({ "type": "heartbeat", "timestamp": timestamp })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(role: &str) -> Item {
        serde_json::from_value(json!({
            "seq": 3, "id": "m", "user_id": "u", "sender_id": "u", "conversation_id": "c",
            "role": role, "sender": "Ann", "content": "hello", "timestamp": "t",
            "metadata": {"k": "v"}
        }))
        .unwrap()
    }

    #[test]
    fn an_input_is_echoed_in_the_first_generations_words() {
        assert_eq!(
            plain(&item("user")),
            json!({"type": "input",
                   "data": {"content": "hello", "conversation_id": "c", "timestamp": "t",
                            "message_id": "m"},
                   "user_id": "u", "conversation_id": "c", "timestamp": "t",
                   "metadata": {"k": "v"}})
        );
    }

    #[test]
    fn a_reply_satisfies_both_readings_of_output() {
        let event = plain(&item("assistant"));
        assert_eq!(event["type"], "output");
        assert_eq!(event["content"], "hello");
        assert_eq!(event["data"]["content"], "hello");
    }

    #[test]
    fn the_message_vocabulary_names_the_sender() {
        assert_eq!(
            message(&item("user")),
            json!({"type": "message", "message_type": "user",
                   "data": {"content": "hello", "conversation_id": "c", "message_id": "m",
                            "timestamp": "t",
                            "sender": {"id": "u", "name": "Ann", "role": "user"}},
                   "metadata": {"k": "v"}})
        );
    }

    #[test]
    fn the_first_event_names_the_conversation_when_one_was_asked_for() {
        assert_eq!(
            connected("u", None, "t"),
            json!({"type": "connection_established", "user_id": "u", "timestamp": "t"})
        );
        assert_eq!(connected("u", Some("c"), "t")["conversation_id"], "c");
    }
}
