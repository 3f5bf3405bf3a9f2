//! What is asked of a backplane: each subject as requests that are rendered once.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    asking::Request,
    load::Load,
    stage::{Host, Somebody, Stage, judge},
    wire::Wire,
};
use crate::{
    backplane::client::segment,
    cli::{
        complain,
        fetch::Web,
        trouble::{Outcome, Trouble},
    },
};

/// Form of whole answers.
const JSON: &str = "application/json";
/// Time for the first request, which shows whether there is something to measure.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Which tool is called, and where.
#[derive(clap::Args)]
pub(super) struct Calling {
    /// Tool to call, by its name there.
    #[arg(long, default_value = "core__list_workspaces")]
    tool: String,
    /// Its arguments (JSON object).
    #[arg(long, default_value = "{}")]
    arguments: String,
    /// URL of a server's endpoint to call instead of core's, to compare with.
    #[arg(long)]
    at: Option<String>,
}

/// A subject that is ready to be sent.
pub(super) struct Subject {
    /// What is asked, for the report.
    pub(super) what: String,
    /// Whom.
    pub(super) host: Host,
    /// The requests, in turn.
    pub(super) requests: Vec<Request>,
}

impl Subject {
    fn new(what: &str, host: Host, requests: impl IntoIterator<Item = bytes::Bytes>) -> Self {
        let requests = requests.into_iter().map(|bytes| Request { bytes, stamp_at: None });
        Subject { what: what.to_owned(), host, requests: requests.collect() }
    }

    /// Sends one request, to see whether somebody is there and it is right.
    pub(super) async fn try_once(&self) -> Outcome {
        let url = &self.host.url;
        let Some(first) = self.requests.first() else { return Ok(()) };
        let asking = async { Wire::connect(self.host.address).await?.exchange(&first.bytes).await };
        match tokio::time::timeout(FIRST_ANSWER, asking).await {
            Ok(Ok(reply)) => judge(&reply),
            Ok(Err(error)) => Err(Trouble::plain(format!(
                "{url} cannot be reached: {error}; --url names another place, --own starts a \
                 throw-away backplane"
            ))),
            Err(_elapsed) => {
                complain(&format!("{url} did not answer the first request; going on"));
                Ok(())
            }
        }
    }
}

/// Inputs at core.
pub(super) fn input(stage: &Stage, load: &Load) -> Outcome<Subject> {
    let host = stage.core()?;
    let body = json!({ "content": load.text("") });
    let users = stage.users(load)?;
    let requests: Vec<_> =
        users.iter().map(|user| host.request("/input", JSON, &user.token, Some(&body))).collect();
    Ok(Subject::new("POST /input", host, requests))
}

/// Memory's tool `store_input`.
pub(super) fn store(stage: &Stage, load: &Load) -> Outcome<Subject> {
    let host = stage.memory()?;
    let users = stage.users_of_service(load)?;
    let requests: Vec<_> = users.iter().map(|user| stored(&host, user, load)).collect();
    Ok(Subject::new("store_input", host, requests))
}

fn stored(host: &Host, user: &Somebody, load: &Load) -> bytes::Bytes {
    let input = json!({ "content": load.text("") });
    let body = json!({ "arguments": { "user_id": user.id, "input_data": input } });
    host.request("/tool/store_input", JSON, &user.token, Some(&body))
}

/// Histories at memory, each of so many items.
pub(super) async fn history(stage: &Stage, load: &Load, items: u32) -> Outcome<Subject> {
    let host = stage.memory()?;
    let users = stage.users_of_service(load)?;
    let web = Web::new();
    for user in &users {
        let url = format!("{}/tool/store_input", host.url);
        let input = json!({ "content": load.text("") });
        let body = json!({ "arguments": { "user_id": user.id, "input_data": input } });
        fill(&web, &url, &user.token, &body, items).await?;
    }
    let requests: Vec<_> = users
        .iter()
        .map(|user| {
            let path = format!("/resource/history/{}?limit={items}", segment(&user.id));
            host.request(&path, JSON, &user.token, None)
        })
        .collect();
    Ok(Subject::new("history", host, requests))
}

