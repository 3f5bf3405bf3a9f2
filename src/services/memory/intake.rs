//! From what a caller sent to an item: which keys mean what, and what is not acceptable.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::{
    backplane::clock,
    contract::item::{ATTACHED_BYTES_MAX, Item, NAME_CHARS_MAX, ROLE_USER, json_bytes},
    domain::failure::{Failure, FieldProblem},
};

/// Keys an item carries itself; in an input they mean nothing and are moved into `metadata`.
const RESERVED: [&str; 2] = ["seq", "user_id"];

/// An item that is to be stored, and the hash of what it says.
#[derive(Clone, Debug)]
pub struct NewItem {
    /// The item; its `seq` is not given out yet.
    pub item: Item,
    /// SHA-256 of what the caller said, without when and under which id: two stores with one id and
    /// one hash are one store that was repeated.
    pub body_hash: String,
}

impl From<Item> for NewItem {
    fn from(item: Item) -> Self {
        let body_hash = body_hash(&item);
        NewItem { item, body_hash }
    }
}

/// The hash of what an item says, in hexadecimal.
fn body_hash(item: &Item) -> String {
    let said = (
        &item.conversation_id,
        &item.role,
        &item.caption,
        &item.content,
        &item.content_type,
        &item.metadata,
        &item.extra,
    );
    // Texts and JSON values can always be written.
    let bytes = serde_json::to_vec(&said).unwrap_or_default();
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let nibble = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    digest.iter().flat_map(|byte| [nibble(byte >> 4), nibble(byte & 15)]).collect()
}

/// What an update may change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// New text.
    pub content: Option<String>,
    /// New content type.
    pub content_type: Option<String>,
    /// New conversation.
    pub conversation_id: Option<String>,
    /// Merged into the metadata, key by key.
    pub metadata: Map<String, Value>,
}

