//! Keeping workspaces and conversations: what is acceptable, who may, and what changes.

use diesel::SqliteConnection;
use serde_json::{Map, Value};

use crate::{
    backplane::clock,
    contract::conversation::{Conversation, ConversationInput, Workspace, WorkspaceInput},
    domain::{
        failure::{Failure, FieldProblem},
        permission::{self, Wish},
    },
    services::conversation::{
        Caller, Conversations,
        store::{self, Slice},
    },
};

/// Longest name of a workspace, in characters.
pub const NAME_CHARS_MAX: usize = 100;
/// Longest description of a workspace, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 500;
/// Longest topic of a conversation, in characters.
pub const TOPIC_CHARS_MAX: usize = 200;
/// Most metadata of a workspace or a conversation, in bytes as JSON.
pub const METADATA_BYTES_MAX: usize = 65_536;
/// Most participants of a conversation.
pub const PARTICIPANTS_MAX: usize = 100;

/// Checks a text of 1 to `most` characters. Absent is a problem only where it is `needed`.
fn check(
    problems: &mut Vec<FieldProblem>,
    field: &str,
    value: Option<&String>,
    most: usize,
    needed: bool,
) {
    let (message, kind) = match value.map(|text| text.chars().count()) {
        None if needed => ("field required".to_owned(), "missing"),
        Some(0) => ("must have at least 1 character".to_owned(), "value_error"),
        Some(count) if count > most => {
            (format!("must have at most {most} characters"), "value_error")
        }
        None | Some(_) => return,
    };
    problems.push(FieldProblem { at: vec!["body".to_owned(), field.to_owned()], message, kind });
}

fn done(problems: Vec<FieldProblem>) -> Result<(), Failure> {
    if problems.is_empty() { Ok(()) } else { Err(Failure::invalid(problems)) }
}

fn check_workspace(input: &WorkspaceInput, needed: bool) -> Result<(), Failure> {
    let mut problems = Vec::new();
    check(&mut problems, "name", input.name.as_ref(), NAME_CHARS_MAX, needed);
    let description = input.description.as_ref();
    check(&mut problems, "description", description, DESCRIPTION_CHARS_MAX, needed);
    done(problems)
}

fn check_conversation(input: &ConversationInput, needed: bool) -> Result<(), Failure> {
    let mut problems = Vec::new();
    check(&mut problems, "workspace_id", input.workspace_id.as_ref(), 255, needed);
    check(&mut problems, "topic", input.topic.as_ref(), TOPIC_CHARS_MAX, needed);
    if input.participant_ids.as_ref().is_some_and(|ids| ids.len() > PARTICIPANTS_MAX) {
        problems.push(FieldProblem {
            at: vec!["body".to_owned(), "participant_ids".to_owned()],
            message: format!("must be at most {PARTICIPANTS_MAX}"),
            kind: "value_error",
        });
    }
    done(problems)
}

/// The participants as they are kept: each once, the owner always among them.
fn participants(given: Vec<String>, owner: &str) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(given.len() + 1);
    for id in given.into_iter().chain([owner.to_owned()]) {
        if !id.is_empty() && !kept.contains(&id) {
            kept.push(id);
        }
    }
    kept
}

/// Fresh metadata, within its bound.
fn attached(given: Option<Map<String, Value>>) -> Result<Map<String, Value>, Failure> {
    let mut metadata = Map::new();
    merge(&mut metadata, given).map(|()| metadata)
}

/// Merges metadata, within its bound.
fn merge(into: &mut Map<String, Value>, with: Option<Map<String, Value>>) -> Result<(), Failure> {
    into.extend(with.unwrap_or_default());
    if Value::Object(into.clone()).to_string().len() > METADATA_BYTES_MAX {
        let message = format!("must have at most {METADATA_BYTES_MAX} bytes");
        return Err(Failure::invalid_field("metadata", message, "value_error"));
    }
    Ok(())
}

