//! What an upstream is: somebody else's MCP server, how it is reached, and what it may cost.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// Longest name of an upstream, in characters: it is part of its tools' names.
pub const NAME_CHARS_MAX: usize = 32;

/// One upstream, as configured. Its JSON holds its secrets; [`UpstreamSpec::shown`] does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamSpec {
    /// Its name: 1 to [`NAME_CHARS_MAX`] of `A-Za-z0-9_-`.
    pub name: String,
    /// What its tools' and prompts' names begin with, before two underscores; its name when absent,
    /// and nothing at all when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How it is reached.
    pub transport: Transport,
    /// What it may cost.
    #[serde(default)]
    pub limits: Limits,
}

/// How an upstream is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Streamable HTTP, of either era.
    Http(Remote),
    /// HTTP with a separate event stream, as of 2024-11-05.
    Sse(Remote),
    /// A child process that speaks on its standard input and output.
    Stdio(Program),
}

/// A server behind a URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remote {
    /// Where it is: `http` or `https`.
    pub url: String,
    /// Headers sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Where its bearer token is.
    #[serde(default)]
    pub credential: Credential,
    /// Whose sessions are shared, with a server of the earlier era.
    #[serde(default)]
    pub share: Share,
}

/// Where an upstream's own credential is found; never in the settings themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Credential {
    /// It needs none.
    #[default]
    None,
    /// In this environment variable.
    Env(String),
    /// In this file, read again when it may have changed.
    File(PathBuf),
}

/// Who shares a connection or a child process with whom. Clients that can be asked questions
/// (sampling, elicitation, roots) have connections of their own over HTTP of the earlier era.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// Everyone.
    #[default]
    Shared,
    /// The calls of one principal.
    Principal,
    /// The calls of one client's session.
    Session,
}

/// A program to be started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// The program, found as a shell finds it.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables it is given.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// Variables it inherits, beside `PATH`, `HOME`, `LANG`, `TMPDIR`, `TZ` and `USER`.
    #[serde(default)]
    pub inherit: Vec<String>,
    /// Where it runs; here, if not given.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Who shares a child.
    #[serde(default)]
    pub share: Share,
    /// Children at once (count).
    #[serde(default = "children_max")]
    pub children_max: u16,
    /// Time without a call after which a child is ended (seconds).
    #[serde(default = "child_idle", with = "seconds")]
    pub idle_timeout: Duration,
    /// Time a child may take until it can be asked (seconds).
    #[serde(default = "child_start", with = "seconds")]
    pub start_timeout: Duration,
}

fn children_max() -> u16 {
    8
}

fn child_idle() -> Duration {
    Duration::from_secs(600)
}

fn child_start() -> Duration {
    Duration::from_secs(30)
}

/// What an upstream may cost: every wait, queue and retry has its bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Time for one call, whatever its caller allows (seconds).
    #[serde(with = "seconds")]
    pub call_timeout: Duration,
    /// Time for one listing, all pages (seconds).
    #[serde(with = "seconds")]
    pub list_timeout: Duration,
    /// Time to make a connection (seconds).
    #[serde(with = "seconds")]
    pub connect_timeout: Duration,
    /// Time an old server gets to answer whether it is a new one (seconds).
    #[serde(with = "seconds")]
    pub probe_timeout: Duration,
    /// Calls under way (count).
    pub calls_in_flight_max: u16,
    /// Calls that wait for one of those places (count).
    pub calls_waiting_max: u16,
    /// Longest wait for a place (seconds).
    #[serde(with = "seconds")]
    pub calls_wait_max: Duration,
    /// Largest answer, message or event taken (bytes).
    pub answer_bytes_max: usize,
    /// Entries of a list taken (count).
    pub list_items_max: usize,
    /// Size of a list taken, all pages (bytes).
    pub list_bytes_max: usize,
    /// Attempts after the first, of what may be repeated (count).
    pub retries_max: u32,
    /// Retries as a share of first attempts (ratio).
    pub retry_budget_ratio: f64,
    /// Retries always allowed (per second).
    pub retry_budget_floor: f64,
    /// Failed calls in a row that open the breaker (count).
    pub breaker_failures: u32,
    /// Time the breaker stays open, the first time (seconds).
    #[serde(with = "seconds")]
    pub breaker_reset: Duration,
    /// The longest it grows to (seconds).
    #[serde(with = "seconds")]
    pub breaker_open_max: Duration,
    /// Sessions open at once with a server of the earlier era (count).
    pub sessions_max: u16,
    /// Time without a call after which a session is ended (seconds).
    #[serde(with = "seconds")]
    pub session_idle: Duration,
    /// Resources subscribed to (count).
    pub subscriptions_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            call_timeout: Duration::from_secs(60),
            list_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(5),
            calls_in_flight_max: 64,
            calls_waiting_max: 256,
            calls_wait_max: Duration::from_millis(500),
            answer_bytes_max: 16_777_216,
            list_items_max: 10_000,
            list_bytes_max: 16_777_216,
            retries_max: 2,
            retry_budget_ratio: 0.2,
            retry_budget_floor: 1.0,
            breaker_failures: 5,
            breaker_reset: Duration::from_secs(10),
            breaker_open_max: Duration::from_secs(120),
            sessions_max: 256,
            session_idle: Duration::from_secs(600),
            subscriptions_max: 1000,
        }
    }
}

impl UpstreamSpec {
    /// The same with its secrets covered, to be shown.
    #[must_use]
    pub fn shown(mut self) -> Self {
        let cover = |secrets: &mut BTreeMap<String, Secret>| {
            secrets.values_mut().for_each(|secret| *secret = Secret("***".to_owned()));
        };
        match &mut self.transport {
            Transport::Http(remote) | Transport::Sse(remote) => cover(&mut remote.headers),
            Transport::Stdio(program) => cover(&mut program.env),
        }
        self
    }
}

/// A value that logs and `Debug` never show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Durations as seconds, with fractions.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|_out_of_range| D::Error::custom(format!("{seconds} is no time in seconds")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> UpstreamSpec {
        serde_json::from_value(json!({"name": "files", "transport": {"stdio": {
            "command": "files", "env": {"KEY": "hush"}}}, "limits": {"list_timeout": 0.5}}))
        .unwrap()
    }

    #[test]
    fn what_is_not_said_has_its_default_and_the_rest_comes_back_as_it_was() {
        let spec = spec();
        assert_eq!(spec.limits.list_timeout, Duration::from_millis(500));
        assert_eq!(spec.limits.call_timeout, Limits::default().call_timeout);
        let again: UpstreamSpec =
            serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn secrets_are_shown_neither_by_debug_nor_by_what_is_shown() {
        assert!(!format!("{:?}", spec()).contains("hush"));
        assert!(!serde_json::to_string(&spec().shown()).unwrap().contains("hush"));
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        for bad in [json!(-1), json!(1e300), json!("soon")] {
            let limits = json!({"call_timeout": bad});
            assert!(serde_json::from_value::<Limits>(limits).is_err());
        }
    }
}
