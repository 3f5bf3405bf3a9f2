//! The command line: which command was meant, with which settings, and how it ended.

use std::{future::Future, io, process::ExitCode};

use clap::{
    CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    backplane::{
        config::{Http, Logs, prefixed_services},
        logging, upstream,
    },
    cli,
    process::{Exit, bind, cognition, core, memory, stdio, up},
};

/// Exit code for a command line that is wrong (sysexits.h: `EX_USAGE`).
const EXIT_USAGE: u8 = 64;
/// Exit code for a setting that is wrong (sysexits.h: `EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;

/// The memory-and-context backplane for AI clients.
#[derive(Parser)]
#[command(name = "cortex", version, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole backplane on this machine: core, memory and cognition.
    Up(up::Settings),
    /// Run core: inputs, conversations, the output stream.
    Core(Box<Role<core::Settings>>),
    /// Run memory: keeps every input, and serves it back.
    Memory(Box<Role<memory::Settings>>),
    /// Run cognition: finds context in memory.
    Cognition(Box<Role<cognition::Settings>>),
    /// Be a server of the Model Context Protocol on standard input and output.
    Mcp(Mcp),
    /// Become a program that ends with its parent, as core asks for upstreams.
    #[command(name = "mcp-child", hide = true)]
    McpChild {
        /// The parent's process id.
        parent: i32,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        program: Vec<std::ffi::OsString>,
    },
    #[command(flatten)]
    People(cli::Command),
}

/// What `cortex mcp` takes.
#[derive(clap::Args)]
struct Mcp {
    #[command(flatten)]
    args: cli::mcp::McpArgs,
    #[command(flatten)]
    logs: Logs,
}

/// A role's settings, and how it is told to leave.
#[derive(clap::Args)]
struct Role<S: clap::Args> {
    #[command(flatten)]
    settings: S,
    /// Leave when standard input ends, as `cortex up` asks of its children.
    #[arg(long, hide = true)]
    stop_with_parent: bool,
}

/// Runs the command that was given.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = CommandLine::command()
        .try_get_matches()
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    match parsed {
        Ok(line) => run(line.command),
        Err(error) => ExitCode::from(explain(&error)),
    }
}

fn run(command: Command) -> ExitCode {
    let ended = match command {
        Command::Up(settings) => {
            start_logs(&settings.logs, "up");
            let welcome = |ready: &cli::welcome::Welcome| cli::announce(&ready.text());
            block_on(up::run(settings, welcome, signalled(false, None)))
        }
        Command::Core(mut role) => {
            let settings = &mut role.settings;
            start_logs(&settings.logs, "core");
            settings.variables = std::env::vars().collect();
            settings.services.prefixed = prefixed_services(std::env::vars());
            let Role { settings, stop_with_parent } = *role;
            serve("core", settings.http.clone(), core::PORT, |listener, line| {
                core::run(settings, listener, signalled(stop_with_parent, Some(line)))
            })
        }
        Command::Memory(role) => {
            let Role { settings, stop_with_parent } = *role;
            start_logs(&settings.logs, "memory");
            serve("memory", settings.http.clone(), memory::PORT, |listener, line| {
                memory::run(settings, listener, signalled(stop_with_parent, Some(line)))
            })
        }
        Command::Cognition(mut role) => {
            let settings = &mut role.settings;
            start_logs(&settings.logs, "cognition");
            settings.services.prefixed = prefixed_services(std::env::vars());
            let Role { settings, stop_with_parent } = *role;
            serve("cognition", settings.http.clone(), cognition::PORT, |listener, line| {
                cognition::run(settings, listener, signalled(stop_with_parent, Some(line)))
            })
        }
        Command::Mcp(Mcp { args, logs }) => {
            // What a command for people meets is told in one line of its own.
            let level = if args.is_stdio() { logs.log.clone() } else { "error".to_owned() };
            start_logs(&Logs { log: level, ..logs.clone() }, "mcp");
            return told(block_on(stdio::run(args, logs)));
        }
        Command::McpChild { parent, program } => {
            let error = upstream::become_child(parent, &program);
            Err(Exit::Failed(format!("{}: {error}", program.join(" ".as_ref()).display())))
        }
        Command::People(command) => return told(block_on(cli::run(command))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            cli::complain(&exit.to_string());
            ExitCode::from(exit.code())
        }
    }
}

fn told(ended: cli::Outcome) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&error.to_string());
            ExitCode::from(error.code())
        }
    }
}

