//! An item of memory: what was said, by whom, where and when.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Role of a person's input.
pub const ROLE_USER: &str = "user";
/// Status of a store whose id was known.
pub const ALREADY_EXISTS: &str = "already_exists";
pub use crate::domain::outbox::DEFAULT_CONVERSATION;

/// The tool that stores several inputs in one commit, in their order.
pub const STORE_INPUTS: &str = "store_inputs";
/// Metadata key of an input whose id had been used for another one: the id it was acknowledged
/// under.
pub const ACKNOWLEDGED_AS: &str = "acknowledged_as";
/// Status of an input that was not acceptable.
pub const REFUSED: &str = "refused";
/// Longest id, user id, conversation id, role or content type, in characters.
pub const NAME_CHARS_MAX: usize = 255;
/// What an item's metadata and its further keys may hold, in bytes as JSON, each. Text belongs into
/// `content`.
pub const ATTACHED_BYTES_MAX: usize = 262_144;

/// How deep metadata may be nested: what is taken must still be read where it is wrapped, and the
/// readers of JSON stop at 127 levels.
pub const METADATA_DEPTH_MAX: usize = 110;

/// Whether an object is nested no deeper than `most` levels, itself one of them.
#[must_use]
pub fn is_flat_enough(object: &Map<String, Value>, most: usize) -> bool {
    object.values().all(|value| is_shallow(value, most.saturating_sub(1)))
}

fn is_shallow(value: &Value, most: usize) -> bool {
    match value {
        Value::Object(object) => most > 0 && is_flat_enough(object, most),
        Value::Array(items) => most > 0 && items.iter().all(|item| is_shallow(item, most - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// How long an object is as JSON, in bytes; an empty one is not written for that.
#[must_use]
pub fn json_bytes(object: &Map<String, Value>) -> usize {
    if object.is_empty() {
        return 2;
    }
    serde_json::to_string(object).map_or(usize::MAX, |json| json.len())
}

/// One stored item, as every reader sees it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Item {
    /// Place in the store's log: increasing over the whole store, never used twice.
    #[serde(default)]
    pub seq: i64,
    /// Its id, unique for its owner (UUIDv7 unless the caller gave one).
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Who said it: the owner unless the caller named another.
    #[serde(default)]
    pub sender_id: String,
    /// The conversation it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// `user`, `assistant`, `system` or `tool`.
    #[serde(default = "role_user")]
    pub role: String,
    /// Display name of who spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Text of an attached picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// What was said.
    pub content: String,
    /// `text` unless the caller said otherwise.
    #[serde(default = "content_type_text")]
    pub content_type: String,
    /// When it was said: RFC 3339, UTC.
    pub timestamp: String,
    /// Whatever the caller attached.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Keys of the input that are not ours, kept at the top as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What must be known of an item to hand it on, read without the rest.
#[derive(Debug, Deserialize)]
pub struct Heading<'a> {
    /// Place in the store's log.
    pub seq: i64,
    /// Whose it is.
    #[serde(borrow)]
    pub user_id: Cow<'a, str>,
    /// The conversation it belongs to.
    #[serde(default)]
    pub conversation_id: Option<String>,
    /// `user`, `assistant`, `system` or `tool`.
    #[serde(borrow, default)]
    pub role: Cow<'a, str>,
}

fn role_user() -> String {
    ROLE_USER.to_owned()
}

fn content_type_text() -> String {
    "text".to_owned()
}

/// The answer to `store_input`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Stored {
    /// `stored`, or `already_exists` when the id was known.
    pub status: String,
    /// Whose it is.
    pub user_id: String,
    /// Its id.
    pub item_id: String,
    /// Its place in the log.
    #[serde(default)]
    pub seq: i64,
    /// The item as it was stored before; only with `already_exists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Item>,
    /// Whether what was said is the same as then; only with `already_exists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_body: Option<bool>,
}

/// The answer to `store_inputs`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Verdicts {
    /// What became of each, in the order of the inputs.
    pub results: Vec<Verdict>,
}

/// What became of one of several inputs.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Verdict {
    /// `stored`, `already_exists` or `refused`.
    pub status: String,
    /// Its place in the log; absent when refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// For an id that was known: whether what was said is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_body: Option<bool>,
    /// The other id it was stored under, because its own belongs to another input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_as: Option<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Verdict {
    /// Not acceptable, and why.
    #[must_use]
    pub fn refused(why: String) -> Self {
        Verdict {
            status: REFUSED.to_owned(),
            seq: None,
            same_body: None,
            stored_as: None,
            error: Some(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_looks_as_every_generation_expects() {
        let golden = json!({
            "seq": 7,
            "id": "0199",
            "user_id": "u",
            "sender_id": "u",
            "conversation_id": "c",
            "role": "user",
            "content": "hello",
            "content_type": "text",
            "timestamp": "2026-11-20T10:33:05.276624Z",
            "metadata": {"a": 1},
            "mood": "good"
        });
        let item: Item = serde_json::from_value(golden.clone()).unwrap();
        assert_eq!(item.extra.get("mood"), Some(&json!("good")));
        assert_eq!(serde_json::to_value(&item).unwrap(), golden);
    }

    #[test]
    fn what_an_older_store_leaves_out_is_filled_in() {
        let item: Item = serde_json::from_value(json!({
            "id": "1", "user_id": "u", "content": "x", "timestamp": "t"
        }))
        .unwrap();
        assert_eq!((item.role.as_str(), item.content_type.as_str()), ("user", "text"));
    }
}
