//! One question: a request rendered beforehand, its answer, and what tells answers apart.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;

use super::{
    tally::Lost,
    wire::{Reply, Wire},
};

/// Longest word that tells answers of one status apart, in bytes.
const WORD_BYTES_MAX: usize = 40;
/// Digits of a time stamp in a request.
pub(super) const STAMP_DIGITS: usize = 16;

/// A request as it goes over the wire.
pub(super) struct Request {
    /// The whole of it.
    pub(super) bytes: Bytes,
    /// Where the moment it was due is written into it, as [`STAMP_DIGITS`] digits: microseconds
    /// since the start of the run.
    pub(super) stamp_at: Option<usize>,
}

impl Request {
    /// Sends it and reads the answer; connects first when it has to.
    pub(super) async fn ask(
        &self,
        wire: &mut Option<Wire>,
        address: SocketAddr,
        since_start: Duration,
        text: &mut Vec<u8>,
    ) -> Result<Reply, Lost> {
        let open = match wire.take() {
            Some(open) => open,
            None => Wire::connect(address).await.map_err(|_refused| Lost::Connect)?,
        };
        let open = wire.insert(open);
        let bytes = match self.stamp_at {
            None => &self.bytes[..],
            Some(at) => {
                text.clear();
                text.extend_from_slice(&self.bytes);
                let stamp = stamp(since_start);
                if let Some(place) = text.get_mut(at..at + STAMP_DIGITS) {
                    place.copy_from_slice(stamp.as_bytes());
                }
                &text[..]
            }
        };
        open.exchange(bytes).await.map_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData { Lost::Malformed } else { Lost::Closed }
        })
    }
}

/// A moment as it is written into a request.
fn stamp(since_start: Duration) -> String {
    let width = STAMP_DIGITS;
    format!("{:0width$}", since_start.as_micros() % 10_u128.pow(16))
}

/// What tells answers of one status apart: our error code, or the `status` a success speaks of.
/// Looked for in the bytes: parsing would cost more than sending.
pub(super) fn word(status: u16, body: &[u8], tell_status: bool) -> &[u8] {
    let (key, at) = if status >= 400 {
        let key = &b"\"code\":\""[..];
        (key, memchr::memmem::find(body, key))
    } else if tell_status {
        // The last one: what was said comes before it.
        let key = &b"\"status\":\""[..];
        (key, memchr::memmem::rfind(body, key))
    } else {
        return &[];
    };
    let value = at.and_then(|at| body.get(at + key.len()..)).unwrap_or_default();
    let end = memchr::memchr(b'"', value).unwrap_or_default();
    value.get(..end.min(WORD_BYTES_MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_what_their_bodies_say() {
        let refused = br#"{"error":{"code":"circuit_open","message":"no"},"request_id":"1"}"#;
        assert_eq!(word(503, refused, true), b"circuit_open");
        let taken = br#"{"data":{"content":"\"status\":\"x"},"status":"received"}"#;
        assert_eq!(word(200, taken, true), b"received");
        assert_eq!(word(200, taken, false), b"");
        assert_eq!(word(502, b"<html>", true), b"");
        assert_eq!(word(500, br#"{"code":"never ends"#, true), b"");
    }

    #[test]
    fn a_stamp_has_always_the_same_length() {
        assert_eq!(stamp(Duration::from_micros(42)), "0000000000000042");
        assert_eq!(stamp(Duration::MAX).len(), STAMP_DIGITS);
    }
}
