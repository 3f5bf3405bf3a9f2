//! A process with the protocol's endpoint over a handler that shows what it is given.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use actix_rt::task::JoinHandle;
use actix_web::{http::Method, web::ServiceConfig};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use cortex::{
    backplane::{
        config::{Calls, Http, Identity, Mcp, Services},
        context,
    },
    http::{
        health::Reporter,
        mcp::{Access, Endpoint, caller},
    },
    process::{Exit, Ground},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, ListToolsResult,
        PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig,
        SubscriptionFilter, Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use crate::harness::{Answer, Client, SECRET, events::Events, within};

pub(super) const MODERN: &str = "2026-07-28";
pub(super) const LEGACY: &str = "2025-11-25";

/// A handler whose tools say what they see, wait, or fall.
#[derive(Clone)]
struct Showing {
    waiting: watch::Sender<usize>,
}

/// Counts who waits, also when the waiting is ended from outside.
struct Waits<'a>(&'a watch::Sender<usize>);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Waits(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

impl ServerHandler for Showing {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("showing", "1"))
    }

    async fn list_tools(
        &self,
        _params: Option<PaginatedRequestParams>,
        _request: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |name| Tool::new(name, "A tool.", serde_json::Map::new());
        Ok(ListToolsResult::with_all_items(["fall", "report", "show", "wait"].map(tool).to_vec()))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        request: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match params.name.as_ref() {
            "show" => Ok(CallToolResult::structured(show(&request)).into()),
            "fall" => panic!("on purpose"),
            "report" => {
                let token = request.meta.get_progress_token().unwrap();
                let progress = ProgressNotificationParam::new(token, 1.0);
                request.peer.notify_progress(progress).await.unwrap();
                let _waits = Waits::begin(&self.waiting);
                std::future::pending().await
            }
            "wait" => {
                let _waits = Waits::begin(&self.waiting);
                std::future::pending().await
            }
            name => Err(ErrorData::invalid_params(format!("no tool {name}"), None)),
        }
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }
}

fn show(request: &RequestContext<RoleServer>) -> Value {
    let parts = request.extensions.get::<http::request::Parts>().unwrap();
    let context = context::current();
    json!({
        "caller": caller(request).map(|identity| format!("{:?}", identity.principal)),
        "request": context.as_ref().map(|context| context.id.to_string()),
        "left": context.map(|context| u64::try_from(context.remaining().as_millis()).unwrap()),
        "headers": parts.headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
    })
}

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    calls: Calls,
    #[command(flatten)]
    services: Services,
    #[command(flatten)]
    mcp: Mcp,
}

/// The process.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    waiting: watch::Receiver<usize>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), Exit>>,
}

impl Server {
    /// One that asks nobody for a token.
    pub(super) fn open(arguments: &[&str]) -> Self {
        Server::start(Access::Open, arguments)
    }

    /// One that wants tokens.
    pub(super) fn guarded(arguments: &[&str]) -> Self {
        Server::start(Access::Tokens, arguments)
    }

    fn start(access: Access, arguments: &[&str]) -> Self {
        let common = ["--workers", "1", "--shutdown-grace", "5", "--jwt-secret-key", SECRET];
        let command = Settings::command()
            .no_binary_name(true)
            .args_override_self(true)
            .mut_args(|argument| argument.env(None));
        let matches = command.try_get_matches_from(common.iter().chain(arguments)).unwrap();
        let settings = Settings::from_arg_matches(&matches).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (waiting, told) = watch::channel(0);
        let handler = Showing { waiting };
        let ended = actix_rt::spawn(serve(settings, access, handler, listener, stopped));
        Server { address, waiting: told, stop, ended }
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address))
    }

    /// Returns once `wanted` calls wait.
    pub(super) async fn until_waiting(&mut self, wanted: usize) {
        let what = format!("{wanted} calls wait");
        within(&what, self.waiting.wait_for(|waiting| *waiting == wanted)).await.unwrap();
    }

    /// Tells it to leave; the caller watches it do so.
    pub(super) fn leave(self) -> JoinHandle<Result<(), Exit>> {
        self.stop.send(()).unwrap();
        self.ended
    }

    pub(super) async fn stop(self) {
        within("the server leaves", self.leave()).await.unwrap().unwrap();
    }
}

