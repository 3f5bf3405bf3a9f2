//! Cortex: the memory-and-context backplane for AI clients.
//!
//! The floors, from the ground up. A file may use its own floor and those below; a test holds it.
//!
//! 1. [`domain`]: words and decisions, without IO
//! 2. [`contract`]: what one part may ask another
//! 3. [`backplane`]: what every process stands on
//! 4. [`services`]: conversation, memory, cognition; they do not know each other
//! 5. [`http`] and [`cli`]: decode, ask, encode
//! 6. [`process`]: where actors are started and ports are joined

pub mod backplane;
pub mod cli;
pub mod contract;
pub mod domain;
pub mod http;
pub mod process;
pub mod services;
