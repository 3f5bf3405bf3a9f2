//! The simulated network: connections that are pipes in this process, and hosts whose moods come
//! from the seed.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt, io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_rt::net::{ActixStream, Ready};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use actix_web::dev::Service;
use awc::{Client, Connector, http::Uri};
use bytes::Bytes;
use cortex::backplane::{config::Calls, wire::Wire};
use futures_util::future::LocalBoxFuture;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::{mpsc, watch},
};

use super::{Chance, World, far_end::serve};

/// Bytes on their way in one direction of a connection.
const PIPE_BYTES: usize = 262_144;

/// What a host does to those who call it, in percent of exchanges; the first that is drawn counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mood {
    /// No connection is to be had, and those there were are cut.
    pub(crate) down: bool,
    /// Connections are refused.
    pub(crate) refuses: u8,
    /// The request is read and lost with its connection.
    pub(crate) loses_request: u8,
    /// The request is done and the answer lost with its connection.
    pub(crate) loses_answer: u8,
    /// The connection is cut, and the request is done seconds later.
    pub(crate) ghost: u8,
    /// The request is done twice.
    pub(crate) twice: u8,
    /// 500 without doing anything.
    pub(crate) fails: u8,
    /// 500 though it was done.
    pub(crate) lies: u8,
    /// 503 with `Retry-After`.
    pub(crate) throttles: u8,
    /// Done, and answered with something that is not JSON.
    pub(crate) babbles: u8,
    /// Nothing ever comes back.
    pub(crate) hangs: u8,
    /// A live stream is cut after any of its chunks.
    pub(crate) cuts_stream: u8,
    /// Longest way of a request or an answer, in milliseconds.
    pub(crate) slow: u64,
}

pub(crate) const WELL: Mood = Mood {
    down: false,
    refuses: 0,
    loses_request: 0,
    loses_answer: 0,
    ghost: 0,
    twice: 0,
    fails: 0,
    lies: 0,
    throttles: 0,
    babbles: 0,
    hangs: 0,
    cuts_stream: 0,
    slow: 3,
};
pub(crate) const DOWN: (&str, Mood) = ("down", Mood { down: true, refuses: 100, ..WELL });
pub(crate) const MUTE: (&str, Mood) = ("mute", Mood { hangs: 100, ..WELL });
pub(crate) const MOODS: [(&str, Mood); 8] = [
    ("well", WELL),
    (
        "rough",
        Mood {
            refuses: 5,
            loses_request: 5,
            loses_answer: 10,
            ghost: 5,
            twice: 10,
            fails: 5,
            lies: 5,
            throttles: 5,
            babbles: 3,
            hangs: 2,
            cuts_stream: 20,
            slow: 40,
            ..WELL
        },
    ),
    DOWN,
    MUTE,
    ("deaf", Mood { loses_answer: 80, ghost: 20, cuts_stream: 50, ..WELL }),
    ("sick", Mood { fails: 80, lies: 20, ..WELL }),
    ("busy", Mood { throttles: 90, slow: 200, ..WELL }),
    ("slow", Mood { slow: 3000, cuts_stream: 5, ..WELL }),
];

/// A request as a host reads it.
pub(crate) struct Request {
    /// Path and query, decoded.
    pub(crate) path: String,
    /// Which attempt of a call it is, from 1.
    pub(crate) attempt: Option<u32>,
    pub(crate) body: Value,
}

/// What a host answers.
pub(crate) enum Answer {
    Json(u16, Value),
    Live(mpsc::Receiver<Bytes>),
}

/// What is behind a host's name.
pub(crate) trait Peer {
    fn answer(&self, request: &Request) -> Answer;
}

/// One host: its mood, and a count of what reached it.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(super) world: World,
    pub(super) chance: RefCell<Chance>,
    pub(super) peer: Rc<dyn Peer>,
    pub(super) mood: Cell<Mood>,
    pub(super) cut: watch::Sender<u64>,
    /// Attempts of calls: those that reached it, and those that got no connection.
    pub(crate) attempts: Cell<usize>,
}

