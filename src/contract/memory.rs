//! What memory's tools are asked and answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Arguments of `store_input`, as callers are told of them; it is read key by key, because the keys
/// that are not ours are kept.
#[derive(Clone, Debug, JsonSchema, Deserialize)]
pub struct StoreInput {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// What was said, with where and by whom. Keys that are not listed are kept as they are.
    pub input_data: InputData,
}

/// What was said.
#[derive(Clone, Debug, JsonSchema, Deserialize)]
pub struct InputData {
    /// The text.
    pub content: Option<String>,
    /// The conversation it belongs to (255 characters at most).
    pub conversation_id: Option<String>,
    /// `user` (when absent), `assistant`, `system` or `tool`.
    pub role: Option<String>,
    /// Display name of who spoke.
    pub sender: Option<String>,
    /// Id of who spoke; the user when absent.
    pub sender_id: Option<String>,
    /// Text of an attached picture.
    pub caption: Option<String>,
    /// When it was said: RFC 3339; now when absent.
    pub timestamp: Option<String>,
    /// `text` when absent.
    pub content_type: Option<String>,
    /// Its id, if the caller gives one: storing it twice stores it once.
    pub id: Option<String>,
    /// Whatever belongs to it (256 KiB at most).
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// Arguments of `store_inputs`.
#[derive(Clone, Debug, JsonSchema, Deserialize)]
pub struct StoreInputs {
    /// The inputs, in the order they were said (1,000 at most).
    pub inputs: Vec<OneInput>,
}

/// One of several inputs.
#[derive(Clone, Debug, JsonSchema, Deserialize)]
pub struct OneInput {
    /// Whose memory.
    pub user_id: String,
    /// What was said, as `store_input` takes it.
    pub input_data: Map<String, Value>,
    /// The id to store it under where its own belongs to another input.
    #[serde(default)]
    pub otherwise_id: Option<String>,
}

/// Arguments of the tools that are about one item.
#[derive(Clone, Debug, Default, JsonSchema, Deserialize)]
#[serde(default)]
pub struct OfItem {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// The item.
    #[serde(alias = "message_id")]
    pub item_id: Option<String>,
}

/// Arguments of the same tools under their first names.
#[derive(Clone, Debug, Default, JsonSchema, Deserialize)]
#[serde(default)]
pub struct OfMessage {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// The message.
    pub message_id: Option<String>,
}

/// Arguments of `forget_user`.
#[derive(Clone, Debug, JsonSchema, Deserialize)]
pub struct OfUser {
    /// Whose memory is to be removed for ever; has to be named.
    pub user_id: String,
}

/// Arguments of `update_item`.
#[derive(Clone, Debug, Default, JsonSchema, Deserialize)]
#[serde(default)]
pub struct UpdateItem {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// The item.
    #[serde(alias = "message_id")]
    pub item_id: Option<String>,
    /// What becomes of it: `content`, `content_type`, `conversation_id`; `metadata` and other keys
    /// are merged into its metadata.
    #[serde(alias = "updates")]
    pub data: Option<Map<String, Value>>,
}

/// Arguments of `update_message`.
#[derive(Clone, Debug, Default, JsonSchema, Deserialize)]
#[serde(default)]
pub struct UpdateMessage {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// The message.
    pub message_id: Option<String>,
    /// What becomes of it: `content`, `content_type`, `conversation_id`; `metadata` is merged.
    pub updates: Option<Map<String, Value>>,
}

/// The answer to `update_message` and `delete_message`.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct MessageChanged {
    /// `updated` or `deleted`.
    pub status: String,
    /// Whose it is.
    pub user_id: String,
    /// Its id.
    pub message_id: String,
}

/// The answer to `delete_item`.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ItemChanged {
    /// `deleted`.
    pub status: String,
    /// Whose it is.
    pub user_id: String,
    /// Its id.
    pub item_id: String,
}

/// The answer to `forget_user`.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Forgotten {
    /// `forgotten`.
    pub status: String,
    /// Whose memory is gone.
    pub user_id: String,
    /// Items that were removed.
    pub deleted: usize,
    /// Facts that were removed.
    pub facts: usize,
}
