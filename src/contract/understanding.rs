//! What cognition makes of a history: analyses, summaries, and the items that bear them out.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::contract::cognition::{EntityGroups, Summary, Trouble};

/// The answer to `analyze_conversation`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct AnalysisReply {
    /// The analysis that was asked for, as it was written.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it found.
    pub results: AnalysisResults,
    /// The conversation.
    pub conversation_id: String,
    /// Whose memory.
    pub user_id: String,
    /// How many messages were looked at.
    pub message_count: usize,
    /// What they mention, the newest first.
    pub entities: EntityGroups,
    /// They summed up, whatever was asked for.
    pub summary: Summary,
    /// What was said in it, with the items that say so, when there is anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Why there is nothing to see.
    #[serde(flatten)]
    pub trouble: Option<Trouble>,
}

/// What an analysis found.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum AnalysisResults {
    /// Who spoke how often and for how long.
    Summary {
        /// How many messages there are.
        message_count: usize,
        /// Who spoke, in order of first appearance.
        participants: Vec<String>,
        /// Seconds from the first to the last.
        duration_seconds: f64,
        /// How often each spoke.
        participant_counts: BTreeMap<String, usize>,
    },
    /// What it is about.
    Topics {
        /// The commonest telling words, commonest first.
        keywords: Vec<Keyword>,
        /// How many words there are in all.
        word_count: usize,
    },
    /// How glad it sounds.
    Sentiment {
        /// From -1 to 1.
        sentiment_score: f64,
        /// Glad words.
        positive_count: usize,
        /// Unhappy words.
        negative_count: usize,
    },
    /// Nothing, because there is no such analysis.
    Unknown {},
}

/// A telling word.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Keyword {
    /// The word, in lower case.
    pub word: String,
    /// How often it was said.
    pub count: usize,
}

/// The answer to `summarize_history`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct HistoryReply {
    /// Whose memory.
    pub user_id: String,
    /// The conversation, when one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// What was summed up.
    pub summary: Summary,
    /// What was said, with the items that say so, when there is anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Why it is empty, when that is not because there is nothing.
    #[serde(flatten)]
    pub trouble: Option<Trouble>,
}

/// The answer to `extract_entities`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct EntitiesReply {
    /// On whose behalf.
    pub user_id: String,
    /// The text.
    pub content: String,
    /// What it mentions.
    pub entities: EntityGroups,
}

/// What a history says, each part with the items it is taken from.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Digest {
    /// How it was made: `extractive` is sentences as they were said.
    pub method: &'static str,
    /// The summary in one text.
    pub text: String,
    /// The sentences that sum it up best, in the order of their time.
    pub key_points: Vec<KeyPoint>,
    /// The phrases it comes back to, best first.
    pub topics: Vec<TopicFound>,
    /// Items that were read for it (count).
    pub items: usize,
    /// Items there are (count): more, where not all were read.
    pub of: usize,
}

/// A sentence that sums a history up.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct KeyPoint {
    /// The sentence as it was said.
    pub text: String,
    /// The item it is from.
    pub id: String,
    /// Its number in memory's log.
    pub seq: i64,
    /// Who said it.
    pub speaker: String,
    /// When (RFC 3339).
    pub timestamp: String,
    /// How central it is beside the most central one: above 0, at most 1.
    pub weight: f64,
    /// Further items that say something alike, the most alike first.
    pub supported_by: Vec<String>,
}

/// A phrase that a history comes back to.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct TopicFound {
    /// The phrase as it was written most often.
    pub phrase: String,
    /// Items that have it (count).
    pub items: usize,
    /// What it weighs beside others (C-value), above 0.
    pub weight: f64,
    /// The oldest of these items, at most three.
    pub examples: Vec<String>,
}
