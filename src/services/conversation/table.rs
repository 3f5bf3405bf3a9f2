//! What core itself offers over the Model Context Protocol: taking inputs, and the places for them.

use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    backplane::{
        arguments::{given, read, required},
        host::{Host, ToolAnswer},
        shape::Shape,
    },
    contract::conversation::{Conversation, ConversationInput, Input, Workspace, WorkspaceInput},
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
    services::conversation::{Caller, Conversations, Fate, store::Slice},
};

/// Entries of a list when nobody says how many.
const LIST_DEFAULT: i64 = 50;
/// Entries of a list at most.
const LIST_MAX: i64 = 500;

/// Arguments of `send_input`.
#[derive(JsonSchema, Deserialize, Default)]
#[serde(default)]
struct SendInput {
    /// What was said.
    content: Option<String>,
    /// The conversation; the user's `default` one when absent.
    conversation_id: Option<String>,
    /// Whatever belongs to it.
    metadata: Option<Map<String, Value>>,
    /// The same key and the same input again store it once (1 to 255 visible ASCII characters).
    idempotency_key: Option<String>,
}

/// The answer to `send_input`.
#[derive(JsonSchema, Serialize)]
struct Sent {
    /// `received` (stored) or `received_storage_pending` (kept, and stored as soon as memory is
    /// back). Either way it is not lost.
    status: &'static str,
    /// The id it is stored under.
    message_id: String,
    /// The conversation it went to.
    conversation_id: String,
    /// When: RFC 3339.
    timestamp: String,
    /// Whether it was answered before, under the same key.
    replayed: bool,
}

/// Arguments of `list_workspaces`.
#[derive(JsonSchema, Deserialize, Default)]
#[serde(default)]
struct ListWorkspaces {
    /// Entries at most (50 when absent, 500 at most).
    limit: Option<i64>,
    /// Entries to leave out first.
    offset: Option<i64>,
}

/// The answer to `list_workspaces`.
#[derive(JsonSchema, Serialize)]
struct Workspaces {
    /// The workspaces.
    workspaces: Vec<Workspace>,
    /// How many there are in all.
    total: i64,
}

/// Arguments of `list_conversations`.
#[derive(JsonSchema, Deserialize, Default)]
#[serde(default)]
struct ListConversations {
    /// The workspace they are in.
    workspace_id: Option<String>,
    /// Entries at most (50 when absent, 500 at most).
    limit: Option<i64>,
    /// Entries to leave out first.
    offset: Option<i64>,
}

/// The answer to `list_conversations`.
#[derive(JsonSchema, Serialize)]
struct ConversationList {
    /// The conversations.
    conversations: Vec<Conversation>,
    /// How many there are in all.
    total: i64,
}

/// Core's table over one worker's conversations.
#[must_use]
pub fn host(conversations: &Rc<Conversations>) -> Host {
    let row = |run: Row| {
        let conversations = Rc::clone(conversations);
        move |caller: Principal, arguments| run(Rc::clone(&conversations), caller, arguments)
    };
    let host = Host::new()
        .tool(
            "send_input",
            "Takes what a user said: once it is answered it is never lost, also while memory is away.",
            &["content", "conversation_id", "metadata", "idempotency_key"],
            row(|to, caller, arguments| Box::pin(send_input(to, caller, arguments))),
        )
        .tool(
            "list_workspaces",
            "Lists the caller's workspaces.",
            &["limit", "offset"],
            row(|to, caller, arguments| Box::pin(list_workspaces(to, caller, arguments))),
        )
        .tool(
            "create_workspace",
            "Makes a workspace for conversations.",
            &["name", "description", "metadata"],
            row(|to, caller, arguments| Box::pin(create_workspace(to, caller, arguments))),
        )
        .tool(
            "list_conversations",
            "Lists the conversations of a workspace.",
            &["workspace_id", "limit", "offset"],
            row(|to, caller, arguments| Box::pin(list_conversations(to, caller, arguments))),
        )
        .tool(
            "create_conversation",
            "Makes a conversation in a workspace.",
            &["workspace_id", "topic", "participant_ids", "metadata"],
            row(|to, caller, arguments| Box::pin(create_conversation(to, caller, arguments))),
        );
    shaped(host)
}

type Row = fn(Rc<Conversations>, Principal, Map<String, Value>) -> ToolAnswer;

fn shaped(host: Host) -> Host {
    let workspaces = Shape::taking::<ListWorkspaces>(&[]).answering::<Workspaces>().reading();
    let workspace =
        Shape::taking::<WorkspaceInput>(&["name", "description"]).answering::<Workspace>().adding();
    let conversations = Shape::taking::<ListConversations>(&["workspace_id"])
        .answering::<ConversationList>()
        .reading();
    let conversation = Shape::taking::<ConversationInput>(&["workspace_id", "topic"])
        .answering::<Conversation>()
        .adding();
    host.shaped("send_input", Shape::taking::<SendInput>(&["content"]).answering::<Sent>().adding())
        .shaped("list_workspaces", workspaces)
        .shaped("create_workspace", workspace)
        .shaped("list_conversations", conversations)
        .shaped("create_conversation", conversation)
}

/// Only users say things and have places for them.
fn person(caller: Principal) -> Result<Caller, Failure> {
    match caller {
        Principal::User { id, name, email } => Ok(Caller { id, name, email }),
        Principal::Service { .. } => Err(Failure::denied("this is for users, not for services")),
    }
}

fn slice(limit: Option<i64>, offset: Option<i64>) -> Slice {
    Slice {
        limit: limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX),
        offset: offset.unwrap_or_default().max(0),
    }
}

fn written(answer: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(answer)
        .map_err(|error| Failure::new(Kind::Internal, format!("answer not written: {error}")))
}

async fn send_input(
    to: Rc<Conversations>,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let SendInput { content, conversation_id, metadata, idempotency_key } = read(arguments)?;
    let key = given(idempotency_key);
    if key
        .as_ref()
        .is_some_and(|key| key.len() > 255 || !key.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        let message = "must have 1 to 255 visible ASCII characters";
        return Err(Failure::invalid_field("idempotency_key", message, "value_error"));
    }
    let conversation_id = given(conversation_id);
    let input = Input { content, conversation_id, metadata, ..Input::default() };
    let taken = to.take(&person(caller)?, input, key.as_deref()).await?;
    written(&Sent {
        status: match taken.fate {
            Fate::Stored => "received",
            Fate::Pending => "received_storage_pending",
        },
        message_id: taken.received.message_id,
        conversation_id: taken.received.conversation_id,
        timestamp: taken.received.timestamp,
        replayed: taken.replayed,
    })
}

async fn list_workspaces(
    to: Rc<Conversations>,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let ListWorkspaces { limit, offset } = read(arguments)?;
    let (workspaces, total) = to.workspaces(&person(caller)?, slice(limit, offset)).await?;
    written(&Workspaces { workspaces, total })
}

async fn create_workspace(
    to: Rc<Conversations>,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let input: WorkspaceInput = read(arguments)?;
    written(&to.add_workspace(&person(caller)?, input).await?)
}

async fn list_conversations(
    to: Rc<Conversations>,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let ListConversations { workspace_id, limit, offset } = read(arguments)?;
    let workspace = required("workspace_id", workspace_id)?;
    let caller = person(caller)?;
    let (conversations, total) =
        to.conversations(&caller, &workspace, slice(limit, offset)).await?;
    written(&ConversationList { conversations, total })
}

async fn create_conversation(
    to: Rc<Conversations>,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let input: ConversationInput = read(arguments)?;
    written(&to.add_conversation(&person(caller)?, input).await?)
}
