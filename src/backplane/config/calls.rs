//! How other services are called.

use std::time::Duration;

use clap::Args;

use super::{at_least_one, duration, interval};
use crate::{
    backplane::wire::Wire,
    domain::{
        backoff::{Backoff, Waits},
        breaker::Policy,
    },
};

/// How far the open times of breakers are spread, so that processes do not probe together.
const OPEN_TIME_JITTER: f64 = 0.1;

/// How other services are called.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Calls to other services")]
pub struct Calls {
    /// Time to make a connection (seconds).
    #[arg(long, env = "CONNECTION_TIMEOUT", default_value = "10", value_parser = interval)]
    pub connection_timeout: Duration,
    /// Time for one attempt, from the first byte out to the last byte in (seconds).
    #[arg(long, env = "CALL_TIMEOUT", default_value = "30", value_parser = interval)]
    pub call_timeout: Duration,
    /// Attempts after the first (count).
    #[arg(long, env = "MAX_RETRIES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub max_retries: u32,
    /// Ceiling of the first wait between attempts; the wait is random below it (seconds).
    #[arg(long, env = "RETRY_INITIAL_BACKOFF", default_value = "0.1", value_parser = duration)]
    pub retry_initial_backoff: Duration,
    /// Growth of that ceiling from attempt to attempt (factor).
    #[arg(long, env = "RETRY_BACKOFF_FACTOR", default_value_t = 2.0, value_parser = factor)]
    pub retry_backoff_factor: f64,
    /// Highest ceiling (seconds).
    #[arg(long, env = "RETRY_MAX_BACKOFF", default_value = "10", value_parser = duration)]
    pub retry_max_backoff: Duration,
    /// Ceiling of the first wait after a request to slow down, 429 or 503 (seconds).
    #[arg(long, env = "RETRY_THROTTLED_BACKOFF", default_value = "1", value_parser = duration)]
    pub retry_throttled_backoff: Duration,
    /// Retries a service may cost, as a share of first attempts (ratio).
    #[arg(long, env = "RETRY_BUDGET_RATIO", default_value_t = 0.2, value_parser = share)]
    pub retry_budget_ratio: f64,
    /// Retries that are always allowed (per second).
    #[arg(long, env = "RETRY_BUDGET_FLOOR", default_value_t = 10.0, value_parser = factor)]
    pub retry_budget_floor: f64,
    /// Connections per service and worker (count).
    #[arg(long, env = "MAX_CONNECTIONS_PER_SERVICE", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub max_connections_per_service: u16,
    /// Time an idle connection is kept (seconds); keep it below the servers' `HTTP_KEEP_ALIVE`.
    #[arg(long, env = "CONNECTION_IDLE_TIMEOUT", default_value = "60", value_parser = duration)]
    pub connection_idle_timeout: Duration,
    /// Calls under way per service and worker (count); never more than there are connections.
    #[arg(long, env = "CALLS_IN_FLIGHT_MAX", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub calls_in_flight_max: u16,
    /// Calls that may wait for one of those places, per service and worker (count).
    #[arg(long, env = "CALLS_WAITING_MAX", default_value_t = 1024)]
    pub calls_waiting_max: u16,
    /// Longest wait for a place (seconds); a burst must outlast a slow disk's commit.
    #[arg(long, env = "CALLS_WAIT_MAX", default_value = "0.5", value_parser = duration)]
    pub calls_wait_max: Duration,
    /// Live streams open at once, per service and worker (count).
    #[arg(long, env = "SERVICE_STREAMS_MAX", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub service_streams_max: u16,
    /// Silence after which a repeatable call goes to another endpoint that admits it (seconds).
    #[arg(long, env = "STALL_TIMEOUT", default_value = "0.25", value_parser = duration)]
    pub stall_timeout: Duration,
    /// The same silence as a multiple of what such a call usually takes; the longer one counts (factor).
    #[arg(long, env = "STALL_FACTOR", default_value_t = 10.0, value_parser = factor)]
    pub stall_factor: f64,
    /// Largest answer taken (bytes).
    #[arg(long, env = "MAX_RESPONSE_SIZE", default_value_t = 16_777_216, value_parser = at_least_one)]
    pub max_response_size: usize,
    /// Largest head of an answer taken (bytes); the connection itself ends at 131072.
    #[arg(long, env = "MAX_RESPONSE_HEADER_SIZE", default_value_t = 32_768)]
    pub max_response_header_size: usize,
    /// Silence after which a stream is given up and opened again (seconds).
    #[arg(long, env = "STREAM_IDLE_TIMEOUT", default_value = "45", value_parser = interval)]
    pub stream_idle_timeout: Duration,
    /// Failed attempts in a row that open the breaker of an endpoint (count).
    #[arg(long, env = "CIRCUIT_BREAKER_THRESHOLD", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub circuit_breaker_threshold: u32,
    /// Share of failed or slow calls in the window that opens it; 0 is never (ratio).
    #[arg(long, env = "CIRCUIT_BREAKER_FAILURE_RATE", default_value_t = 0.5, value_parser = share)]
    pub circuit_breaker_failure_rate: f64,
    /// Calls the window must hold before that share counts (count).
    #[arg(long, env = "CIRCUIT_BREAKER_WINDOW_CALLS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub circuit_breaker_window_calls: u32,
    /// Time the window looks back (seconds).
    #[arg(long, env = "CIRCUIT_BREAKER_WINDOW", default_value = "10", value_parser = duration)]
    pub circuit_breaker_window: Duration,
    /// An answer that takes this long counts as slow; 0 is never (seconds).
    #[arg(long, env = "CIRCUIT_BREAKER_SLOW_CALL", default_value = "0", value_parser = duration)]
    pub circuit_breaker_slow_call: Duration,
    /// Time a breaker stays open before a probe may go, spread by 10 % (seconds).
    #[arg(long, env = "CIRCUIT_BREAKER_RESET_TIMEOUT", default_value = "30", value_parser = duration)]
    pub circuit_breaker_reset_timeout: Duration,
    /// Growth of that time with each probe that fails (factor).
    #[arg(long, env = "CIRCUIT_BREAKER_REOPEN_FACTOR", default_value_t = 2.0, value_parser = factor)]
    pub circuit_breaker_reopen_factor: f64,
    /// The longest it grows to (seconds).
    #[arg(long, env = "CIRCUIT_BREAKER_OPEN_MAX", default_value = "300", value_parser = duration)]
    pub circuit_breaker_open_max: Duration,
    /// Probes at once while half-open (count).
    #[arg(long, env = "CIRCUIT_BREAKER_HALF_OPEN_MAX_CALLS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub circuit_breaker_half_open_max_calls: u32,
    /// Successful probes that close a breaker (count).
    #[arg(long, env = "CIRCUIT_BREAKER_SUCCESS_THRESHOLD", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub circuit_breaker_success_threshold: u32,
    /// Where connections come from: the network, unless a test gives another way.
    #[arg(skip)]
    pub wire: Wire,
}

