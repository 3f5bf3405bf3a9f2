//! Floor 3: what every process stands on, whatever its role.

pub mod arguments;
pub mod breaker;
pub mod client;
pub mod clock;
pub mod config;
pub mod context;
pub mod database;
pub mod discovery;
pub mod drain;
pub mod fanout;
pub mod gate;
pub mod host;
mod hot;
pub mod keeper;
pub mod locks;
pub mod logging;
pub mod metrics;
pub mod port;
pub mod queue;
pub mod secrets;
pub mod seldom;
pub mod stream;
pub mod token;
pub mod vitals;
pub mod wire;
