//! Workspaces, conversations, inputs and users, as clients of core see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A user, as core knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The identity everything is stored under.
    pub user_id: String,
    /// Display name.
    pub name: String,
    /// Mail address, which is also the login name.
    pub email: String,
}

/// A place for conversations, owned by one user.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Workspace {
    /// Its id (UUIDv4).
    pub id: String,
    /// 1 to 100 characters.
    pub name: String,
    /// 1 to 500 characters.
    pub description: String,
    /// Whose it is.
    pub owner_id: String,
    /// Whatever the owner attached.
    pub metadata: Map<String, Value>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// A conversation in a workspace.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Conversation {
    /// Its id (UUIDv4).
    pub id: String,
    /// The workspace it belongs to.
    pub workspace_id: String,
    /// 1 to 200 characters.
    pub topic: String,
    /// Who takes part; the owner always does.
    pub participant_ids: Vec<String>,
    /// Whatever was attached.
    pub metadata: Map<String, Value>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// The owner of its workspace; for access, not shown.
    #[serde(skip)]
    pub owner_id: String,
}

/// What may be set on a workspace. Creating needs name and description.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Deserialize)]
pub struct WorkspaceInput {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// 1 to 500 characters.
    pub description: Option<String>,
    /// Merged into what is there.
    pub metadata: Option<Map<String, Value>>,
}

/// What may be set on a conversation. Creating needs workspace and topic.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Deserialize)]
pub struct ConversationInput {
    /// The workspace it is made in; cannot be changed later.
    pub workspace_id: Option<String>,
    /// 1 to 200 characters.
    pub topic: Option<String>,
    /// Replaces the participants; the owner is added again.
    pub participant_ids: Option<Vec<String>>,
    /// Merged into what is there.
    pub metadata: Option<Map<String, Value>>,
}

/// An input, however it was named by its client.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Input {
    /// The text.
    pub content: Option<String>,
    /// The text, as some clients name it.
    pub message: Option<String>,
    /// The conversation; absent means the user's `default` one.
    pub conversation_id: Option<String>,
    /// Whatever the client attached.
    pub metadata: Option<Map<String, Value>>,
    /// The request's id, as some clients of `/v1` send it; echoed there.
    pub request_id: Option<String>,
}

/// What was forgotten of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Whose.
    pub user_id: String,
    /// Items that memory had.
    pub deleted: u64,
    /// Facts that memory had.
    pub facts: u64,
    /// Inputs that waited in the outbox.
    pub withdrawn: usize,
}

/// What was taken in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Received {
    /// The text.
    pub content: String,
    /// The conversation it went to.
    pub conversation_id: String,
    /// When: RFC 3339, by the server's clock.
    pub timestamp: String,
    /// What the client attached.
    pub metadata: Map<String, Value>,
    /// The id it is stored under.
    pub message_id: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_of_an_input_are_ignored() {
        let input: Input = serde_json::from_value(json!({
            "message": "hi", "streaming": true, "timestamp": "now", "anything": [1]
        }))
        .unwrap();
        assert_eq!(input.message.as_deref(), Some("hi"));
    }

    #[test]
    fn a_conversation_does_not_show_what_is_for_access_only() {
        let conversation = Conversation {
            id: "c".into(),
            workspace_id: "w".into(),
            topic: "t".into(),
            participant_ids: vec!["u".into()],
            metadata: Map::new(),
            created_at: "a".into(),
            updated_at: "b".into(),
            owner_id: "u".into(),
        };
        assert_eq!(
            serde_json::to_value(conversation).unwrap(),
            json!({"id": "c", "workspace_id": "w", "topic": "t", "participant_ids": ["u"],
                   "metadata": {}, "created_at": "a", "updated_at": "b"})
        );
    }
}
