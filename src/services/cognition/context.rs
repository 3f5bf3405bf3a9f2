//! Chooses what of a user's memory goes into a context.

use std::collections::BTreeMap;

use crate::{
    contract::{
        cognition::{ContextReply, Hit, LeftOut, Reasons},
        item::Item,
    },
    domain::{
        relevance::{RECENCY_WEIGHT_DEFAULT, Ranked, rank},
        retrieval::{Found, budget},
    },
    services::cognition::{
        index::{Answer, Conditions, Fresh},
        insight::{grouped, summed_up},
        memory::{Recollection, Remembered, remembered, remembered_fact, utterances},
    },
};

/// The share of an item's score that belongs to being of the conversation asked for, where nothing
/// is asked in words: one of three equal voices beside relevance and recency, as in the phase-4
/// document.
const CONVERSATION_SHARE: f64 = 1.0 / 3.0;
/// What speaks for an item that was chosen because it is new.
const RECENCY: &str = "recency";

/// A context that is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ContextAsked {
    pub(super) user_id: String,
    pub(super) query: Option<String>,
    pub(super) conversation_id: Option<String>,
    pub(super) conditions: Conditions,
    pub(super) limit: usize,
    pub(super) max_tokens: Option<usize>,
    pub(super) recency_weight: Option<f64>,
    pub(super) include_facts: bool,
    pub(super) min_seq: Option<i64>,
}

/// A search that is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SearchAsked {
    pub(super) user_id: String,
    pub(super) query: String,
    pub(super) conversation_id: Option<String>,
    pub(super) conditions: Conditions,
    pub(super) limit: usize,
    pub(super) include_conversations: bool,
    pub(super) min_seq: Option<i64>,
}

/// An item that may be told.
pub(super) struct Candidate {
    /// `None` when it is only counted.
    item: Option<Remembered>,
    score: f64,
    recency: f64,
    reasons: Reasons,
}

impl Candidate {
    /// The item, unless it is only counted.
    pub(super) fn remembered(&self) -> Option<&Remembered> {
        self.item.as_ref()
    }
}

/// What was found, with the facts among it, and the items as far as they were read: the first `read`.
/// One that is gone by now is none.
pub(super) fn candidates(
    Answer { found, mut facts }: Answer,
    mut items: BTreeMap<i64, Item>,
    read: usize,
) -> Vec<Candidate> {
    let candidate = |(place, found): (usize, Found)| {
        let fact = facts.remove(&found.seq).map(remembered_fact);
        let item = fact.or_else(|| remembered([items.remove(&found.seq)?]).pop());
        let signals = found.reasons.signals();
        let Found { reasons, .. } = found;
        (item.is_some() || place >= read).then_some(Candidate {
            item,
            score: found.score,
            recency: found.recency,
            reasons: Reasons { signals, terms: reasons.terms, nearby: reasons.nearby },
        })
    };
    found.into_iter().enumerate().filter_map(candidate).collect()
}

/// The best items for what was asked, and what they say together: what answers the question, and
/// then, while there is room, the newest.
pub(super) fn build(
    asked: ContextAsked,
    fresh: Fresh,
    mut found: Vec<Candidate>,
    newest: Recollection,
) -> ContextReply {
    fill(&mut found, newest, &asked);
    let mut left_out = LeftOut::default();
    let mut tokens = None;
    if let Some(most) = asked.max_tokens {
        let texts: Vec<&str> = found
            .iter()
            .map(|candidate| candidate.remembered().map_or("", Remembered::text))
            .collect();
        let chosen = budget::choose(&texts, Some(most));
        left_out.duplicates = chosen.duplicates;
        left_out.over_budget = chosen.over_budget;
        tokens = Some(texts_of(&chosen, &texts, asked.limit));
        let mut kept = chosen.kept.into_iter().peekable();
        let mut place = 0;
        found.retain(|_| {
            let keeps = kept.next_if_eq(&place).is_some();
            place += 1;
            keeps
        });
    }
    left_out.over_limit = found.len().saturating_sub(asked.limit);
    found.truncate(asked.limit);
    let entities = grouped(found.iter().filter_map(Candidate::remembered));
    // A fact is nothing that was said.
    let said = found.iter().filter_map(Candidate::remembered).filter(|told| told.is_item());
    let summary = summed_up(&utterances(said));
    let context = hits(found);
    ContextReply {
        count: context.len(),
        relevant_items: context.clone(),
        context,
        user_id: asked.user_id,
        query: asked.query,
        conversation_id: asked.conversation_id,
        entities,
        summary,
        left_out,
        tokens,
        index_seq: fresh.seq,
        tail_entries: fresh.tail,
        trouble: fresh.trouble,
    }
}