/// Conversations read at core, which asks memory for what was said, each of so many items.
pub(super) async fn conversation(stage: &Stage, load: &Load, items: u32) -> Outcome<Subject> {
    let host = stage.core()?;
    let web = Web::new();
    let mut requests = Vec::new();
    for user in stage.users(load)? {
        let make = async |kind: &str, body: Value| {
            let url = format!("{}/config/{kind}", host.url);
            let answer = web.post(&url, &user.token, body.to_string()).await?.success()?;
            let id = answer.get(kind).and_then(|made| made.get("id")).and_then(Value::as_str);
            let id = id.map(str::to_owned);
            id.ok_or_else(|| Trouble::plain(format!("{url} did not say what it made")))
        };
        let workspace =
            make("workspace", json!({"name": "Bench", "description": "A load"})).await?;
        let body = json!({"workspace_id": workspace, "topic": "Bench", "participant_ids": []});
        let conversation = make("conversation", body).await?;
        let url = format!("{}/input", host.url);
        let body = json!({"content": load.text(""), "conversation_id": conversation});
        fill(&web, &url, &user.token, &body, items).await?;
        let path = format!("/config/conversation/{}", segment(&conversation));
        requests.push(host.request(&path, JSON, &user.token, None));
    }
    Ok(Subject::new("GET /config/conversation/{id}", host, requests))
}

/// Context through core, cognition and memory, from so many items.
pub(super) async fn context(stage: &Stage, load: &Load, items: u32) -> Outcome<Subject> {
    let host = stage.core()?;
    let users = stage.users(load)?;
    let web = Web::new();
    for user in &users {
        let url = format!("{}/input", host.url);
        let body = json!({ "content": load.text("") });
        fill(&web, &url, &user.token, &body, items).await?;
    }
    let body = json!({ "query": "what does the fox jump over?", "limit": 10 });
    let path = "/cognition/context";
    let requests: Vec<_> =
        users.iter().map(|user| host.request(path, JSON, &user.token, Some(&body))).collect();
    Ok(Subject::new("POST /cognition/context", host, requests))
}

/// A tool called over the Model Context Protocol (2026-07-28), at core's gateway or at a server
/// itself.
pub(super) fn gateway(stage: &Stage, load: &Load, calling: &Calling) -> Outcome<Subject> {
    let host = match &calling.at {
        Some(url) => Host::of(url.trim_end_matches("/mcp"))?,
        None => stage.core()?,
    };
    let tool = &calling.tool;
    let fits = |byte: u8| byte.is_ascii_graphic();
    if !tool.bytes().all(fits) {
        return Err(Trouble::plain(format!("{tool:?} is no name of a tool")));
    }
    let arguments: Value = serde_json::from_str(&calling.arguments)
        .map_err(|error| Trouble::plain(format!("--arguments must be JSON: {error}")))?;
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }},
    });
    let headers = format!(
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
    );
    let accept = "application/json, text/event-stream";
    let requests: Vec<_> = stage
        .users(load)?
        .iter()
        .map(|user| host.request_with("/mcp", accept, &user.token, &headers, Some(&body)))
        .collect();
    Ok(Subject::new("tools/call", host, requests))
}

/// Sends the same so many times. A service that is away keeps nobody from measuring how that is.
async fn fill(web: &Web, url: &str, token: &str, body: &Value, count: u32) -> Outcome {
    for _ in 0..count {
        let sent = web.post(url, token, body.to_string()).await;
        match sent.and_then(|answer| answer.success()) {
            Ok(_) => {}
            Err(Trouble::Answered(failure)) if failure.is_ours() => {
                complain(&format!("nothing can be stored beforehand: {failure}; going on"));
                return Ok(());
            }
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(())
}
