//! `cortex outbox`: what waits in core for memory, and what may be done with what memory refuses.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde_json::Value;

use super::{
    fetch::{ANSWER_DEADLINE, Web, base_url},
    out::{self, Listing},
    place::CORE_URL,
    render::age,
    session::Session,
    table::Table,
    trouble::{Outcome, Trouble},
};
use crate::{
    backplane::{client::segment, clock},
    contract::outbox::Kept,
};

/// Entries asked for at once.
const PAGE: i64 = 1000;

/// What `cortex outbox` can do. Core must be running.
#[derive(Subcommand)]
pub enum OutboxCommand {
    /// List what waits, oldest first.
    List(ListArgs),
    /// Show one input whole, as memory is to be given it.
    Show(ShowArgs),
    /// Have inputs tried again that memory refused or failed at.
    Retry(RetryArgs),
    /// Give inputs up, though they were acknowledged.
    Drop(DropArgs),
}

/// Which core.
#[derive(Args)]
struct At {
    /// URL of core.
    #[arg(long, default_value = CORE_URL, value_parser = base_url)]
    url: String,
    #[command(flatten)]
    session: Session,
}

/// What `cortex outbox list` takes.
#[derive(Args)]
pub struct ListArgs {
    /// Only those that memory refused for good.
    #[arg(long)]
    refused: bool,
    /// A table, or one JSON object per line.
    #[arg(short, long, default_value = "table")]
    output: Listing,
    #[command(flatten)]
    at: At,
}

/// What `cortex outbox show` takes.
#[derive(Args)]
pub struct ShowArgs {
    /// Id the input was acknowledged under.
    #[arg(value_name = "MESSAGE_ID", value_parser = NonEmptyStringValueParser::new())]
    id: String,
    #[command(flatten)]
    at: At,
}

/// What `cortex outbox retry` takes.
#[derive(Args)]
pub struct RetryArgs {
    /// Ids the inputs were acknowledged under.
    #[arg(value_name = "MESSAGE_ID", required_unless_present = "all", value_parser = NonEmptyStringValueParser::new())]
    ids: Vec<String>,
    /// All that memory refused for good.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    at: At,
}

/// What `cortex outbox drop` takes.
#[derive(Args)]
pub struct DropArgs {
    /// Ids the inputs were acknowledged under.
    #[arg(value_name = "MESSAGE_ID", required = true, value_parser = NonEmptyStringValueParser::new())]
    ids: Vec<String>,
    #[command(flatten)]
    at: At,
}

/// Does what was asked of the outbox.
pub(super) async fn run(command: OutboxCommand) -> Outcome {
    match command {
        OutboxCommand::List(args) => list(args).await,
        OutboxCommand::Show(args) => {
            let place = format!("/{}", segment(&args.id));
            let web = Web::new();
            out::line(&out::indented(&args.at.get(&web, &place).await?))
        }
        OutboxCommand::Retry(args) => retry(args).await,
        OutboxCommand::Drop(args) => {
            let web = Web::new();
            for id in &args.ids {
                let url = format!("{}/outbox/{}", args.at.url, segment(id));
                web.delete(&url, &args.at.token()?).await?.success()?;
                out::line(&format!("{} is dropped", out::flat(id)))?;
            }
            Ok(())
        }
    }
}

impl At {
    fn token(&self) -> Outcome<String> {
        self.session.service("core")?.token()
    }

    async fn get(&self, web: &Web, place: &str) -> Outcome<Value> {
        let url = format!("{}/outbox{place}", self.url);
        web.get(&url, Some(&self.token()?), ANSWER_DEADLINE).await?.success()
    }

    /// One page of entries after a place in the order.
    async fn page(&self, web: &Web, refused: bool, after: i64) -> Outcome<Vec<Kept>> {
        let state = if refused { "refused" } else { "all" };
        let place = format!("?state={state}&after={after}&limit={PAGE}");
        let mut answer = self.get(web, &place).await?;
        let entries = answer.get_mut("entries").map(Value::take).unwrap_or_default();
        serde_json::from_value(entries).map_err(|error| {
            Trouble::plain(format!("{} answered what is no outbox: {error}", self.url))
        })
    }
}

async fn list(args: ListArgs) -> Outcome {
    let (web, now) = (Web::new(), clock::now_micros());
    let header = ["MESSAGE", "USER", "CONVERSATION", "STATE", "SINCE", "BYTES", "WHY"];
    let mut table = Table::new(header);
    let mut after = 0;
    loop {
        let page = args.at.page(&web, args.refused, after).await?;
        let Some(last) = page.last() else { break };
        after = last.place;
        for entry in page {
            match args.output {
                Listing::Json => {
                    out::line(&serde_json::to_value(&entry).unwrap_or_default().to_string())?
                }
                Listing::Table => table.row(row(entry, now)),
            }
        }
        if args.output == Listing::Table {
            out::print(&table.take())?;
        }
    }
    // The header alone, where nothing waits.
    if args.output == Listing::Table { out::print(&table.take()) } else { Ok(()) }
}

fn row(entry: Kept, now: i64) -> [String; 7] {
    [
        entry.message_id,
        entry.user_id,
        entry.conversation_id,
        entry.state,
        age(&entry.since, now),
        entry.bytes.to_string(),
        entry.why.unwrap_or_else(|| "-".to_owned()),
    ]
}

async fn retry(args: RetryArgs) -> Outcome {
    let web = Web::new();
    let ids = if args.all { all_refused(&args.at, &web).await? } else { args.ids };
    for id in &ids {
        let url = format!("{}/outbox/{}/retry", args.at.url, segment(id));
        web.post(&url, &args.at.token()?, "{}".to_owned()).await?.success()?;
    }
    out::line(&format!("{} inputs are tried again", ids.len()))
}

/// Listed before the first is tried again: one that is refused once more would be listed again.
async fn all_refused(at: &At, web: &Web) -> Outcome<Vec<String>> {
    let (mut ids, mut after) = (Vec::new(), 0);
    loop {
        let page = at.page(web, true, after).await?;
        let Some(last) = page.last() else { return Ok(ids) };
        after = last.place;
        ids.extend(page.into_iter().map(|entry| entry.message_id));
    }
}
