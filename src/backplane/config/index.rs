//! How cognition keeps its index of what memory has.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::duration;

/// How cognition keeps its index of what memory has.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Index")]
pub struct Index {
    /// Directory for the index. Processes of one host may share it: each takes a file of its own.
    #[arg(long, env = "CORTEX_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// What the indexes of users that are held in memory may take together; those that were not
    /// used for longest are read again from disk when they are needed (bytes).
    #[arg(long, env = "INDEX_MEMORY_MAX", default_value_t = 268_435_456)]
    pub index_memory_max: usize,
    /// Time a question waits until the index has what memory has; then the rest is read from memory
    /// (seconds).
    #[arg(long, env = "INDEX_WAIT_MAX", default_value = "0.5", value_parser = duration)]
    pub index_wait_max: Duration,
    /// What one question reads from memory of a user while the index is behind (count).
    #[arg(long, env = "INDEX_TAIL_MAX", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub index_tail_max: u32,
    /// Entries of the log that one commit of the index carries (count).
    #[arg(long, env = "INDEX_BATCH_MAX", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    pub index_batch_max: u16,
    /// Longest wait between two attempts to write the index (seconds).
    #[arg(long, env = "INDEX_RETRY_MAX", default_value = "5", value_parser = duration)]
    pub index_retry_max: Duration,
    /// Searches at once, of all users (count).
    #[arg(long, env = "INDEX_SEARCHES_MAX", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub index_searches_max: u16,
}
