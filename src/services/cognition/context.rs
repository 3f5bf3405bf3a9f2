//! Chooses what of a user's memory goes into a context.

use crate::{
    contract::cognition::{ContextReply, Hit},
    domain::relevance::{Ranked, rank},
    services::cognition::{
        insight::{grouped, summed_up},
        memory::{Recollection, Remembered, utterances},
    },
};

/// The share of an item's score that belongs to being of the conversation asked for: one of three
/// equal voices beside relevance and recency, as in the phase-4 document.
const CONVERSATION_SHARE: f64 = 1.0 / 3.0;

/// A context that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ContextAsked {
    pub(super) user_id: String,
    pub(super) query: Option<String>,
    pub(super) conversation_id: Option<String>,
    pub(super) limit: usize,
    pub(super) recency_weight: f64,
}

/// The best items for what was asked, and what they say together.
///
/// With a conversation, candidates are the user's newest items and that conversation's. An item of
/// it scores two thirds of what it would score otherwise plus one third, any other only the two
/// thirds; but an item that has nothing of the query still never stands above one that has.
pub(super) fn build(asked: ContextAsked, recalled: Recollection) -> ContextReply {
    let candidates = utterances(&recalled.items);
    let mut ranked =
        rank(&candidates, asked.query.as_deref(), candidates.len(), asked.recency_weight);
    if let Some(conversation_id) = &asked.conversation_id {
        prefer(&mut ranked, conversation_id, &recalled.items);
    }
    ranked.truncate(asked.limit);
    let chosen: Vec<&Remembered> =
        ranked.iter().filter_map(|ranked| recalled.items.get(ranked.index)).collect();
    let entities = grouped(chosen.iter().copied());
    let summary = summed_up(&utterances(chosen.iter().copied()));
    let context = hits(ranked, &recalled.items);
    ContextReply {
        count: context.len(),
        relevant_items: context.clone(),
        context,
        user_id: asked.user_id,
        query: asked.query,
        conversation_id: asked.conversation_id,
        entities,
        summary,
        trouble: recalled.trouble,
    }
}

/// Text the hits of one reply hold at most, in bytes, beyond the first: the rest would be more than
/// any model's window, and more than an answer may have.
const HITS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The items in the order of their ranks, with their scores, as far as they fit.
pub(super) fn hits(ranked: Vec<Ranked>, items: &[Remembered]) -> Vec<Hit> {
    let hit = |ranked: Ranked| {
        Some(Hit {
            item: items.get(ranked.index)?.item.clone(),
            relevance_score: ranked.score,
            recency_score: ranked.recency,
            matched_words: ranked.matched,
            conversation_data: None,
        })
    };
    let mut bytes = 0;
    ranked
        .into_iter()
        .filter_map(hit)
        .take_while(|hit| {
            let first = bytes == 0;
            bytes += hit.item.content.len() + hit.item.caption.as_deref().map_or(0, str::len);
            first || bytes <= HITS_BYTES_MAX
        })
        .collect()
}

