//! Black-box tests: what callers of a running Cortex see, over real sockets; and the house rules.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on says so by panicking"
)]

mod contract;
mod failure;
mod harness;
mod hostile;
mod index;
mod mcp;
mod retrieval;
mod rules;
mod simulation;
mod smoke;
mod tidy;
mod torture;
