//! Floor 4: the services, each with its own store; they do not know each other.

pub mod cognition;
pub mod conversation;
pub mod gateway;
pub mod memory;
