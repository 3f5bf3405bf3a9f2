//! `cortex mcp tools|call|read|prompts`: any server of the protocol, of either era, from the shell.

use std::{io::Read as _, time::Duration};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde_json::{Map, Value, json};

use super::endpoint;
use crate::{
    backplane::upstream::{Call, Kind, Surroundings, Trouble as Refusal, Upstream, Upstreams},
    cli::{
        out::{self, Listing},
        place::CORE_URL,
        session::Session,
        table::Table,
        trouble::{Outcome, Trouble},
    },
    contract::upstream::UpstreamSpec,
};

/// Time for one command.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes of arguments read from standard input.
const INPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What can be asked of a server.
#[derive(Subcommand)]
pub enum McpCommand {
    /// List the tools.
    Tools(ListArgs),
    /// Call a tool and print its answer.
    Call(CallArgs),
    /// List the resources, or read one.
    Read(ReadArgs),
    /// List the prompts, or fill one in.
    Prompts(PromptArgs),
}

/// Which server, and as whom.
#[derive(Args)]
pub struct At {
    /// URL of the server's endpoint [default: core on this machine].
    #[arg(long, env = "CORTEX_MCP_URL", value_parser = endpoint)]
    url: Option<String>,
    /// Login name or id of the user to speak as [default: the development user].
    #[arg(long)]
    user: Option<String>,
    /// Show no token.
    #[arg(long)]
    no_token: bool,
    #[command(flatten)]
    session: Session,
}

/// What `cortex mcp tools` takes.
#[derive(Args)]
pub struct ListArgs {
    /// URL of the server's endpoint, as `--url`.
    #[arg(value_name = "URL", value_parser = endpoint)]
    place: Option<String>,
    /// A table, or one JSON object per line.
    #[arg(short, long, default_value = "table")]
    output: Listing,
    #[command(flatten)]
    at: At,
}

/// What `cortex mcp call` takes.
#[derive(Args)]
pub struct CallArgs {
    /// The tool.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    tool: String,
    /// Its arguments as a JSON object; - reads them from standard input [default: {}].
    arguments: Option<String>,
    #[command(flatten)]
    at: At,
}

/// What `cortex mcp read` takes.
#[derive(Args)]
pub struct ReadArgs {
    /// The resource's URI; all are listed without it.
    uri: Option<String>,
    /// A table, or one JSON object per line.
    #[arg(short, long, default_value = "table")]
    output: Listing,
    #[command(flatten)]
    at: At,
}

