//! The outward contract: what clients of every generation send and expect, row by row.

mod access;
mod account;
mod bench;
mod browsers;
mod cognition;
mod cognition_resources;
mod errors;
mod export;
mod facts;
mod facts_told;
mod health;
mod input;
mod memory_resources;
mod memory_tools;
mod services;
mod spaces;
mod spaces_v1;
mod stream;

use serde_json::{Value, json};

use crate::harness::Client;

/// A new workspace of the client's user.
async fn workspace(core: &Client) -> Value {
    let wanted = json!({"name": "Work", "description": "All of it"});
    core.post("/config/workspace", wanted).await.ok()["workspace"].take()
}

/// The id of a new conversation of the client's user, in a workspace of its own.
async fn conversation(core: &Client, participants: &[&str]) -> String {
    let workspace = workspace(core).await;
    let wanted = json!({
        "workspace_id": workspace["id"], "topic": "Kites", "participant_ids": participants,
    });
    let made = core.post("/config/conversation", wanted).await.ok();
    made["conversation"]["id"].as_str().unwrap().to_owned()
}
