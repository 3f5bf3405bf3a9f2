//! A fact: what is to be known of a user for longer than it was talked of; and the tools about facts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::item::Item;

/// Longest text of a fact, in characters.
pub const FACT_CHARS_MAX: usize = 10_000;
/// Facts of an answer when nobody says how many.
pub const FACTS_DEFAULT: i64 = 50;
/// Most facts of one answer.
pub const FACTS_MAX: i64 = 1000;

/// One fact, as it is known now.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Fact {
    /// Number in memory's log under which it was remembered; one row with those of items.
    pub seq: i64,
    /// Its id, unique for its owner (UUIDv7 unless the caller gave one).
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// What it is about: the user, a person, a thing.
    pub subject: String,
    /// Which of the subject's traits it tells: of one subject and key one fact holds at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it says.
    pub text: String,
    /// The item it was learnt from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_item_id: Option<String>,
    /// When it was remembered (RFC 3339, UTC).
    pub recorded_at: String,
    /// From when on it holds (RFC 3339, UTC).
    pub valid_from: String,
    /// Until when it holds, which is no part of it; where another took its place, no later than that
    /// one begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<String>,
    /// Id of the fact that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// When that was remembered (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_at: Option<String>,
}

/// Arguments of `remember`.
#[derive(Clone, Debug, Default, JsonSchema, Deserialize)]
#[serde(default)]
pub struct Remember {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// What the fact is about (255 characters at most).
    pub subject: Option<String>,
    /// Which of the subject's traits it tells, like `home` or `diet` (255 characters at most). A fact
    /// takes the place of those with the same subject and key that hold at the same time; without a
    /// key it is added beside the others.
    pub key: Option<String>,
    /// What it says (10,000 characters at most).
    pub text: Option<String>,
    /// From when on it holds: RFC 3339; from now on when absent.
    pub valid_from: Option<String>,
    /// Until when it holds: RFC 3339; without end when absent.
    pub valid_to: Option<String>,
    /// The item it was learnt from.
    pub source_item_id: Option<String>,
    /// Its id, if the caller gives one: remembering it twice remembers it once.
    pub id: Option<String>,
    /// Id of a fact whose place it takes, whatever its subject and key.
    pub supersedes: Option<String>,
}

/// The answer to `remember`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Remembered {
    /// `remembered`, or `already_exists` when the id was known.
    pub status: String,
    /// Whose it is.
    pub user_id: String,
    /// Its id.
    pub fact_id: String,
    /// Its number in the log.
    pub seq: i64,
    /// The fact, as it is known now.
    pub fact: Fact,
    /// Ids of the facts whose place it took now.
    pub superseded: Vec<String>,
    /// Whether subject, key, text and source are the same; only with `already_exists`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_body: Option<bool>,
}

/// Arguments of `recall`.
#[derive(Clone, Debug, Default, JsonSchema, Deserialize)]
#[serde(default)]
pub struct Recall {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// Only facts about this.
    pub subject: Option<String>,
    /// Only facts with this key.
    pub key: Option<String>,
    /// Only facts that have to do with this, best first; the newest first when absent.
    pub query: Option<String>,
    /// Facts that hold at this moment: RFC 3339; now when absent.
    pub at: Option<String>,
    /// Also facts that hold no more, or not yet, or whose place another took.
    pub include_superseded: Option<bool>,
    /// Facts at most, from 1 to 1,000 (50 when absent).
    pub limit: Option<i64>,
}

/// A fact that was recalled.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Recalled {
    /// The fact.
    #[serde(flatten)]
    pub fact: Fact,
    /// How well it fits the query, from 0 to 1; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relevance_score: Option<f64>,
}

/// The answer to `recall`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct RecallReply {
    /// Whose memory.
    pub user_id: String,
    /// The facts.
    pub facts: Vec<Recalled>,
    /// How many they are.
    pub count: usize,
    /// Whether there may be more than were asked for.
    pub more: bool,
}

/// Arguments of `forget`.
#[derive(Clone, Debug, Default, JsonSchema, Deserialize)]
#[serde(default)]
pub struct ForgetFact {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// The fact that is to be removed for ever. What it had taken the place of does not come back.
    #[serde(alias = "id")]
    pub fact_id: Option<String>,
}

/// The answer to `forget`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct FactForgotten {
    /// `forgotten`.
    pub status: String,
    /// Whose it was.
    pub user_id: String,
    /// Its id.
    pub fact_id: String,
}

/// Arguments of `export_user`.
#[derive(Clone, Debug, Default, JsonSchema, Deserialize)]
#[serde(default)]
pub struct ExportUser {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// Only what has higher numbers in the log: the `upto` of the page before; 0 when absent.
    pub after: Option<i64>,
    /// Items and facts of one page at most, from 1 to 1,000 (500 when absent).
    pub limit: Option<i64>,
}

/// One thing that is kept of a user.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// What was said.
    Item(Box<Item>),
    /// What is to be known.
    Fact(Box<Fact>),
}

impl Kept {
    /// Its number in the log.
    #[must_use]
    pub fn seq(&self) -> i64 {
        match self {
            Kept::Item(item) => item.seq,
            Kept::Fact(fact) => fact.seq,
        }
    }
}

/// The answer to `export_user`: one page.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Exported {
    /// Whose.
    pub user_id: String,
    /// What is kept, in the order in which it was stored.
    pub entries: Vec<Kept>,
    /// Everything up to this number was told: where the next page begins.
    pub upto: i64,
    /// Whether there is more.
    pub more: bool,
}

/// What a hit of a context is.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Told {
    /// What was said.
    #[default]
    Item,
    /// What is to be known; its text is the content.
    Fact {
        /// What it is about.
        subject: String,
        /// Which of the subject's traits it tells.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The item it was learnt from.
        source_item_id: Option<String>,
        /// From when on it holds.
        valid_from: String,
        /// Until when it holds.
        valid_to: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    #[test]
    fn a_fact_is_written_without_what_it_has_not_and_read_back() {
        let plain = json!({
            "seq": 7, "id": "f", "user_id": "u", "subject": "Ann", "text": "likes tea",
            "recorded_at": "t", "valid_from": "t"
        });
        let fact: Fact = from_value(plain.clone()).unwrap();
        assert_eq!(to_value(&fact).unwrap(), plain);
        let kept = Kept::Fact(Box::new(fact));
        assert_eq!((kept.seq(), to_value(&kept).unwrap()), (7, json!({ "fact": plain })));
    }

    #[test]
    fn what_is_told_says_its_kind() {
        assert_eq!(to_value(Told::Item).unwrap(), json!({"kind": "item"}));
        let told = to_value(Told::Fact {
            subject: "Ann".to_owned(),
            key: None,
            source_item_id: None,
            valid_from: "t".to_owned(),
            valid_to: None,
        });
        let golden = json!({
            "kind": "fact", "subject": "Ann", "source_item_id": null, "valid_from": "t",
            "valid_to": null
        });
        assert_eq!(told.unwrap(), golden);
    }

    #[test]
    fn a_fact_that_is_to_be_forgotten_may_be_named_by_its_id() {
        let named: ForgetFact = from_value::<ForgetFact>(json!({"id": "f"})).unwrap();
        assert_eq!(named.fact_id.as_deref(), Some("f"));
        assert!(from_value::<ForgetFact>(Value::Null).is_err());
    }
}
