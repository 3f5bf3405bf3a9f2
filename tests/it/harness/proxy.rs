//! A TCP proxy that breaks on demand: what the network does to a service.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use actix_rt::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::watch,
};

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They pass.
    Pass,
    /// Connections are closed, new ones as soon as they come.
    Refuse,
    /// Connections stay open and new ones are taken, but nothing comes back.
    BlackHole,
    /// Each connection is closed after so many bytes came back over it since the mode was set.
    CutAfter(usize),
    /// What comes back comes so much later.
    Delay(Duration),
}

/// A proxy before one address. Dropping it closes everything.
pub(crate) struct ChaosProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    accepted: Rc<Cell<usize>>,
    accepting: JoinHandle<()>,
    connections: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

impl ChaosProxy {
    /// A proxy before `target`, on a free port, that lets everything pass.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Pass);
        let accepted = Rc::new(Cell::new(0));
        let connections = Rc::new(RefCell::new(Vec::new()));
        let (counted, kept) = (Rc::clone(&accepted), Rc::clone(&connections));
        let accepting = actix_rt::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.set(counted.get() + 1);
                let connection = actix_rt::spawn(serve(client, target, modes.clone()));
                let mut kept = kept.borrow_mut();
                kept.retain(|old: &JoinHandle<()>| !old.is_finished());
                kept.push(connection);
            }
        });
        ChaosProxy { address, mode, accepted, accepting, connections }
    }

    /// From now on, for new connections and for those that are open.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections taken so far, refused ones included.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.get()
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.connections.borrow().iter().for_each(JoinHandle::abort);
    }
}

/// One connection, until either side or the mode ends it.
async fn serve(client: TcpStream, target: SocketAddr, modes: watch::Receiver<Mode>) {
    let mut refusing = modes.clone();
    let ended = async {
        if refusing.wait_for(|mode| *mode == Mode::Refuse).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = ended => {}
        () = relay(client, target, modes) => {}
    }
}

async fn relay(client: TcpStream, target: SocketAddr, mut modes: watch::Receiver<Mode>) {
    // Nothing is asked of the target while nothing would come back.
    if modes.wait_for(|mode| *mode != Mode::BlackHole).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = forth(from_client, to_server) => {}
        () = back(from_server, to_client, modes) => {}
    }
}

/// Questions pass in every mode.
async fn forth(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    if tokio::io::copy(&mut from, &mut to).await.is_err() {
        return;
    }
    // The client has said all it will; the answer may still come.
    if to.shutdown().await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Answers pass as the mode lets them.
async fn back(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut modes: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 16 * 1024];
    let (mut counting, mut passed) = (Mode::Pass, 0);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let Ok(mode) = modes.wait_for(|mode| *mode != Mode::BlackHole).await.map(|mode| *mode)
        else {
            return;
        };
        if mode != counting {
            (counting, passed) = (mode, 0);
        }
        let mut piece = buffer.get(..count).unwrap_or_default();
        if let Mode::Delay(delay) = mode {
            tokio::time::sleep(delay).await;
        }
        if let Mode::CutAfter(most) = mode {
            piece = piece.get(..most - passed).unwrap_or(piece);
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
        passed += piece.len();
        if matches!(mode, Mode::CutAfter(most) if passed >= most) {
            return;
        }
    }
}