async fn serve(
    settings: Settings,
    access: Access,
    handler: Showing,
    listener: TcpListener,
    stopped: oneshot::Receiver<()>,
) -> Result<(), Exit> {
    let Settings { http, identity, calls, services, mcp } = settings;
    let ground = Ground::lay("showing", &[], &identity, &calls, &services).await?;
    let reporter = Reporter {
        service: "showing",
        title: "Showing",
        house: ground.house.clone(),
        discovery: ground.discovery.clone(),
        database: None,
        writer: None,
        outbox: None,
        log: None,
        index: None,
        metrics: ground.metrics.clone(),
        drain: ground.drain.clone(),
    };
    let drain = ground.drain.clone();
    let endpoint = Endpoint::new("showing", Arc::new(handler), &mcp, access, drain);
    let routes = move |_clients| {
        let endpoint = endpoint.clone();
        move |config: &mut ServiceConfig| endpoint.mount(config)
    };
    let shutdown = async move { stopped.await.unwrap_or_default() };
    ground.serve(&http, listener, reporter, routes, shutdown).await
}

/// A message of 2026-07-28, with everything a client of it sends; `params` are an object.
pub(super) fn modern(id: u64, method: &str, mut params: Value) -> Value {
    let meta = params.as_object_mut().unwrap().entry("_meta").or_insert_with(|| json!({}));
    meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A question with a message of 2026-07-28 and its headers.
pub(super) fn ask(client: &Client, message: &Value) -> crate::harness::client::Question {
    let question = client
        .ask(Method::POST, "/mcp")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", message["method"].as_str().unwrap());
    let question = match message["params"]["name"].as_str() {
        Some(name) => question.header("mcp-name", name),
        None => question,
    };
    question.json(message)
}

/// Calls a tool as a client of 2026-07-28.
pub(super) fn call(client: &Client, tool: &str) -> crate::harness::client::Question {
    let params = json!({ "name": tool, "arguments": {}, "_meta": { "progressToken": 7 } });
    ask(client, &modern(1, "tools/call", params))
}

/// A session of 2025-11-25.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) id: String,
}

impl Session {
    pub(super) async fn begin(client: &Client) -> Self {
        let answer = Session::try_begin(client).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let id = answer.header("mcp-session-id").unwrap().to_owned();
        let session = Session { client: client.clone(), id };
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(session.post(&initialized).send().await.status, 202);
        session
    }

    /// The answer to `initialize`.
    pub(super) async fn try_begin(client: &Client) -> Answer {
        let hello = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": LEGACY,
                "capabilities": {},
                "clientInfo": { "name": "test", "version": "1" },
            },
        });
        let question = client.ask(Method::POST, "/mcp").json(&hello);
        question.header("accept", "application/json, text/event-stream").send().await
    }

    /// A question in this session.
    pub(super) fn ask(&self, method: Method) -> crate::harness::client::Question {
        self.client
            .ask(method, "/mcp")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", LEGACY)
            .header("mcp-session-id", &self.id)
    }

    pub(super) fn post(&self, message: &Value) -> crate::harness::client::Question {
        self.ask(Method::POST).json(message)
    }

    /// Calls a tool, and gives the messages of the answer as they come.
    pub(super) async fn call(&self, id: u64, tool: &str) -> Events {
        let params = json!({ "name": tool, "arguments": {} });
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        self.post(&call).try_open().await.unwrap()
    }
}

/// The next message of a stream; `None` at its end.
pub(super) async fn next(events: &mut Events) -> Option<Value> {
    loop {
        let data = events.next_frame().await?.data.unwrap_or_default();
        // What only says how to come back has no message.
        if !data.is_empty() {
            return Some(serde_json::from_str(&data).unwrap());
        }
    }
}
