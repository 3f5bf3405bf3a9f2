//! What cognition is asked and answers: one superset of the two families of tools in circulation.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::contract::understanding::{
    AnalysisReply, AnalysisResults, Digest, EntitiesReply, HistoryReply, KeyPoint, Keyword,
    TopicFound,
};
use crate::contract::{fact::Told, item::Item};

/// Hits and context items told when nobody says how many.
pub const LIMIT_DEFAULT: usize = 10;
/// More hits or context items than this are never told at once.
pub const LIMIT_MAX: usize = 100;
/// Memory cannot be reached at this moment.
pub const MEMORY_UNAVAILABLE: &str = "memory_service_unavailable";
/// Memory answered, but not with what was asked for.
pub const MEMORY_ERROR: &str = "memory_service_error";
/// The index has not what memory has, and could not be given it in time.
pub const INDEX_BEHIND: &str = "index_behind";
/// The conversation has no items of that user.
pub const CONVERSATION_NOT_FOUND: &str = "Conversation not found";

/// Arguments of `get_context`.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Deserialize)]
#[serde(default)]
pub struct GetContext {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// What the context is for; the newest items when absent.
    pub query: Option<String>,
    /// The conversation it is for; its items are preferred.
    pub conversation_id: Option<String>,
    /// Items at most, from 1 to [`LIMIT_MAX`].
    pub limit: Option<i64>,
    /// How much recency weighs against relevance, from 0 to 1.
    pub recency_weight: Option<f64>,
    /// What holds for every item.
    #[serde(flatten)]
    pub conditions: Wanted,
    /// What the items' texts may have together (tokens, as the reply counts them); near-identical
    /// ones are then told once.
    pub max_tokens: Option<i64>,
    /// Whether facts are told; they are when absent.
    pub include_facts: Option<bool>,
    /// What was stored up to this number of memory's log must be seen; up to now when absent.
    pub min_seq: Option<i64>,
}

/// What holds for every item that is told.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// Only items of the conversation, which otherwise are preferred.
    pub conversation_only: Option<bool>,
    /// Only items of this role.
    pub role: Option<String>,
    /// Only items from this time on (RFC 3339).
    pub from: Option<String>,
    /// Only items before this time (RFC 3339).
    pub to: Option<String>,
    /// Only items with these values in their metadata: texts, numbers, true, false or null.
    pub metadata: Option<Map<String, Value>>,
}

/// Arguments of `analyze_conversation`.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Deserialize)]
#[serde(default)]
pub struct AnalyzeConversation {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// The conversation; required.
    pub conversation_id: Option<String>,
    /// `summary` (when absent), `topics` or `sentiment`.
    pub analysis_type: Option<String>,
}

/// Arguments of `search_history`.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Deserialize)]
#[serde(default)]
pub struct SearchHistory {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// What to look for; required.
    pub query: Option<String>,
    /// Hits at most, from 1 to [`LIMIT_MAX`].
    pub limit: Option<i64>,
    /// Whether hits tell about their conversation; they do when absent.
    pub include_conversations: Option<bool>,
    /// The conversation that is meant; with `conversation_only` no other.
    pub conversation_id: Option<String>,
    /// What holds for every hit.
    #[serde(flatten)]
    pub conditions: Wanted,
    /// What was stored up to this number of memory's log must be seen; up to now when absent.
    pub min_seq: Option<i64>,
}

/// Arguments of `summarize_history`.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Deserialize)]
#[serde(default)]
pub struct SummarizeHistory {
    /// Whose memory; a user's own when absent.
    pub user_id: Option<String>,
    /// The conversation; everything when absent.
    pub conversation_id: Option<String>,
}

/// Arguments of `extract_entities`.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Deserialize)]
#[serde(default)]
pub struct ExtractEntities {
    /// On whose behalf; a user's own when absent.
    pub user_id: Option<String>,
    /// The text; required.
    pub content: Option<String>,
}

/// Why a reply has less in it than was asked for.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Trouble {
    /// A code or a sentence clients match on.
    pub error: String,
    /// More for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<String>,
}

/// Entities by the name of their kind.
pub type EntityGroups = BTreeMap<&'static str, Vec<EntityFound>>;

/// Something that was mentioned.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct EntityFound {
    /// What it is: `email`, `person` and so on.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// How it was written.
    pub value: String,
}

/// An item that was found, with how well it fits.
///
/// Keys of the item's own that are called like the scores give way to them.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Hit {
    /// The item.
    #[serde(flatten)]
    pub item: Item,
    /// Whether it is an item or a fact, and of a fact what items have not.
    #[serde(flatten)]
    pub told: Told,
    /// What it was ordered by, from 0 to 1.
    pub relevance_score: f64,
    /// How new it is among those looked at, from just above 0 (oldest) to 1 (newest).
    pub recency_score: f64,
    /// The query words it has, in the query's order.
    pub matched_words: Vec<String>,
    /// Why it was chosen.
    pub reasons: Reasons,
    /// About the conversation it is from, when asked for.
    #[serde(rename = "_conversation_data", skip_serializing_if = "Option::is_none")]
    pub conversation_data: Option<ConversationData>,
}

/// Why an item was chosen, for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Reasons {
    /// What spoke for it: `terms`, `nearby`, `speaker`, `date`, `recency`, `vector`.
    pub signals: Vec<&'static str>,
    /// The query words it has.
    pub terms: Vec<String>,
    /// Further query words that its neighbours in the conversation have.
    pub nearby: Vec<String>,
}

/// What was found and is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct LeftOut {
    /// Items beyond `limit`, as far as they were looked for (count).
    pub over_limit: usize,
    /// Items that do not fit `max_tokens` (count).
    pub over_budget: usize,
    /// Items that say what a better one says (count).
    pub duplicates: usize,
}

