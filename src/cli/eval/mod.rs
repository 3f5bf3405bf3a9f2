//! `cortex eval`: measures how well context is found, on questions whose answers are known.

pub mod data;
pub mod local;
mod remote;
pub mod score;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    fetch::base_url,
    out::{self, Listing},
    place::CORE_URL,
    session::Session,
    trouble::{Outcome, Trouble},
};
use crate::domain::retrieval::Weights;
use data::Data;
use score::{Answer, Report};

/// What is measured.
#[derive(Subcommand)]
pub enum EvalCommand {
    /// Ask questions with known evidence, and show how much of it is found and where.
    Retrieval(RetrievalArgs),
}

/// What `cortex eval retrieval` takes.
#[derive(Args)]
pub struct RetrievalArgs {
    /// The data: a folder with NAME.turns.jsonl and NAME.questions.jsonl, or the path up to NAME.
    data: PathBuf,
    /// Rank in this process, without any service.
    #[arg(long)]
    local: bool,
    /// URL of core of a running backplane, which is asked where memory and cognition are. What the
    /// data says is stored there under the names of its conversations, once.
    #[arg(long, default_value = CORE_URL, value_parser = base_url, conflicts_with = "local")]
    url: String,
    /// The turns are stored already.
    #[arg(long, conflicts_with = "local")]
    stored: bool,
    /// Write what was found for each question to this file, a JSON object on each line.
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,
    /// A table, or a JSON object.
    #[arg(short, long, default_value = "table")]
    output: Listing,
    #[command(flatten)]
    session: Session,
}

/// Runs a measurement and prints what came of it.
pub(super) async fn run(command: EvalCommand) -> Outcome {
    let EvalCommand::Retrieval(args) = command;
    let data = Data::read(&args.data).map_err(Trouble::Plain)?;
    let answers = if args.local {
        local::answers(&data, &Weights::default())
    } else {
        remote::answers(&data, &args.url, args.stored, &args.session).await?
    };
    if let Some(path) = &args.run {
        let lines: String = answers.iter().map(|answer| format!("{}\n", line(answer))).collect();
        std::fs::write(path, lines)
            .map_err(|error| Trouble::plain(format!("{}: {error}", path.display())))?;
    }
    let report = Report::of(&data, &answers);
    match args.output {
        Listing::Table => out::print(&show::table(&report)),
        Listing::Json => out::line(&out::indented(&show::json(&report))),
    }
}

/// What was found for one question.
fn line(answer: &Answer) -> Value {
    json!({ "qid": answer.question, "ranked": answer.ranked, "ms": answer.milliseconds })
}
