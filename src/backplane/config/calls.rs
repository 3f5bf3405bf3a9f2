//! How other services are called.

use std::time::Duration;

use clap::Args;

use super::duration;
use crate::domain::{backoff::Backoff, breaker::Policy};

/// How other services are called.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Calls to other services")]
pub struct Calls {
    /// Time to make a connection (seconds).
    #[arg(long, env = "CONNECTION_TIMEOUT", default_value = "10", value_parser = duration)]
    pub connection_timeout: Duration,
    /// Time for one attempt, from the first byte out to the last byte in (seconds).
    #[arg(long, env = "CALL_TIMEOUT", default_value = "30", value_parser = duration)]
    pub call_timeout: Duration,
    /// Attempts after the first (count).
    #[arg(long, env = "MAX_RETRIES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub max_retries: u32,
    /// Ceiling of the first wait between attempts; the wait is random below it (seconds).
    #[arg(long, env = "RETRY_INITIAL_BACKOFF", default_value = "0.1", value_parser = duration)]
    pub retry_initial_backoff: Duration,
    /// Growth of that ceiling from attempt to attempt (factor).
    #[arg(long, env = "RETRY_BACKOFF_FACTOR", default_value_t = 2.0)]
    pub retry_backoff_factor: f64,
    /// Highest ceiling (seconds).
    #[arg(long, env = "RETRY_MAX_BACKOFF", default_value = "10", value_parser = duration)]
    pub retry_max_backoff: Duration,
    /// Retries a service may cost, as a share of first attempts (ratio).
    #[arg(long, env = "RETRY_BUDGET_RATIO", default_value_t = 0.2)]
    pub retry_budget_ratio: f64,
    /// Retries that are always allowed (per second).
    #[arg(long, env = "RETRY_BUDGET_FLOOR", default_value_t = 10.0)]
    pub retry_budget_floor: f64,
    /// Connections per service and worker (count).
    #[arg(long, env = "MAX_CONNECTIONS_PER_SERVICE", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub max_connections_per_service: u16,
    /// Time an idle connection is kept (seconds); keep it below the servers' `HTTP_KEEP_ALIVE`.
    #[arg(long, env = "CONNECTION_IDLE_TIMEOUT", default_value = "60", value_parser = duration)]
    pub connection_idle_timeout: Duration,
    /// Calls under way per service and worker, waiting ones included (count).
    #[arg(long, env = "CALLS_IN_FLIGHT_MAX", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..))]
    pub calls_in_flight_max: u16,
    /// Largest answer taken (bytes).
    #[arg(long, env = "MAX_RESPONSE_SIZE", default_value_t = 16_777_216)]
    pub max_response_size: usize,
    /// Silence after which a stream is given up and opened again (seconds).
    #[arg(long, env = "STREAM_IDLE_TIMEOUT", default_value = "45", value_parser = duration)]
    pub stream_idle_timeout: Duration,
    /// Failed attempts in a row that open the breaker of an endpoint (count).
    #[arg(long, env = "CIRCUIT_BREAKER_THRESHOLD", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub circuit_breaker_threshold: u32,
    /// Time a breaker stays open before a probe may go (seconds).
    #[arg(long, env = "CIRCUIT_BREAKER_RESET_TIMEOUT", default_value = "30", value_parser = duration)]
    pub circuit_breaker_reset_timeout: Duration,
    /// Probes at once while half-open (count).
    #[arg(long, env = "CIRCUIT_BREAKER_HALF_OPEN_MAX_CALLS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub circuit_breaker_half_open_max_calls: u32,
    /// Successful probes that close a breaker (count).
    #[arg(long, env = "CIRCUIT_BREAKER_SUCCESS_THRESHOLD", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub circuit_breaker_success_threshold: u32,
}

impl Calls {
    /// The breaker's numbers.
    #[must_use]
    pub fn breaker(&self) -> Policy {
        Policy {
            failure_threshold: self.circuit_breaker_threshold,
            reset_timeout: self.circuit_breaker_reset_timeout,
            half_open_max_calls: self.circuit_breaker_half_open_max_calls,
            success_threshold: self.circuit_breaker_success_threshold,
            probe_lease: self.call_timeout + Duration::from_secs(1),
        }
    }

    /// The waits between attempts.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff {
            initial: self.retry_initial_backoff,
            factor: self.retry_backoff_factor,
            cap: self.retry_max_backoff,
        }
    }
}
