//! Settings: one struct per concern, read once from the environment and the flags over it.
//!
//! Every field names its variable, its unit and its default; `cortex ROLE --help` prints them.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    backplane::{
        logging,
        secrets::{read_secret, token_secret_path},
        token::{SECRET_BYTES_MIN, Tokens},
    },
    domain::{backoff::Backoff, breaker::Policy},
};

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
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10_000)]
    pub max_connections: usize,
    /// Largest request body taken (bytes).
    #[arg(long, env = "MAX_REQUEST_SIZE", default_value_t = 1_048_576)]
    pub max_request_size: usize,
    /// Time a request may take when its caller sets no deadline (seconds).
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "30", value_parser = duration)]
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

/// Where a process keeps its data.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data")]
pub struct Data {
    /// Directory for databases and secrets.
    #[arg(long, env = "CORTEX_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// Database: `sqlite:///absolute/path` or `sqlite://relative/path` [default: a file in the
    /// data directory].
    #[arg(long, env = "DATABASE_URL")]
    pub database_url: Option<String>,
    /// Connections that read at once (count).
    #[arg(long, env = "DB_POOL_SIZE", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub db_pool_size: u16,
    /// Time to wait for a connection (seconds).
    #[arg(long, env = "DB_POOL_TIMEOUT", default_value = "5", value_parser = duration)]
    pub db_pool_timeout: Duration,
}

impl Data {
    /// The path of the SQLite file: from `DATABASE_URL`, or `file` in the data directory.
    ///
    /// # Errors
    /// A sentence naming the variable when its value is not a SQLite URL.
    pub fn sqlite_path(&self, file: &str) -> Result<PathBuf, String> {
        let set = self.database_url.as_ref().filter(|url| !url.is_empty());
        let Some(url) = set else { return Ok(self.data_dir.join(file)) };
        let rest = url
            .split_once("://")
            .filter(|(scheme, _)| *scheme == "sqlite" || scheme.starts_with("sqlite+"))
            .map(|(_, rest)| rest)
            .ok_or_else(|| {
                "DATABASE_URL: only sqlite:///absolute/path or sqlite://relative/path".to_owned()
            })?;
        if rest.contains(":memory:") || rest.contains('?') {
            return Err("DATABASE_URL: must name a file, without parameters".to_owned());
        }
        if rest.is_empty() || rest == "/" {
            return Ok(self.data_dir.join(file));
        }
        // `sqlite:///./x` and `sqlite:///x.db` of earlier generations mean a relative path only
        // when they say so with a dot.
        Ok(match rest.strip_prefix("/./") {
            Some(relative) => PathBuf::from(relative),
            None => PathBuf::from(rest),
        })
    }
}

/// Who may call, and how tokens are signed.
#[derive(Args, Clone)]
#[command(next_help_heading = "Identity")]
pub struct Identity {
    /// Secret that signs tokens, the same in every process (text, at least 32 bytes; required).
    #[arg(long, env = "JWT_SECRET_KEY", hide_env_values = true)]
    pub jwt_secret_key: Option<String>,
    /// File that holds the secret, instead of `JWT_SECRET_KEY` (path).
    #[arg(long, env = "JWT_SECRET_KEY_FILE", value_parser = path_or_none)]
    pub jwt_secret_key_file: Option<PathBuf>,
    /// Life of a user's token (hours).
    #[arg(long, env = "JWT_EXPIRATION_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8760))]
    pub jwt_expiration_hours: u32,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("jwt_secret_key_file", &self.jwt_secret_key_file)
            .field("jwt_expiration_hours", &self.jwt_expiration_hours)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// The secret, from the variable or its file.
    ///
    /// # Errors
    /// A sentence naming the variable when it is missing, unreadable or too short.
    pub fn secret(&self) -> Result<String, String> {
        let (name, secret) = match (&self.jwt_secret_key, &self.jwt_secret_key_file) {
            (Some(secret), _) if !secret.is_empty() => ("JWT_SECRET_KEY", secret.clone()),
            (_, Some(path)) if !path.as_os_str().is_empty() => {
                let secret = read_secret(path)
                    .map_err(|error| format!("JWT_SECRET_KEY_FILE: {}: {error}", path.display()))?;
                ("JWT_SECRET_KEY_FILE", secret)
            }
            _ => {
                return Err("JWT_SECRET_KEY: not set; give every process the same secret of at \
                            least 32 bytes (or JWT_SECRET_KEY_FILE)"
                    .to_owned());
            }
        };
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "{name}: {} bytes are too few; at least {SECRET_BYTES_MIN} are needed",
                secret.len()
            ));
        }
        Ok(secret)
    }

    /// The secret from the variables, else from the data directory: for commands that people run
    /// beside `cortex up`.
    ///
    /// # Errors
    /// A sentence that says what to set.
    pub fn tokens_or_from(&self, data_dir: &std::path::Path) -> Result<Tokens, String> {
        // Set but empty, as compose files do, is not set.
        let key = self.jwt_secret_key.as_ref().is_some_and(|key| !key.is_empty());
        let file = self.jwt_secret_key_file.as_ref();
        if key || file.is_some_and(|path| !path.as_os_str().is_empty()) {
            return Ok(Tokens::new(&self.secret()?));
        }
        let path = token_secret_path(data_dir);
        read_secret(&path).map(|secret| Tokens::new(&secret)).map_err(|error| {
            format!("JWT_SECRET_KEY: not set, and {} cannot be read: {error}", path.display())
        })
    }

    /// Life of a user's token.
    #[must_use]
    pub fn token_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.jwt_expiration_hours) * 3600)
    }
}

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