/// Tokens of the texts that are told.
fn texts_of(chosen: &budget::Chosen, texts: &[&str], limit: usize) -> usize {
    let told = chosen.kept.iter().take(limit).filter_map(|place| texts.get(*place));
    told.map(|text| budget::tokens(text)).sum()
}

/// Adds the newest of what was not found, until there is enough.
///
/// With a conversation that is preferred, an item of it scores two thirds of what it would score
/// otherwise plus one third, any other only the two thirds. What has nothing of a question scores
/// nothing.
fn fill(found: &mut Vec<Candidate>, newest: Recollection, asked: &ContextAsked) {
    let known: Vec<i64> =
        found.iter().filter_map(Candidate::remembered).map(|known| known.item.seq).collect();
    let items: Vec<Remembered> =
        newest.items.into_iter().filter(|item| !known.contains(&item.item.seq)).collect();
    let weight = asked.recency_weight.unwrap_or(RECENCY_WEIGHT_DEFAULT);
    let mut ranked = rank(&utterances(&items), None, items.len(), weight);
    if let Some(conversation_id) = &asked.conversation_id {
        prefer(&mut ranked, conversation_id, &items);
    }
    let room = asked.limit.saturating_sub(found.len());
    let nothing_found = found.is_empty();
    let mut items: Vec<Option<Remembered>> = items.into_iter().map(Some).collect();
    found.extend(ranked.into_iter().take(room).filter_map(|ranked| {
        let item = items.get_mut(ranked.index)?.take()?;
        Some(Candidate {
            item: Some(item),
            score: if nothing_found { ranked.score } else { 0.0 },
            recency: ranked.recency,
            reasons: Reasons { signals: vec![RECENCY], ..Reasons::default() },
        })
    }));
}

