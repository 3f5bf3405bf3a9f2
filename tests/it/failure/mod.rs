//! What must hold when something breaks: processes die, networks break, readers stop reading.

mod copies;
mod cores_store;
mod endpoints;
mod idempotency;
mod memory_away;
mod outbox;
mod outbox_care;
mod overload;
mod process;
mod regressions;
mod replicas;
mod replies;
mod rolling;
mod scripted;
mod storage;
mod stores;
mod streams;
mod upgrade;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Cluster, User};

/// Core without an outbox: memory's own failure is the answer to an input.
pub(crate) const NO_OUTBOX: [&str; 2] = ["--outbox-entries-max", "0"];

/// Posts an input; the text of one that memory has. Everything else, also an input that went to the
/// outbox, is an error.
pub(crate) async fn post(core: &Client, text: &str) -> Result<String, Answer> {
    let answer = core.post("/input", json!({ "content": text })).await;
    if answer.status == 200 && answer.json()["status"] == "received" {
        Ok(text.to_owned())
    } else {
        Err(answer)
    }
}

/// How often each text stands in a user's history.
pub(crate) async fn stored(cluster: &Cluster, user: &User) -> BTreeMap<String, usize> {
    let path = format!("history/{}/limit/1000", user.id);
    let items = cluster.memory.of(user).resource(&path).await;
    let mut texts = BTreeMap::new();
    for item in items.as_array().unwrap() {
        *texts.entry(item["content"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    texts
}

/// What core says of memory's only endpoint.
pub(crate) async fn memory_endpoint(core: &Client) -> Value {
    core.get("/health").await.json()["dependent_services"]["memory"]["endpoints"][0].take()
}
