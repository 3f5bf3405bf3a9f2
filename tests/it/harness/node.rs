//! One process of a cluster, run in this one: its settings, its socket, its end.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use actix_rt::{net::TcpSocket, task::JoinHandle};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser};
use cortex::process::{Exit, cognition, core, memory};
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use super::{Client, User, users::service_token, within};

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Memory,
    Cognition,
    Core,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Memory => "memory",
            Role::Cognition => "cognition",
            Role::Core => "core",
        }
    }
}

/// A free port that stays this test's own, also while nobody listens on it: a socket that is bound
/// and does not listen holds it, and lets us listen beside it. Such a socket does not keep the
/// system from giving the port to whoever asks for any, so it is one from below those that the
/// system gives away.
pub(crate) struct Door {
    address: SocketAddr,
    _held: TcpSocket,
}

/// Where the ports that the system gives away begin on Linux, unless it was told otherwise.
const GIVEN_AWAY: u16 = 32_768;
const FIRST: u16 = 10_000;

/// The next port to try; other test binaries begin elsewhere.
static NEXT: LazyLock<AtomicU32> =
    LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(64)));

impl Door {
    pub(crate) fn new() -> Self {
        loop {
            let turn = NEXT.fetch_add(1, Ordering::Relaxed) % u32::from(GIVEN_AWAY - FIRST);
            let port = FIRST + u16::try_from(turn).unwrap();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            // Free is what one can listen on.
            if TcpListener::bind(address).is_err() {
                continue;
            }
            let held = TcpSocket::new_v4().unwrap();
            held.set_reuseaddr(true).unwrap();
            if held.bind(address).is_ok() {
                return Door { address, _held: held };
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address).expect("nobody listens there")
    }
}

/// A process that runs, or may run again at the same address.
pub(crate) struct Node {
    role: Role,
    door: Door,
    arguments: Vec<String>,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), Exit>>,
}

impl Node {
    /// Starts a process that listens at `door`.
    pub(crate) fn start_at(door: Door, role: Role, arguments: Vec<String>) -> Self {
        let mut node = Node { role, door, arguments, running: None };
        node.start();
        node
    }

    /// Starts it, again at the address it had.
    /// Starts it again with further arguments.
    pub(crate) fn start_with(&mut self, further: &[&str]) {
        self.arguments.extend(further.iter().map(|&argument| argument.to_owned()));
        self.start();
    }

    pub(crate) fn start(&mut self) {
        assert!(self.running.is_none(), "{} runs already", self.role.name());
        let (stop, stopped) = oneshot::channel();
        let run = run(self.role, &self.arguments, self.door.listen(), stopped);
        self.running = Some(Running { stop, ended: actix_rt::spawn(run) });
    }

    /// Tells it to leave, and waits until it has; it must leave without a failure, and its port
    /// must be free then.
    pub(crate) async fn stop(&mut self) {
        let Some(Running { stop, ended }) = self.running.take() else { return };
        assert!(stop.send(()).is_ok(), "{} ended before it was told to", self.role.name());
        let ended = within(&format!("{} leaves", self.role.name()), ended).await;
        ended.unwrap().unwrap_or_else(|exit| panic!("{}: {exit}", self.role.name()));
        drop(self.door.listen());
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// A client without a token.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(&self.url())
    }

    /// A client with a user's token.
    pub(crate) fn of(&self, user: &User) -> Client {
        self.anonymous().with_token(&user.token)
    }

    /// A client with the token of a service that may call here.
    pub(crate) fn of_service(&self) -> Client {
        self.anonymous().with_token(&service_token("tester", &[self.role.name()]))
    }
}

fn run(
    role: Role,
    arguments: &[String],
    listener: TcpListener,
    stopped: oneshot::Receiver<()>,
) -> LocalBoxFuture<'static, Result<(), Exit>> {
    let shutdown = async move { stopped.await.unwrap_or_default() };
    match role {
        Role::Memory => Box::pin(memory::run(settings(arguments), listener, shutdown)),
        Role::Cognition => Box::pin(cognition::run(settings(arguments), listener, shutdown)),
        Role::Core => Box::pin(core::run(settings(arguments), listener, shutdown)),
    }
}

/// Settings from arguments alone: the environment of the test has no say. Of an argument given
/// twice the last counts.
fn settings<S: Args>(arguments: &[String]) -> S {
    #[derive(Parser)]
    struct Only<S: Args> {
        #[command(flatten)]
        settings: S,
    }
    let command = Only::<S>::command()
        .no_binary_name(true)
        .args_override_self(true)
        .mut_args(|argument| argument.env(None));
    let matches = command.try_get_matches_from(arguments).unwrap();
    Only::<S>::from_arg_matches(&matches).unwrap().settings
}
