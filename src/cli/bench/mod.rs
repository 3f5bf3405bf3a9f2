//! `cortex bench`: puts a load on a backplane and says how it bore it.

mod asking;
mod drive;
mod fanout;
mod load;
pub mod own;
mod report;
mod schedule;
mod show;
mod stage;
mod subject;
mod tally;
mod vitals;
mod wire;

use std::{future::Future, pin::Pin};

use clap::{Args, Subcommand, ValueEnum};
use tokio::time::Instant;

use super::{
    complain,
    trouble::{Outcome, Trouble},
};
use drive::{Plan, drive};
use fanout::{Audience, Readers};
use load::{Connections, Load, make_room};
use report::About;
use schedule::Schedule;
use show::Show;
use stage::{Stage, Target};
use subject::Subject;
use vitals::Reading;

/// A load.
#[derive(Subcommand)]
pub enum BenchCommand {
    /// Send inputs to core (POST /input), each answered once it is on disk.
    Input(PlainArgs),
    /// Store inputs at memory itself (its tool store_input).
    Store(PlainArgs),
    /// Read what users said, at memory or through core.
    History(HistoryArgs),
    /// Ask core for context, which cognition makes from memory.
    Context(ContextArgs),
    /// Call a tool over the Model Context Protocol, through core's gateway or at a server itself.
    Gateway(GatewayArgs),
    /// Open many readers of core's output stream, and send inputs to them.
    FanOut(FanOutArgs),
}

/// What the plain loads take.
#[derive(Args)]
pub struct PlainArgs {
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    connections: Connections,
    #[command(flatten)]
    target: Target,
}

/// Where a history is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum At {
    Memory,
    Core,
}

/// What `cortex bench history` takes.
#[derive(Args)]
pub struct HistoryArgs {
    /// Read at memory itself (a history), or through core (a conversation with its messages).
    #[arg(long, default_value = "memory")]
    at: At,
    /// Items stored for each user beforehand, and read at once, 1 to 1000 (count); core shows 100.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    items: u32,
    #[command(flatten)]
    plain: PlainArgs,
}

/// What `cortex bench context` takes.
#[derive(Args)]
pub struct ContextArgs {
    /// Items stored for each user beforehand, 1 to 1000 (count).
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    items: u32,
    #[command(flatten)]
    plain: PlainArgs,
}

/// What `cortex bench gateway` takes.
#[derive(Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    calling: subject::Calling,
    #[command(flatten)]
    plain: PlainArgs,
}

/// What `cortex bench fan-out` takes.
#[derive(Args)]
pub struct FanOutArgs {
    /// Readers of the output stream, 1 to 50000, shared among the users (count).
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    readers: u32,
    /// Connections that send inputs, 1 to 1000 (count).
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    writers: u32,
    /// Further readers of the first user that never read, 0 to 1000 (count).
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    stuck: u32,
    /// Send nothing: open the readers and show what they cost (memory with --pid or --own).
    #[arg(long)]
    idle: bool,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    target: Target,
}

/// The end that a person asks for.
type Interrupt<'a> = Pin<&'a mut dyn Future<Output = ()>>;

/// Runs a load and prints what came of it; Ctrl-C ends it early and prints what there is.
pub(super) async fn run(command: BenchCommand) -> Outcome {
    let mut interrupted = std::pin::pin!(async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            log::error!("signals cannot be heard cause={error}");
            std::future::pending::<()>().await;
        }
    });
    match command {
        BenchCommand::Input(args) => plain("input", args, None, interrupted).await,
        BenchCommand::Store(args) => plain("store", args, None, interrupted).await,
        BenchCommand::History(args) => {
            let HistoryArgs { at, items, plain: args } = args;
            let subject = if at == At::Core { "conversation" } else { "history" };
            plain(subject, args, Some(items), interrupted).await
        }
        BenchCommand::Context(args) => {
            plain("context", args.plain, Some(args.items), interrupted).await
        }
        BenchCommand::Gateway(args) => {
            let PlainArgs { load, connections, target } = args.plain;
            make_room(connections.connections).map_err(Trouble::Plain)?;
            let show = Show::new(load.json, load.duration);
            let stage = unless_interrupted(interrupted.as_mut(), Stage::set(&target)).await?;
            let subject = subject::gateway(&stage, &load, &args.calling)?;
            unless_interrupted(interrupted.as_mut(), subject.try_once()).await?;
            let about = about("gateway", &subject, connections.connections, &load);
            let plan = plan(subject, connections.connections, &load, Instant::now());
            let run = drive(plan, &stage.servers, &show, interrupted).await?;
            stage.clear(true).await;
            report::print(&about, &run, None, load.json)
        }
        BenchCommand::FanOut(args) => fan_out(&args, interrupted.as_mut()).await,
    }
}

