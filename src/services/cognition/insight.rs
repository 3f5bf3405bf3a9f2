//! Says what items mention, how they sum up, and which of them answer a search.

use std::collections::BTreeMap;

use crate::{
    contract::cognition::{
        AnalysisReply, AnalysisResults, CONVERSATION_NOT_FOUND, ConversationData, EntityFound,
        EntityGroups, HistoryReply, Keyword, SearchReply, Summary, Trouble,
    },
    domain::{
        analysis,
        entities::{Entity, TEXT_CHARS_MAX, entities_of},
        text::Utterance,
        understanding::Survey,
    },
    services::cognition::{
        context::{Candidate, SearchAsked, hits},
        digest::digest,
        index::{About, Fresh, History},
        memory::Remembered,
    },
};

/// Analysis when nobody says which.
pub(super) const ANALYSIS_DEFAULT: &str = "summary";
/// Topics of a summary.
const TOPICS_MAX: usize = 5;
/// Keywords of an analysis of topics.
const KEYWORDS_MAX: usize = 10;
/// Text that is looked through for entities in one answer, in bytes; of one item no more counts
/// than is read of it.
pub(super) const ENTITY_TEXT_BYTES_MAX: usize = 1024 * 1024;

/// What one conversation is about, by one of the analyses; entities and summary come with all.
pub(super) fn analysis(
    kind: String,
    user_id: String,
    conversation_id: String,
    history: &History,
    trouble: Option<Trouble>,
) -> AnalysisReply {
    let survey = &history.survey;
    let results = results(&kind, survey);
    let own_trouble = if results == (AnalysisResults::Unknown {}) {
        Some(format!("Unknown analysis type: {kind}"))
    } else if survey.items() == 0 {
        Some(CONVERSATION_NOT_FOUND.to_owned())
    } else {
        None
    };
    let trouble = trouble.or(own_trouble.map(|error| Trouble { error, error_detail: None }));
    AnalysisReply {
        results,
        message_count: survey.items(),
        entities: grouped(&history.newest),
        summary: summary(survey),
        digest: digest(history),
        kind,
        conversation_id,
        user_id,
        trouble,
    }
}

fn results(kind: &str, survey: &Survey) -> AnalysisResults {
    match kind {
        "summary" => {
            let numbers = survey.numbers();
            AnalysisResults::Summary {
                message_count: numbers.message_count,
                participants: numbers.participants,
                duration_seconds: numbers.duration_seconds,
                participant_counts: numbers.participant_counts.into_iter().collect(),
            }
        }
        "topics" => AnalysisResults::Topics {
            keywords: survey
                .keywords(KEYWORDS_MAX)
                .into_iter()
                .map(|(word, count)| Keyword { word, count })
                .collect(),
            word_count: survey.words(),
        },
        "sentiment" => {
            let found = survey.sentiment();
            AnalysisResults::Sentiment {
                sentiment_score: found.score,
                positive_count: found.positive,
                negative_count: found.negative,
            }
        }
        _ => AnalysisResults::Unknown {},
    }
}

/// The items that answer a search, each with what is known of its conversation if that is wanted.
pub(super) fn found(
    asked: SearchAsked,
    fresh: Fresh,
    candidates: Vec<Candidate>,
    about: BTreeMap<String, About>,
) -> SearchReply {
    let mut results = hits(candidates);
    for hit in &mut results {
        let about = hit.item.conversation_id.as_ref().and_then(|id| about.get(id));
        hit.conversation_data = about.map(|about| ConversationData {
            message_count: about.messages,
            participants: about.participants.clone(),
            first_message: about.first.clone(),
        });
    }
    SearchReply {
        count: results.len(),
        results,
        query: asked.query,
        user_id: asked.user_id,
        index_seq: fresh.seq,
        trouble: fresh.trouble,
    }
}

/// A whole history, summed up.
pub(super) fn history(
    user_id: String,
    conversation_id: Option<String>,
    history: &History,
    trouble: Option<Trouble>,
) -> HistoryReply {
    HistoryReply {
        user_id,
        conversation_id,
        summary: summary(&history.survey),
        digest: digest(history),
        trouble,
    }
}

/// A history in a few words and numbers.
fn summary(survey: &Survey) -> Summary {
    let numbers = survey.numbers();
    Summary {
        message_count: numbers.message_count,
        time_span: survey.time_span(),
        topics: survey.keywords(TOPICS_MAX).into_iter().map(|(word, _)| word).collect(),
        key_points: survey.edges(),
        participants: numbers.participants,
        participant_counts: numbers.participant_counts.into_iter().collect(),
        duration_seconds: numbers.duration_seconds,
    }
}

/// Messages in a few words and numbers.
pub(super) fn summed_up(said: &[Utterance<'_>]) -> Summary {
    let numbers = analysis::summary(said);
    Summary {
        message_count: numbers.message_count,
        time_span: analysis::time_span(said),
        topics: analysis::topics(said, TOPICS_MAX).into_iter().map(|(word, _)| word).collect(),
        key_points: analysis::key_points(said),
        participants: numbers.participants,
        participant_counts: numbers.participant_counts.into_iter().collect(),
        duration_seconds: numbers.duration_seconds,
    }
}

/// What items mention, in their order, as far as [`ENTITY_TEXT_BYTES_MAX`] reaches.
pub(super) fn grouped<'a>(items: impl IntoIterator<Item = &'a Remembered>) -> EntityGroups {
    let mut left = ENTITY_TEXT_BYTES_MAX;
    let within = |text: &&str| {
        let goes_on = left > 0;
        left = left.saturating_sub(text.len().min(TEXT_CHARS_MAX));
        goes_on
    };
    let texts = items.into_iter().map(Remembered::text).take_while(within);
    by_kind(entities_of(texts))
}