impl Host {
    pub(crate) fn feel(&self, (name, mood): (&str, Mood)) {
        self.world.note(format!("{} is {name}", self.name));
        self.mood.set(mood);
        if mood.down {
            self.cut.send_modify(|cuts| *cuts += 1);
        }
    }

    pub(super) fn draws(&self, percent: u8) -> bool {
        self.chance.borrow_mut().percent(percent)
    }

    pub(super) async fn way(&self) {
        let slow = self.mood.get().slow;
        let time = self.chance.borrow_mut().ms(0..slow + 1);
        tokio::time::sleep(time).await;
    }
}

/// All hosts by name.
#[derive(Clone)]
pub(crate) struct Network {
    world: World,
    hosts: Rc<RefCell<BTreeMap<String, Rc<Host>>>>,
    arrivals: mpsc::UnboundedSender<(Rc<Host>, DuplexStream)>,
}

thread_local! {
    /// The network of the schedule that runs on this thread. The way out must be `Send`; a schedule
    /// is not, and never leaves its thread.
    static HERE: RefCell<Option<Network>> = const { RefCell::new(None) };
}

/// The way out of a process onto the network of this thread's schedule.
pub(crate) fn wire() -> Wire {
    Wire::of(|settings: &Calls, connections| {
        let network = HERE.with_borrow(Clone::clone).expect("a network on this thread");
        // As the product's own clients are made, over another connector.
        let calls = connections == usize::from(settings.max_connections_per_service);
        let connector = Connector::new()
            .connector(Dialler { network, calls })
            .timeout(settings.connection_timeout)
            .limit(connections)
            .conn_keep_alive(settings.connection_idle_timeout);
        Client::builder().connector(connector).disable_redirects().disable_timeout().finish()
    })
}

impl Network {
    /// An empty one, which this thread's processes are joined by from now on.
    pub(crate) fn open(world: &World) -> Self {
        let (arrivals, mut coming) = mpsc::unbounded_channel::<(Rc<Host>, DuplexStream)>();
        // Servers live here, whatever becomes of the process that called them.
        tokio::task::spawn_local(async move {
            while let Some((host, pipe)) = coming.recv().await {
                tokio::task::spawn_local(serve(host, pipe));
            }
        });
        let network = Network { world: world.clone(), hosts: Rc::default(), arrivals };
        HERE.set(Some(network.clone()));
        network
    }

    pub(crate) fn host(&self, name: &str, peer: Rc<dyn Peer>) -> Rc<Host> {
        let host = Rc::new(Host {
            name: name.to_owned(),
            world: self.world.clone(),
            chance: RefCell::new(self.world.chance()),
            peer,
            mood: Cell::new(WELL),
            cut: watch::Sender::new(0),
            attempts: Cell::new(0),
        });
        self.hosts.borrow_mut().insert(name.to_owned(), Rc::clone(&host));
        host
    }

    async fn dial(self, name: String, calls: bool) -> Result<DuplexStream, ConnectError> {
        let refused = || ConnectError::Io(io::Error::from(io::ErrorKind::ConnectionRefused));
        let host = self.hosts.borrow().get(&name).cloned().ok_or_else(refused)?;
        host.way().await;
        let refuses = host.mood.get().refuses;
        if host.draws(refuses) {
            if calls {
                host.attempts.set(host.attempts.get() + 1);
            }
            return Err(refused());
        }
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        self.arrivals.send((host, far)).map_err(|_gone| refused())?;
        Ok(near)
    }
}

/// Makes connections for one client.
#[derive(Clone)]
struct Dialler {
    network: Network,
    /// Whether they are for calls, not for streams or health checks.
    calls: bool,
}

impl Service<ConnectInfo<Uri>> for Dialler {
    type Response = Connection<Uri, Pipe>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let Dialler { network, calls } = self.clone();
        let uri = info.request().clone();
        let name = uri.host().unwrap_or_default().to_owned();
        Box::pin(async move {
            network.dial(name, calls).await.map(|pipe| Connection::new(uri, Pipe(pipe)))
        })
    }
}

/// A connection as the client holds it.
struct Pipe(DuplexStream);

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipe")
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl ActixStream for Pipe {
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::READABLE))
    }
    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::WRITABLE))
    }
}
