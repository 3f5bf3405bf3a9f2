//! Floor 5, towards people: the commands beside the roles, and what is printed.

pub mod welcome;

use std::io::Write as _;

use clap::Subcommand;

/// A command for people.
#[derive(Subcommand)]
pub enum Command {
    /// Ask an endpoint for its health; exit code 0 when it answers 200.
    Health(HealthArgs),
}

/// What `cortex health` takes.
#[derive(clap::Args)]
pub struct HealthArgs {
    /// The URL to ask.
    #[arg(long, default_value = "http://127.0.0.1:8000/health")]
    url: String,
}

/// What a command may end with.
pub type Outcome = anyhow_like::Result;

mod anyhow_like {
    pub type Result = std::result::Result<(), String>;
}

/// Runs a command.
pub async fn run(command: Command) -> Outcome {
    match command {
        Command::Health(args) => {
            let http = awc::Client::default();
            let response = http.get(&args.url).send().await.map_err(|e| e.to_string())?;
            if response.status().is_success() { Ok(()) } else { Err(response.status().to_string()) }
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

/// Prints what went wrong to standard error.
pub fn complain(line: &str) {
    if writeln!(std::io::stderr().lock(), "cortex: {line}").is_err() {
        log::debug!("standard error is closed");
    }
}
