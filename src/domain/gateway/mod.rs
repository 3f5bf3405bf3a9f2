//! What the gateway decides without asking anyone: under which name something of an upstream is
//! shown, and who may see and use it.

pub mod access;
pub mod names;
pub mod uris;