impl Calls {
    /// The breaker's numbers.
    #[must_use]
    pub fn breaker(&self) -> Policy {
        Policy {
            failure_threshold: self.circuit_breaker_threshold,
            bad_ratio: self.circuit_breaker_failure_rate,
            window_calls_min: self.circuit_breaker_window_calls,
            window: self.circuit_breaker_window,
            slow_call: self.circuit_breaker_slow_call,
            reset_timeout: self.circuit_breaker_reset_timeout,
            reopen_factor: self.circuit_breaker_reopen_factor,
            open_max: self.circuit_breaker_open_max,
            jitter: OPEN_TIME_JITTER,
            half_open_max_calls: self.circuit_breaker_half_open_max_calls,
            success_threshold: self.circuit_breaker_success_threshold,
            probe_lease: self.call_timeout + Duration::from_secs(1),
        }
    }

    /// The waits between attempts.
    #[must_use]
    pub fn waits(&self) -> Waits {
        let trouble = Backoff {
            initial: self.retry_initial_backoff,
            factor: self.retry_backoff_factor,
            cap: self.retry_max_backoff,
        };
        let throttled = Backoff { initial: self.retry_throttled_backoff, ..trouble };
        Waits { trouble, throttled }
    }

    /// Calls that may be under way at once: a call without a connection would only wait inside the
    /// transport, and its wait would be held against the endpoint.
    #[must_use]
    pub fn places(&self) -> usize {
        usize::from(self.calls_in_flight_max.min(self.max_connections_per_service))
    }
}

/// Reads a number from 0 on.
fn factor(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        Ok(_) | Err(_) => Err(format!("{text:?} is no number from 0 on")),
    }
}

/// Reads a share: a number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let number = factor(text)?;
    if number <= 1.0 { Ok(number) } else { Err(format!("{text:?} is no share from 0 to 1")) }
}