impl Conversations {
    /// Makes a workspace for the caller.
    ///
    /// # Errors
    /// `validation_error`, `database_error`.
    pub async fn add_workspace(
        &self,
        caller: &Caller,
        input: WorkspaceInput,
    ) -> Result<Workspace, Failure> {
        check_workspace(&input, true)?;
        let now = clock::now_micros();
        let workspace = Workspace {
            id: uuid::Uuid::new_v4().to_string(),
            name: input.name.unwrap_or_default(),
            description: input.description.unwrap_or_default(),
            owner_id: caller.id.clone(),
            metadata: attached(input.metadata)?,
            created_at: clock::rfc3339(now),
            updated_at: clock::rfc3339(now),
        };
        self.database
            .run("insert", "workspaces", move |connection| {
                store::add_workspace(connection, &workspace, now).map(|()| workspace)
            })
            .await
    }

    /// A workspace of the caller.
    ///
    /// # Errors
    /// `resource_not_found`, also for somebody else's.
    pub async fn workspace(&self, caller: &Caller, id: &str) -> Result<Workspace, Failure> {
        let wanted = id.to_owned();
        let found = self
            .database
            .run("select", "workspaces", move |connection| store::workspace(connection, &wanted))
            .await?
            .ok_or_else(|| Failure::not_found("workspace", id))?;
        permission::workspace(&caller.id, &found.owner_id, id)?;
        Ok(found)
    }

    /// The caller's workspaces, and how many there are in all.
    ///
    /// # Errors
    /// `database_error`.
    pub async fn workspaces(
        &self,
        caller: &Caller,
        slice: Slice,
    ) -> Result<(Vec<Workspace>, i64), Failure> {
        let owner = caller.id.clone();
        self.database
            .run("select", "workspaces", move |connection| {
                store::workspaces_of(connection, &owner, slice)
            })
            .await
    }

    /// Changes a workspace of the caller; metadata is merged.
    ///
    /// # Errors
    /// `validation_error`, `resource_not_found`.
    pub async fn change_workspace(
        &self,
        caller: &Caller,
        id: &str,
        input: WorkspaceInput,
    ) -> Result<Workspace, Failure> {
        check_workspace(&input, false)?;
        let (caller, id) = (caller.id.clone(), id.to_owned());
        let now = clock::now_micros();
        // One transaction from reading to writing, so that no change is lost beside another.
        let change = move |connection: &mut SqliteConnection| {
            let found = store::workspace(connection, &id)?;
            let mut workspace = found.ok_or_else(|| Failure::not_found("workspace", &id))?;
            permission::workspace(&caller, &workspace.owner_id, &id)?;
            workspace.name = input.name.unwrap_or(workspace.name);
            workspace.description = input.description.unwrap_or(workspace.description);
            merge(&mut workspace.metadata, input.metadata)?;
            workspace.updated_at = clock::rfc3339(now);
            store::change_workspace(connection, &workspace, now).map(|()| workspace)
        };
        self.database
            .run("update", "workspaces", |connection| connection.immediate_transaction(change))
            .await
    }

    /// Removes a workspace of the caller with its conversations. What was said stays in memory.
    ///
    /// # Errors
    /// `resource_not_found`.
    pub async fn remove_workspace(&self, caller: &Caller, id: &str) -> Result<(), Failure> {
        let workspace = self.workspace(caller, id).await?;
        self.database
            .run("delete", "workspaces", move |connection| {
                store::remove_workspace(connection, &workspace.id)
            })
            .await
    }

