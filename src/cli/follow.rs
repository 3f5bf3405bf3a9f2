//! Reading a live stream for ever: when it breaks, it is opened again from the last event seen.

use std::{ops::ControlFlow, time::Duration};

use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::{
    complain,
    fetch::{Pieces, Web},
    session::Bearer,
    trouble::{Outcome, Trouble},
};
use crate::domain::{
    backoff::Backoff,
    sse::{Event, Parser},
};

/// Silence after which a stream is given up: services send something every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Waits before a stream is opened again.
const PAUSE: Backoff =
    Backoff { initial: Duration::from_millis(500), factor: 2.0, cap: Duration::from_secs(5) };

/// A live stream.
pub(super) struct Follower<'a> {
    web: &'a Web,
    bearer: &'a Bearer,
    url: String,
    after: Option<i64>,
    /// Whether it was ever open: until then an error is the command's end.
    opened: bool,
    /// Whether the break was told.
    told: bool,
    /// Connections in a row that brought nothing.
    idle: u32,
}

impl<'a> Follower<'a> {
    /// The stream at `url` after a sequence number; `None` begins with what comes next.
    pub(super) fn new(web: &'a Web, bearer: &'a Bearer, url: String, after: Option<i64>) -> Self {
        Follower { web, bearer, url, after, opened: false, told: false, idle: 0 }
    }

    /// Hands on the payload of every event until `on_event` has enough.
    pub(super) async fn run(
        mut self,
        mut on_event: impl FnMut(&str) -> Outcome<ControlFlow<()>>,
    ) -> Outcome {
        loop {
            let why = match self.connect(&mut on_event).await {
                Ok(ControlFlow::Break(())) => return Ok(()),
                Ok(ControlFlow::Continue(why)) => why,
                Err(trouble) if self.opened && passes(&trouble) => trouble.to_string(),
                Err(trouble) => return Err(trouble),
            };
            if !std::mem::replace(&mut self.told, true) {
                complain(&format!("{why}; trying again until it is back"));
            }
            self.idle = self.idle.saturating_add(1);
            tokio::time::sleep(PAUSE.ceiling(self.idle)).await;
        }
    }

    /// One connection; goes on with why it ended.
    async fn connect(
        &mut self,
        on_event: &mut impl FnMut(&str) -> Outcome<ControlFlow<()>>,
    ) -> Outcome<ControlFlow<(), String>> {
        let url = self.url_from_here();
        let mut pieces: Pieces = self.web.open(&url, &self.bearer.token()?).await?;
        self.opened = true;
        if std::mem::take(&mut self.told) {
            complain("the stream is back");
        }
        let mut parser = Parser::new();
        loop {
            let silence = Instant::now() + SILENCE_MAX;
            let piece = match tokio::time::timeout_at(silence, pieces.next()).await {
                Err(_elapsed) => return Ok(self.broke("went silent")),
                Ok(None) => return Ok(self.broke("ended")),
                Ok(Some(Err(error))) => return Ok(self.broke(&format!("broke: {error}"))),
                Ok(Some(Ok(piece))) => piece,
            };
            let events = match parser.feed(&piece) {
                Ok(events) => events,
                Err(broken) => return Ok(self.broke(&format!("is broken: {broken}"))),
            };
            for event in events {
                if let Some(data) = self.payload(event)
                    && on_event(&data)?.is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }

    fn broke(&self, how: &str) -> ControlFlow<(), String> {
        ControlFlow::Continue(format!("the stream {} {how}", self.url))
    }

    fn url_from_here(&self) -> String {
        let mark = if self.url.contains('?') { '&' } else { '?' };
        match self.after {
            Some(seq) => format!("{}{mark}after={seq}", self.url),
            None => self.url.clone(),
        }
    }

    /// The payload of an event, if it has one; remembers where the stream is.
    fn payload(&mut self, event: Event) -> Option<String> {
        self.idle = 0;
        self.after = event.id.and_then(|id| id.parse().ok()).or(self.after);
        event.data
    }
}

/// Whether waiting may help.
fn passes(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Unreachable { .. } => true,
        Trouble::Answered(failure) => failure.is_ours(),
        Trouble::Plain(_)
        | Trouble::TooLarge(_)
        | Trouble::Output(_)
        | Trouble::Found(_)
        | Trouble::Unopened(_)
        | Trouble::ReaderGone => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::{Failure, Kind};

    #[test]
    fn a_stream_goes_on_after_the_last_event_seen() {
        let (web, bearer) = (Web::new(), Bearer::Given(String::new()));
        let url = "http://h/stream?conversation_id=c".to_owned();
        let mut follower = Follower::new(&web, &bearer, url, None);
        assert_eq!(follower.url_from_here(), "http://h/stream?conversation_id=c");
        let event = |id: Option<&str>, data: Option<&str>| Event {
            kind: String::new(),
            id: id.map(str::to_owned),
            data: data.map(str::to_owned),
        };
        assert_eq!(follower.payload(event(Some("7"), None)), None);
        assert_eq!(follower.payload(event(None, Some("x"))).as_deref(), Some("x"));
        assert_eq!(follower.url_from_here(), "http://h/stream?conversation_id=c&after=7");
        follower.url = "http://h/stream".to_owned();
        assert_eq!(follower.url_from_here(), "http://h/stream?after=7");
    }

    #[test]
    fn what_waiting_does_not_mend_ends_the_command() {
        assert!(passes(&Trouble::Answered(Failure::new(Kind::Unavailable, "away"))));
        assert!(!passes(&Trouble::Answered(Failure::new(Kind::Unauthorized, "who?"))));
        assert!(!passes(&Trouble::ReaderGone));
    }
}