/// What a hit tells about its conversation, as far as it was looked at.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct ConversationData {
    /// How many messages it has.
    pub message_count: usize,
    /// Who spoke, in order of first appearance.
    pub participants: Vec<String>,
    /// Its oldest message.
    pub first_message: Option<Item>,
}

/// Some messages summed up.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct Summary {
    /// How many they are.
    pub message_count: usize,
    /// How long they span, in words.
    pub time_span: String,
    /// What they are about: their commonest telling words.
    pub topics: Vec<String>,
    /// The first and the last of them, cut.
    pub key_points: Vec<String>,
    /// Who spoke, in order of first appearance.
    pub participants: Vec<String>,
    /// How often each spoke.
    pub participant_counts: BTreeMap<String, usize>,
    /// Seconds from the first to the last.
    pub duration_seconds: f64,
}

/// The answer to `get_context`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct ContextReply {
    /// The items, best first.
    pub context: Vec<Hit>,
    /// The same list under its other name.
    pub relevant_items: Vec<Hit>,
    /// How many they are.
    pub count: usize,
    /// Whose memory.
    pub user_id: String,
    /// What was asked, `null` when nothing.
    pub query: Option<String>,
    /// The conversation that was preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// What the items mention.
    pub entities: EntityGroups,
    /// The items summed up.
    pub summary: Summary,
    /// What was found and is not told.
    pub left_out: LeftOut,
    /// What the items' texts have together (tokens), when a budget was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// Everything of the user up to this number of memory's log was seen.
    pub index_seq: i64,
    /// Entries that were read from memory for this, because the index was behind (count).
    #[serde(skip_serializing_if = "is_zero")]
    pub tail_entries: usize,
    /// Why there is less in it than there might be.
    #[serde(flatten)]
    pub trouble: Option<Trouble>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The answer to `search_history`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct SearchReply {
    /// The hits, best first.
    pub results: Vec<Hit>,
    /// How many they are.
    pub count: usize,
    /// What was looked for.
    pub query: String,
    /// Whose memory.
    pub user_id: String,
    /// Everything of the user up to this number of memory's log was seen.
    pub index_seq: i64,
    /// Why there is less in it than there might be.
    #[serde(flatten)]
    pub trouble: Option<Trouble>,
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    fn hit(extra: Value) -> Hit {
        let mut item = json!({"id": "1", "user_id": "u", "content": "x", "timestamp": "t"});
        item.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Hit {
            item: from_value(item).unwrap(),
            told: Told::Item,
            relevance_score: 0.5,
            recency_score: 1.0,
            matched_words: vec!["x".to_owned()],
            reasons: Reasons {
                signals: vec!["terms"],
                terms: vec!["x".to_owned()],
                nearby: vec![],
            },
            conversation_data: None,
        }
    }

    #[test]
    fn arguments_may_be_absent_null_or_more_than_we_know() {
        let asked = json!({"user_id": "u", "limit": 3, "recency_weight": 1, "query": null, "x": 0});
        let expected = GetContext {
            user_id: Some("u".to_owned()),
            limit: Some(3),
            recency_weight: Some(1.0),
            ..GetContext::default()
        };
        assert_eq!(from_value::<GetContext>(asked).unwrap(), expected);
        let nothing = from_value::<AnalyzeConversation>(json!({})).unwrap();
        assert_eq!(nothing, AnalyzeConversation::default());
    }

    #[test]
    fn a_context_speaks_to_both_families() {
        let found = EntityFound { kind: "email", value: "a@b.de".to_owned() };
        let reply = ContextReply {
            context: vec![hit(json!({}))],
            relevant_items: vec![],
            count: 1,
            user_id: "u".to_owned(),
            query: None,
            conversation_id: None,
            entities: BTreeMap::from([("email", vec![found])]),
            summary: Summary::default(),
            left_out: LeftOut { over_limit: 2, ..LeftOut::default() },
            tokens: Some(1),
            index_seq: 7,
            tail_entries: 0,
            trouble: Some(Trouble { error: MEMORY_UNAVAILABLE.to_owned(), error_detail: None }),
        };
        let golden = json!({
            "context": [{
                "seq": 0, "id": "1", "user_id": "u", "sender_id": "", "role": "user",
                "content": "x", "content_type": "text", "timestamp": "t", "metadata": {}, "kind": "item",
                "relevance_score": 0.5, "recency_score": 1.0, "matched_words": ["x"],
                "reasons": {"signals": ["terms"], "terms": ["x"], "nearby": []}
            }],
            "relevant_items": [], "count": 1, "user_id": "u", "query": null,
            "entities": {"email": [{"type": "email", "value": "a@b.de"}]},
            "summary": {
                "message_count": 0, "time_span": "", "topics": [], "key_points": [],
                "participants": [], "participant_counts": {}, "duration_seconds": 0.0
            },
            "left_out": {"over_limit": 2, "over_budget": 0, "duplicates": 0}, "tokens": 1,
            "index_seq": 7, "error": "memory_service_unavailable"
        });
        assert_eq!(to_value(reply).unwrap(), golden);
    }

    #[test]
    fn the_scores_are_ours_whatever_an_item_carries() {
        let carried = json!({"relevance_score": 9, "recency_score": 9, "mood": "good"});
        let written = to_value(hit(carried)).unwrap();
        assert_eq!(written["relevance_score"], json!(0.5));
        assert_eq!(written["recency_score"], json!(1.0));
        assert_eq!(written["mood"], json!("good"));
    }
}
