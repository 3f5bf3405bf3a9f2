//! `cortex export`: everything that memory keeps of a user, as JSON lines, however much it is.

use clap::Args;
use serde_json::json;

use super::{
    complain,
    fetch::Web,
    out,
    place::Place,
    session::{Bearer, Session},
    trouble::{Outcome, Trouble},
};
use crate::contract::fact::{Exported, Kept};

/// Items and facts asked for at once; fewer when they are so large that an answer is refused.
const PAGE: i64 = 500;

/// What `cortex export` takes.
#[derive(Args)]
pub struct ExportArgs {
    /// Login name or id of the user; a name that core's database does not know is taken as an id.
    user: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    session: Session,
}

/// How much was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    items: usize,
    facts: usize,
}

/// Prints `{"item": …}` or `{"fact": …}` on a line each, in the order in which they were stored, and
/// `{"end": …}` when that is all.
pub(super) async fn run(args: ExportArgs) -> Outcome {
    let bearer = args.session.service("memory")?;
    let known = args.session.keys.home.user(&args.user).unwrap_or_else(|trouble| {
        complain(&format!("{trouble}; {:?} is taken as an id", args.user));
        None
    });
    let id = known.as_ref().map_or(args.user.as_str(), |user| user.user_id.as_str());
    let web = Web::new();
    let base = args.place.of("memory", &web, &args.session).await?;
    let (mut after, mut limit, mut count) = (0, PAGE, Count::default());
    loop {
        let page = match page(&web, &bearer, &base, id, (after, limit)).await {
            Err(Trouble::TooLarge(_)) if limit > 1 => {
                limit /= 2;
                continue;
            }
            page => page?,
        };
        out::print(&lines(&page.entries, &mut count)?)?;
        if !page.more {
            let Count { items, facts } = count;
            let end = json!({"user_id": id, "items": items, "facts": facts, "upto": page.upto});
            return out::line(&json!({ "end": end }).to_string());
        }
        if page.upto <= after {
            return Err(Trouble::plain(format!("{base} does not go on after {after}")));
        }
        after = page.upto;
    }
}

async fn page(
    web: &Web,
    bearer: &Bearer,
    base: &str,
    user_id: &str,
    (after, limit): (i64, i64),
) -> Outcome<Exported> {
    let url = format!("{base}/tool/export_user");
    let asked = json!({"user_id": user_id, "after": after, "limit": limit});
    let answer = web.post(&url, &bearer.token()?, asked.to_string()).await?.success()?;
    serde_json::from_value(answer)
        .map_err(|error| Trouble::plain(format!("{url} answered what is no export: {error}")))
}

fn lines(entries: &[Kept], count: &mut Count) -> Outcome<String> {
    let mut text = String::new();
    for kept in entries {
        match kept {
            Kept::Item(_) => count.items += 1,
            Kept::Fact(_) => count.facts += 1,
        }
        let line = serde_json::to_string(kept)
            .map_err(|error| Trouble::plain(format!("an entry was not written: {error}")))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_a_line_and_counted() {
        let entries: Vec<Kept> = serde_json::from_value(json!([
            {"item": {"id": "1", "user_id": "u", "content": "a\nb", "timestamp": "t"}},
            {"fact": {
                "seq": 2, "id": "f", "user_id": "u", "subject": "s", "text": "x",
                "recorded_at": "t", "valid_from": "t"
            }},
        ]))
        .unwrap();
        let mut count = Count::default();
        let text = lines(&entries, &mut count).unwrap();
        assert_eq!(count, Count { items: 1, facts: 1 });
        let heads: Vec<&str> = text.lines().filter_map(|line| line.get(..8)).collect();
        assert_eq!(heads, [r#"{"item":"#, r#"{"fact":"#]);
    }
}
