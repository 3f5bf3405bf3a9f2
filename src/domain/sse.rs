//! Reading and writing server-sent events: the WHATWG event stream format.
//!
//! Source: HTML Living Standard, section 9.2 "Server-sent events".

use std::time::Duration;

use memchr::memchr2;

/// Most bytes one event may have, unless said otherwise; a longer one is an error, so that a peer
/// cannot fill the memory.
pub const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One event as dispatched, or an id that moved on without one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// The `event:` field; empty means `message`.
    pub kind: String,
    /// The last id seen up to and including this event.
    pub id: Option<String>,
    /// The joined `data:` lines; `None` when the block carried only an id.
    pub data: Option<String>,
}

/// The stream holds an event that is too large or is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Larger than the limit.
    #[error("an event is too large")]
    TooLarge,
    /// Not UTF-8.
    #[error("the stream is not UTF-8")]
    NotUtf8,
}

/// Cuts a byte stream into events, whatever the sizes of its pieces.
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    retry: Option<Duration>,
    line: Vec<u8>,
    after_cr: bool,
    started: bool,
    kind: String,
    data: Option<String>,
    id: Option<String>,
    id_moved: bool,
    size: usize,
}

impl Default for Parser {
    fn default() -> Self {
        Parser::new()
    }
}

impl Parser {
    /// A parser at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Parser::with_limit(EVENT_BYTES_MAX)
    }

    /// One that takes events of up to so many bytes.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Parser {
            limit,
            retry: None,
            line: Vec::new(),
            after_cr: false,
            started: false,
            kind: String::new(),
            data: None,
            id: None,
            id_moved: false,
            size: 0,
        }
    }

    /// How long the stream last asked to wait before it is opened again.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Takes the next piece and gives the events it completes.
    ///
    /// # Errors
    /// [`Broken`]; the stream should be closed then.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<Event>, Broken> {
        let mut events = Vec::new();
        let mut rest = piece;
        while let Some((first, behind)) = rest.split_first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = behind;
                continue;
            }
            let Some((line, behind)) =
                memchr2(b'\r', b'\n', rest).and_then(|end| rest.split_at_checked(end))
            else {
                self.lengthen(rest)?;
                break;
            };
            self.lengthen(line)?;
            self.end_line(&mut events)?;
            self.after_cr = behind.first() == Some(&b'\r');
            rest = behind.get(1..).unwrap_or_default();
        }
        Ok(events)
    }

    fn lengthen(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.size += bytes.len();
        if self.size > self.limit {
            return Err(Broken::TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Event>) -> Result<(), Broken> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&bytes).map_err(|_not_utf8| Broken::NotUtf8)?;
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(events);
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "event" => value.clone_into(&mut self.kind),
            "id" if !value.contains('\0') => {
                self.id = Some(value.to_owned());
                self.id_moved = true;
            }
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) {
        self.size = 0;
        let kind = std::mem::take(&mut self.kind);
        let data = self.data.take();
        let moved = std::mem::take(&mut self.id_moved);
        if data.is_some() || moved {
            events.push(Event { kind, id: self.id.clone(), data });
        }
    }
}

/// Renders one event with a single-line payload. `event:` is left out: browsers fire `onmessage`
/// only for events without it.
#[must_use]
pub fn render(id: Option<i64>, data: &str) -> String {
    let mut text = String::with_capacity(data.len() + 32);
    if let Some(id) = id {
        text.push_str("id: ");
        text.push_str(&id.to_string());
        text.push('\n');
    }
    for line in data.split('\n') {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &[u8], expected: &[(&str, Option<&str>, Option<&str>)]) {
        for size in [1, 2, 3, 7, stream.len().max(1)] {
            let mut parser = Parser::new();
            let mut events = Vec::new();
            for piece in stream.chunks(size) {
                events.extend(parser.feed(piece).unwrap());
            }
            let seen: Vec<_> = events
                .iter()
                .map(|e| (e.kind.as_str(), e.id.as_deref(), e.data.as_deref()))
                .collect();
            assert_eq!(seen, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn lines_end_in_any_of_three_ways_and_pieces_may_split_characters() {
        check(
            "data: grüße\r\n\r\ndata:b\r\rdata: c\n\n".as_bytes(),
            &[("", None, Some("grüße")), ("", None, Some("b")), ("", None, Some("c"))],
        );
    }

    #[test]
    fn several_data_lines_are_joined_comments_and_unknown_fields_are_not() {
        check(b": ping\n\ndata: a\ndata: b\nretry: 5\nfoo\n\n", &[("", None, Some("a\nb"))]);
    }

    #[test]
    fn ids_stay_until_changed_and_may_move_alone() {
        check(
            b"id: 7\n\ndata: x\n\nevent: end\nid: 8\ndata:\n\n",
            &[("", Some("7"), None), ("", Some("7"), Some("x")), ("end", Some("8"), Some(""))],
        );
    }

    #[test]
    fn falsy_payloads_are_events_and_an_unfinished_one_is_not() {
        check(
            b"data: 0\n\ndata: []\n\ndata: lost",
            &[("", None, Some("0")), ("", None, Some("[]"))],
        );
    }

    #[test]
    fn an_endless_event_and_bad_utf8_are_refused() {
        let mut parser = Parser::new();
        assert_eq!(parser.feed(&vec![b'x'; EVENT_BYTES_MAX + 1]), Err(Broken::TooLarge));
        assert_eq!(Parser::new().feed(b"data: \xff\n"), Err(Broken::NotUtf8));
    }

    #[test]
    fn what_is_rendered_is_read_back() {
        check(render(Some(3), "{\"a\":1}").as_bytes(), &[("", Some("3"), Some("{\"a\":1}"))]);
    }
}
