//! How core keeps inputs that memory cannot take at the moment.

use std::time::Duration;

use clap::Args;

use super::{at_least_one, duration, interval};
use crate::domain::{backoff::Backoff, outbox::Limits};

/// How core keeps inputs that memory cannot take at the moment.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Outbox")]
pub struct Outbox {
    /// Time memory has to take an input before it goes to the outbox (seconds).
    #[arg(long, env = "STORE_PATIENCE", default_value = "2", value_parser = interval)]
    pub store_patience: Duration,
    /// Inputs the outbox holds; more are refused with 503; 0 is no outbox at all (count).
    #[arg(long, env = "OUTBOX_ENTRIES_MAX", default_value_t = 100_000)]
    pub outbox_entries_max: usize,
    /// What these inputs may hold together (bytes).
    #[arg(long, env = "OUTBOX_BYTES_MAX", default_value_t = 268_435_456)]
    pub outbox_bytes_max: usize,
    /// What one user may have of both (ratio, 0 to 1).
    #[arg(long, env = "OUTBOX_USER_SHARE", default_value_t = 0.5, value_parser = ratio)]
    pub outbox_user_share: f64,
    /// Inputs kept that memory refuses for good; beyond them the outbox takes no more, until
    /// somebody has looked at them with `cortex outbox` (count).
    #[arg(long, env = "OUTBOX_REFUSED_MAX", default_value_t = 1000, value_parser = at_least_one)]
    pub outbox_refused_max: usize,
    /// Failed attempts after which a batch is carried one by one, and a single input passed over to
    /// see whether memory takes others (count).
    #[arg(long, env = "OUTBOX_ATTEMPTS_MAX", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub outbox_attempts_max: u32,
    /// Time an input is passed over, with what follows it in its conversation, after memory failed
    /// at it and not at others (seconds).
    #[arg(long, env = "OUTBOX_APART_RETRY", default_value = "30", value_parser = interval)]
    pub outbox_apart_retry: Duration,
    /// Inputs delivered with one call (count).
    #[arg(long, env = "OUTBOX_BATCH_MAX", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub outbox_batch_max: u16,
    /// Longest wait between two attempts to deliver (seconds).
    #[arg(long, env = "OUTBOX_RETRY_MAX", default_value = "1", value_parser = duration)]
    pub outbox_retry_max: Duration,
    /// Time the outbox has to empty itself when core leaves; what is left stays on disk (seconds).
    #[arg(long, env = "OUTBOX_FLUSH_TIMEOUT", default_value = "2", value_parser = duration)]
    pub outbox_flush_timeout: Duration,
}

/// First ceiling of the wait between two attempts to deliver.
const RETRY_INITIAL: Duration = Duration::from_millis(50);

impl Outbox {
    /// How much it holds.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            entries_max: self.outbox_entries_max,
            bytes_max: self.outbox_bytes_max,
            user_share: self.outbox_user_share,
            refused_max: self.outbox_refused_max,
        }
    }

    /// The waits between attempts to deliver.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff { initial: RETRY_INITIAL, factor: 2.0, cap: self.outbox_retry_max }
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim().parse().map_err(|_no_number| format!("{text:?} is no number"))?;
    if value > 0.0 && value <= 1.0 {
        return Ok(value);
    }
    Err(format!("{text} is not above 0 and at most 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_between_nothing_and_all() {
        assert_eq!(ratio("0.5"), Ok(0.5));
        for bad in ["-0.1", "0", "1.1", "NaN", "half"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }
}
