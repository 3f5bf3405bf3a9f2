//! `cortex history`: what a user said, oldest first, however much it is.

use std::ops::ControlFlow;

use clap::Args;
use serde_json::Value;

use super::{
    complain,
    fetch::{ANSWER_DEADLINE, Web},
    follow::Follower,
    out::{self, Telling},
    place::Place,
    render,
    session::{Bearer, Session},
    trouble::{Outcome, Trouble},
};
use crate::{backplane::client::segment, contract::item::Item};

/// Items asked for at once; fewer when they are so large that an answer is refused.
const PAGE_ITEMS: u64 = 500;

/// What `cortex history` takes.
#[derive(Args)]
pub struct HistoryArgs {
    /// Login name or id of the user; a name that core's database does not know is taken as an id.
    user: String,
    /// End after this many items, counted from the oldest [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only what was said in this conversation.
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Go on with what is said from now on, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// A line for each item, or every item as a JSON object on one line.
    #[arg(short, long, default_value = "pretty")]
    output: Telling,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    session: Session,
}

/// Prints a history.
pub(super) async fn run(args: HistoryArgs) -> Outcome {
    let bearer = args.session.service("memory")?;
    let known = args.session.keys.home.user(&args.user).unwrap_or_else(|trouble| {
        complain(&format!("{trouble}; {:?} is taken as an id", args.user));
        None
    });
    let id = known.as_ref().map_or(args.user.as_str(), |user| user.user_id.as_str());
    let web = Web::new();
    let base = args.place.of("memory", &web, &args.session).await?;
    let url = resource(&base, id, args.conversation.as_deref());
    let mut reader = Reader::new(url, args.limit, args.output);
    reader.read_stored(&web, &bearer).await?;
    if args.follow {
        return reader.follow(&web, &bearer).await;
    }
    if reader.after == 0 {
        let taken = if known.is_some() { "" } else { " (taken as an id)" };
        complain(&format!("nothing of {:?}{taken} is stored", args.user));
    }
    Ok(())
}

fn resource(base: &str, user: &str, conversation: Option<&str>) -> String {
    let user = segment(user);
    match conversation {
        Some(id) => format!("{base}/resource/history/{user}/conversation/{}", segment(id)),
        None => format!("{base}/resource/history/{user}"),
    }
}

/// Where the reading is.
struct Reader {
    url: String,
    output: Telling,
    /// Items still to print.
    left: u64,
    /// Place in the log of the last item printed.
    after: i64,
    page: u64,
}

impl Reader {
    fn new(url: String, limit: Option<u64>, output: Telling) -> Self {
        Reader { url, output, left: limit.unwrap_or(u64::MAX), after: 0, page: PAGE_ITEMS }
    }

    /// Prints what is stored, page by page.
    async fn read_stored(&mut self, web: &Web, bearer: &Bearer) -> Outcome {
        while self.left > 0 {
            let limit = self.page.min(self.left);
            let url = format!("{}?after={}&limit={limit}", self.url, self.after);
            let answer = web.get(&url, Some(&bearer.token()?), ANSWER_DEADLINE).await;
            if matches!(answer, Err(Trouble::TooLarge(_))) && limit > 1 {
                self.page = limit / 2;
                continue;
            }
            let items = match answer?.success()? {
                Value::Array(items) if items.is_empty() => return Ok(()),
                Value::Array(items) => items,
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_) => {
                    return Err(Trouble::plain(format!("{url} answered no list of items")));
                }
            };
            let before = self.after;
            let mut text = String::new();
            for item in items {
                text.push_str(&self.line(item));
                text.push('\n');
                self.left = self.left.saturating_sub(1);
            }
            out::print(&text)?;
            if self.after <= before {
                return Err(Trouble::plain(format!("{url} does not number its items")));
            }
        }
        Ok(())
    }

    /// Prints what is stored from now on.
    async fn follow(mut self, web: &Web, bearer: &Bearer) -> Outcome {
        let follower = Follower::new(web, bearer, format!("{}/stream", self.url), Some(self.after));
        if self.left == 0 {
            return Ok(());
        }
        let told = follower.run(|data| {
            let item = serde_json::from_str(data).unwrap_or_else(|_no_json| data.into());
            out::line(&self.line(item))?;
            self.left = self.left.saturating_sub(1);
            Ok(if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        told.await
    }

    /// An item as a line; remembers its place.
    fn line(&mut self, value: Value) -> String {
        let seq = value.get("seq").and_then(Value::as_i64).unwrap_or_default();
        self.after = self.after.max(seq);
        match self.output {
            Telling::Json => value.to_string(),
            Telling::Pretty => {
                let raw = value.to_string();
                serde_json::from_value::<Item>(value)
                    .map_or_else(|_no_item| raw, |item| render::item(&item))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_history_is_a_resource_of_memory() {
        assert_eq!(resource("http://h", "a/b", None), "http://h/resource/history/a%2Fb");
        assert_eq!(
            resource("http://h", "u", Some("c d")),
            "http://h/resource/history/u/conversation/c%20d"
        );
    }

    #[test]
    fn the_place_of_the_last_item_is_remembered() {
        let mut reader = Reader::new(String::new(), None, Telling::Json);
        assert_eq!(reader.line(json!({"seq": 4, "x": 1})), r#"{"seq":4,"x":1}"#);
        reader.line(json!({"seq": 3}));
        assert_eq!(reader.after, 4);
        reader.output = Telling::Pretty;
        assert_eq!(reader.line(json!({"odd": true})), r#"{"odd":true}"#);
    }
}
