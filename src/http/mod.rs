//! Floor 5, towards the network: decode, ask, encode.

pub mod admission;
pub mod auth;
pub mod body;
pub mod core;
pub mod doors;
pub mod health;
pub mod mcp;
pub mod middleware;
pub mod problem;
pub mod routes;
