//! The far ends of the simulated network's connections: HTTP servers that lose, delay, repeat and
//! cut what the seed says.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
};

use super::network::{Answer, Host, Request};

/// The far end of a connection, until it is cut or its caller has gone.
pub(super) async fn serve(host: Rc<Host>, pipe: DuplexStream) {
    let mut cut = host.cut.subscribe();
    tokio::select! {
        biased;
        _ = cut.changed() => {}
        _ = exchanges(&host, pipe) => {}
    }
}

/// Exchanges one after the other; `None` when the connection is to end.
async fn exchanges(host: &Rc<Host>, mut pipe: DuplexStream) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let request = next_request(&mut pipe, &mut read).await?;
        if request.attempt.is_some() {
            host.attempts.set(host.attempts.get() + 1);
        }
        let mood = host.mood.get();
        host.way().await;
        if host.draws(mood.hangs) {
            return std::future::pending().await;
        }
        if host.draws(mood.loses_request) {
            return None;
        }
        if host.draws(mood.ghost) {
            let (host, wait) = (Rc::clone(host), host.chance.borrow_mut().ms(0..20_000));
            tokio::task::spawn_local(async move {
                tokio::time::sleep(wait).await;
                host.world.note(format!("{} does late {}", host.name, request.path));
                drop(host.peer.answer(&request));
            });
            return None;
        }
        if host.draws(mood.throttles) {
            head_and_body(&mut pipe, "503 Service Unavailable\r\nretry-after: 1", b"{}").await?;
            continue;
        }
        if host.draws(mood.fails) {
            head_and_body(&mut pipe, "500 Internal Server Error", b"{}").await?;
            continue;
        }
        let mut answer = host.peer.answer(&request);
        if host.draws(mood.twice) {
            answer = host.peer.answer(&request);
        }
        host.way().await;
        if host.draws(mood.loses_answer) {
            return None;
        }
        match answer {
            Answer::Live(chunks) => live(host, &mut pipe, chunks).await?,
            Answer::Json(..) if host.draws(mood.lies) => {
                head_and_body(&mut pipe, "500 Internal Server Error", b"{}").await?;
            }
            Answer::Json(..) if host.draws(mood.babbles) => {
                head_and_body(&mut pipe, "200 OK", b"{\"resu").await?;
            }
            Answer::Json(status, body) => {
                let body = body.to_string();
                head_and_body(&mut pipe, &format!("{status} Done"), body.as_bytes()).await?;
            }
        }
    }
}

async fn head_and_body(pipe: &mut DuplexStream, status: &str, body: &[u8]) -> Option<()> {
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    pipe.write_all(&bytes).await.ok()
}

/// Sends chunks as they come, with a comment in every silence, until the caller goes.
async fn live(
    host: &Host,
    pipe: &mut DuplexStream,
    mut chunks: mpsc::Receiver<Bytes>,
) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    pipe.write_all(format!("{head}\r\n\r\n").as_bytes()).await.ok()?;
    let mut nothing = [0; 1];
    loop {
        let chunk = tokio::select! {
            biased;
            _ = pipe.read(&mut nothing) => return None,
            chunk = chunks.recv() => chunk,
            () = tokio::time::sleep(Duration::from_secs(15)) => Some(Bytes::from_static(b": \n\n")),
        };
        let Some(chunk) = chunk else {
            return pipe.write_all(b"0\r\n\r\n").await.ok();
        };
        // A cut may fall inside an event.
        let cuts = host.draws(host.mood.get().cuts_stream);
        let whole = chunk.len();
        let sent = if cuts { host.chance.borrow_mut().below(whole + 1) } else { whole };
        let mut bytes = format!("{whole:x}\r\n").into_bytes();
        bytes.extend_from_slice(&chunk[..sent]);
        if !cuts {
            bytes.extend_from_slice(b"\r\n");
        }
        pipe.write_all(&bytes).await.ok()?;
        if cuts {
            return None;
        }
    }
}

/// Reads one request, whole.
async fn next_request(pipe: &mut DuplexStream, read: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some((request, used)) = parse(read) {
            read.drain(..used);
            return Some(request);
        }
        if pipe.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

fn parse(read: &[u8]) -> Option<(Request, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(read).expect("a good head") else {
        return None;
    };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()?.trim().parse::<usize>().ok()
    };
    let whole = length + header("content-length").unwrap_or_default();
    let body = read.get(length..whole)?;
    let request = Request {
        path: percent_encoding::percent_decode_str(head.path?).decode_utf8().ok()?.into_owned(),
        attempt: header("x-cortex-attempt").and_then(|number| u32::try_from(number).ok()),
        body: serde_json::from_slice(body).unwrap_or_default(),
    };
    Some((request, whole))
}
