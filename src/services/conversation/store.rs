//! Users, workspaces and conversations in SQLite.

use diesel::prelude::*;
use serde_json::{Map, Value};

use crate::{
    backplane::{clock, database::storage_failure},
    contract::conversation::{Conversation, User, Workspace},
    domain::failure::Failure,
    services::conversation::schema::{conversations, users, workspaces},
};

/// A page of a list: how many, after how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// How many at most.
    pub limit: i64,
    /// How many are skipped.
    pub offset: i64,
}

type WorkspaceRow = (String, String, String, String, String, i64, i64);
type ConversationRow = (String, String, String, String, String, i64, i64);

fn workspace_of(row: WorkspaceRow) -> Workspace {
    let (id, name, description, owner_id, metadata, created, updated) = row;
    Workspace {
        id,
        name,
        description,
        owner_id,
        metadata: read(&metadata),
        created_at: clock::rfc3339(created),
        updated_at: clock::rfc3339(updated),
    }
}

fn conversation_of(row: ConversationRow, owner_id: String) -> Conversation {
    let (id, workspace_id, topic, participants, metadata, created, updated) = row;
    Conversation {
        id,
        workspace_id,
        topic,
        participant_ids: read(&participants),
        metadata: read(&metadata),
        created_at: clock::rfc3339(created),
        updated_at: clock::rfc3339(updated),
        owner_id,
    }
}

fn read<T: serde::de::DeserializeOwned + Default>(text: &str) -> T {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            log::error!("stored JSON cannot be read cause={error}");
            T::default()
        }
    }
}

fn write(map: &Map<String, Value>) -> String {
    Value::Object(map.clone()).to_string()
}

fn write_ids(ids: &[String]) -> String {
    Value::from(ids).to_string()
}

/// A user and their password's hash, by mail address.
///
/// # Errors
/// `database_error`.
pub fn user_by_email(
    connection: &mut SqliteConnection,
    email: &str,
) -> Result<Option<(User, Option<String>)>, Failure> {
    let row: Option<(String, String, String, Option<String>)> = users::table
        .select((users::user_id, users::name, users::email, users::password_hash))
        .filter(users::email.eq(email))
        .first(connection)
        .optional()
        .map_err(|error| storage_failure(&error))?;
    Ok(row.map(|(user_id, name, email, hash)| (User { user_id, name, email }, hash)))
}

/// Users after a mail address, in its order, so that a long list can be read in pieces.
///
/// # Errors
/// `database_error`.
pub fn users_after(
    connection: &mut SqliteConnection,
    email: &str,
    limit: i64,
) -> Result<Vec<User>, Failure> {
    let rows: Vec<(String, String, String)> = users::table
        .select((users::user_id, users::name, users::email))
        .filter(users::email.gt(email))
        .order(users::email)
        .limit(limit)
        .load(connection)
        .map_err(|error| storage_failure(&error))?;
    Ok(rows.into_iter().map(|(user_id, name, email)| User { user_id, name, email }).collect())
}

/// Adds a user.
///
/// # Errors
/// `resource_already_exists` for a known id or mail address; `database_error`.
pub fn add_user(
    connection: &mut SqliteConnection,
    user: &User,
    password_hash: Option<&str>,
    now: i64,
) -> Result<(), Failure> {
    diesel::insert_into(users::table)
        .values((
            users::user_id.eq(&user.user_id),
            users::name.eq(&user.name),
            users::email.eq(&user.email),
            users::password_hash.eq(password_hash),
            users::metadata.eq("{}"),
            users::created_at.eq(now),
            users::updated_at.eq(now),
        ))
        .execute(connection)
        .map(|_| ())
        .map_err(|error| storage_failure(&error))
}

/// Sets a user's password; false when there is no such user.
///
/// # Errors
/// `database_error`.
pub fn set_password(
    connection: &mut SqliteConnection,
    email: &str,
    password_hash: &str,
    now: i64,
) -> Result<bool, Failure> {
    diesel::update(users::table.filter(users::email.eq(email)))
        .set((users::password_hash.eq(password_hash), users::updated_at.eq(now)))
        .execute(connection)
        .map(|changed| changed > 0)
        .map_err(|error| storage_failure(&error))
}

/// Adds a workspace.
///
/// # Errors
/// `database_error`.
pub fn add_workspace(
    connection: &mut SqliteConnection,
    workspace: &Workspace,
    now: i64,
) -> Result<(), Failure> {
    diesel::insert_into(workspaces::table)
        .values((
            workspaces::id.eq(&workspace.id),
            workspaces::name.eq(&workspace.name),
            workspaces::description.eq(&workspace.description),
            workspaces::owner_id.eq(&workspace.owner_id),
            workspaces::metadata.eq(write(&workspace.metadata)),
            workspaces::created_at.eq(now),
            workspaces::updated_at.eq(now),
        ))
        .execute(connection)
        .map(|_| ())
        .map_err(|error| storage_failure(&error))
}

