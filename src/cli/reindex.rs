//! `cortex reindex`: has cognition make its index anew, or compares it with one that is made anew.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{
    fetch::{ANSWER_DEADLINE, Web},
    out,
    place::Place,
    session::Session,
    trouble::{Outcome, Trouble},
};
use crate::{
    backplane::database::open_read_only,
    contract::log::ENTRIES,
    services::cognition::index::{
        DATABASE_FILE,
        audit::{self, Anew},
    },
};

/// Pause between two looks at how far it is.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Looks in vain, one after another, before it is given up.
const LOOKS_FAILED_MAX: u32 = 50;
/// Looks for a moment at which both are at the same place in the log.
const MEETINGS_MAX: u32 = 100;
/// Entries read from memory at once.
const PAGE_ENTRIES: u32 = 1000;

/// What `cortex reindex` takes.
#[derive(Args)]
pub struct ReindexArgs {
    /// Change nothing; compare the index on this machine with one that is made anew from memory,
    /// beside it. Exit code 0 if they are alike. `--url` then names memory.
    #[arg(long)]
    check: bool,
    /// File of the index to compare [default: cognition.db in the data directory].
    #[arg(long, requires = "check", value_name = "FILE")]
    index: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    session: Session,
}

/// Makes or compares.
pub(super) async fn run(args: ReindexArgs) -> Outcome {
    if args.check { check(args).await } else { make(args).await }
}

fn bar(of: i64) -> Outcome<ProgressBar> {
    let style = "{bar:30} {pos} of {len} entries, {per_sec}, {eta} to go";
    let style = ProgressStyle::with_template(style)
        .map_err(|error| Trouble::plain(format!("no progress to show: {error}")))?;
    Ok(ProgressBar::new(u64::try_from(of).unwrap_or_default()).with_style(style))
}

fn show(bar: &ProgressBar, at: i64, of: i64) {
    bar.set_length(u64::try_from(of).unwrap_or_default());
    bar.set_position(u64::try_from(at).unwrap_or_default());
}

/// Where an index is, and how far behind.
struct Standing {
    position: i64,
    behind: i64,
    items: i64,
}

/// Has cognition begin, and shows how far it is.
async fn make(args: ReindexArgs) -> Outcome {
    let token = args.session.service("cognition")?.token()?;
    let web = Web::new();
    let base = args.place.of("cognition", &web, &args.session).await?;
    web.post(&format!("{base}/tool/reindex"), &token, "{}".to_owned()).await?.success()?;
    let bar = bar(0)?;
    let mut failed = 0;
    let done = loop {
        match standing(&web, &base).await {
            Ok(standing) => {
                failed = 0;
                show(&bar, standing.position, standing.position + standing.behind);
                if standing.behind == 0 {
                    break standing;
                }
            }
            Err(trouble) if failed >= LOOKS_FAILED_MAX => return Err(trouble),
            Err(_) => failed += 1,
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    };
    bar.finish_and_clear();
    out::line(&format!("indexed {} items, up to {}", done.items, done.position))
}

async fn standing(web: &Web, base: &str) -> Outcome<Standing> {
    let url = format!("{base}/health");
    let health = web.get(&url, None, ANSWER_DEADLINE).await?.json()?;
    let index = health.get("components").and_then(|components| components.get("index"));
    let number = |name: &str| index.and_then(|index| index.get(name)?.as_i64());
    match (number("position"), number("behind"), number("entries")) {
        (Some(position), Some(behind), Some(items)) => Ok(Standing { position, behind, items }),
        _ => Err(Trouble::plain(format!("{url} says nothing of an index"))),
    }
}

/// Compares the index with one that is made anew.
async fn check(args: ReindexArgs) -> Outcome {
    let folder = &args.session.keys.home.data_dir;
    let path = args.index.clone().unwrap_or_else(|| folder.join(DATABASE_FILE));
    let mut index = open_read_only(&path).map_err(|failure| Trouble::Unopened(failure.message))?;
    let beside = path.with_added_extension(format!("check-{}", std::process::id()));
    let scratch = Scratch(beside);
    let mut anew = Anew::make(&scratch.0).map_err(|failure| Trouble::of(&failure))?;
    let web = Web::new();
    let base = args.place.of("memory", &web, &args.session).await?;
    let mut at = 0;
    let bar = bar(audit::position(&mut index).map_err(|failure| Trouble::of(&failure))?)?;
    for _ in 0..MEETINGS_MAX {
        let known = audit::position(&mut index).map_err(|failure| Trouble::of(&failure))?;
        let mut more = at < known;
        while more {
            let token = args.session.service("memory")?.token()?;
            let url = format!("{base}/resource/{ENTRIES}?after={at}&limit={PAGE_ENTRIES}");
            let page = web.get(&url, Some(&token), ANSWER_DEADLINE).await?.success()?;
            let Value::Array(page) = page else {
                return Err(Trouble::plain(format!("{url} gave no page of the log")));
            };
            (at, more) = anew.take_in(page).map_err(|failure| Trouble::of(&failure))?;
            show(&bar, at, known.max(at));
        }
        let compared = anew.differences(&mut index).map_err(|failure| Trouble::of(&failure))?;
        if let Some(found) = compared {
            bar.finish_and_clear();
            return told(&path.display().to_string(), at, &found);
        }
        // One of them has more of the log than the other.
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    bar.finish_and_clear();
    Err(Trouble::plain(format!(
        "{} and memory did not come to the same place; compare them while less is stored",
        path.display()
    )))
}

fn told(index: &str, at: i64, found: &[String]) -> Outcome {
    if found.is_empty() {
        return out::line(&format!("{index} is what memory has, up to {at}"));
    }
    for line in found {
        out::line(&out::flat(line))?;
    }
    Err(Trouble::Found(format!("{index} is not what memory has; `cortex reindex` makes it anew")))
}

/// A file that goes with its name, and its log.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        for ending in ["", "-wal", "-shm"] {
            let mut name = self.0.as_os_str().to_owned();
            name.push(ending);
            if let Err(error) = std::fs::remove_file(PathBuf::from(name))
                && error.kind() != std::io::ErrorKind::NotFound
            {
                log::warn!("{} not removed cause={error}", self.0.display());
            }
        }
    }
}
