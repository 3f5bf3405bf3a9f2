//! `cortex upstream`: other people's MCP servers behind a running core.

use std::{collections::BTreeMap, io::Read as _, path::PathBuf};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde_json::{Value, json};

use super::{
    fetch::{ANSWER_DEADLINE, Web, base_url},
    out::{self, Listing},
    place::CORE_URL,
    session::Session,
    table::Table,
    trouble::{Outcome, Trouble},
};
use crate::backplane::client::segment;

/// Most bytes of a file that is imported.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What `cortex upstream` can do.
#[derive(Subcommand)]
pub enum UpstreamCommand {
    /// Add a server: `add NAME --url URL`, or `add NAME -- COMMAND ARGUMENTS`.
    Add(AddArgs),
    /// List them, with how they are.
    List(ListArgs),
    /// Take one out.
    Remove(NameArgs),
    /// Meet one and count what it offers.
    Test(NameArgs),
    /// Add those of a file as desktop clients and editors keep it (`mcpServers`).
    Import(ImportArgs),
}

/// Which core, and who asks.
#[derive(Args)]
struct At {
    /// URL of core.
    #[arg(long, default_value = CORE_URL, value_parser = base_url)]
    core: String,
    #[command(flatten)]
    session: Session,
}

/// What `cortex upstream add` takes.
#[derive(Args)]
pub struct AddArgs {
    /// Its name, and what its tools' names begin with.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// Where it is.
    #[arg(long, conflicts_with = "command", required_unless_present = "command")]
    url: Option<String>,
    /// How it speaks: http, or sse for servers of 2024 [default: by the URL's end].
    #[arg(long = "type", requires = "url")]
    kind: Option<String>,
    /// A header sent with every request: `Name: value`; `${NAME}` stands for a variable of core's.
    #[arg(long, requires = "url", value_parser = header)]
    header: Vec<(String, String)>,
    /// Variable of core's environment that holds its bearer token.
    #[arg(long, requires = "url", conflicts_with = "credential_file")]
    credential_env: Option<String>,
    /// File that holds its bearer token, as core sees it.
    #[arg(long, requires = "url")]
    credential_file: Option<PathBuf>,
    /// Variable it is given: `NAME=value`.
    #[arg(long, requires = "command", value_parser = pair)]
    env: Vec<(String, String)>,
    /// What its tools' names begin with instead of its name.
    #[arg(long)]
    prefix: Option<String>,
    /// Program to start, with its arguments, after `--`.
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    at: At,
}

/// What `cortex upstream list` takes.
#[derive(Args)]
pub struct ListArgs {
    /// A table, or one JSON object per line.
    #[arg(short, long, default_value = "table")]
    output: Listing,
    #[command(flatten)]
    at: At,
}

/// Which one is meant.
#[derive(Args)]
pub struct NameArgs {
    /// Its name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    at: At,
}

