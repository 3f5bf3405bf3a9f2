//! `/config/workspace` and `/config/conversation`.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{self, Data},
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    contract::conversation::{Conversation, ConversationInput, Workspace, WorkspaceInput},
    domain::{
        failure::{Failure, Kind},
        permission::Wish,
    },
    http::{
        body::{Json, Query},
        core::{Core, style::Style},
        problem::Problem,
    },
    services::conversation::{Caller, store::Slice},
};

const PAGE_MAX: i64 = 1000;

type Answer = Result<HttpResponse, Problem>;

/// `GET …/workspace?limit&offset`.
pub(crate) async fn workspaces(
    caller: Caller,
    style: Style,
    query: Query,
    core: Data<Core>,
) -> Answer {
    let slice = slice(style, &query)?;
    let (found, total) = core.conversations.workspaces(&caller, slice).await?;
    list(style, "workspaces", &found, total, slice)
}

/// `POST …/workspace`.
pub(crate) async fn add_workspace(
    caller: Caller,
    style: Style,
    input: Json<WorkspaceInput>,
    core: Data<Core>,
) -> Answer {
    let made = core.conversations.add_workspace(&caller, input.0).await?;
    one_workspace(style, StatusCode::CREATED, "workspace created", &made)
}

/// `GET …/workspace/{id}`.
pub(crate) async fn workspace(
    caller: Caller,
    style: Style,
    id: web::Path<String>,
    core: Data<Core>,
) -> Answer {
    let found = core.conversations.workspace(&caller, &id).await?;
    one_workspace(style, StatusCode::OK, "workspace retrieved", &found)
}

/// `PUT …/workspace/{id}`.
pub(crate) async fn change_workspace(
    caller: Caller,
    style: Style,
    id: web::Path<String>,
    input: Json<WorkspaceInput>,
    core: Data<Core>,
) -> Answer {
    let changed = core.conversations.change_workspace(&caller, &id, input.0).await?;
    one_workspace(style, StatusCode::OK, "workspace updated", &changed)
}

/// `DELETE …/workspace/{id}`.
pub(crate) async fn remove_workspace(
    caller: Caller,
    id: web::Path<String>,
    core: Data<Core>,
) -> Answer {
    core.conversations.remove_workspace(&caller, &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `GET …/conversation?workspace_id&limit&offset`.
pub(crate) async fn conversations(
    caller: Caller,
    style: Style,
    query: Query,
    core: Data<Core>,
) -> Answer {
    let slice = slice(style, &query)?;
    let workspace_id = query
        .get("workspace_id")
        .ok_or_else(|| Failure::invalid_field("workspace_id", "field required", "missing"))?;
    let (found, total) = core.conversations.conversations(&caller, workspace_id, slice).await?;
    list(style, "conversations", &found, total, slice)
}

/// `POST …/conversation`.
pub(crate) async fn add_conversation(
    caller: Caller,
    style: Style,
    input: Json<ConversationInput>,
    core: Data<Core>,
) -> Answer {
    let made = core.conversations.add_conversation(&caller, input.0).await?;
    let nothing_said = (Vec::new(), None);
    one_conversation(style, StatusCode::CREATED, "conversation created", &made, nothing_said)
}

/// `GET …/conversation/{id}`, with its newest messages.
pub(crate) async fn conversation(
    caller: Caller,
    style: Style,
    id: web::Path<String>,
    core: Data<Core>,
) -> Answer {
    let found = core.conversations.conversation(&caller, &id, Wish::Take).await?;
    let messages = core.conversations.messages(&found).await;
    one_conversation(style, StatusCode::OK, "conversation retrieved", &found, messages)
}

/// `PUT …/conversation/{id}`.
pub(crate) async fn change_conversation(
    caller: Caller,
    style: Style,
    id: web::Path<String>,
    input: Json<ConversationInput>,
    core: Data<Core>,
) -> Answer {
    let changed = core.conversations.change_conversation(&caller, &id, input.0).await?;
    let messages = core.conversations.messages(&changed).await;
    one_conversation(style, StatusCode::OK, "conversation updated", &changed, messages)
}

/// `DELETE …/conversation/{id}`.
pub(crate) async fn remove_conversation(
    caller: Caller,
    id: web::Path<String>,
    core: Data<Core>,
) -> Answer {
    core.conversations.remove_conversation(&caller, &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn slice(style: Style, query: &Query) -> Result<Slice, Failure> {
    Ok(Slice {
        limit: query.integer("limit", style.page_default(), 1, PAGE_MAX)?,
        offset: query.integer("offset", 0, 0, i64::MAX)?,
    })
}

fn value(thing: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(thing)
        .map_err(|error| Failure::new(Kind::Internal, format!("answer not written: {error}")))
}

fn one_workspace(style: Style, code: StatusCode, status: &str, workspace: &Workspace) -> Answer {
    let mut fields = Map::new();
    fields.insert("workspace".to_owned(), value(workspace)?);
    Ok(style.answer(code, Some(status), fields))
}

/// A conversation with its messages; when memory is away, the list is empty and says why.
fn one_conversation(
    style: Style,
    code: StatusCode,
    status: &str,
    conversation: &Conversation,
    (messages, missing): (Vec<Value>, Option<Failure>),
) -> Answer {
    let mut shown = value(conversation)?;
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("messages".to_owned(), messages.into());
        if let Some(failure) = missing {
            shown.insert("messages_error".to_owned(), failure.to_string().into());
        }
    }
    let mut fields = Map::new();
    fields.insert("conversation".to_owned(), shown);
    Ok(style.answer(code, Some(status), fields))
}

fn list(style: Style, name: &str, found: &impl Serialize, total: i64, slice: Slice) -> Answer {
    let mut fields = Map::new();
    fields.insert(name.to_owned(), value(found)?);
    fields.insert("total".to_owned(), total.into());
    if style == Style::V1 {
        fields.insert("limit".to_owned(), slice.limit.into());
        fields.insert("offset".to_owned(), slice.offset.into());
    }
    Ok(style.answer(StatusCode::OK, None, fields))
}
