//! How much is sent, for how long: the options that all loads share, each with its bounds.

use std::time::Duration;

use clap::Args;

use crate::backplane::config::duration;

/// Largest number of file descriptors beyond those of connections.
const OTHER_FILES: u64 = 64;

/// The options that all loads share.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub(super) struct Load {
    /// Requests by a fixed schedule, 1 to 1000000 (per second); latency then counts from when a
    /// request was due [default: each connection sends as soon as it was answered].
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(super) rate: Option<u32>,
    /// Time of the measuring, 0.1 to 3600 (seconds).
    #[arg(long, default_value = "10s", value_parser = run_time)]
    pub(super) duration: Duration,
    /// Time before the measuring begins, 0 to 3600 (seconds).
    #[arg(long, default_value = "2s", value_parser = warm_up)]
    pub(super) warm_up: Duration,
    /// Time for one answer, 0.001 to 600 (seconds).
    #[arg(long, default_value = "30s", value_parser = patience)]
    pub(super) timeout: Duration,
    /// Users the load is spread over, 1 to 10000 (count).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) users: u32,
    /// Text of an input, 1 to 1000000 (bytes).
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) payload: u32,
    /// Threads that send, 1 to 64 (count); one sends some ten thousand requests per second.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) threads: u16,
    /// A refused connection waits as `Retry-After` says, instead of sending on.
    #[arg(long, conflicts_with = "rate")]
    pub(super) obey_retry_after: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub(super) json: bool,
}

impl Load {
    /// The time of the whole run.
    pub(super) fn whole(&self) -> Duration {
        self.warm_up + self.duration
    }

    /// A text of `payload` bytes that begins with `start`, if that fits.
    pub(super) fn text(&self, start: &str) -> String {
        let bytes = usize::try_from(self.payload).unwrap_or(usize::MAX);
        let filling = "the quick brown fox jumps over the lazy dog ".chars().cycle();
        start.chars().chain(filling).take(bytes.max(start.len())).collect()
    }
}

/// Connections of a load.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Load")]
pub(super) struct Connections {
    /// Connections open at once, 1 to 50000 (count).
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(super) connections: u32,
}

/// Makes room for so many connections: raises the limit on open files as far as it may be raised.
///
/// # Errors
/// What to set, when that is not far enough.
pub(super) fn make_room(connections: u32) -> Result<(), String> {
    let needed = u64::from(connections) + OTHER_FILES;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < needed => Err(format!(
            "{connections} connections need {needed} open files, and the limit is {limit}; raise it \
             with `ulimit -n {needed}`"
        )),
        Ok(_) => Ok(()),
        Err(error) => {
            log::error!("the limit on open files is not known cause={error}");
            Ok(())
        }
    }
}

fn rate(text: &str) -> Result<u32, String> {
    let number = text.trim();
    let number = number.strip_suffix("/s").unwrap_or(number).trim();
    let rate = number.parse().ok().filter(|rate| (1..=1_000_000).contains(rate));
    rate.ok_or_else(|| "must be 1 to 1000000 per second".to_owned())
}

fn run_time(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100), 3600)
}

fn warm_up(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO, 3600)
}

fn patience(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(1), 600)
}

fn within(text: &str, least: Duration, most: u64) -> Result<Duration, String> {
    let time = duration(text)?;
    if (least..=Duration::from_secs(most)).contains(&time) {
        return Ok(time);
    }
    Err(format!("must be {} to {most} seconds", least.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        connections: Connections,
    }

    fn parse(words: &[&str]) -> Result<Line, String> {
        Line::try_parse_from(["bench"].iter().chain(words)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_number_has_its_bounds() {
        let line = parse(&["--rate", "500/s", "--duration", "250ms", "--warm-up", "0"]).unwrap();
        assert_eq!((line.load.rate, line.load.whole()), (Some(500), Duration::from_millis(250)));
        assert_eq!(line.connections.connections, 64);
        for bad in [
            ["--rate", "0"],
            ["--rate", "1000001"],
            ["--rate", "fast"],
            ["--duration", "0"],
            ["--duration", "2h"],
            ["--duration", "3601"],
            ["--warm-up", "-1"],
            ["--timeout", "0"],
            ["--users", "0"],
            ["--payload", "0"],
            ["--payload", "1000001"],
            ["--threads", "65"],
            ["--connections", "0"],
            ["--connections", "50001"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
        assert!(parse(&["--rate", "1", "--obey-retry-after"]).is_err());
    }

    #[test]
    fn a_text_has_the_wished_length_or_that_of_its_start() {
        let load = |payload: &str| parse(&["--payload", payload]).unwrap().load;
        assert_eq!(load("60").text("x@").len(), 60);
        assert_eq!(load("1").text("start"), "start");
    }

    #[test]
    fn what_the_machine_does_not_allow_is_said() {
        assert_eq!(make_room(1), Ok(()));
        if let Ok(limit) = rlimit::increase_nofile_limit(u64::MAX)
            && let Ok(many) = u32::try_from(limit)
        {
            assert!(make_room(many).unwrap_err().contains("ulimit -n"));
        }
    }
}
