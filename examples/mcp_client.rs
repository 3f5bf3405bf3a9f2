//! A client on our upstream layer, as the protocol's conformance suite drives one: the suite gives
//! the server's URL as last argument and names the scenario in `MCP_CONFORMANCE_SCENARIO`.

mod client;

use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Duration};

use cortex::{
    backplane::{
        logging,
        upstream::{Call, Client, Kind, Surroundings, Trouble, Upstream, Upstreams},
    },
    contract::upstream::{Credential, Limits, Remote, Secret, Share, Transport, UpstreamSpec},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use client::{
    answers::{self, Answers},
    authorize::{Authorizer, Known},
};

/// Rounds of questions one call may take.
const ROUNDS_MAX: u32 = 8;
/// Times a request is sent again with other credentials.
const CREDENTIALS_MAX: u32 = 3;
/// Time for a whole scenario; below the suite's own.
const PATIENCE: Duration = Duration::from_secs(25);

/// What the suite tells of a scenario.
#[derive(Default, Deserialize)]
struct Context {
    #[serde(default, alias = "toolCalls")]
    tool_calls: Vec<ToolCall>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

#[derive(Clone, Deserialize)]
struct ToolCall {
    name: String,
    arguments: Option<Value>,
}

fn main() -> ExitCode {
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let filter = variables.get("RUST_LOG").map_or("info", String::as_str);
    logging::start(logging::Format::Human, filter, "client");
    let Some(url) = std::env::args().nth(1) else {
        log::error!("needs the URL of a server as last argument");
        return ExitCode::from(64);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            let scenario = scenario(url, variables);
            let late = |_elapsed| "the scenario took too long".to_owned();
            tokio::time::timeout(PATIENCE, scenario).await.map_err(late)?
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log::error!("scenario failed cause={why}");
            ExitCode::FAILURE
        }
    }
}

/// One scenario: meet the server, list its tools, call those the suite names, or all.
async fn scenario(url: String, variables: BTreeMap<String, String>) -> Result<(), String> {
    let name = variables.get("MCP_CONFORMANCE_SCENARIO").cloned().unwrap_or_default();
    let told = variables.get("MCP_CONFORMANCE_CONTEXT").map(String::as_str).unwrap_or_default();
    let context: Context = serde_json::from_str(told).unwrap_or_default();
    let surroundings = Surroundings { variables: Arc::new(variables), helper: None };
    let upstreams = Upstreams::start(surroundings).map_err(|error| error.to_string())?;
    let known = Known { id: context.client_id, secret: context.client_secret };
    let mut session = Session {
        authorizer: Authorizer::new(&url, known),
        url,
        upstreams,
        asks: Arc::new(Answers),
    };
    session.meet().await?;
    if name == "initialize" || name == "json-schema-ref-no-deref" {
        return session.tools().await.map(drop);
    }
    let tools = session.tools().await?;
    let calls = if context.tool_calls.is_empty() {
        let call = |tool: &Map<String, Value>| {
            let name = tool.get("name")?.as_str()?.to_owned();
            Some(ToolCall { name, arguments: answers::arguments(tool) })
        };
        tools.iter().filter_map(call).collect()
    } else {
        context.tool_calls
    };
    for call in calls {
        let outcome = session.call(&call).await;
        if let Err(why) = &outcome {
            log::warn!("call failed tool={} cause={why}", call.name);
        }
        if name == "tools_call" || name.starts_with("auth/scope-step-up") {
            outcome?;
        }
    }
    if name == "auth/authorization-server-migration" {
        for _ in 0..2 {
            session.tools().await?;
        }
    }
    Ok(())
}

/// A client's session with one server.
struct Session {
    url: String,
    authorizer: Authorizer,
    upstreams: Upstreams,
    asks: Arc<Answers>,
}

impl Session {
    fn upstream(&self) -> Result<Upstream, String> {
        let bearer = self.authorizer.token().map(|token| Secret(format!("Bearer {token}")));
        let headers = bearer.map(|bearer| ("Authorization".to_owned(), bearer));
        let spec = UpstreamSpec {
            prefix: None,
            name: "server".to_owned(),
            transport: Transport::Http(Remote {
                url: self.url.clone(),
                headers: headers.into_iter().collect(),
                credential: Credential::None,
                share: Share::Session,
            }),
            limits: Limits {
                list_timeout: Duration::from_secs(10),
                probe_timeout: Duration::from_secs(6),
                ..Limits::default()
            },
        };
        self.upstreams.put(spec).map_err(|failure| failure.to_string())
    }

    fn context(&self) -> Call {
        let capabilities = json!({"elicitation": {"form": {}}, "sampling": {}});
        Call {
            client: Some(Client {
                session: Some("the only one".into()),
                capabilities: capabilities.as_object().cloned().unwrap_or_default(),
                side: self.asks.clone(),
            }),
            ..Call::within(PATIENCE)
        }
    }

    /// Does something, again with other credentials when the server asks for them.
    async fn authorized<T, F>(
        &mut self,
        mut what: impl FnMut(Upstream, Call) -> F,
    ) -> Result<T, String>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let mut tried = 0;
        loop {
            match what(self.upstream()?, self.context()).await {
                Err(Trouble::Challenged { status, challenge, failure }) => {
                    tried += 1;
                    if tried > CREDENTIALS_MAX {
                        return Err(failure.to_string());
                    }
                    self.authorizer.take_up(status, &challenge).await?;
                }
                Ok(done) => return Ok(done),
                Err(trouble) => return Err(trouble.to_string()),
            }
        }
    }

    async fn meet(&mut self) -> Result<(), String> {
        self.authorized(|upstream, call| async move { upstream.meet(&call).await.map(drop) }).await
    }

    async fn tools(&mut self) -> Result<Vec<Map<String, Value>>, String> {
        let listing = self
            .authorized(|upstream, call| async move { upstream.list(Kind::Tools, &call).await })
            .await?;
        Ok(listing.items)
    }

    /// Calls a tool, answering what it asks on the way.
    async fn call(&mut self, call: &ToolCall) -> Result<Value, String> {
        let mut params = Map::from_iter([("name".to_owned(), Value::from(call.name.clone()))]);
        if let Some(arguments) = &call.arguments {
            params.insert("arguments".to_owned(), arguments.clone());
        }
        for _ in 0..ROUNDS_MAX {
            let sent = params.clone();
            let raw = self
                .authorized(|upstream, call| {
                    let sent = sent.clone();
                    async move { upstream.call_tool(sent, &call).await }
                })
                .await?;
            let result: Value =
                serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
            if result.get("resultType").and_then(Value::as_str) != Some("input_required") {
                return Ok(result);
            }
            params.remove("requestState");
            params.remove("inputResponses");
            if let Some(state) = result.get("requestState") {
                params.insert("requestState".to_owned(), state.clone());
            }
            if let Some(Value::Object(requests)) = result.get("inputRequests") {
                let responses: Map<String, Value> = requests
                    .iter()
                    .map(|(key, request)| (key.clone(), answers::to(request)))
                    .collect();
                params.insert("inputResponses".to_owned(), Value::Object(responses));
            }
        }
        Err("it asks for ever".to_owned())
    }
}