/// What `cortex upstream import` takes.
#[derive(Args)]
pub struct ImportArgs {
    /// The file; - reads standard input.
    file: PathBuf,
    #[command(flatten)]
    at: At,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("'Name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Runs the command.
pub(super) async fn run(command: UpstreamCommand) -> Outcome {
    match command {
        UpstreamCommand::Add(args) => {
            let document = document(&args).to_string();
            add(&args.at, document).await
        }
        UpstreamCommand::List(args) => list(args).await,
        UpstreamCommand::Remove(NameArgs { name, at }) => {
            let url = format!("{}/upstreams/{}", at.core, segment(&name));
            let answer = Web::new().delete(&url, &token(&at)?).await?;
            answer.success()?;
            out::line(&format!("{name} is removed"))
        }
        UpstreamCommand::Test(NameArgs { name, at }) => {
            let url = format!("{}/upstreams/{}/test", at.core, segment(&name));
            let answer = Web::new().post(&url, &token(&at)?, String::new()).await?;
            out::line(&out::indented(&answer.success()?))
        }
        UpstreamCommand::Import(ImportArgs { file, at }) => {
            let text = read(&file)?;
            add(&at, text).await
        }
    }
}

fn token(at: &At) -> Outcome<String> {
    at.session.service("core")?.token()
}

/// The server as the usual files have it.
fn document(args: &AddArgs) -> Value {
    let map = |pairs: &[(String, String)]| -> BTreeMap<String, String> {
        pairs.iter().cloned().collect()
    };
    let mut entry = match &args.url {
        Some(url) => json!({"url": url, "headers": map(&args.header)}),
        None => {
            let (command, rest) = args.command.split_first().map_or(("", &[][..]), |(c, r)| (c, r));
            json!({"command": command, "args": rest, "env": map(&args.env)})
        }
    };
    let mut put = |key: &str, value: Option<Value>| {
        if let (Some(entry), Some(value)) = (entry.as_object_mut(), value) {
            entry.insert(key.to_owned(), value);
        }
    };
    put("type", args.kind.as_deref().map(Value::from));
    put("prefix", args.prefix.as_deref().map(Value::from));
    put("credential", args.credential_env.as_ref().map(|name| json!({ "env": name })));
    put("credential", args.credential_file.as_ref().map(|path| json!({ "file": path })));
    json!({ "mcpServers": { args.name.as_str(): entry } })
}

fn read(file: &PathBuf) -> Outcome<String> {
    let unread = |why: String| Trouble::plain(format!("{}: {why}", file.display()));
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| unread(error.to_string()))?;
    Ok(text)
}

async fn add(at: &At, document: String) -> Outcome {
    let url = format!("{}/upstreams", at.core);
    let answer = Web::new().post(&url, &token(at)?, document).await?.success()?;
    let names = answer.get("upstreams").and_then(Value::as_array).cloned().unwrap_or_default();
    for name in names.iter().filter_map(Value::as_str) {
        out::line(&format!("{name} is added; `cortex upstream test {name}` meets it"))?;
    }
    Ok(())
}

async fn list(args: ListArgs) -> Outcome {
    let url = format!("{}/upstreams", args.at.core);
    let answer = Web::new().get(&url, Some(&token(&args.at)?), ANSWER_DEADLINE).await?.success()?;
    let all = answer.get("upstreams").and_then(Value::as_array).cloned().unwrap_or_default();
    if args.output == Listing::Json {
        for one in &all {
            out::line(&one.to_string())?;
        }
        return Ok(());
    }
    let mut table = Table::new(["NAME", "BY", "AT", "VERSION", "BREAKER", "LAST FAILURE"]);
    for one in &all {
        let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        table.row(["name", "transport", "at", "version", "breaker", "failure"].map(text));
    }
    out::line(table.take().trim_end())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(subcommand)]
        command: UpstreamCommand,
    }

    fn asked(words: &[&str]) -> Option<Value> {
        let parsed = Only::try_parse_from(["x", "add"].iter().chain(words)).ok()?;
        let UpstreamCommand::Add(args) = parsed.command else { return None };
        Some(document(&args))
    }

    #[test]
    fn what_is_added_is_written_as_the_usual_files_have_it() {
        let command = asked(&["files", "--env", "A=b=c", "--", "npx", "-y", "server"]).unwrap();
        assert_eq!(
            command["mcpServers"]["files"],
            json!({"command": "npx", "args": ["-y", "server"], "env": {"A": "b=c"}})
        );
        let words =
            ["web", "--url", "https://h/mcp", "--header", "X-A: b", "--credential-env", "TOKEN"];
        assert_eq!(
            asked(&words).unwrap()["mcpServers"]["web"],
            json!({"url": "https://h/mcp", "headers": {"X-A": "b"}, "credential": {"env": "TOKEN"}})
        );
        assert_eq!(asked(&["nothing"]), None);
        assert_eq!(asked(&["both", "--url", "http://h", "--", "npx"]), None);
    }
}
