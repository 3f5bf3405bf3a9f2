//! Tells what a history says, with the items that say so.

use crate::{
    contract::cognition::{Digest, KeyPoint, TopicFound},
    domain::{
        text::Utterance,
        understanding::{POINTS_MAX, Point, points},
    },
    services::cognition::{index::History, memory::Remembered},
};

/// Sentences as they were said.
const EXTRACTIVE: &str = "extractive";

/// What a history says; `None` when there is none.
pub(super) fn digest(history: &History) -> Option<Digest> {
    let chosen: Vec<Utterance<'_>> =
        history.chosen.iter().filter_map(|seq| Some(history.items.get(seq)?.utterance())).collect();
    let key_points: Vec<KeyPoint> = points(&chosen, &history.survey, POINTS_MAX)
        .into_iter()
        .filter_map(|point| key_point(point, history))
        .collect();
    let items = history.survey.items();
    (items > 0).then(|| Digest {
        method: EXTRACTIVE,
        text: text_of(&key_points),
        key_points,
        topics: topics(history),
        items,
        of: history.all,
    })
}

fn key_point(point: Point, history: &History) -> Option<KeyPoint> {
    let said = history.items.get(&point.seq)?;
    Some(KeyPoint {
        text: point.text,
        id: said.item.id.clone(),
        seq: point.seq,
        speaker: said.utterance().speaker.to_owned(),
        timestamp: said.item.timestamp.clone(),
        weight: point.weight,
        supported_by: ids(history, &point.support),
    })
}

fn topics(history: &History) -> Vec<TopicFound> {
    let topic = |topic: &crate::domain::understanding::Topic| TopicFound {
        phrase: topic.phrase.clone(),
        items: topic.items,
        weight: topic.weight,
        examples: ids(history, &topic.examples),
    };
    history.topics.iter().map(topic).collect()
}

fn ids(history: &History, seqs: &[i64]) -> Vec<String> {
    let id = |said: &Remembered| said.item.id.clone();
    seqs.iter().filter_map(|seq| history.items.get(seq).map(id)).collect()
}

/// The sentences as one text, line by line; with who said them where several speak.
fn text_of(points: &[KeyPoint]) -> String {
    let several = points.iter().any(|point| points.iter().any(|o| o.speaker != point.speaker));
    let line = |point: &KeyPoint| {
        let text = point.text.split_whitespace().collect::<Vec<_>>().join(" ");
        if several { format!("{}: {text}", point.speaker) } else { text }
    };
    points.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn history(said: &[(&str, &str)]) -> History {
        let item = |(seq, (speaker, content)): (i64, &(&str, &str))| {
            serde_json::from_value(json!({
                "seq": seq, "id": format!("id{seq}"), "user_id": "u", "sender_id": speaker,
                "content": content, "timestamp": format!("2026-01-01T00:{seq:02}:00Z"),
            }))
            .unwrap()
        };
        let mut items: Vec<_> = (1..).zip(said).map(item).collect();
        items.reverse();
        History::of(items)
    }

    #[test]
    fn every_part_of_a_digest_names_its_items() {
        let digest = digest(&history(&[
            ("ann", "The garden project starts in May."),
            ("bob", "I bring seeds for the garden project."),
            ("ann", "Nice weather."),
        ]))
        .unwrap();
        assert_eq!((digest.items, digest.of, digest.method), (3, 3, EXTRACTIVE));
        let first = &digest.key_points[0];
        assert_eq!((first.id.as_str(), first.speaker.as_str()), ("id1", "ann"));
        assert_eq!(first.timestamp, "2026-01-01T00:01:00Z");
        assert_eq!(first.supported_by, ["id2"]);
        let topic = &digest.topics[0];
        assert_eq!((topic.phrase.as_str(), topic.items), ("garden project", 2));
        assert_eq!(topic.examples, ["id1", "id2"]);
        assert!(digest.text.starts_with("ann: The garden project starts in May.\nbob: I bring"));
    }

    #[test]
    fn nobody_is_named_where_one_speaks_and_nothing_is_no_digest() {
        let alone = digest(&history(&[("ann", "A walk along  the river.")])).unwrap();
        assert_eq!(alone.text, "A walk along the river.");
        assert!(digest(&History::default()).is_none());
    }
}