/// A load of whole requests.
async fn plain(
    name: &'static str,
    args: PlainArgs,
    items: Option<u32>,
    mut interrupted: Interrupt<'_>,
) -> Outcome {
    let PlainArgs { load, connections, target } = args;
    make_room(connections.connections).map_err(Trouble::Plain)?;
    let show = Show::new(load.json, load.duration);
    let stage = unless_interrupted(interrupted.as_mut(), Stage::set(&target)).await?;
    show.say("storing what is read later");
    let items = items.unwrap_or_default();
    let making = async {
        let subject = match name {
            "store" => subject::store(&stage, &load)?,
            "history" => subject::history(&stage, &load, items).await?,
            "conversation" => subject::conversation(&stage, &load, items).await?,
            "context" => subject::context(&stage, &load, items).await?,
            _ => subject::input(&stage, &load)?,
        };
        subject.try_once().await?;
        Ok(subject)
    };
    let subject = unless_interrupted(interrupted.as_mut(), making).await?;
    let about = about(name, &subject, connections.connections, &load);
    let plan = plan(subject, connections.connections, &load, Instant::now());
    let run = drive(plan, &stage.servers, &show, interrupted).await?;
    stage.clear(true).await;
    report::print(&about, &run, None, load.json)
}

/// Readers, and inputs for them.
async fn fan_out(args: &FanOutArgs, mut interrupted: Interrupt<'_>) -> Outcome {
    let FanOutArgs { readers, writers, stuck, idle, load, target } = args;
    make_room(readers + writers + stuck).map_err(Trouble::Plain)?;
    let show = Show::new(load.json, load.duration);
    let stage = unless_interrupted(interrupted.as_mut(), Stage::set(target)).await?;
    let host = stage.core()?;
    let users = stage.users(load)?;
    let openings: Vec<_> = users.iter().map(|user| fanout::opening(&host, user)).collect();
    let requests = fanout::inputs(&host, &users, load);
    let what = "GET /output/stream".to_owned();
    let subject = Subject { what, host, requests };
    if !idle {
        unless_interrupted(interrupted.as_mut(), subject.try_once()).await?;
    }
    let before = Reading::of(&stage.servers);
    show.say("opening the streams");
    let (address, threads) = (subject.host.address, load.threads);
    let gathering = Audience::gather(address, &openings, (*readers, threads));
    let audience = unless_interrupted(interrupted.as_mut(), gathering).await?;
    let held = Reading::of(&stage.servers).since(before);
    let about = about("fan-out", &subject, *writers, load);
    if *idle {
        tokio::select! {
            () = tokio::time::sleep(load.duration) => {}
            () = interrupted.as_mut() => {}
        }
        let seen = Readers { held, ..audience.leave(0, 0).await? };
        show.clear();
        stage.clear(false).await;
        return report::print_idle(&about, &seen, load.json);
    }
    let first = openings.first().cloned().unwrap_or_default();
    let deaf = fanout::stuck(address, &first, *stuck).await?;
    let start = Instant::now();
    audience.begin(Schedule::new(start, load.warm_up, load.duration, load.rate));
    let plan = plan(subject, *writers, load, start);
    let run = drive(plan, &stage.servers, &show, interrupted).await?;
    let share = |number: usize| {
        let whole = usize::try_from(*readers).unwrap_or(usize::MAX);
        let share = (number..whole).step_by(openings.len().max(1)).count();
        u64::try_from(share).unwrap_or(u64::MAX)
    };
    let counts = run.tally.by_request.iter().enumerate();
    let expected = counts.map(|(number, count)| count.saturating_mul(share(number))).sum();
    let seen = Readers { held, ..audience.leave(expected, *stuck).await? };
    drop(deaf);
    stage.clear(true).await;
    report::print(&about, &run, Some(&seen), load.json)
}

fn about(name: &'static str, subject: &Subject, connections: u32, load: &Load) -> About {
    let (what, url) = (subject.what.clone(), subject.host.url.clone());
    About { subject: name, what, url, connections, rate: load.rate }
}

fn plan(subject: Subject, connections: u32, load: &Load, start: Instant) -> Plan {
    let threads = usize::from(load.threads);
    Plan {
        address: subject.host.address,
        requests: subject.requests,
        connections: usize::try_from(connections).unwrap_or(usize::MAX),
        threads,
        rate: load.rate,
        warm_up: load.warm_up,
        duration: load.duration,
        timeout: load.timeout,
        obey_retry_after: load.obey_retry_after,
        tell_status: subject.what.ends_with("/input"),
        start,
    }
}

async fn unless_interrupted<T>(
    interrupted: Interrupt<'_>,
    work: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
    tokio::select! {
        done = work => done,
        () = interrupted => {
            complain("interrupted");
            Err(Trouble::plain("nothing was measured yet"))
        }
    }
}
