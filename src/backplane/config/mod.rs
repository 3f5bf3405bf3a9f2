//! Settings: one struct per concern, read once from the environment and the flags over it.
//!
//! Every field names its variable, its unit and its default; `cortex ROLE --help` prints them.

mod calls;
mod data;
mod gateway;
mod identity;
mod index;
mod mcp;
mod outbox;
mod services;
mod understanding;
mod upstreams;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Command};

pub use self::{
    calls::Calls,
    data::{Data, Storage},
    gateway::{Gateway, ToolSearch},
    identity::Identity,
    index::Index,
    mcp::Mcp,
    outbox::Outbox,
    services::{Services, prefixed_services},
    understanding::Understanding,
    upstreams::{UpstreamSettings, check_upstream, read_upstreams},
};
use crate::backplane::{fanout::Bounds, logging};

/// Settings nobody has a say in: their defaults, whatever the environment holds.
///
/// # Errors
/// A sentence naming a setting without a default.
pub fn defaults<S: Args>() -> Result<S, String> {
    let command = S::augment_args(Command::new("defaults").no_binary_name(true));
    let matches = command
        .mut_args(|argument| argument.env(None))
        .try_get_matches_from(std::iter::empty::<&str>())
        .map_err(|error| error.to_string())?;
    S::from_arg_matches(&matches).map_err(|error| error.to_string())
}

/// Reads a duration: `30` and `30s` are seconds, `250ms` milliseconds; fractions are allowed.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    let (number, unit) = if let Some(number) = trimmed.strip_suffix("ms") {
        (number, 0.001)
    } else {
        (trimmed.strip_suffix('s').unwrap_or(trimmed), 1.0)
    };
    let value: f64 = number
        .trim()
        .parse()
        .map_err(|_not_a_number| format!("{text:?} is no duration; try 30, 0.5 or 250ms"))?;
    Duration::try_from_secs_f64(value * unit)
        .map_err(|_out_of_range| format!("{text:?} is no duration from 0 on"))
}

/// A duration between two ticks: not none.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_millis(1) {
        return Err("must be at least 1ms".to_owned());
    }
    Ok(interval)
}

/// A count or a size of which none would mean that nothing works.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_no_number) => Err("is no whole number".to_owned()),
    }
}

/// A path that may be empty, which counts as not set.
#[expect(clippy::unnecessary_wraps, reason = "clap asks for a result")]
fn path_or_none(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

/// How a process listens and answers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Listening")]
pub struct Http {
    /// Address to listen on.
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one [default: core 8000, memory 9000, cognition 9100].
    #[arg(long, env = "PORT")]
    pub port: Option<u16>,
    /// Threads that answer requests (count).
    #[arg(long, env = "WORKERS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Connections open at once, per worker (count).
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10_000, value_parser = at_least_one)]
    pub max_connections: usize,
    /// Largest request body taken (bytes).
    #[arg(long, env = "MAX_REQUEST_SIZE", default_value_t = 1_048_576, value_parser = at_least_one)]
    pub max_request_size: usize,
    /// Inputs and writes worked on at once; more are refused at once with 503 (count).
    #[arg(long, env = "INPUTS_IN_FLIGHT_MAX", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub inputs_in_flight_max: u16,
    /// Other requests worked on at once, without streams and health (count).
    #[arg(long, env = "REQUESTS_IN_FLIGHT_MAX", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub requests_in_flight_max: u16,
    /// Part of these places that the users who have some may have together, evenly; the rest waits
    /// for others (percent).
    #[arg(long, env = "USERS_PLACES_PERCENT", default_value_t = 75, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub users_places_percent: u8,
    /// Time a request may take when its caller sets no deadline (seconds).
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "30", value_parser = interval)]
    pub request_timeout: Duration,
    /// Time an idle connection is kept (seconds); keep it above the clients' own.
    #[arg(long, env = "HTTP_KEEP_ALIVE", default_value = "75", value_parser = duration)]
    pub http_keep_alive: Duration,
    /// Time after which a connection is cut whose other side takes nothing of what it is sent
    /// (seconds).
    #[arg(long, env = "STALLED_CONNECTION_TIMEOUT", default_value = "60", value_parser = duration)]
    pub stalled_connection_timeout: Duration,
    /// Origins browsers may call from: a comma list, or * (list).
    #[arg(long, env = "ALLOW_ORIGINS", default_value = "*")]
    pub allow_origins: String,
    /// Time for what is in flight to finish after SIGTERM (seconds).
    #[arg(long, env = "SHUTDOWN_GRACE", default_value = "25", value_parser = duration)]
    pub shutdown_grace: Duration,
}

/// How log lines look.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct Logs {
    /// Form of log lines on standard error.
    #[arg(long, env = "LOG_FORMAT", default_value = "human")]
    pub log_format: logging::Format,
    /// Which lines: a level, or the filter syntax of `env_logger` (text).
    #[arg(long, env = "RUST_LOG", default_value = "info,actix_server=warn")]
    pub log: String,
}

/// How event streams behave.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Streams")]
pub struct Streams {
    /// Time between `heartbeat` events on the output stream (seconds).
    #[arg(long, env = "HEARTBEAT_INTERVAL", default_value = "30", value_parser = interval)]
    pub heartbeat_interval: Duration,
    /// Time without traffic after which a comment keeps a stream open (seconds).
    #[arg(long, env = "STREAM_KEEP_ALIVE", default_value = "15", value_parser = interval)]
    pub stream_keep_alive: Duration,
    /// Events that wait for a slow reader before it is dropped (count).
    #[arg(long, env = "EVENTS_PER_SUBSCRIBER_MAX", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub events_per_subscriber_max: u16,
    /// What these events may have together before another is one too many (bytes).
    #[arg(long, env = "EVENT_BYTES_PER_SUBSCRIBER_MAX", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(1..))]
    pub event_bytes_per_subscriber_max: u32,
    /// Streams open at once (count).
    #[arg(long, env = "STREAMS_MAX", default_value_t = 10_000)]
    pub streams_max: usize,
}

impl Streams {
    /// What the event bus may hold.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            events: usize::from(self.events_per_subscriber_max),
            bytes: usize::try_from(self.event_bytes_per_subscriber_max).unwrap_or(usize::MAX),
            subscribers: self.streams_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_may_set_has_its_defaults() {
        let calls: Calls = defaults().unwrap();
        assert_eq!(calls.call_timeout, Duration::from_secs(30));
        let services: Services = defaults().unwrap();
        assert!(services.service_discovery_config.is_none());
    }

    #[test]
    fn counts_and_times_without_which_nothing_works_are_not_none() {
        assert_eq!(at_least_one("1"), Ok(1));
        assert!(at_least_one("0").is_err() && at_least_one("-1").is_err());
        assert!(interval("0").is_err());
    }

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(duration(" 250ms "), Ok(Duration::from_millis(250)));
        for bad in ["", "soon", "-1", "1e400", "NaN", "5 minutes"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
