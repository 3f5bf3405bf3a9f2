//! Discovery: which services there are, where, and how healthy; the same in every process.
//!
//! The actor owns the truth and the health loop. The data path reads a [`Directory`]: a snapshot
//! of endpoints, shared, changed only when endpoints come or go.

mod actor;
mod directory;
mod endpoint;
mod named;

pub use actor::{DiscoveryActor, ENDPOINTS_MAX, SERVICES_MAX};
pub use directory::Directory;
pub use endpoint::Endpoint;
pub use named::{base_url, configured};

use std::time::Duration;

use actix::prelude::*;

use crate::{
    backplane::{breaker::BreakerView, clock, port::Port},
    domain::{breaker::Forced, failure::Failure, roster::Status},
};

/// Where an endpoint was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An environment variable or flag.
    Environment,
    /// The YAML file.
    File,
    /// Registered while the process ran.
    Runtime,
}

impl Source {
    /// The word shown to people and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Environment => "environment",
            Source::File => "file",
            Source::Runtime => "runtime",
        }
    }
}

/// Adds endpoints to a service; it exists from then on. Checked at once.
#[derive(Message)]
#[rtype(result = "Result<(), Failure>")]
pub struct Register {
    /// The service.
    pub service: String,
    /// Base URLs.
    pub urls: Vec<String>,
    /// Where they were named.
    pub source: Source,
}

/// Takes a service out, or one endpoint of it.
#[derive(Message)]
#[rtype(result = "Result<(), Failure>")]
pub struct Deregister {
    /// The service.
    pub service: String,
    /// The endpoint; `None` takes out all.
    pub url: Option<String>,
}

/// Forces the breakers of a service, or lifts that.
#[derive(Message)]
#[rtype(result = "Result<usize, Failure>")]
pub struct ForceBreakers {
    /// The service.
    pub service: String,
    /// The endpoint; `None` means all.
    pub url: Option<String>,
    /// The order.
    pub forced: Option<Forced>,
}

/// Has a service checked now: there is a sign that something changed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CheckNow {
    /// The service.
    pub service: &'static str,
}

/// Asks for everything known.
#[derive(Message)]
#[rtype(result = "Result<Vec<EndpointView>, Failure>")]
pub struct List;

/// What is known of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// The service.
    pub service: String,
    /// Base URL.
    pub url: String,
    /// Where it was named.
    pub source: Source,
    /// What it is held for.
    pub status: Status,
    /// Why, when not healthy.
    pub reason: String,
    /// For how long.
    pub status_for: Duration,
    /// How long ago a check last passed.
    pub last_success: Option<Duration>,
    /// How long the last check took.
    pub latency: Option<Duration>,
    /// Its breaker.
    pub breaker: BreakerView,
    /// Calls under way.
    pub outstanding: u32,
    /// Times the process there was seen to have started anew.
    pub restarts: u32,
    /// The store it has, if it has said so.
    pub store: Option<String>,
    /// Whether that is another than the one this process is bound to.
    pub foreign: bool,
}

/// Everything one may ask of discovery.
#[derive(Clone)]
pub struct Discovery {
    /// Adds endpoints.
    pub register: Port<Register>,
    /// Takes them out.
    pub deregister: Port<Deregister>,
    /// Forces breakers.
    pub force: Port<ForceBreakers>,
    /// Lists everything.
    pub list: Port<List>,
    /// Checks a service now.
    pub check: Port<CheckNow>,
    /// The snapshot for the data path.
    pub directory: Directory,
}

/// How long ago `ago` was, as a moment on the calendar.
#[must_use]
pub fn moment(ago: Duration) -> String {
    let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    clock::rfc3339(clock::now_micros().saturating_sub(micros))
}
