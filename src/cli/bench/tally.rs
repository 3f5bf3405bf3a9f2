//! What came back: counts and latencies by kind of answer.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Kinds of answers told apart; further ones are counted together.
const KINDS_MAX: usize = 24;
/// Longest latency that is told apart, in nanoseconds (10 minutes).
const LONGEST_NANOS: u64 = 600_000_000_000;
/// Shortest latency that is told apart, in nanoseconds.
const SHORTEST_NANOS: u64 = 1_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// No connection was made.
    Connect,
    /// Nothing came within the time-out.
    Timeout,
    /// The connection ended or broke.
    Closed,
    /// What came was no HTTP.
    Malformed,
    /// Still under way when the run ended.
    Unfinished,
}

impl Lost {
    fn word(self) -> &'static str {
        match self {
            Lost::Connect => "connect",
            Lost::Timeout => "timeout",
            Lost::Closed => "closed",
            Lost::Malformed => "malformed",
            Lost::Unfinished => "unfinished",
        }
    }
}

/// Whether an answer was what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// 2xx and 3xx.
    Success,
    /// 4xx and 5xx.
    Refusal,
    /// None came.
    Lost,
}

impl Class {
    /// The word for people and in JSON.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Class::Success => "success",
            Class::Refusal => "refusal",
            Class::Lost => "lost",
        }
    }

    fn of(status: u16) -> Self {
        match status {
            0 => Class::Lost,
            1..400 => Class::Success,
            400.. => Class::Refusal,
        }
    }
}

/// Latencies, in a histogram of high dynamic range: about 0.1 % exact from 1 µs to 10 minutes
/// (G. Tene, HdrHistogram).
#[derive(Clone)]
pub(super) struct Times(Option<Histogram<u64>>);

impl Times {
    /// None yet.
    pub(super) fn new() -> Self {
        Times(None)
    }

    /// Adds one.
    pub(super) fn add(&mut self, took: Duration) {
        if self.0.is_none() {
            self.0 = Histogram::new_with_bounds(SHORTEST_NANOS, LONGEST_NANOS, DIGITS).ok();
        }
        if let Some(histogram) = &mut self.0 {
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            histogram.saturating_record(nanos.max(SHORTEST_NANOS));
        }
    }

    /// Adds those of another.
    pub(super) fn merge(&mut self, other: &Times) {
        match (&mut self.0, &other.0) {
            (_, None) => {}
            (None, Some(theirs)) => self.0 = Some(theirs.clone()),
            (Some(own), Some(theirs)) => {
                // Both were made with the same bounds: nothing can be out of range.
                if let Err(error) = own.add(theirs) {
                    log::error!("latencies not merged cause={error}");
                }
            }
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The latency that this share (0 to 1) did not exceed; `None` while there is none.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(Duration::from_nanos(histogram.value_at_quantile(share)))
    }

    /// The longest.
    pub(super) fn max(&self) -> Option<Duration> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(Duration::from_nanos(histogram.max()))
    }
}

/// One kind of answer.
#[derive(Clone)]
pub(super) struct Row {
    /// The HTTP status; 0 when there was no answer.
    pub(super) status: u16,
    /// What tells it apart within the status: our error code, or the status in the body.
    pub(super) word: Box<[u8]>,
    /// From when it was due to be sent to the last byte of the answer.
    pub(super) times: Times,
}

impl Row {
    /// Whether it was what was asked for.
    pub(super) fn class(&self) -> Class {
        Class::of(self.status)
    }

    /// What is shown: `503 overloaded`.
    pub(super) fn label(&self) -> String {
        let word = String::from_utf8_lossy(&self.word);
        match self.status {
            0 => word.into_owned(),
            status if word.is_empty() => status.to_string(),
            status => format!("{status} {word}"),
        }
    }
}

/// What a run brought.
#[derive(Clone, Default)]
pub(super) struct Tally {
    rows: Vec<Row>,
    /// Successes, by the number of the request sent.
    pub(super) by_request: Vec<u64>,
    /// From the sending itself, for answers to requests that were sent late.
    pub(super) from_sending: Option<Times>,
}