/// What `cortex mcp prompts` takes.
#[derive(Args)]
pub struct PromptArgs {
    /// The prompt; all are listed without it.
    prompt: Option<String>,
    /// What is filled in: `NAME=text`.
    #[arg(value_parser = pair)]
    arguments: Vec<(String, String)>,
    /// A table, or one JSON object per line.
    #[arg(short, long, default_value = "table")]
    output: Listing,
    #[command(flatten)]
    at: At,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=text")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the command.
///
/// # Errors
/// [`Trouble`], with the server's own error where it gave one.
pub async fn run(command: McpCommand) -> Outcome {
    match command {
        McpCommand::Tools(args) => {
            let mut at = args.at;
            at.url = args.place.or(at.url);
            list(&at, Kind::Tools, args.output).await
        }
        McpCommand::Call(CallArgs { tool, arguments, at }) => call(&at, &tool, arguments).await,
        McpCommand::Read(ReadArgs { uri, output, at }) => match uri {
            Some(uri) => read(&at, uri).await,
            None => {
                list(&at, Kind::Resources, output).await?;
                list(&at, Kind::Templates, output).await
            }
        },
        McpCommand::Prompts(PromptArgs { prompt, arguments, output, at }) => match prompt {
            Some(prompt) => fill_in(&at, prompt, arguments).await,
            None => list(&at, Kind::Prompts, output).await,
        },
    }
}

/// The server as an upstream of this command.
fn meet(at: &At) -> Outcome<Upstream> {
    let url = at.url.clone().unwrap_or_else(|| format!("{CORE_URL}/mcp"));
    let headers = if at.no_token {
        json!({})
    } else {
        let token = at.session.user(at.user.as_deref())?.token()?;
        json!({ "Authorization": format!("Bearer {token}") })
    };
    let seconds = PATIENCE.as_secs();
    let spec = json!({
        "name": "server",
        "transport": {"http": {"url": url, "headers": headers}},
        "limits": {"list_timeout": seconds, "call_timeout": seconds, "retries_max": 0},
    });
    let spec: UpstreamSpec = serde_json::from_value(spec)
        .map_err(|error| Trouble::plain(format!("this URL cannot be used: {error}")))?;
    let upstreams = Upstreams::start(Surroundings::default())
        .map_err(|error| Trouble::plain(format!("no thread: {error}")))?;
    upstreams.put(spec).map_err(|failure| Trouble::of(&failure))
}

fn told(refusal: Refusal) -> Trouble {
    match refusal {
        Refusal::Refused(error) => {
            let data = error.data.map(|data| format!(" {data}")).unwrap_or_default();
            Trouble::plain(format!("error {}: {}{data}", error.code, error.message))
        }
        Refusal::Failed(_) | Refusal::Challenged { .. } => {
            Trouble::of(&refusal.into_failure("server"))
        }
    }
}

async fn list(at: &At, kind: Kind, output: Listing) -> Outcome {
    let listing = meet(at)?.list(kind, &Call::within(PATIENCE)).await.map_err(told)?;
    if output == Listing::Json {
        for item in &listing.items {
            out::line(&Value::Object(item.clone()).to_string())?;
        }
        return Ok(());
    }
    let mut table = Table::new(["NAME", "WHAT IT IS"]);
    for item in &listing.items {
        let text = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = text("uri").or_else(|| text("uriTemplate")).or_else(|| text("name"));
        table.row([name.unwrap_or_default(), text("description").unwrap_or_default()]);
    }
    out::line(table.take().trim_end())
}

async fn call(at: &At, tool: &str, arguments: Option<String>) -> Outcome {
    let arguments = match arguments.as_deref() {
        None => Map::new(),
        Some("-") => parse(&input()?)?,
        Some(text) => parse(text)?,
    };
    let mut params = Map::new();
    params.insert("name".to_owned(), tool.into());
    params.insert("arguments".to_owned(), arguments.into());
    let raw = meet(at)?.call_tool(params, &Call::within(PATIENCE)).await.map_err(told)?;
    let result: Value = serde_json::from_str(raw.get())
        .map_err(|error| Trouble::plain(format!("the answer cannot be read: {error}")))?;
    let failed = result.get("isError").and_then(Value::as_bool) == Some(true);
    let shown = match result.get("structuredContent") {
        Some(structured) => out::indented(structured),
        None => texts(&result),
    };
    if failed { Err(Trouble::plain(shown)) } else { out::line(&shown) }
}

/// The texts of a result; what is no text is named.
fn texts(result: &Value) -> String {
    let content = result.get("content").and_then(Value::as_array).cloned().unwrap_or_default();
    let each = content.iter().map(|block| match block.get("text").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => block.to_string(),
    });
    each.collect::<Vec<_>>().join("\n")
}

async fn read(at: &At, uri: String) -> Outcome {
    let params = Map::from_iter([("uri".to_owned(), uri.into())]);
    let raw = meet(at)?.read_resource(params, &Call::within(PATIENCE)).await.map_err(told)?;
    let result: Value = serde_json::from_str(raw.get())
        .map_err(|error| Trouble::plain(format!("the answer cannot be read: {error}")))?;
    for content in result.get("contents").and_then(Value::as_array).into_iter().flatten() {
        match content.get("text").and_then(Value::as_str) {
            Some(text) => out::line(text)?,
            None => out::line(&content.to_string())?,
        }
    }
    Ok(())
}

async fn fill_in(at: &At, prompt: String, arguments: Vec<(String, String)>) -> Outcome {
    let arguments: Map<String, Value> =
        arguments.into_iter().map(|(name, text)| (name, text.into())).collect();
    let mut params = Map::new();
    params.insert("name".to_owned(), prompt.into());
    params.insert("arguments".to_owned(), arguments.into());
    let raw = meet(at)?.get_prompt(params, &Call::within(PATIENCE)).await.map_err(told)?;
    let result: Value = serde_json::from_str(raw.get())
        .map_err(|error| Trouble::plain(format!("the answer cannot be read: {error}")))?;
    for message in result.get("messages").and_then(Value::as_array).into_iter().flatten() {
        let role = message.get("role").and_then(Value::as_str).unwrap_or("user");
        let content = message.get("content").cloned().unwrap_or_default();
        let text = content.get("text").and_then(Value::as_str).map(str::to_owned);
        out::line(&format!("{role}: {}", text.unwrap_or_else(|| content.to_string())))?;
    }
    Ok(())
}

fn parse(text: &str) -> Outcome<Map<String, Value>> {
    serde_json::from_str(text)
        .map_err(|error| Trouble::plain(format!("the arguments must be a JSON object: {error}")))
}

fn input() -> Outcome<String> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Trouble::plain(format!("standard input was not read: {error}")))?;
    Ok(text)
}
