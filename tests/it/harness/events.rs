//! Reads a stream of server-sent events, each within the deadline.

use std::{collections::VecDeque, pin::Pin};

use bytes::Bytes;
use cortex::domain::sse::{Event, Parser};
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

use super::within;

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, String>>>>;

/// An open stream of events. Dropping it closes the connection.
pub(crate) struct Events {
    what: String,
    pieces: Pieces,
    parser: Parser,
    ready: VecDeque<Event>,
    raw: Vec<u8>,
}

impl Events {
    /// The events of an answer.
    pub(crate) fn of<S>(what: &str, response: awc::ClientResponse<S>) -> Self
    where
        S: Stream<Item = Result<Bytes, awc::error::PayloadError>> + Unpin + 'static,
    {
        let pieces = response.map(|piece| piece.map_err(|error| error.to_string()));
        Events {
            what: what.to_owned(),
            pieces: Box::pin(pieces),
            parser: Parser::new(),
            ready: VecDeque::new(),
            raw: Vec::new(),
        }
    }

    /// The data of the next event that has any.
    pub(crate) async fn next_event(&mut self) -> Value {
        loop {
            let event = self
                .next_frame()
                .await
                .unwrap_or_else(|| panic!("{}: ended, but one more event was expected", self.what));
            if let Some(data) = event.data {
                return serde_json::from_str(&data).unwrap();
            }
        }
    }

    /// The next event that has the `type`.
    pub(crate) async fn next_of_type(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next_event().await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// The next event as it is framed; `None` at the end of the stream, clean or not.
    pub(crate) async fn next_frame(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            let what = format!("{}: the next event", self.what);
            let piece = within(&what, self.pieces.next()).await?.ok()?;
            self.raw.extend_from_slice(&piece);
            self.ready.extend(self.parser.feed(&piece).unwrap());
        }
        self.ready.pop_front()
    }

    /// The data of every event until the stream ends.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(event) = self.next_frame().await {
            all.extend(event.data.map(|data| serde_json::from_str(&data).unwrap()));
        }
        all
    }

    /// Everything that came so far, as it came.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }
}
