//! A service that answers what a test has written for it, and counts what it was asked.

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use actix_rt::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
};

/// What core follows; it is always served.
const LOG: &str = "/resource/log/stream";

/// Says what is answered to a path that was asked so often before, with this body.
type Script = Rc<dyn Fn(&str, usize, &str) -> String>;

/// A scripted service. Dropping it ends it.
pub(crate) struct Scripted {
    address: SocketAddr,
    asked: Rc<RefCell<Vec<String>>>,
    held: watch::Sender<Option<&'static str>>,
    accepting: JoinHandle<()>,
}

impl Scripted {
    /// Answers each request with what `script` says of its path and of how often that was asked
    /// before: everything from the status line on.
    pub(crate) async fn start(script: impl Fn(&str, usize) -> String + 'static) -> Self {
        Scripted::run(Rc::new(move |path, before, _| script(path, before))).await
    }

    /// As [`Scripted::start`], by what the path and the body are.
    pub(crate) async fn with_bodies(script: impl Fn(&str, &str) -> String + 'static) -> Self {
        Scripted::run(Rc::new(move |path, _, body| script(path, body))).await
    }

    async fn run(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Rc::new(RefCell::new(Vec::new()));
        let (seen, held) = (Rc::clone(&asked), watch::Sender::new(None));
        let holds = held.clone();
        let accepting = actix_rt::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                actix_rt::spawn(serve(
                    socket,
                    Rc::clone(&seen),
                    holds.subscribe(),
                    Rc::clone(&script),
                ));
            }
        });
        Scripted { address, asked, held, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Keeps the answers to paths that begin so, until told otherwise.
    pub(crate) fn hold(&self, start: Option<&'static str>) {
        self.held.send_replace(start);
    }

    /// How often paths that begin so were asked.
    pub(crate) fn asked(&self, start: &str) -> usize {
        self.asked.borrow().iter().filter(|path| path.starts_with(start)).count()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A whole answer with a JSON body.
pub(crate) fn answer(status: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{fields}\r\n{body}")
}

async fn serve(
    mut socket: TcpStream,
    asked: Rc<RefCell<Vec<String>>>,
    mut held: watch::Receiver<Option<&'static str>>,
    script: Script,
) {
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(length) = whole(&read) {
            let text = String::from_utf8_lossy(&read[..length]).into_owned();
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
            let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
            read.drain(..length);
            let before = asked.borrow().iter().filter(|other| **other == path).count();
            asked.borrow_mut().push(path.clone());
            if path.starts_with(LOG) {
                return follow(socket).await;
            }
            let free = held.wait_for(|held| held.is_none_or(|start| !path.starts_with(start)));
            if free.await.is_err() {
                return;
            }
            if socket.write_all(script(&path, before, body).as_bytes()).await.is_err() {
                return;
            }
        }
        match socket.read(&mut piece).await {
            Ok(count @ 1..) => read.extend_from_slice(&piece[..count]),
            Ok(0) | Err(_) => return,
        }
    }
}

/// A log in which nothing happens, to its reader's end.
async fn follow(mut socket: TcpStream) {
    let begin = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                 transfer-encoding: chunked\r\n\r\n7\r\nid: 0\n\n\r\n";
    if socket.write_all(begin.as_bytes()).await.is_ok() {
        let mut rest = Vec::new();
        let _ended = socket.read_to_end(&mut rest).await;
    }
}

/// The length of the request at the start, once it is there whole.
fn whole(read: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(read).to_lowercase();
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head]
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let all = head + length.unwrap_or_default();
    (read.len() >= all).then_some(all)
}