/// Entities under the names of their kinds.
pub(super) fn by_kind(entities: Vec<Entity>) -> EntityGroups {
    let mut groups = EntityGroups::new();
    for Entity { kind, value } in entities {
        let kind = kind.as_str();
        groups.entry(kind).or_default().push(EntityFound { kind, value });
    }
    groups
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, to_value};

    use super::*;
    use crate::services::cognition::memory::JUDGED_CHARS_MAX;

    /// Items `1`, `2`, … a minute apart, told newest first as memory does.
    fn recalled(said: &[(&str, &str, &str)]) -> History {
        let mut values: Vec<Value> = (1..)
            .zip(said)
            .map(|(seq, (conversation, speaker, content))| {
                json!({
                    "seq": seq, "id": seq.to_string(), "user_id": "u", "sender_id": speaker,
                    "conversation_id": conversation, "content": content,
                    "timestamp": format!("2026-01-01T00:{seq:02}:00Z"),
                })
            })
            .collect();
        values.reverse();
        History::of(
            values.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect(),
        )
    }

    fn talk() -> History {
        recalled(&[
            ("c", "ann", "The memory service is great"),
            ("c", "bob", "My memory is slow, mail bob@example.org"),
            ("c", "ann", "No problem"),
        ])
    }

    fn analysed(kind: &str, history: &History, trouble: Option<Trouble>) -> Value {
        let reply = analysis(kind.to_owned(), "u".to_owned(), "c".to_owned(), history, trouble);
        to_value(reply).unwrap()
    }

    fn check_results(kind: &str, history: &History, expected: &Value) {
        let reply = analysed(kind, history, None);
        assert_eq!(&reply["results"], expected, "{kind}");
        assert_eq!(reply["type"], json!(kind));
    }

    #[test]
    fn each_analysis_counts_its_own_things() {
        check_results(
            "summary",
            &talk(),
            &json!({"message_count": 3, "participants": ["ann", "bob"],
                "duration_seconds": 120.0, "participant_counts": {"ann": 2, "bob": 1}}),
        );
        let topics = analysed("topics", &talk(), None);
        assert_eq!(topics["results"]["word_count"], json!(15));
        let first = &topics["results"]["keywords"][0];
        assert_eq!(first, &json!({"word": "memory", "count": 2}));
        check_results(
            "sentiment",
            &talk(),
            &json!({"sentiment_score": 1.0 / 3.0, "positive_count": 2, "negative_count": 1}),
        );
    }

    #[test]
    fn every_analysis_has_entities_and_a_summary() {
        let reply = analysed("sentiment", &talk(), None);
        assert_eq!(reply["message_count"], json!(3));
        assert_eq!(
            reply["entities"],
            json!({"email": [{"type": "email", "value": "bob@example.org"}]})
        );
        assert_eq!(reply["summary"]["time_span"], json!("2 minutes"));
        assert_eq!(reply["summary"]["topics"][0], json!("memory"));
        let points = json!(["The memory service is great", "No problem"]);
        assert_eq!(reply["summary"]["key_points"], points);
        assert_eq!(reply.get("error"), None);
    }

    #[test]
    fn nothing_to_analyse_is_zeros_and_a_reason() {
        let reply = analysed("sentiment", &recalled(&[]), None);
        let zeros = json!({"sentiment_score": 0.0, "positive_count": 0, "negative_count": 0});
        assert_eq!(reply["results"], zeros);
        assert_eq!(reply["error"], json!("Conversation not found"));
        for unknown in [recalled(&[]), talk()] {
            let reply = analysed("mood", &unknown, None);
            assert_eq!(reply["error"], json!("Unknown analysis type: mood"));
            assert_eq!(reply["results"], json!({}));
        }
        let away = Some(Trouble { error: "away".to_owned(), error_detail: None });
        assert_eq!(analysed("summary", &recalled(&[]), away)["error"], json!("away"));
    }

    #[test]
    fn a_history_is_summed_up_with_or_without_a_conversation() {
        let reply = to_value(history("u".to_owned(), None, &talk(), None)).unwrap();
        assert_eq!(reply["summary"]["message_count"], json!(3));
        assert_eq!(reply["summary"]["participants"], json!(["ann", "bob"]));
        assert_eq!(reply.get("conversation_id"), None);
        assert_eq!(reply["digest"]["method"], json!("extractive"));
        assert_eq!((&reply["digest"]["items"], &reply["digest"]["of"]), (&json!(3), &json!(3)));
        let of_one = history("u".to_owned(), Some("c".to_owned()), &recalled(&[]), None);
        let golden = json!({"user_id": "u", "conversation_id": "c", "summary": {
            "message_count": 0, "time_span": "0 seconds", "topics": [], "key_points": [],
            "participants": [], "participant_counts": {}, "duration_seconds": 0.0
        }});
        assert_eq!(to_value(of_one).unwrap(), golden);
    }

    #[test]
    fn entities_are_looked_for_in_so_much_text_and_no_more() {
        let filler = "x ".repeat(JUDGED_CHARS_MAX / 2);
        let within = ENTITY_TEXT_BYTES_MAX / JUDGED_CHARS_MAX;
        let said = |fillers: usize| {
            // The list is newest first, so that the address comes last.
            let mut said = vec![("c", "ann", "old@example.org")];
            said.extend(vec![("c", "ann", filler.as_str()); fillers]);
            grouped(&recalled(&said).newest).len()
        };
        assert_eq!((said(within - 1), said(within + 1)), (1, 0));
    }
}
