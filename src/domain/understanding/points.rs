//! The sentences that sum a history up, each with the items that bear it out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    graph::{Graph, Words, unit},
    phrases::Reading,
    sentences::sentences,
    survey::{Survey, number_of},
};
use crate::domain::text::Utterance;

/// Sentences that sum a history up at most (count).
pub const POINTS_MAX: usize = 5;
/// Sentences compared with each other at most (count).
const SENTENCES_MAX: usize = 400;
/// Sentences of one item among them at most (count).
const ITEM_SENTENCES_MAX: usize = 8;
/// A sentence with fewer telling words says too little, unless all do (count).
const TELLING_MIN: usize = 3;
/// What a question has by itself beside a statement.
const QUESTION_SHARE: f64 = 0.3;
/// A sentence more alike than this to one that is told says the same (cosine).
const SAME_FROM: f64 = 0.5;
/// An item with a sentence at least so alike bears it out (cosine).
const BORNE_OUT_FROM: f64 = 0.3;
/// Items named that bear one sentence out (count).
const SUPPORT_MAX: usize = 3;

/// A sentence that says what a history is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The sentence as it was said, cut if it is very long.
    pub text: String,
    /// The number in the log of the item it is from.
    pub seq: i64,
    /// Its standing beside the best (LexRank), above 0 and at most 1.
    pub weight: f64,
    /// Further items that say something alike, at most three, the most alike first.
    pub support: Vec<i64>,
}

struct Sentence<'a> {
    text: &'a str,
    place: (i64, i64, usize),
    words: Words,
    telling: usize,
}

/// The at most `most` sentences of these items that sum them up, in the order of their time.
///
/// Words weigh by their rarity in the whole history that `survey` took in; sentences are ranked by
/// LexRank among at most 400, the newest; what is much like a better one is left out. The order of
/// `said` does not matter.
#[must_use]
pub fn points(said: &[Utterance<'_>], survey: &Survey, most: usize) -> Vec<Point> {
    let told = candidates(said, survey);
    let words: Vec<Words> = told.iter().map(|sentence| sentence.words.clone()).collect();
    let graph = Graph::of(&words);
    let own: Vec<f64> = told.iter().map(|sentence| share(sentence.text)).collect();
    let standing = graph.standing(&own);
    let mut ranked: Vec<(f64, usize)> =
        standing.into_iter().enumerate().map(|(at, standing)| (standing, at)).collect();
    // Of equal ones the later.
    ranked.sort_by(|(a, one), (b, other)| b.total_cmp(a).then(other.cmp(one)));
    let best = ranked.first().map_or(1.0, |(standing, _)| standing.max(f64::MIN_POSITIVE));
    let mut kept: Vec<(f64, usize)> = Vec::new();
    for (standing, at) in ranked {
        if kept.len() >= most {
            break;
        }
        if kept.iter().all(|(_, known)| graph.between(*known, at) <= SAME_FROM) {
            kept.push((standing / best, at));
        }
    }
    kept.sort_by_key(|(_, at)| *at);
    let point = |(weight, at): (f64, usize)| {
        let sentence = told.get(at)?;
        let (seq, support) = (sentence.place.1, support(&graph, &told, at));
        Some(Point { text: sentence.text.to_owned(), seq, weight, support })
    };
    kept.into_iter().filter_map(point).collect()
}

/// The sentences that are compared, in the order of their time.
fn candidates<'a>(said: &[Utterance<'a>], survey: &Survey) -> Vec<Sentence<'a>> {
    let mut all: Vec<Sentence<'a>> = Vec::new();
    for utterance in said {
        for (place, text) in sentences(utterance.content).into_iter().enumerate() {
            if place >= ITEM_SENTENCES_MAX {
                break;
            }
            let words = words_of(text, survey);
            let place = (utterance.at, utterance.seq, place);
            all.push(Sentence { text, place, telling: words.len(), words });
        }
    }
    if all.iter().any(|sentence| sentence.telling >= TELLING_MIN) {
        all.retain(|sentence| sentence.telling >= TELLING_MIN);
    }
    all.sort_by_key(|sentence| sentence.place);
    all.drain(..all.len().saturating_sub(SENTENCES_MAX));
    all
}

fn words_of(text: &str, survey: &Survey) -> Words {
    let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
    for stem in Reading::of(text).stems() {
        *counts.entry(number_of(stem)).or_default() += 1.0;
    }
    unit(counts.into_iter().map(|(stem, count)| (stem, count * survey.rarity(stem))).collect())
}

fn share(text: &str) -> f64 {
    if text.ends_with(['?', '？', '؟']) { QUESTION_SHARE } else { 1.0 }
}

fn support(graph: &Graph, told: &[Sentence<'_>], at: usize) -> Vec<i64> {
    let own = told.get(at).map(|sentence| sentence.place.1);
    let mut alike: Vec<(f64, i64)> = graph
        .alike
        .get(at)
        .into_iter()
        .flatten()
        .filter(|(_, cosine)| *cosine >= BORNE_OUT_FROM)
        .filter_map(|(other, cosine)| Some((*cosine, told.get(*other)?.place.1)))
        .filter(|(_, seq)| Some(*seq) != own)
        .collect();
    alike.sort_by(|(a, one), (b, other)| b.total_cmp(a).then(one.cmp(other)));
    let mut named = BTreeSet::new();
    alike.retain(|(_, seq)| named.insert(*seq));
    alike.into_iter().take(SUPPORT_MAX).map(|(_, seq)| seq).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(texts: &[&str], most: usize) -> Vec<(String, i64, Vec<i64>)> {
        let said: Vec<Utterance<'_>> = (1..)
            .zip(texts)
            .map(|(seq, content)| Utterance { content, speaker: "ann", at: seq, seq })
            .collect();
        let found = points(&said, &Survey::of(&said), most);
        found.into_iter().map(|point| (point.text, point.seq, point.support)).collect()
    }

    const TALK: [&str; 7] = [
        "Hi!",
        "The garden project starts in May. What a day.",
        "We need seeds and tools for the garden project.",
        "Did you see the football match?",
        "The garden project starts in May, and Bob brings tools.",
        "Bob brings seeds and tools for the garden.",
        "My cat sleeps on the warm sofa.",
    ];

    #[test]
    fn what_many_items_say_sums_them_up() {
        let found = told(&TALK, 2);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|(text, _, _)| text.contains("garden")), "{found:?}");
        assert!(found.iter().all(|(_, seq, support)| !support.contains(seq)));
        assert!(found.iter().any(|(_, _, support)| !support.is_empty()), "{found:?}");
    }

    #[test]
    fn points_stand_in_the_order_of_their_time_and_say_nothing_twice() {
        let found = told(&TALK, POINTS_MAX);
        assert!(found.is_sorted_by_key(|(_, seq, _)| *seq), "{found:?}");
        let same = told(&["The red kite flies high.", "The red kite flies high."], 5);
        assert_eq!(same, [("The red kite flies high.".to_owned(), 2, vec![1])]);
    }

    #[test]
    fn where_all_say_little_it_is_told_all_the_same() {
        assert_eq!(told(&["Hi!", "ok"], 5).len(), 2);
        assert!(told(&[], 5).is_empty() && told(&["…"], 5).is_empty());
        assert!(told(&TALK, 0).is_empty());
    }

    #[test]
    fn other_scripts_are_summed_up() {
        let found = told(&["我们周末去了海边。天气很好。", "海边的天气很好。", "猫在睡觉。"], 1);
        assert!(found[0].0.contains("海边") || found[0].0.contains("天气"), "{found:?}");
    }
}
