//! Floor 6: composition. The only place where actors are started and ports are joined.

pub mod cognition;
mod command;
pub mod core;
pub mod memory;
mod serve;
mod stdio;
pub mod up;

pub use command::main;
pub use serve::{Exit, Ground, bind};
