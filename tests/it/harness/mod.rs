//! What the tests stand on: a cluster in this process, real processes, a client, a broken network.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod events;
pub(crate) mod golden;
mod node;
mod own_tests;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod users;

use std::{future::Future, time::Duration};

pub(crate) use client::{Answer, Client, raw_exchange};
pub(crate) use cluster::Cluster;
pub(crate) use golden::{assert_error, assert_has, assert_json};
pub(crate) use node::{Door, Node};
pub(crate) use users::User;

/// Longest wait for anything that must happen; generous, because builds run beside the tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// Signs the tokens of every process a test starts.
pub(crate) const SECRET: &str = "the test secret has at least thirty-two bytes";
/// Opens `/services` of every core a test starts.
pub(crate) const API_KEY: &str = "the test key";

/// The outcome of `future`, which must come before [`DEADLINE`].
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// Asks again and again until `holds`, which must come before [`DEADLINE`]. Only for what announces
/// itself in no other way.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let asking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        while !holds().await {
            pause.tick().await;
        }
    };
    within(what, asking).await;
}
