//! What waits in core's outbox, as operators see it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// It waits for its turn.
pub const WAITING: &str = "waiting";
/// It is passed over for now, because memory fails at it or at what is before it in its
/// conversation.
pub const HELD: &str = "held";
/// Memory would never take it.
pub const REFUSED: &str = "refused";

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Its place in the order.
    pub place: i64,
    /// The id it was acknowledged under.
    pub message_id: String,
    /// Whose it is.
    pub user_id: String,
    /// Where it was said.
    pub conversation_id: String,
    /// `waiting`, `held` or `refused`.
    pub state: String,
    /// Why it is held or was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it was acknowledged: RFC 3339.
    pub since: String,
    /// Size of what memory is to be given, in bytes.
    pub bytes: i64,
    /// What memory is to be given; only where one entry is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_looks_as_its_readers_expect() {
        let golden = json!({
            "place": 7, "message_id": "m", "user_id": "u", "conversation_id": "c",
            "state": "refused", "why": "too long", "since": "2026-11-20T10:33:05.276624Z",
            "bytes": 12
        });
        let kept: Kept = serde_json::from_value(golden.clone()).unwrap();
        assert_eq!(serde_json::to_value(kept).unwrap(), golden);
    }
}
