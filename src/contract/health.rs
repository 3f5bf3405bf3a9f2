//! What `/health` says, the same shape from every process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The health of one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// `healthy`, `degraded` (works, but something it uses does not) or `unhealthy`.
    pub status: String,
    /// The role: `core`, `memory`, `cognition`.
    pub service: String,
    /// The version of the binary.
    pub version: String,
    /// The operating system's id of the process.
    pub pid: u32,
    /// RFC 3339.
    pub timestamp: String,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// Why it is not healthy; empty when it is.
    pub reasons: Vec<String>,
    /// Its own parts: `database` and the like.
    pub components: BTreeMap<String, Component>,
    /// The services it uses.
    pub dependent_services: BTreeMap<String, ServiceHealth>,
    /// Its actors.
    pub actors: Vec<ActorHealth>,
}

/// One part of a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Component {
    /// `healthy` or `unhealthy`.
    pub status: String,
    /// Why it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Size on disk, in bytes, where that has a meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Which store it is, where that matters to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
    /// Entries that wait, or items that are there, where that has a meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<usize>,
    /// For how long the oldest of them has waited, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<f64>,
    /// Entries set aside, because they were refused for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// Conversations that are passed over for now, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<usize>,
    /// Up to where memory's log is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// Entries that memory has beyond that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<i64>,
}

/// One service and its endpoints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceHealth {
    /// The best status among the endpoints.
    pub status: String,
    /// Where it can be called.
    pub endpoints: Vec<EndpointHealth>,
}

/// One endpoint of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndpointHealth {
    /// Base URL.
    pub url: String,
    /// Where it was named: `environment`, `file`, `runtime`.
    pub source: String,
    /// `unknown`, `healthy`, `suspect` or `unhealthy`.
    pub status: String,
    /// Why, when not healthy.
    pub reason: String,
    /// RFC 3339: since when.
    pub since: String,
    /// RFC 3339: when a check last passed.
    pub last_success: Option<String>,
    /// How long the last check took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Calls under way.
    pub outstanding: u32,
    /// Times the process there was seen to have started anew.
    #[serde(default)]
    pub restarts: u32,
    /// The store it has, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
    /// Its circuit breaker.
    pub breaker: BreakerHealth,
}

/// One circuit breaker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BreakerHealth {
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// RFC 3339: since when.
    pub since: String,
    /// Failures in a row, while closed.
    pub failures: u32,
    /// `open` or `closed` while an operator overrules it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<String>,
    /// Calls of the last seconds, while closed.
    #[serde(default)]
    pub window_calls: u64,
    /// Those of them that failed or were slow.
    #[serde(default)]
    pub window_bad: u64,
    /// Seconds until a probe may go, while open.
    pub next_probe_seconds: Option<f64>,
    /// The last changes of state, oldest first.
    #[serde(default)]
    pub transitions: Vec<TransitionHealth>,
}

/// One change of a breaker's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransitionHealth {
    /// RFC 3339.
    pub at: String,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// One actor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActorHealth {
    /// Its name.
    pub name: String,
    /// `running`, `restarting` or `failed`.
    pub state: String,
    /// Restarts since the process began.
    pub restarts: u32,
    /// Why it last fell.
    pub last_cause: Option<String>,
    /// How long the last ping waited in its mailbox, in milliseconds.
    pub mailbox_latency_ms: Option<f64>,
    /// Pings in a row that were not answered in time.
    pub unanswered_pings: u32,
}
