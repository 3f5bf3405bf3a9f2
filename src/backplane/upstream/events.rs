//! A stream of events from an HTTP upstream, each of bounded size.

use std::{collections::VecDeque, time::Duration};

use reqwest::Response;

use super::call::Missed;
use crate::domain::sse::{Broken, Event, Parser};

/// A stream of events.
pub(super) struct Events {
    name: String,
    response: Response,
    parser: Parser,
    ready: VecDeque<Event>,
    most: usize,
    last_id: Option<String>,
}

impl Events {
    pub(super) fn new(name: &str, response: Response, most: usize) -> Self {
        Events {
            name: name.to_owned(),
            response,
            parser: Parser::with_limit(most),
            ready: VecDeque::new(),
            most,
            last_id: None,
        }
    }

    /// The next event; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Missed> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last_id.clone_from(&event.id);
                return Ok(Some(event));
            }
            let piece = self.response.chunk().await;
            let Some(piece) = piece.map_err(|error| {
                Missed::broken(&self.name, format!("its events ended early: {}", kind(&error)))
            })?
            else {
                return Ok(None);
            };
            let fed = self.parser.feed(&piece).map_err(|broken| match broken {
                Broken::TooLarge => Missed::too_large(&self.name, self.most),
                Broken::NotUtf8 => Missed::unreadable(&self.name, broken),
            })?;
            self.ready.extend(fed);
        }
    }

    /// The id of the last event, if it had one: where to go on.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long it asked to wait before it is opened again.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.parser.retry()
    }
}

/// A word for a broken stream, without the URL.
fn kind(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() { "time-out" } else { "the connection broke" }
}