/// Which services there are, and how their health is checked.
#[derive(Args, Clone)]
#[command(next_help_heading = "Discovery")]
pub struct Services {
    /// Where memory is: one URL; several, separated by commas, only for replicas of one store.
    #[arg(long, env = "MEMORY_SERVICE_URL", default_value = "http://127.0.0.1:9000")]
    pub memory_service_url: String,
    /// Where cognition is: one URL, or several separated by commas.
    #[arg(long, env = "COGNITION_SERVICE_URL", default_value = "http://127.0.0.1:9100")]
    pub cognition_service_url: String,
    /// YAML file with further services (path).
    #[arg(long, env = "SERVICE_DISCOVERY_CONFIG")]
    pub service_discovery_config: Option<PathBuf>,
    /// Time between health checks of an endpoint (seconds).
    #[arg(long, env = "SERVICE_DISCOVERY_HEALTH_CHECK_INTERVAL", default_value = "30", value_parser = duration)]
    pub health_check_interval: Duration,
    /// Time one health check may take (seconds).
    #[arg(long, env = "SERVICE_DISCOVERY_HEALTH_CHECK_TIMEOUT", default_value = "5", value_parser = duration)]
    pub health_check_timeout: Duration,
    /// Time between health checks while an endpoint is in doubt or its breaker open (seconds).
    #[arg(long, env = "SERVICE_DISCOVERY_PROBE_INTERVAL", default_value = "1", value_parser = duration)]
    pub probe_interval: Duration,
    /// Key that lets `X-API-Key` register services; without it only service tokens may (text).
    #[arg(long, env = "SERVICE_DISCOVERY_API_KEY", hide_env_values = true)]
    pub service_discovery_api_key: Option<String>,
    /// Further services from variables `SERVICE_NAME=url` (filled from the environment).
    #[arg(skip)]
    pub prefixed: Vec<(String, String)>,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services")
            .field("memory_service_url", &self.memory_service_url)
            .field("cognition_service_url", &self.cognition_service_url)
            .field("service_discovery_config", &self.service_discovery_config)
            .finish_non_exhaustive()
    }
}

/// How event streams behave.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Streams")]
pub struct Streams {
    /// Time between `heartbeat` events on the output stream (seconds).
    #[arg(long, env = "HEARTBEAT_INTERVAL", default_value = "30", value_parser = duration)]
    pub heartbeat_interval: Duration,
    /// Time without traffic after which a comment keeps a stream open (seconds).
    #[arg(long, env = "STREAM_KEEP_ALIVE", default_value = "15", value_parser = duration)]
    pub stream_keep_alive: Duration,
    /// Events that wait for a slow reader before it is dropped (count).
    #[arg(long, env = "EVENTS_PER_SUBSCRIBER_MAX", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub events_per_subscriber_max: u16,
    /// Streams open at once (count).
    #[arg(long, env = "STREAMS_MAX", default_value_t = 10_000)]
    pub streams_max: usize,
}

/// The names and URLs among `variables` of the form `SERVICE_NAME=url`; `SERVICE_DISCOVERY_*` are
/// settings, not services.
pub fn prefixed_services(
    variables: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = variables
        .filter(|(name, value)| !name.starts_with("SERVICE_DISCOVERY_") && value.contains("://"))
        .filter_map(|(name, value)| {
            let service = name.strip_prefix("SERVICE_")?.to_lowercase();
            (!service.is_empty()).then_some((service, value))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(url: Option<&str>) -> Data {
        Data {
            data_dir: "d".into(),
            database_url: url.map(str::to_owned),
            db_pool_size: 1,
            db_pool_timeout: Duration::ZERO,
        }
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

    #[test]
    fn database_urls_name_absolute_and_relative_files() {
        for (url, path) in [
            (None, "d/x.db"),
            (Some(""), "d/x.db"),
            (Some("sqlite:///var/lib/x.db"), "/var/lib/x.db"),
            (Some("sqlite://x.db"), "x.db"),
            (Some("sqlite:///./memory_service.db"), "memory_service.db"),
            (Some("sqlite+aiosqlite:///var/x.db"), "/var/x.db"),
            (Some("sqlite://"), "d/x.db"),
        ] {
            assert_eq!(data(url).sqlite_path("x.db"), Ok(path.into()), "{url:?}");
        }
        assert!(
            data(Some("postgres://h/d")).sqlite_path("x").unwrap_err().contains("DATABASE_URL")
        );
    }

    #[test]
    fn a_missing_or_short_secret_names_its_variable() {
        let identity = |secret: Option<&str>| Identity {
            jwt_secret_key: secret.map(str::to_owned),
            jwt_secret_key_file: None,
            jwt_expiration_hours: 1,
        };
        for bad in [None, Some(""), Some("short")] {
            assert!(identity(bad).secret().unwrap_err().starts_with("JWT_SECRET_KEY:"));
        }
        assert!(identity(Some(&"x".repeat(32))).secret().is_ok());
    }

    #[test]
    fn prefixed_variables_are_services_but_discoverys_own_are_not() {
        let variables = [
            ("SERVICE_BILLING", "http://b"),
            ("SERVICE_DISCOVERY_CONFIG", "http://no"),
            ("SERVICE_", "http://no"),
            ("SERVICE_LEVEL", "gold"),
            ("OTHER", "http://no"),
        ];
        let owned = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        assert_eq!(prefixed_services(owned), [("billing".to_owned(), "http://b".to_owned())]);
    }
}
