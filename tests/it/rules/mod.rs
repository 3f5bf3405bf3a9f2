//! The pure rules: each known way a breaker can go wrong by name, and properties that
//! must hold whatever happens in whatever order.

mod breaker_bugs;
mod breaker_properties;
mod calls;
mod places;
mod resume;

use std::time::Duration;

use cortex::domain::breaker::Policy;

/// The product's numbers, without the spread of open times.
pub(crate) fn policy() -> Policy {
    Policy {
        failure_threshold: 5,
        bad_ratio: 0.5,
        window_calls_min: 20,
        window: Duration::from_secs(10),
        slow_call: Duration::ZERO,
        reset_timeout: Duration::from_secs(30),
        reopen_factor: 2.0,
        open_max: Duration::from_secs(300),
        jitter: 0.0,
        half_open_max_calls: 1,
        success_threshold: 1,
        probe_lease: Duration::from_secs(31),
    }
}