    /// Makes a conversation in a workspace of the caller.
    ///
    /// # Errors
    /// `validation_error`, `resource_not_found` for the workspace.
    pub async fn add_conversation(
        &self,
        caller: &Caller,
        input: ConversationInput,
    ) -> Result<Conversation, Failure> {
        check_conversation(&input, true)?;
        let workspace = self.workspace(caller, &input.workspace_id.unwrap_or_default()).await?;
        let now = clock::now_micros();
        let conversation = Conversation {
            id: uuid::Uuid::new_v4().to_string(),
            workspace_id: workspace.id,
            topic: input.topic.unwrap_or_default(),
            participant_ids: participants(input.participant_ids.unwrap_or_default(), &caller.id),
            metadata: attached(input.metadata)?,
            created_at: clock::rfc3339(now),
            updated_at: clock::rfc3339(now),
            owner_id: workspace.owner_id,
        };
        self.database
            .run("insert", "conversations", move |connection| {
                store::add_conversation(connection, &conversation, now).map(|()| conversation)
            })
            .await
    }

    /// The conversations of a workspace of the caller, and how many there are in all.
    ///
    /// # Errors
    /// `resource_not_found` for the workspace.
    pub async fn conversations(
        &self,
        caller: &Caller,
        workspace_id: &str,
        slice: Slice,
    ) -> Result<(Vec<Conversation>, i64), Failure> {
        let workspace = self.workspace(caller, workspace_id).await?;
        self.database
            .run("select", "conversations", move |connection| {
                store::conversations_of(connection, &workspace, slice)
            })
            .await
    }

    /// Changes a conversation; metadata is merged, participants are replaced.
    ///
    /// # Errors
    /// `validation_error`, `resource_not_found`, `permission_denied`.
    pub async fn change_conversation(
        &self,
        caller: &Caller,
        id: &str,
        input: ConversationInput,
    ) -> Result<Conversation, Failure> {
        check_conversation(&input, false)?;
        let (caller, id) = (caller.id.clone(), id.to_owned());
        let now = clock::now_micros();
        let change = move |connection: &mut SqliteConnection| {
            let found = store::conversation(connection, &id)?;
            let mut conversation = found.ok_or_else(|| Failure::not_found("conversation", &id))?;
            let Conversation { owner_id, participant_ids, .. } = &conversation;
            permission::conversation(&caller, owner_id, participant_ids, Wish::Update)?;
            conversation.topic = input.topic.unwrap_or(conversation.topic);
            if let Some(given) = input.participant_ids {
                conversation.participant_ids = participants(given, &conversation.owner_id);
            }
            merge(&mut conversation.metadata, input.metadata)?;
            conversation.updated_at = clock::rfc3339(now);
            store::change_conversation(connection, &conversation, now).map(|()| conversation)
        };
        self.database
            .run("update", "conversations", |connection| connection.immediate_transaction(change))
            .await
    }

    /// Removes a conversation. What was said in it stays in memory.
    ///
    /// # Errors
    /// `resource_not_found`, `permission_denied`.
    pub async fn remove_conversation(&self, caller: &Caller, id: &str) -> Result<(), Failure> {
        let conversation = self.conversation(caller, id, Wish::Delete).await?;
        self.database
            .run("delete", "conversations", move |connection| {
                store::remove_conversation(connection, &conversation.id)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_bounds_and_creation_needs_them() {
        let named = |name: &str| WorkspaceInput {
            name: Some(name.to_owned()),
            description: Some("d".to_owned()),
            metadata: None,
        };
        assert!(check_workspace(&named("w"), true).is_ok());
        assert!(check_workspace(&named(&"é".repeat(100)), true).is_ok());
        assert!(check_workspace(&named(&"é".repeat(101)), true).is_err());
        assert!(check_workspace(&named(""), false).is_err());
        let nothing = WorkspaceInput::default();
        assert!(check_workspace(&nothing, false).is_ok());
        assert_eq!(check_workspace(&nothing, true).unwrap_err().fields.len(), 2);
    }

    #[test]
    fn the_owner_always_takes_part_once() {
        let given = vec!["a".to_owned(), "me".to_owned(), "a".to_owned(), String::new()];
        assert_eq!(participants(given, "me"), ["a", "me"]);
        assert_eq!(participants(Vec::new(), "me"), ["me"]);
    }
}