/// Text the hits of one reply hold at most, in bytes, beyond the first: the rest would be more than
/// any model's window, and more than an answer may have.
const HITS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What is told, as far as it fits.
pub(super) fn hits(candidates: Vec<Candidate>) -> Vec<Hit> {
    let hit = |candidate: Candidate| {
        let Remembered { item, told, .. } = candidate.item?;
        Some(Hit {
            item,
            told,
            relevance_score: candidate.score,
            recency_score: candidate.recency,
            matched_words: candidate.reasons.terms.clone(),
            reasons: candidate.reasons,
            conversation_data: None,
        })
    };
    let mut bytes = 0;
    candidates
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
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::contract::cognition::Trouble;

    fn asked(conversation_id: Option<&str>, limit: usize) -> ContextAsked {
        ContextAsked {
            user_id: "u".to_owned(),
            conversation_id: conversation_id.map(str::to_owned),
            limit,
            ..ContextAsked::default()
        }
    }

    /// Items `1`, `2`, … a minute apart, the last of the list newest.
    fn items(said: &[(&str, &str)]) -> Vec<Item> {
        let item = |(seq, (conversation, content)): (i64, &(&str, &str))| {
            serde_json::from_value(json!({
                "seq": seq, "id": seq.to_string(), "user_id": "u", "sender_id": "ann",
                "conversation_id": conversation, "content": content,
                "timestamp": format!("2026-01-01T00:{seq:02}:00Z"),
            }))
            .unwrap()
        };
        let mut items: Vec<Item> = (1..).zip(said).map(item).collect();
        items.reverse();
        items
    }

    fn recalled(said: &[(&str, &str)]) -> Recollection {
        Recollection { items: remembered(items(said)), trouble: None }
    }

    fn found(seqs: &[i64], said: &[(&str, &str)]) -> Vec<Candidate> {
        let all: BTreeMap<i64, Item> =
            items(said).into_iter().map(|item| (item.seq, item)).collect();
        let found = seqs.iter().map(|seq| Found {
            seq: *seq,
            score: 0.5,
            relevance: 0.5,
            recency: 0.25,
            reasons: crate::domain::retrieval::Reasons {
                terms: vec!["red".to_owned()],
                ..crate::domain::retrieval::Reasons::default()
            },
        });
        let found = found.collect();
        candidates(Answer { found, ..Answer::default() }, all, seqs.len())
    }

    fn check(asked: ContextAsked, found: Vec<Candidate>, expected: &[&str]) -> ContextReply {
        let reply = build(asked, Fresh::default(), found, recalled(&SAID));
        let ids: Vec<&str> = reply.context.iter().map(|hit| hit.item.id.as_str()).collect();
        assert_eq!(ids, expected);
        assert_eq!(reply.context, reply.relevant_items);
        assert_eq!(reply.count, ids.len());
        reply
    }

    const SAID: [(&str, &str); 4] =
        [("a", "the red kite"), ("b", "the red boat"), ("a", "nothing"), ("b", "a walk")];

    #[test]
    fn what_was_found_comes_first_and_the_newest_fill_the_rest() {
        check(asked(None, 10), vec![], &["4", "3", "2", "1"]);
        check(asked(None, 2), vec![], &["4", "3"]);
        let reply = check(asked(None, 3), found(&[1, 2], &SAID), &["1", "2", "4"]);
        assert_eq!(reply.context[0].matched_words, ["red"]);
        assert_eq!(reply.context[0].reasons.signals, ["terms"]);
        assert_eq!(reply.context[2].reasons.signals, [RECENCY]);
        assert_eq!(reply.context[2].relevance_score, 0.0);
        let reply = check(asked(None, 1), found(&[1, 2], &SAID), &["1"]);
        assert_eq!(reply.left_out, LeftOut { over_limit: 1, ..LeftOut::default() });
    }

    #[test]
    fn a_conversation_is_preferred_among_the_newest() {
        check(asked(Some("a"), 10), vec![], &["3", "4", "1", "2"]);
        check(asked(Some("z"), 10), vec![], &["4", "3", "2", "1"]);
    }

    #[test]
    fn a_budget_leaves_out_what_is_said_twice_and_what_does_not_fit() {
        let said = [
            ("a", "the very same words once more"),
            ("a", "the very same words once more"),
            ("a", "short"),
            ("a", "a text that is longer than all that is left of what may be told here"),
        ];
        let asked = ContextAsked { max_tokens: Some(14), ..asked(None, 10) };
        let reply =
            build(asked, Fresh::default(), found(&[1, 2, 4, 3], &said), Recollection::default());
        let ids: Vec<&str> = reply.context.iter().map(|hit| hit.item.id.as_str()).collect();
        assert_eq!(ids, ["1", "3"]);
        let left_out = LeftOut { over_limit: 0, over_budget: 1, duplicates: 1 };
        assert_eq!(reply.left_out, left_out);
        assert!(reply.tokens.unwrap() <= 14);
    }

    #[test]
    fn a_context_is_told_in_full_and_says_up_to_where_it_sees_and_why_no_further() {
        let said = [("a", "a red kite for ann@example.org")];
        let trouble = Some(Trouble {
            error: "memory_service_unavailable".to_owned(),
            error_detail: Some("why".to_owned()),
        });
        let asked = ContextAsked { query: Some("kite".to_owned()), ..asked(Some("a"), 10) };
        let fresh = Fresh { seq: 7, tail: 2, trouble };
        let reply = build(asked, fresh, found(&[1], &said), Recollection::default());
        let reply = to_value(reply).unwrap();
        let hit = json!({
            "seq": 1, "id": "1", "user_id": "u", "sender_id": "ann", "conversation_id": "a",
            "kind": "item",
            "role": "user", "content": "a red kite for ann@example.org", "content_type": "text",
            "timestamp": "2026-01-01T00:01:00Z", "metadata": {},
            "relevance_score": 0.5, "recency_score": 0.25, "matched_words": ["red"],
            "reasons": {"signals": ["terms"], "terms": ["red"], "nearby": []}
        });
        let golden = json!({
            "context": [hit], "relevant_items": [hit], "count": 1, "user_id": "u",
            "query": "kite", "conversation_id": "a",
            "entities": {"email": [{"type": "email", "value": "ann@example.org"}]},
            "summary": {
                "message_count": 1, "time_span": "unknown", "participants": ["ann"],
                "topics": ["example", "kite"], "participant_counts": {"ann": 1},
                "key_points": ["a red kite for ann@example.org"], "duration_seconds": 0.0
            },
            "left_out": {"over_limit": 0, "over_budget": 0, "duplicates": 0},
            "index_seq": 7, "tail_entries": 2,
            "error": "memory_service_unavailable", "error_detail": "why"
        });
        assert_eq!(reply, golden);
    }
}