fn start_logs(logs: &Logs, process: &'static str) {
    logging::start(logs.log_format, &logs.log, process);
}

fn block_on<F: Future>(future: F) -> F::Output {
    actix::System::new().block_on(future)
}

/// Binds and runs the role. Where it listens is said when it begins to wait for its end: everything
/// is laid by then, so that a start that fails has not announced itself.
fn serve<F: Future<Output = Result<(), Exit>>>(
    name: &str,
    http: Http,
    default_port: u16,
    role: impl FnOnce(std::net::TcpListener, String) -> F,
) -> Result<(), Exit> {
    let listener = bind(&http, default_port)?;
    let address =
        listener.local_addr().map_err(|error| Exit::Failed(format!("no address: {error}")))?;
    let line = format!("cortex {name} {}http://{address}", up::LISTENING);
    block_on(role(listener, line))
}

/// Prints the announcement, then returns at the first SIGTERM or SIGINT (or the end of standard input, if asked to watch it);
/// a second signal ends the process at once.
async fn signalled(watch_input: bool, announcement: Option<String>) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        log::error!("signals cannot be heard");
        return std::future::pending().await;
    };
    // Only now: whoever reads the line may send a signal at once.
    if let Some(line) = announcement {
        cli::announce(&line);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = input_ended(), if watch_input => {}
    }
    actix_rt::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        log::warn!("second signal: leaving at once");
        #[expect(clippy::exit, reason = "asked for twice")]
        std::process::exit(130);
    });
}

/// Returns at the end of standard input. It is read on a thread of its own: the runtime would wait
/// for a blocking read when the process ends for another reason.
async fn input_ended() {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let spawned = std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        if let Err(error) = io::copy(&mut io::stdin().lock(), &mut io::sink()) {
            log::debug!("standard input failed cause={error}");
        }
        drop(ended);
    });
    if let Err(error) = spawned {
        log::error!("standard input cannot be watched cause={error}");
        return std::future::pending().await;
    }
    if end.await.is_err() {
        log::debug!("standard input has ended");
    }
}

/// Prints what is wrong with a command line. A setting that does not parse is one line that names
/// its variable.
fn explain(error: &clap::Error) -> u8 {
    let about_value = matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::NoEquals
    );
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) if about_value => argument.clone(),
        _ => {
            let shown = error.print();
            return match (shown, error.use_stderr()) {
                // Help into a pipe that was closed is help all the same.
                (Ok(()) | Err(_), false) => 0,
                (Ok(()) | Err(_), true) => EXIT_USAGE,
            };
        }
    };
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.clone(),
        _ => String::new(),
    };
    let why = std::error::Error::source(error).map(|source| format!(": {source}"));
    let name = variable_of(&argument).unwrap_or(argument);
    cli::complain(&format!("{name}: {value:?} is not accepted{}", why.unwrap_or_default()));
    EXIT_CONFIG
}

/// The variable behind an argument shown as `--call-timeout <CALL_TIMEOUT>`.
fn variable_of(argument: &str) -> Option<String> {
    let flag = argument.split_whitespace().next()?.strip_prefix("--")?;
    let command = CommandLine::command();
    let known = find(&command, flag)?;
    Some(known.get_env()?.to_string_lossy().into_owned())
}

/// The argument of that name, of this command or one below it.
fn find<'a>(command: &'a clap::Command, flag: &str) -> Option<&'a clap::Arg> {
    let own = command.get_arguments().find(|known| known.get_long() == Some(flag));
    own.or_else(|| command.get_subcommands().find_map(|below| find(below, flag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn an_argument_leads_to_its_variable() {
        assert_eq!(
            variable_of("--connection-timeout <CONNECTION_TIMEOUT>").as_deref(),
            Some("CONNECTION_TIMEOUT")
        );
        assert_eq!(variable_of("--nonsense"), None);
    }

    #[test]
    fn every_setting_of_a_role_names_a_variable_and_explains_itself() {
        for role in ["core", "memory", "cognition"] {
            let command = CommandLine::command();
            let role = command.find_subcommand(role).unwrap();
            for argument in role.get_arguments().filter(|a| !a.is_hide_set()) {
                let name = argument.get_id().as_str();
                if name == "help" || name == "version" {
                    continue;
                }
                assert!(argument.get_env().is_some(), "{name} has no variable");
                assert!(argument.get_help().is_some(), "{name} has no help");
            }
        }
    }
}
