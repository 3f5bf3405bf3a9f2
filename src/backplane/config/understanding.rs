//! How far cognition reads a history to sum it up.

use std::time::Duration;

use clap::Args;

use super::interval;

/// How far cognition reads a history to sum it up.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Understanding")]
pub struct Understanding {
    /// The newest items that one summary or analysis reads; it says when there are more (count).
    #[arg(long, env = "UNDERSTANDING_ITEMS_MAX", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub understanding_items_max: u32,
    /// Time one summary or analysis reads; what is not read by then is left out, and it says so
    /// (seconds).
    #[arg(long, env = "UNDERSTANDING_TIME_MAX", default_value = "10", value_parser = interval)]
    pub understanding_time_max: Duration,
}
