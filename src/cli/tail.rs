//! `cortex tail`: the output stream, readable.

use std::ops::ControlFlow;

use clap::Args;
use serde_json::Value;

use super::{
    fetch::{Web, base_url},
    follow::Follower,
    out::{self, Telling},
    place::CORE_URL,
    render,
    session::Session,
    trouble::Outcome,
};
use crate::backplane::client::segment;

/// What `cortex tail` takes.
#[derive(Args)]
pub struct TailArgs {
    /// URL of core.
    #[arg(long, default_value = CORE_URL, value_parser = base_url)]
    url: String,
    /// Only what is said in this conversation.
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Read as the user with this login name or id [default: whose token is given, else the
    /// development user of `cortex up`].
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A line for each thing said, or every event as a JSON object on one line.
    #[arg(short, long, default_value = "pretty")]
    output: Telling,
    #[command(flatten)]
    session: Session,
}

/// Prints what happens, until interrupted.
pub(super) async fn run(args: TailArgs) -> Outcome {
    let bearer = args.session.user(args.user.as_deref())?;
    let web = Web::new();
    let url = stream_url(&args.url, args.conversation.as_deref());
    let follower = Follower::new(&web, &bearer, url, None);
    let told = follower.run(|data| {
        if let Some(line) = line(data, args.output) {
            out::line(&line)?;
        }
        Ok(ControlFlow::Continue(()))
    });
    told.await
}

fn stream_url(core: &str, conversation: Option<&str>) -> String {
    match conversation {
        Some(id) => format!("{core}/output/stream?conversation_id={}", segment(id)),
        None => format!("{core}/output/stream"),
    }
}

fn line(data: &str, output: Telling) -> Option<String> {
    match (output, serde_json::from_str::<Value>(data)) {
        (Telling::Pretty, Ok(event)) => render::event(&event),
        (Telling::Json, Ok(event)) => Some(event.to_string()),
        (Telling::Pretty | Telling::Json, Err(_no_json)) => Some(out::flat(data)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_escaped() {
        assert_eq!(stream_url("http://h", None), "http://h/output/stream");
        assert_eq!(
            stream_url("http://h", Some("a&b")),
            "http://h/output/stream?conversation_id=a%26b"
        );
    }

    #[test]
    fn programs_get_every_event_and_people_what_was_said() {
        let beat = r#"{"type": "heartbeat",  "timestamp": "t"}"#;
        assert_eq!(line(beat, Telling::Pretty), None);
        assert_eq!(
            line(beat, Telling::Json).as_deref(),
            Some(r#"{"timestamp":"t","type":"heartbeat"}"#)
        );
        assert_eq!(line("no\njson", Telling::Pretty).as_deref(), Some("no json"));
    }
}