/// A workspace by its id.
///
/// # Errors
/// `database_error`.
pub fn workspace(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Workspace>, Failure> {
    let row: Option<WorkspaceRow> = workspaces::table
        .find(id)
        .first(connection)
        .optional()
        .map_err(|error| storage_failure(&error))?;
    Ok(row.map(workspace_of))
}

/// The workspaces of an owner, oldest first, and how many there are in all.
///
/// # Errors
/// `database_error`.
pub fn workspaces_of(
    connection: &mut SqliteConnection,
    owner_id: &str,
    slice: Slice,
) -> Result<(Vec<Workspace>, i64), Failure> {
    let theirs = workspaces::table.filter(workspaces::owner_id.eq(owner_id));
    let total: i64 =
        theirs.count().get_result(connection).map_err(|error| storage_failure(&error))?;
    let rows: Vec<WorkspaceRow> = theirs
        .order((workspaces::created_at, workspaces::id))
        .limit(slice.limit)
        .offset(slice.offset)
        .load(connection)
        .map_err(|error| storage_failure(&error))?;
    Ok((rows.into_iter().map(workspace_of).collect(), total))
}

/// Writes what may change of a workspace.
///
/// # Errors
/// `database_error`.
pub fn change_workspace(
    connection: &mut SqliteConnection,
    workspace: &Workspace,
    now: i64,
) -> Result<(), Failure> {
    diesel::update(workspaces::table.find(&workspace.id))
        .set((
            workspaces::name.eq(&workspace.name),
            workspaces::description.eq(&workspace.description),
            workspaces::metadata.eq(write(&workspace.metadata)),
            workspaces::updated_at.eq(now),
        ))
        .execute(connection)
        .map(|_| ())
        .map_err(|error| storage_failure(&error))
}

/// Removes a workspace and its conversations.
///
/// # Errors
/// `database_error`.
pub fn remove_workspace(connection: &mut SqliteConnection, id: &str) -> Result<(), Failure> {
    diesel::delete(workspaces::table.find(id))
        .execute(connection)
        .map(|_| ())
        .map_err(|error| storage_failure(&error))
}

/// Adds a conversation.
///
/// # Errors
/// `database_error`.
pub fn add_conversation(
    connection: &mut SqliteConnection,
    conversation: &Conversation,
    now: i64,
) -> Result<(), Failure> {
    diesel::insert_into(conversations::table)
        .values((
            conversations::id.eq(&conversation.id),
            conversations::workspace_id.eq(&conversation.workspace_id),
            conversations::topic.eq(&conversation.topic),
            conversations::participant_ids.eq(write_ids(&conversation.participant_ids)),
            conversations::metadata.eq(write(&conversation.metadata)),
            conversations::created_at.eq(now),
            conversations::updated_at.eq(now),
        ))
        .execute(connection)
        .map(|_| ())
        .map_err(|error| storage_failure(&error))
}

/// A conversation by its id, with the owner of its workspace.
///
/// # Errors
/// `database_error`.
pub fn conversation(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Conversation>, Failure> {
    let row: Option<(ConversationRow, String)> = conversations::table
        .inner_join(workspaces::table)
        .filter(conversations::id.eq(id))
        .select((conversations::all_columns, workspaces::owner_id))
        .first(connection)
        .optional()
        .map_err(|error| storage_failure(&error))?;
    Ok(row.map(|(row, owner_id)| conversation_of(row, owner_id)))
}

/// The conversations of a workspace, oldest first, and how many there are in all.
///
/// # Errors
/// `database_error`.
pub fn conversations_of(
    connection: &mut SqliteConnection,
    workspace: &Workspace,
    slice: Slice,
) -> Result<(Vec<Conversation>, i64), Failure> {
    let in_it = conversations::table.filter(conversations::workspace_id.eq(&workspace.id));
    let total: i64 =
        in_it.count().get_result(connection).map_err(|error| storage_failure(&error))?;
    let rows: Vec<ConversationRow> = in_it
        .order((conversations::created_at, conversations::id))
        .limit(slice.limit)
        .offset(slice.offset)
        .load(connection)
        .map_err(|error| storage_failure(&error))?;
    let found =
        rows.into_iter().map(|row| conversation_of(row, workspace.owner_id.clone())).collect();
    Ok((found, total))
}

/// Writes what may change of a conversation.
///
/// # Errors
/// `database_error`.
pub fn change_conversation(
    connection: &mut SqliteConnection,
    conversation: &Conversation,
    now: i64,
) -> Result<(), Failure> {
    diesel::update(conversations::table.find(&conversation.id))
        .set((
            conversations::topic.eq(&conversation.topic),
            conversations::participant_ids.eq(write_ids(&conversation.participant_ids)),
            conversations::metadata.eq(write(&conversation.metadata)),
            conversations::updated_at.eq(now),
        ))
        .execute(connection)
        .map(|_| ())
        .map_err(|error| storage_failure(&error))
}

/// Removes a conversation.
///
/// # Errors
/// `database_error`.
pub fn remove_conversation(connection: &mut SqliteConnection, id: &str) -> Result<(), Failure> {
    diesel::delete(conversations::table.find(id))
        .execute(connection)
        .map(|_| ())
        .map_err(|error| storage_failure(&error))
}
