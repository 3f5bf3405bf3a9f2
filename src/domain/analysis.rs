//! Sums up a conversation: who spoke how often, how long, about what, and how it began and ended.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::text::{Utterance, head, keywords};

/// A key point is cut after this many characters.
pub const KEY_POINT_CHARS_MAX: usize = 200;

const MINUTE_SECONDS: u64 = 60;
const HOUR_SECONDS: u64 = 60 * MINUTE_SECONDS;
const DAY_SECONDS: u64 = 24 * HOUR_SECONDS;

/// The numbers of a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConversationSummary {
    /// How many messages it has.
    pub message_count: usize,
    /// Who spoke, in order of first appearance.
    pub participants: Vec<String>,
    /// Seconds between the first message and the last.
    pub duration_seconds: f64,
    /// How often each participant spoke, in the same order.
    pub participant_counts: Vec<(String, usize)>,
}

/// The numbers of the conversation these messages make, in whatever order they come.
pub fn summary(utterances: &[Utterance<'_>]) -> ConversationSummary {
    let mut participant_counts: Vec<(String, usize)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for utterance in in_order(utterances) {
        let next = participant_counts.len();
        let place = *places.entry(utterance.speaker).or_insert(next);
        match participant_counts.get_mut(place) {
            Some((_, count)) => *count += 1,
            None => participant_counts.push((utterance.speaker.to_owned(), 1)),
        }
    }
    ConversationSummary {
        message_count: utterances.len(),
        participants: participant_counts.iter().map(|(speaker, _)| speaker.clone()).collect(),
        duration_seconds: duration(utterances).as_secs_f64(),
        participant_counts,
    }
}

/// The at most `most` keywords of these messages with their counts, commonest first.
pub fn topics(utterances: &[Utterance<'_>], most: usize) -> Vec<(String, usize)> {
    keywords(utterances.iter().map(|utterance| utterance.content), most)
}

/// How the conversation began and ended: its first and last message, each cut at
/// [`KEY_POINT_CHARS_MAX`]; one if there is only one. Blank messages make no point.
pub fn key_points(utterances: &[Utterance<'_>]) -> Vec<String> {
    let mut telling = in_order(utterances);
    telling.retain(|utterance| !utterance.content.trim().is_empty());
    let point = |utterance: &&Utterance<'_>| {
        let kept = head(utterance.content, KEY_POINT_CHARS_MAX);
        let cut = kept.len() < utterance.content.len();
        format!("{kept}{}", if cut { "…" } else { "" })
    };
    match telling.as_slice() {
        [] => Vec::new(),
        [only] => vec![point(only)],
        [first, .., last] => vec![point(first), point(last)],
    }
}

/// How long the conversation lasted, in words and whole units: `1 minute`, `3 days`.
///
/// `0 seconds` for no message, `unknown` for one.
pub fn time_span(utterances: &[Utterance<'_>]) -> String {
    if utterances.len() == 1 {
        return "unknown".to_owned();
    }
    let seconds = duration(utterances).as_secs();
    let (count, unit) = match seconds {
        0..MINUTE_SECONDS => (seconds, "second"),
        MINUTE_SECONDS..HOUR_SECONDS => (seconds / MINUTE_SECONDS, "minute"),
        HOUR_SECONDS..DAY_SECONDS => (seconds / HOUR_SECONDS, "hour"),
        DAY_SECONDS.. => (seconds / DAY_SECONDS, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

fn in_order<'a, 'b>(utterances: &'a [Utterance<'b>]) -> Vec<&'a Utterance<'b>> {
    let mut ordered: Vec<&Utterance<'_>> = utterances.iter().collect();
    ordered.sort_by_key(|utterance| (utterance.at, utterance.seq));
    ordered
}

fn duration(utterances: &[Utterance<'_>]) -> Duration {
    let times = || utterances.iter().map(|utterance| utterance.at);
    match (times().min(), times().max()) {
        (Some(first), Some(last)) => Duration::from_micros(last.abs_diff(first)),
        (_, _) => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(speaker: &'a str, content: &'a str, at: i64, seq: i64) -> Utterance<'a> {
        Utterance { content, speaker, at, seq }
    }

    fn check_span(seconds: i64, expected: &str) {
        let pair = [said("a", "x", seconds * 1_000_000, 2), said("a", "y", 0, 1)];
        assert_eq!(time_span(&pair), expected);
    }

    #[test]
    fn sums_up_in_order_whatever_order_the_messages_come_in() {
        let items = [
            said("bob", "three", 2_500_000, 3),
            said("ann", "two", 1_000_000, 2),
            said("bob", "one", 1_000_000, 1),
        ];
        let expected = ConversationSummary {
            message_count: 3,
            participants: vec!["bob".to_owned(), "ann".to_owned()],
            duration_seconds: 1.5,
            participant_counts: vec![("bob".to_owned(), 2), ("ann".to_owned(), 1)],
        };
        assert_eq!(summary(&items), expected);
        assert_eq!(key_points(&items), ["one", "three"]);
    }

    #[test]
    fn nothing_and_one_message() {
        assert_eq!(summary(&[]), ConversationSummary::default());
        assert!(key_points(&[]).is_empty());
        assert_eq!(time_span(&[]), "0 seconds");
        let one = [said("ann", "hello", 7, 1)];
        assert_eq!(summary(&one).duration_seconds, 0.0);
        assert_eq!(summary(&one).message_count, 1);
        assert_eq!(key_points(&one), ["hello"]);
        assert_eq!(time_span(&one), "unknown");
    }

    #[test]
    fn time_span_speaks_in_whole_units() {
        check_span(0, "0 seconds");
        check_span(1, "1 second");
        check_span(59, "59 seconds");
        check_span(60, "1 minute");
        check_span(119, "1 minute");
        check_span(120, "2 minutes");
        check_span(3_600, "1 hour");
        check_span(86_399, "23 hours");
        check_span(86_400, "1 day");
        check_span(3 * 86_400, "3 days");
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let items = [said("a", "x", i64::MIN, 1), said("a", "y", i64::MAX, 2)];
        assert!(summary(&items).duration_seconds > 1e13);
        assert!(time_span(&items).ends_with(" days"));
    }

    #[test]
    fn key_points_are_cut_between_characters_and_skip_blanks() {
        let long = "ä".repeat(KEY_POINT_CHARS_MAX + 1);
        let exact = "ä".repeat(KEY_POINT_CHARS_MAX);
        let items = [
            said("a", " ", 0, 0),
            said("a", &long, 1, 1),
            said("a", "m", 2, 2),
            said("a", &exact, 3, 3),
        ];
        assert_eq!(key_points(&items), [format!("{exact}…"), exact]);
        assert!(key_points(&[said("a", "\n", 1, 1)]).is_empty());
    }

    #[test]
    fn topics_are_the_keywords_of_all_messages() {
        let items = [said("a", "memory and agents", 1, 1), said("b", "memory", 2, 2)];
        assert_eq!(topics(&items, 5), [("memory".to_owned(), 2), ("agents".to_owned(), 1)]);
        assert_eq!(topics(&items, 1), [("memory".to_owned(), 2)]);
        assert!(topics(&[], 5).is_empty());
    }
}
