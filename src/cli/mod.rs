//! Floor 5, towards people: the commands beside the roles, and what is printed.

pub mod bench;
mod call;
pub mod eval;
mod export;
mod fetch;
mod follow;
mod health;
mod history;
pub mod mcp;
mod out;
mod outbox;
mod people;
mod place;
mod reindex;
mod render;
mod session;
mod status;
mod store;
mod table;
mod tail;
mod token;
mod trouble;
mod upstream;
mod user;
pub mod welcome;

pub use trouble::{Outcome, Trouble};

use std::{future::Future, io::Write as _};

use clap::Subcommand;

use crate::backplane::logging;

/// A command for people.
#[derive(Subcommand)]
pub enum Command {
    /// Show how everything is: services, endpoints, breakers, actors.
    Status(status::StatusArgs),
    /// Make a token for a person or a program.
    Token(token::TokenArgs),
    /// Say who may log in: add, list, passwd.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Print what comes out of core's output stream, until interrupted.
    Tail(tail::TailArgs),
    /// Call one tool of a service and print its answer.
    Call(call::CallArgs),
    /// Print what a user said, oldest first.
    History(history::HistoryArgs),
    /// Print everything that memory keeps of a user, items and facts, as JSON lines.
    Export(export::ExportArgs),
    /// Look after what waits in core for memory: list, show, retry, drop.
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Copy the stores to a folder, also while they are used.
    Backup(store::backup::BackupArgs),
    /// Put a backup in the place of stores that nobody uses.
    Restore(store::restore::RestoreArgs),
    /// Look whether the stores are whole: exit code 0 if so, 1 if not, 2 if one cannot be opened.
    Check(store::check::CheckArgs),
    /// Say which other MCP servers stand behind the gateway: add, list, remove, test, import.
    #[command(subcommand)]
    Upstream(upstream::UpstreamCommand),
    /// Make cognition's index anew from memory, or compare it with what memory has.
    Reindex(reindex::ReindexArgs),
    /// Put a load on a backplane and show how it bears it.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Measure how well context is found, on questions whose answers are known.
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Ask an endpoint for its health, for containers: exit code 0 when it answers 2xx.
    Health(health::HealthArgs),
}

/// Runs a command. That whoever reads its output has gone is a good end.
///
/// # Errors
/// [`Trouble`], which says what to do.
pub async fn run(command: Command) -> Outcome {
    // What fails deeper down explains itself in the log; a check has a report for that, and the log
    // tells of panics alone.
    let reports = matches!(command, Command::Check(_));
    let filter = if reports { "off,cortex::backplane::logging=error" } else { "error" };
    logging::start(logging::Format::Human, filter, "cli");
    let ended = match command {
        Command::Status(args) => status::run(args).await,
        Command::Token(args) => token::run(&args),
        Command::User(command) => user::run(command),
        Command::Tail(args) => until_interrupted(tail::run(args)).await,
        Command::Call(args) => call::run(args).await,
        Command::History(args) => until_interrupted(history::run(args)).await,
        Command::Export(args) => until_interrupted(export::run(args)).await,
        Command::Outbox(command) => outbox::run(command).await,
        Command::Backup(args) => store::backup::run(args).await,
        Command::Restore(args) => store::restore::run(args).await,
        Command::Check(args) => store::check::run(args).await,
        Command::Upstream(command) => upstream::run(command).await,
        Command::Reindex(args) => until_interrupted(reindex::run(args)).await,
        Command::Bench(command) => bench::run(command).await,
        Command::Eval(command) => eval::run(command).await,
        Command::Health(args) => health::run(args).await,
    };
    match ended {
        Err(Trouble::ReaderGone) => Ok(()),
        other => other,
    }
}

/// Ctrl-C is the way to end what has no end.
async fn until_interrupted(work: impl Future<Output = Outcome>) -> Outcome {
    tokio::select! {
        ended = work => ended,
        heard = tokio::signal::ctrl_c() => {
            heard.map_err(|error| Trouble::plain(format!("signals cannot be heard: {error}")))
        }
    }
}

/// Prints a line to standard output, for people and for whoever started this process.
pub fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        log::debug!("standard output is closed");
    }
}

/// Prints what went wrong to standard error; what others sent is part of it.
pub fn complain(line: &str) {
    if writeln!(std::io::stderr().lock(), "cortex: {}", out::safe(line)).is_err() {
        log::debug!("standard error is closed");
    }
}
