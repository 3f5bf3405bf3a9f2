//! One keep-alive HTTP/1.1 connection that sends requests rendered beforehand and reads the answers.
//!
//! The generator shares its machine with what it measures, so it does no more per request than one
//! write, one read and a look at the head.

use std::{io, net::SocketAddr};

use actix_rt::net::TcpStream;
use bytes::{Buf as _, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Most headers an answer may have.
const HEADERS_MAX: usize = 64;
/// Largest answer taken, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Receive buffer of a connection that is not read, in bytes.
const LITTLE_BYTES: usize = 4096;
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 16 * 1024;

/// A connection that is open.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

/// An answer, whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The HTTP status.
    pub(super) status: u16,
    /// What `Retry-After` says, in seconds.
    pub(super) retry_after: Option<u64>,
    /// Whether the server ends the connection.
    pub(super) closes: bool,
    /// The body; a chunked one still has its chunk sizes in it.
    pub(super) body: Bytes,
}

/// How an answer announces its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunked,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    retry_after: Option<u64>,
    closes: bool,
    length: Length,
    /// Bytes of the head itself.
    size: usize,
}

impl Wire {
    /// Connects; small writes leave at once.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, buffer: BytesMut::with_capacity(READ_BYTES) })
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> io::Result<Reply> {
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        let body = match head.length {
            Length::Bytes(bytes) => {
                if bytes > ANSWER_BYTES_MAX {
                    return Err(malformed("the answer is larger than 64 MiB"));
                }
                while self.buffer.len() < bytes {
                    self.more().await?;
                }
                self.buffer.split_to(bytes).freeze()
            }
            Length::Chunked => loop {
                if let Some(bytes) = chunked_end(&self.buffer)? {
                    break self.buffer.split_to(bytes).freeze();
                }
                self.more().await?;
            },
        };
        let Head { status, retry_after, closes, .. } = head;
        Ok(Reply { status, retry_after, closes, body })
    }

    /// Sends a request whose answer is a stream; gives its status, and leaves the pieces to
    /// [`Wire::piece`].
    pub(super) async fn open(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        Ok(self.head().await?.status)
    }

    /// The bytes that have come since the last time, as they are on the wire; `None` at the end.
    pub(super) async fn piece(&mut self) -> io::Result<Option<BytesMut>> {
        if self.buffer.is_empty() && self.read().await? == 0 {
            return Ok(None);
        }
        Ok(Some(self.buffer.split()))
    }

    /// Has the kernel keep little for this connection from now on, so that one that is not read
    /// fills up soon.
    pub(super) fn take_little(&self) {
        if let Err(error) = SockRef::from(&self.stream).set_recv_buffer_size(LITTLE_BYTES) {
            log::error!("the receive buffer keeps its size cause={error}");
        }
    }

    async fn head(&mut self) -> io::Result<Head> {
        loop {
            if let Some(head) = read_head(&self.buffer)? {
                self.buffer.advance(head.size);
                // An interim answer (1xx) is followed by the real one.
                if !(100..200).contains(&head.status) {
                    return Ok(head);
                }
            } else {
                self.more().await?;
            }
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.buffer.len() > ANSWER_BYTES_MAX {
            return Err(malformed("the answer is larger than 64 MiB"));
        }
        match self.read().await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.buffer).await
    }
}

fn malformed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The head at the beginning of `bytes`, if it is whole.
fn read_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(size) = response.parse(bytes).map_err(malformed)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let chunked = value("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
    let length = match value("content-length").map(str::parse) {
        Some(Ok(bytes)) => Length::Bytes(bytes),
        Some(Err(_)) => return Err(malformed("the length of the answer is no number")),
        None if chunked => Length::Chunked,
        None if status < 200 || status == 204 || status == 304 => Length::Bytes(0),
        None => return Err(malformed("the answer does not say how long it is")),
    };
    Ok(Some(Head {
        status,
        retry_after: value("retry-after").and_then(|seconds| seconds.parse().ok()),
        closes: value("connection").is_some_and(|word| word.eq_ignore_ascii_case("close")),
        length,
        size,
    }))
}

/// Bytes up to the end of a chunked body, if it is whole.
fn chunked_end(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0_usize;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let parsed = httparse::parse_chunk_size(rest);
        let (line, size) =
            match parsed.map_err(|_wrong| malformed("a chunk's size is no number"))? {
                httparse::Status::Complete(found) => found,
                httparse::Status::Partial => return Ok(None),
            };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        at = at.saturating_add(line).saturating_add(size).saturating_add(2);
        if at > bytes.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_rt::net::TcpListener;

    /// What a connection reads from a server that sends `pieces`, each after the one before is out.
    async fn answered(pieces: &'static [&'static str]) -> io::Result<Reply> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = actix_rt::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.unwrap();
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let reply = Wire::connect(address).await?.exchange(b"ask!").await;
        server.await.unwrap();
        reply
    }

    #[actix_rt::test]
    async fn an_answer_is_read_whole_however_it_is_cut() {
        let reply = answered(&[
            "HTTP/1.1 503 Service Unavai",
            "lable\r\nRetry-After: 2\r\ncontent-length: 6\r\nconnection: close\r\n\r\nab",
            "cdef",
        ]);
        let reply = reply.await.unwrap();
        assert_eq!((reply.status, reply.retry_after, reply.closes), (503, Some(2), true));
        assert_eq!(&reply.body[..], b"abcdef");
        let chunked = answered(&[
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
            "c\r\n0\r\n\r\n",
        ]);
        let chunked = chunked.await.unwrap();
        assert_eq!((chunked.status, &chunked.body[..]), (200, &b"3\r\nabc\r\n0\r\n\r\n"[..]));
    }

    #[actix_rt::test]
    async fn what_is_no_answer_is_an_error() {
        for (pieces, kind) in [
            (&["nonsense\r\n\r\n"][..], io::ErrorKind::InvalidData),
            (&["HTTP/1.1 200 OK\r\n\r\n"], io::ErrorKind::InvalidData),
            (&["HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"], io::ErrorKind::InvalidData),
            (
                &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"],
                io::ErrorKind::InvalidData,
            ),
            (
                &["HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"],
                io::ErrorKind::InvalidData,
            ),
            (&["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"], io::ErrorKind::UnexpectedEof),
        ] {
            let error = answered(pieces).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{pieces:?}: {error}");
        }
    }
}