/// An item from `input_data`; `seq` is 0 until it is stored.
///
/// # Errors
/// `validation_error` naming every field that is not acceptable.
pub fn item(user_id: &str, mut input: Map<String, Value>, now: i64) -> Result<Item, Failure> {
    let mut problems = Vec::new();
    check_name(&mut problems, "user_id", user_id);
    let id = text(&mut input, &mut problems, "id", Some(NAME_CHARS_MAX));
    let conversation_id = text(&mut input, &mut problems, "conversation_id", Some(NAME_CHARS_MAX));
    let content_type = text(&mut input, &mut problems, "content_type", Some(NAME_CHARS_MAX));
    let sender_id = text(&mut input, &mut problems, "sender_id", Some(NAME_CHARS_MAX));
    let sender = text(&mut input, &mut problems, "sender", None);
    let caption = text(&mut input, &mut problems, "caption", None);
    let role = text(&mut input, &mut problems, "role", Some(NAME_CHARS_MAX));
    let content = text(&mut input, &mut problems, "content", None)
        .or_else(|| text(&mut input, &mut problems, "message", None));
    let timestamp = text(&mut input, &mut problems, "timestamp", None);
    let said_at = timestamp.as_deref().map(|text| {
        clock::parse(text).unwrap_or_else(|| {
            problems.push(problem("timestamp", "must be RFC 3339", "value_error"));
            now
        })
    });
    let mut metadata = object(&mut input, &mut problems, "metadata");
    for key in RESERVED {
        if let Some(value) = input.remove(key) {
            metadata.entry(key).or_insert(value);
        }
    }
    for (field, map) in [("metadata", &metadata), ("input_data", &input)] {
        if json_bytes(map) > ATTACHED_BYTES_MAX {
            return Err(attached_too_much(field));
        }
    }
    if !problems.is_empty() {
        return Err(Failure::invalid(problems));
    }
    let role = role
        .or_else(|| metadata.get("role").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_else(|| ROLE_USER.to_owned());
    Ok(Item {
        seq: 0,
        id: id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
        user_id: user_id.to_owned(),
        sender_id: sender_id.unwrap_or_else(|| user_id.to_owned()),
        conversation_id,
        role,
        sender,
        caption,
        content: content.unwrap_or_default(),
        content_type: content_type.unwrap_or_else(|| "text".to_owned()),
        timestamp: clock::rfc3339(said_at.unwrap_or(now)),
        metadata,
        extra: input,
    })
}

/// The changes in `updates`. With `merge_rest`, keys that are no fields are merged into the
/// metadata, as one family of clients expects; otherwise they are refused.
///
/// # Errors
/// `validation_error` naming every field that is not acceptable.
pub fn changes(
    mut updates: Map<String, Value>,
    merge_rest: bool,
    now: i64,
) -> Result<Changes, Failure> {
    let mut problems = Vec::new();
    let content = text(&mut updates, &mut problems, "content", None);
    let content_type = text(&mut updates, &mut problems, "content_type", Some(NAME_CHARS_MAX));
    let conversation_id =
        text(&mut updates, &mut problems, "conversation_id", Some(NAME_CHARS_MAX));
    let mut metadata = object(&mut updates, &mut problems, "metadata");
    if merge_rest {
        metadata.extend(updates);
    } else {
        for key in updates.keys() {
            problems.push(problem(key, "cannot be changed", "value_error"));
        }
    }
    if !problems.is_empty() {
        return Err(Failure::invalid(problems));
    }
    metadata.insert("updated_at".to_owned(), clock::rfc3339(now).into());
    Ok(Changes { content, content_type, conversation_id, metadata })
}

/// More was attached to an item than it may hold.
#[must_use]
pub fn attached_too_much(field: &str) -> Failure {
    let message = format!("holds more than {ATTACHED_BYTES_MAX} bytes");
    Failure::invalid(vec![problem(field, &message, "value_error")])
}

fn problem(field: &str, message: &str, kind: &'static str) -> FieldProblem {
    FieldProblem {
        at: vec!["input_data".to_owned(), field.to_owned()],
        message: message.to_owned(),
        kind,
    }
}

fn check_name(problems: &mut Vec<FieldProblem>, field: &str, value: &str) {
    if value.is_empty() {
        problems.push(problem(field, "must not be empty", "value_error"));
    } else if value.chars().count() > NAME_CHARS_MAX {
        problems.push(problem(field, "is longer than 255 characters", "value_error"));
    }
}

/// Takes a text out of the input; null counts as absent. With `most` it is a name: not empty, and
/// not longer than that.
fn text(
    input: &mut Map<String, Value>,
    problems: &mut Vec<FieldProblem>,
    field: &str,
    most: Option<usize>,
) -> Option<String> {
    let value = input.remove(field)?;
    if value.is_null() {
        return None;
    }
    let Value::String(text) = value else {
        problems.push(problem(field, "must be a string", "type_error"));
        return None;
    };
    if most.is_some() {
        check_name(problems, field, &text);
    }
    Some(text)
}

fn object(
    input: &mut Map<String, Value>,
    problems: &mut Vec<FieldProblem>,
    field: &str,
) -> Map<String, Value> {
    let value = input.remove(field).unwrap_or_default();
    if let Value::Object(map) = value {
        return map;
    }
    if !value.is_null() {
        problems.push(problem(field, "must be an object", "type_error"));
    }
    Map::new()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_795_170_785_276_624;

    fn check(input: Value) -> Result<Item, Failure> {
        item("u", input.as_object().unwrap().clone(), NOW)
    }

    #[test]
    fn absent_fields_get_their_defaults() {
        let item = check(json!({"content": "hello"})).unwrap();
        assert_eq!(item.timestamp, "2026-11-20T10:33:05.276624Z");
        assert_eq!((item.role.as_str(), item.sender_id.as_str()), ("user", "u"));
        assert_eq!(item.id.len(), 36);
        assert!(item.conversation_id.is_none());
    }

    #[test]
    fn every_known_key_finds_its_place_and_unknown_ones_are_kept() {
        let item = check(json!({
            "id": "m1", "message": "text", "conversation_id": "c", "sender_id": "assistant",
            "sender": "Cortex", "caption": "a cat", "content_type": "image",
            "timestamp": "2026-11-20T12:33:05+02:00", "metadata": {"role": "assistant"},
            "mood": {"good": true}, "seq": 99, "user_id": "someone else"
        }))
        .unwrap();
        assert_eq!(item.content, "text");
        assert_eq!((item.role.as_str(), item.user_id.as_str(), item.seq), ("assistant", "u", 0));
        assert_eq!(item.timestamp, "2026-11-20T10:33:05.000000Z");
        assert_eq!(item.extra.get("mood"), Some(&json!({"good": true})));
        assert_eq!(item.metadata.get("seq"), Some(&json!(99)), "kept, but means nothing");
    }

    #[test]
    fn the_hash_is_of_what_was_said_not_of_when() {
        let hash = |input: Value, now: i64| {
            NewItem::from(item("u", input.as_object().unwrap().clone(), now).unwrap()).body_hash
        };
        let said = || json!({"content": "a", "metadata": {"x": 1, "y": 2}});
        assert_eq!(hash(said(), NOW), hash(said(), NOW + 1));
        let reordered = json!({"metadata": {"y": 2, "x": 1}, "content": "a"});
        assert_eq!(hash(said(), NOW), hash(reordered, NOW));
        assert_ne!(hash(said(), NOW), hash(json!({"content": "a"}), NOW));
        // Stores hold hashes: what is hashed must never change.
        assert_eq!(
            hash(said(), NOW),
            "ddd6695fe9f90570f2cc2e71d6c9e03b2e51c01d72006d45a1b686649dd0986f"
        );
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let failure = check(json!({
            "content": 5, "metadata": [], "timestamp": "soon", "id": "", "role": {}
        }))
        .unwrap_err();
        let fields: Vec<&str> =
            failure.fields.iter().filter_map(|f| f.at.last().map(String::as_str)).collect();
        assert_eq!(fields, ["id", "role", "content", "timestamp", "metadata"]);
    }

    #[test]
    fn updates_merge_metadata_and_stamp_the_time() {
        let updates = json!({"content": "new", "metadata": {"a": 1}, "b": 2});
        let merged = changes(updates.as_object().unwrap().clone(), true, NOW).unwrap();
        assert_eq!(merged.content.as_deref(), Some("new"));
        assert_eq!(merged.metadata.get("b"), Some(&json!(2)));
        assert!(merged.metadata.contains_key("updated_at"));
        assert!(changes(updates.as_object().unwrap().clone(), false, NOW).is_err());
    }
}