impl Tally {
    /// Counts an answer. `took` is from when it was due, `since_sent` from when it was sent.
    pub(super) fn answered(
        &mut self,
        request: usize,
        (status, word): (u16, &[u8]),
        took: Duration,
        since_sent: Duration,
    ) {
        self.row(status, word).times.add(took);
        if Class::of(status) == Class::Success {
            if self.by_request.len() <= request {
                self.by_request.resize(request + 1, 0);
            }
            if let Some(count) = self.by_request.get_mut(request) {
                *count += 1;
            }
            self.from_sending.get_or_insert_with(Times::new).add(since_sent);
        }
    }

    /// Counts a request that got no answer.
    pub(super) fn lost(&mut self, why: Lost, took: Duration) {
        self.row(0, why.word().as_bytes()).times.add(took);
    }

    /// Adds another.
    pub(super) fn merge(&mut self, other: &Tally) {
        for row in &other.rows {
            self.row(row.status, &row.word).times.merge(&row.times);
        }
        if self.by_request.len() < other.by_request.len() {
            self.by_request.resize(other.by_request.len(), 0);
        }
        for (own, theirs) in self.by_request.iter_mut().zip(&other.by_request) {
            *own += theirs;
        }
        if let Some(theirs) = &other.from_sending {
            self.from_sending.get_or_insert_with(Times::new).merge(theirs);
        }
    }

    /// Every kind, the most frequent first within its class.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| (class_order(row.class()), std::cmp::Reverse(row.times.count())));
        rows
    }

    /// All of a class together.
    pub(super) fn all(&self, class: Class) -> Times {
        let mut all = Times::new();
        for row in self.rows.iter().filter(|row| row.class() == class) {
            all.merge(&row.times);
        }
        all
    }

    fn row(&mut self, status: u16, word: &[u8]) -> &mut Row {
        let known = |row: &Row, word: &[u8]| row.status == status && *row.word == *word;
        let mut at = self.rows.iter().position(|row| known(row, word));
        let full = self.rows.len() >= KINDS_MAX;
        let word = if full { &b"other"[..] } else { word };
        if at.is_none() && full {
            at = self.rows.iter().position(|row| known(row, word));
        }
        let at = at.unwrap_or(self.rows.len());
        if at == self.rows.len() {
            self.rows.push(Row { status, word: word.into(), times: Times::new() });
        }
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.rows[at]
    }
}

fn class_order(class: Class) -> u8 {
    match class {
        Class::Success => 0,
        Class::Refusal => 1,
        Class::Lost => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn answers_are_told_apart_by_status_and_word_and_merge() {
        let mut tally = Tally::default();
        for millis in 1..=100 {
            tally.answered(0, (200, b"received"), ms(millis), ms(1));
        }
        let mut other = Tally::default();
        other.answered(1, (200, b"received"), ms(1000), ms(1));
        other.answered(1, (503, b"overloaded"), ms(2), ms(2));
        other.lost(Lost::Timeout, ms(30_000));
        tally.merge(&other);
        let labels: Vec<String> = tally.rows().iter().map(|row| row.label()).collect();
        assert_eq!(labels, ["200 received", "503 overloaded", "timeout"]);
        assert_eq!(tally.by_request, [100, 1]);
        let successes = tally.all(Class::Success);
        assert_eq!(successes.count(), 101);
        let p50 = successes.quantile(0.5).unwrap();
        assert!((ms(50)..=ms(52)).contains(&p50), "{p50:?}");
        assert!(successes.max().unwrap() >= ms(1000));
        assert_eq!(tally.all(Class::Refusal).count(), 1);
        assert_eq!(tally.all(Class::Lost).count(), 1);
    }

    #[test]
    fn a_server_that_invents_codes_does_not_fill_the_memory() {
        let mut tally = Tally::default();
        for number in 0..1000 {
            tally.answered(0, (500, format!("code{number}").as_bytes()), ms(1), ms(1));
        }
        assert!(tally.rows().len() <= KINDS_MAX + 1);
        assert_eq!(tally.all(Class::Refusal).count(), 1000);
    }

    #[test]
    fn latencies_beyond_the_bounds_are_kept_at_the_bounds() {
        let mut times = Times::new();
        assert_eq!((times.quantile(0.5), times.max()), (None, None));
        times.add(Duration::ZERO);
        times.add(Duration::from_secs(100_000));
        assert_eq!(times.count(), 2);
        assert!(times.max().unwrap() >= Duration::from_secs(599));
    }
}
