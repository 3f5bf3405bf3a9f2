//! `cortex call`: one tool of one service, from the shell.

use std::io::Read as _;

use clap::{Args, builder::NonEmptyStringValueParser};
use serde_json::{Map, Value};

use super::{
    fetch::Web,
    out,
    place::Place,
    session::Session,
    trouble::{Outcome, Trouble},
};
use crate::backplane::client::segment;

/// Most bytes of arguments read from standard input.
const INPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What `cortex call` takes.
#[derive(Args)]
pub struct CallArgs {
    /// The service: memory, cognition, or another one that core knows.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,
    /// The tool; `GET /tools` of a service lists them.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    tool: String,
    /// Its arguments as a JSON object; - reads them from standard input [default: {}].
    arguments: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    session: Session,
}

/// Calls the tool and prints its answer as indented JSON.
pub(super) async fn run(args: CallArgs) -> Outcome {
    let CallArgs { service, tool, arguments, place, session } = args;
    let arguments = match arguments.as_deref() {
        None => Map::new(),
        Some("-") => parse(&input()?)?,
        Some(text) => parse(text)?,
    };
    let token = session.service(&service)?.token()?;
    let web = Web::new();
    let base = place.of(&service, &web, &session).await?;
    let url = format!("{base}/tool/{}", segment(&tool));
    let answer = web.post(&url, &token, Value::Object(arguments).to_string()).await?;
    out::line(&out::indented(&answer.success()?))
}

fn parse(text: &str) -> Outcome<Map<String, Value>> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text)
        .map_err(|error| Trouble::plain(format!("the arguments must be a JSON object: {error}")))
}

fn input() -> Outcome<String> {
    let mut text = String::new();
    let unread = |why: &str| Trouble::plain(format!("standard input was not read: {why}"));
    std::io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| unread(&error.to_string()))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > INPUT_BYTES_MAX {
        return Err(unread("more than 16 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object_or_nothing() {
        assert!(parse(" ").unwrap().is_empty());
        assert_eq!(parse(r#"{"a": 1}"#).unwrap().len(), 1);
        for bad in ["[]", "1", "{", "{\"a\": 1} x"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("the arguments must be a JSON object"), "{error}");
        }
    }
}