fn prefer(ranked: &mut [Ranked], conversation_id: &str, items: &[Remembered]) {
    for entry in ranked.iter_mut() {
        let conversation =
            items.get(entry.index).and_then(|found| found.item.conversation_id.as_deref());
        let bonus = if conversation == Some(conversation_id) { CONVERSATION_SHARE } else { 0.0 };
        entry.score = (1.0 - CONVERSATION_SHARE) * entry.score + bonus;
    }
    // Stable: equal ones stay as they were ranked.
    ranked.sort_by(|a, b| {
        let (a_has, b_has) = (a.relevance > 0.0, b.relevance > 0.0);
        b_has.cmp(&a_has).then(b.score.total_cmp(&a.score))
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, to_value};

    use super::*;
    use crate::{contract::cognition::Trouble, services::cognition::memory::understood};

    fn asked(query: Option<&str>, conversation_id: Option<&str>, limit: usize) -> ContextAsked {
        ContextAsked {
            user_id: "u".to_owned(),
            query: query.map(str::to_owned),
            conversation_id: conversation_id.map(str::to_owned),
            limit,
            recency_weight: 0.5,
        }
    }

    /// Items `1`, `2`, … a minute apart, the last of the list newest.
    fn recalled(said: &[(&str, &str)]) -> Recollection {
        let mut values: Vec<Value> = (1..)
            .zip(said)
            .map(|(seq, (conversation, content))| {
                json!({
                    "seq": seq, "id": seq.to_string(), "user_id": "u", "sender_id": "ann",
                    "conversation_id": conversation, "content": content,
                    "timestamp": format!("2026-01-01T00:{seq:02}:00Z"),
                })
            })
            .collect();
        values.reverse();
        Recollection { items: understood(values), trouble: None }
    }

    fn check(asked: ContextAsked, said: &[(&str, &str)], expected: &[&str]) {
        let reply = build(asked, recalled(said));
        let ids: Vec<&str> = reply.context.iter().map(|hit| hit.item.id.as_str()).collect();
        assert_eq!(ids, expected);
        assert_eq!(reply.context, reply.relevant_items);
        assert_eq!(reply.count, ids.len());
    }

    const SAID: [(&str, &str); 4] =
        [("a", "the red kite"), ("b", "the red boat"), ("a", "nothing"), ("b", "a walk")];

    #[test]
    fn the_best_come_first_and_no_more_than_asked() {
        check(asked(None, None, 10), &SAID, &["4", "3", "2", "1"]);
        check(asked(None, None, 2), &SAID, &["4", "3"]);
        check(asked(Some("red"), None, 3), &SAID, &["2", "1", "4"]);
        check(asked(Some("red"), None, 3), &[], &[]);
    }

    #[test]
    fn a_conversation_is_preferred_among_what_is_equally_to_the_point() {
        check(asked(None, Some("a"), 10), &SAID, &["3", "4", "1", "2"]);
        check(asked(Some("red"), Some("a"), 10), &SAID, &["1", "2", "3", "4"]);
        check(asked(Some("boat"), Some("a"), 1), &SAID, &["2"]);
        check(asked(None, Some("z"), 10), &SAID, &["4", "3", "2", "1"]);
    }

    #[test]
    fn a_context_is_told_in_full() {
        let reply = build(
            asked(Some("kite"), Some("a"), 10),
            recalled(&[("a", "a red kite for ann@example.org")]),
        );
        let reply = to_value(reply).unwrap();
        let hit = json!({
            "seq": 1, "id": "1", "user_id": "u", "sender_id": "ann", "conversation_id": "a",
            "role": "user", "content": "a red kite for ann@example.org", "content_type": "text",
            "timestamp": "2026-01-01T00:01:00Z", "metadata": {},
            "relevance_score": 1.0, "recency_score": 1.0, "matched_words": ["kite"]
        });
        let golden = json!({
            "context": [hit], "relevant_items": [hit], "count": 1, "user_id": "u",
            "query": "kite", "conversation_id": "a",
            "entities": {"email": [{"type": "email", "value": "ann@example.org"}]},
            "summary": {
                "message_count": 1, "time_span": "unknown", "participants": ["ann"],
                "topics": ["example", "kite"], "participant_counts": {"ann": 1},
                "key_points": ["a red kite for ann@example.org"], "duration_seconds": 0.0
            }
        });
        assert_eq!(reply, golden);
    }

    #[test]
    fn without_memory_the_structure_stays_and_says_why() {
        let trouble = Some(Trouble {
            error: "memory_service_error".to_owned(),
            error_detail: Some("why".to_owned()),
        });
        let recalled = Recollection { items: vec![], trouble };
        let reply = to_value(build(asked(Some("kite"), None, 10), recalled)).unwrap();
        let golden = json!({
            "context": [], "relevant_items": [], "count": 0, "user_id": "u", "query": "kite",
            "entities": {},
            "summary": {
                "message_count": 0, "time_span": "0 seconds", "topics": [], "key_points": [],
                "participants": [], "participant_counts": {}, "duration_seconds": 0.0
            },
            "error": "memory_service_error", "error_detail": "why"
        });
        assert_eq!(reply, golden);
    }
}
