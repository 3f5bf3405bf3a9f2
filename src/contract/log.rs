//! Memory's whole log, as services follow it: what was stored, changed, removed and forgotten.

use serde::{Deserialize, Serialize};

use crate::contract::{fact::Fact, item::Item};

/// The path of the whole log as a live stream.
pub const ENTRIES_STREAM: &str = "log/entries/stream";
/// The path of the whole log in pages; of one user with the user's id behind it.
pub const ENTRIES: &str = "log/entries";
/// The path of the newest number of the log.
pub const HEAD: &str = "log/head";

/// One entry of the log. Its number is beside it: the event's id in a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// An item was stored; as it is now, under the number it was stored under.
    Stored(Box<Item>),
    /// An item was changed, under a new number; as it is now, its own number unchanged.
    Changed(Box<Item>),
    /// A fact was remembered, or another took its place; as it is now, its own number unchanged.
    Fact(Box<Fact>),
    /// An item or a fact was removed.
    Removed {
        /// Whose it was.
        user_id: String,
        /// The number it was stored under.
        item_seq: i64,
        /// Its id.
        item_id: String,
    },
    /// Everything of a user before this number was removed.
    Forgotten {
        /// Whose.
        user_id: String,
    },
    /// From here on the log is one that some process began, or went on with.
    Began {
        /// What this part of the log is called, and no other.
        epoch: String,
    },
    /// No entry: what the part of the log is called in which the stream's beginning lies. A reader
    /// that knows another name for its place knows another log, and has to begin anew.
    Within {
        /// The name.
        epoch: String,
        /// The log's newest number when the stream began.
        head: i64,
    },
}

/// An entry with its number, for pages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    /// Its place in the log.
    pub seq: i64,
    /// What happened.
    pub entry: Entry,
}

impl Entry {
    /// Whose it is; `None` for what is no user's.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Entry::Stored(item) | Entry::Changed(item) => Some(&item.user_id),
            Entry::Fact(fact) => Some(&fact.user_id),
            Entry::Removed { user_id, .. } | Entry::Forgotten { user_id } => Some(user_id),
            Entry::Began { .. } | Entry::Within { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    fn check(entry: Value) {
        let read: Entry = from_value(entry.clone()).unwrap();
        assert_eq!(to_value(read).unwrap(), entry);
    }

    #[test]
    fn an_entry_is_called_by_what_happened_and_no_item_can_pose_as_another() {
        let item = json!({
            "seq": 7, "id": "m", "user_id": "u", "sender_id": "u", "role": "user", "content": "x",
            "content_type": "text", "timestamp": "t", "metadata": {}, "forgotten": {"user_id": "v"}
        });
        check(json!({ "stored": item }));
        check(json!({ "changed": item }));
        check(json!({"fact": {
            "seq": 8, "id": "f", "user_id": "u", "subject": "s", "text": "x", "recorded_at": "t",
            "valid_from": "t"
        }}));
        check(json!({"removed": {"user_id": "u", "item_seq": 7, "item_id": "m"}}));
        check(json!({"forgotten": {"user_id": "u"}}));
        check(json!({"began": {"epoch": "e"}}));
        check(json!({"within": {"epoch": "e", "head": 7}}));
    }
}
