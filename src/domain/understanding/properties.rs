//! What holds of any history: no panic, one answer whatever the order, the numbers of the analyses.

use proptest::prelude::*;

use super::{POINTS_MAX, SENTENCE_CHARS_MAX, Survey, points, sentences};
use crate::domain::{
    analysis,
    sentiment::sentiment,
    text::{Utterance, word_count},
};

const WORDS: [&str; 20] = [
    "garden",
    "tools",
    "Bob",
    "the",
    "good.",
    "Seeds!",
    "why?",
    "red kite",
    "海边",
    "天气很好。",
    "Nachtzug",
    "nicht",
    "Dr.",
    "\n",
    "ERR_CONN_RESET",
    "12",
    "поезд",
    "isn't bad",
    "\u{200d}",
    "👍",
];

fn texts() -> impl Strategy<Value = Vec<(String, usize)>> {
    let known = proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..12)
        .prop_map(|words| words.join(" "));
    let text = prop_oneof![4 => known, 1 => any::<String>()];
    proptest::collection::vec((text, 0..3_usize), 0..30)
}

/// A minute apart, some at the same time.
fn said(texts: &[(String, usize)]) -> Vec<Utterance<'_>> {
    let mut said = Vec::new();
    for (seq, (content, speaker)) in (1..).zip(texts) {
        let speaker = ["ann", "bob", "eve"][*speaker];
        said.push(Utterance { content, speaker, at: seq / 2 * 60_000_000, seq });
    }
    said
}

proptest! {
    #[test]
    fn the_order_of_items_does_not_matter(texts in texts(), seed: u64) {
        let forwards = said(&texts);
        let mut mixed = forwards.clone();
        let mut rng = fastrand::Rng::with_seed(seed);
        rng.shuffle(&mut mixed);
        let (one, other) = (Survey::of(&forwards), Survey::of(&mixed));
        prop_assert_eq!(one.numbers(), other.numbers());
        prop_assert_eq!(one.topics(10), other.topics(10));
        prop_assert_eq!(one.keywords(10), other.keywords(10));
        prop_assert_eq!(one.edges(), other.edges());
        prop_assert_eq!(one.chosen(), other.chosen());
        prop_assert_eq!(
            points(&forwards, &one, POINTS_MAX),
            points(&mixed, &other, POINTS_MAX)
        );
    }

    #[test]
    fn a_survey_has_the_numbers_of_the_analyses(texts in texts()) {
        let said = said(&texts);
        let survey = Survey::of(&said);
        prop_assert_eq!(survey.numbers(), analysis::summary(&said));
        prop_assert_eq!(survey.time_span(), analysis::time_span(&said));
        prop_assert_eq!(survey.edges(), analysis::key_points(&said));
        prop_assert_eq!(survey.keywords(7), analysis::topics(&said, 7));
        prop_assert_eq!(survey.sentiment(), sentiment(said.iter().map(|said| said.content)));
        let words: usize = said.iter().map(|said| word_count(said.content)).sum();
        prop_assert_eq!((survey.items(), survey.words()), (said.len(), words));
    }

    #[test]
    fn every_point_was_said_by_the_item_it_names(texts in texts()) {
        let said = said(&texts);
        let found = points(&said, &Survey::of(&said), POINTS_MAX);
        prop_assert!(found.len() <= POINTS_MAX);
        for point in &found {
            let from = said.iter().find(|said| said.seq == point.seq);
            prop_assert!(from.is_some_and(|from| from.content.contains(&point.text)));
            prop_assert!(point.weight > 0.0 && point.weight <= 1.0);
            prop_assert!(point.text.chars().count() <= SENTENCE_CHARS_MAX);
            let known = |seq: &i64| *seq != point.seq && said.iter().any(|said| said.seq == *seq);
            prop_assert!(point.support.iter().all(known));
        }
    }

    #[test]
    fn sentences_are_of_the_text_and_in_its_order(text: String) {
        let mut rest = text.as_str();
        for sentence in sentences(&text) {
            prop_assert!(!sentence.trim().is_empty());
            let after = rest.split_once(sentence).map(|(_, after)| after);
            prop_assert!(after.is_some(), "{sentence:?} in {rest:?}");
            rest = after.unwrap_or_default();
        }
    }
}

/// Whatever is long is read in bounds: the worst of texts, many items.
#[test]
fn work_is_bounded() {
    let worst = ["a ", "a. ", "Dr. ", "海", "a-", "\n", "ab'", "ä\u{301}", "garden tools "];
    let texts: Vec<(String, usize)> =
        worst.iter().map(|piece| (piece.repeat(20_000 / piece.len()), 0)).collect();
    let said = said(&texts);
    let survey = Survey::of(&said);
    assert!(points(&said, &survey, POINTS_MAX).len() <= POINTS_MAX);
    assert!(survey.topics(10).len() <= 10);
}
