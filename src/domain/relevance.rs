//! Orders stored messages by how well they answer a query and how recent they are.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::domain::text::{Utterance, count_f64, is_stop_word, words};

/// How much recency weighs against relevance when nobody says.
pub const RECENCY_WEIGHT_DEFAULT: f64 = 0.5;
/// A query is judged by at most this many distinct words.
pub const QUERY_WORDS_MAX: usize = 64;

/// What a query word is worth when the content has the very word.
const WHOLE_WORD_WORTH: f64 = 1.0;
/// What it is worth when the content has another form of it, or one begins with the other.
const FOLDED_WORD_WORTH: f64 = 0.8;
/// What it is worth when it only stands inside a word of the content.
const SUBSTRING_WORTH: f64 = 0.5;
/// A shorter word says nothing as the beginning of another.
const PREFIX_CHARS_MIN: usize = 4;
/// A shorter stem says nothing as one (`stor` of `store` in `storm`).
const STEM_PREFIX_CHARS_MIN: usize = 5;
/// A shorter ASCII word says nothing inside another (`ai` in `said`).
const SUBSTRING_CHARS_MIN: usize = 3;
/// Folding an ending away leaves at least this much.
const STEM_CHARS_MIN: usize = 3;

/// One message with its place in a ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Its position in the messages that were ranked.
    pub index: usize,
    /// What it was ordered by.
    pub score: f64,
    /// How much of the query it has, from 0 to 1.
    pub relevance: f64,
    /// How new it is, from just above 0 (oldest) to 1 (newest).
    pub recency: f64,
    /// The query words it has, in the query's order.
    pub matched: Vec<String>,
}

/// The best `limit` messages for `query`, best first, equal ones newest first.
///
/// A message that has nothing of the query never stands above one that has. Without a query (or
/// with one that has no words) the newest come first and the score is the recency.
pub fn rank(
    utterances: &[Utterance<'_>],
    query: Option<&str>,
    limit: usize,
    recency_weight: f64,
) -> Vec<Ranked> {
    if limit == 0 {
        return Vec::new();
    }
    let asked = query.map(query_words).unwrap_or_default();
    let mut found = judge(utterances, &asked);
    if !asked.is_empty() {
        for item in &mut found {
            item.score = blend(item.relevance, item.recency, recency_weight);
        }
        let key = |item: &Ranked| (item.relevance > 0.0, utterances.get(item.index).map(|u| u.seq));
        found.sort_by(|a, b| {
            let ((a_has, a_seq), (b_has, b_seq)) = (key(a), key(b));
            let by_score = b_has.cmp(&a_has).then(b.score.total_cmp(&a.score));
            by_score.then(b_seq.cmp(&a_seq))
        });
    }
    found.truncate(limit);
    found
}

/// The best `limit` messages that have anything of `query`: most relevant first, then newest.
///
/// The score is the relevance. A query without words finds nothing.
pub fn search(utterances: &[Utterance<'_>], query: &str, limit: usize) -> Vec<Ranked> {
    let asked = query_words(query);
    if asked.is_empty() || limit == 0 {
        return Vec::new();
    }
    let mut found = judge(utterances, &asked);
    found.retain(|item| item.relevance > 0.0);
    for item in &mut found {
        item.score = item.relevance;
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score)); // stable: judged newest first
    found.truncate(limit);
    found
}

/// The words a query asks for: distinct, in order, at most [`QUERY_WORDS_MAX`], without stop words
/// unless it has no others.
pub fn query_words(query: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut distinct = words(query);
    distinct.retain(|word| seen.insert(word.clone()));
    if distinct.iter().any(|word| !is_stop_word(word)) {
        distinct.retain(|word| !is_stop_word(word));
    }
    distinct.truncate(QUERY_WORDS_MAX);
    distinct
}

/// How much of the query a content has: the share of query words found, and which they are.
///
/// Takes the words of [`query_words`] and of [`words`]; the very word counts fully, another form or
/// a common beginning less, a mere substring least. An empty query is had by nobody.
pub fn relevance(query_words: &[String], utterance_words: &[String]) -> (f64, Vec<String>) {
    let distinct: BTreeSet<&str> = utterance_words.iter().map(String::as_str).collect();
    let folded: Vec<(&str, String)> = distinct.iter().map(|word| (*word, stem(word))).collect();
    let (mut total, mut matched) = (0.0, Vec::new());
    for asked in query_words {
        let worth = if distinct.contains(asked.as_str()) {
            WHOLE_WORD_WORTH
        } else {
            let root = stem(asked);
            folded.iter().map(|(word, stem)| likeness(asked, &root, word, stem)).fold(0.0, f64::max)
        };
        if worth > 0.0 {
            total += worth;
            matched.push(asked.clone());
        }
    }
    let asked = count_f64(query_words.len());
    (if asked > 0.0 { total / asked } else { 0.0 }, matched)
}

/// The score of one content: (1 - w) × relevance + w × recency, with recency = 1 - rank / n.
///
/// `recency_rank` is 0 for the newest of `n` messages. The weight is held within 0 and 1; one that
/// is not a number becomes [`RECENCY_WEIGHT_DEFAULT`]. Without query words it is the recency.
pub fn score(
    query_words: &[String],
    utterance_words: &[String],
    recency_rank: usize,
    n: usize,
    weight: f64,
) -> f64 {
    let recency = recency(recency_rank, n);
    if query_words.is_empty() {
        return recency;
    }
    blend(relevance(query_words, utterance_words).0, recency, weight)
}

fn blend(relevance: f64, recency: f64, weight: f64) -> f64 {
    let w = if weight.is_nan() { RECENCY_WEIGHT_DEFAULT } else { weight.clamp(0.0, 1.0) };
    (1.0 - w) * relevance + w * recency
}

fn recency(rank: usize, n: usize) -> f64 {
    if n == 0 { 0.0 } else { 1.0 - count_f64(rank.min(n)) / count_f64(n) }
}

/// Every message with its relevance and recency, newest first; the score is the recency.
fn judge(utterances: &[Utterance<'_>], asked: &[String]) -> Vec<Ranked> {
    let mut newest_first: Vec<(usize, &Utterance<'_>)> = utterances.iter().enumerate().collect();
    newest_first.sort_by_key(|(_, utterance)| Reverse((utterance.at, utterance.seq)));
    let mut judged = Vec::with_capacity(utterances.len());
    for (rank, (index, utterance)) in newest_first.into_iter().enumerate() {
        let (relevance, matched) = match asked {
            [] => (0.0, Vec::new()),
            [..] => relevance(asked, &words(utterance.content)),
        };
        let recency = recency(rank, utterances.len());
        judged.push(Ranked { index, score: recency, relevance, recency, matched });
    }
    judged
}

/// What a query word is worth beside one other word of the content.
fn likeness(asked: &str, asked_stem: &str, word: &str, word_stem: &str) -> f64 {
    let folded = asked_stem == word_stem
        || begins(word, asked_stem, STEM_PREFIX_CHARS_MIN)
        || begins(asked, word_stem, STEM_PREFIX_CHARS_MIN)
        || begins(word, asked, PREFIX_CHARS_MIN)
        || begins(asked, word, PREFIX_CHARS_MIN);
    if folded {
        return FOLDED_WORD_WORTH;
    }
    let telling = !asked.is_ascii() || asked.len() >= SUBSTRING_CHARS_MIN;
    if telling && word.contains(asked) { SUBSTRING_WORTH } else { 0.0 }
}

fn begins(whole: &str, prefix: &str, chars_min: usize) -> bool {
    whole.starts_with(prefix) && prefix.chars().count() >= chars_min
}

/// A word without its commonest English endings: plural, -ing, -ed and the silent e.
fn stem(word: &str) -> String {
    let word = word.strip_suffix("'s").unwrap_or(word);
    let single = singular(word);
    let bare = match single.strip_suffix("ied").filter(|rest| can_stand(rest)) {
        Some(rest) => format!("{rest}y"),
        None => without_ending(&single),
    };
    match bare.strip_suffix('e').filter(|rest| can_stand(rest)) {
        Some(rest) => rest.to_owned(),
        None => bare,
    }
}

fn singular(word: &str) -> String {
    if let Some(rest) = word.strip_suffix("ies").filter(|rest| can_stand(rest)) {
        return format!("{rest}y");
    }
    let kept = word.ends_with("ss") || word.ends_with("us") || word.ends_with("is");
    let rest = word.strip_suffix('s').filter(|rest| can_stand(rest));
    rest.filter(|_| !kept).unwrap_or(word).to_owned()
}

/// Without -ing or -ed, and without the consonant doubled before it (`planned`, not `called`).
fn without_ending(word: &str) -> String {
    let rest = word
        .strip_suffix("ing")
        .or_else(|| word.strip_suffix("ed").filter(|rest| !rest.ends_with('e')))
        .filter(|rest| can_stand(rest));
    let Some(rest) = rest else {
        return word.to_owned();
    };
    let doubled = ["bb", "dd", "gg", "mm", "nn", "pp", "rr", "tt"];
    match rest.chars().next_back() {
        Some(last) if doubled.iter().any(|pair| rest.ends_with(pair)) => {
            rest.strip_suffix(last).unwrap_or(rest).to_owned()
        }
        Some(_) | None => rest.to_owned(),
    }
}

fn can_stand(rest: &str) -> bool {
    rest.chars().count() >= STEM_CHARS_MIN && rest.contains(['a', 'e', 'i', 'o', 'u', 'y'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(content: &str, at: i64) -> Utterance<'_> {
        Utterance { content, speaker: "u", at, seq: at }
    }

    fn order(ranked: &[Ranked]) -> Vec<usize> {
        ranked.iter().map(|item| item.index).collect()
    }

    fn check_relevance(query: &str, content: &str, expected: f64) {
        let (found, _) = relevance(&query_words(query), &words(content));
        let close = (found - expected).abs() < 1e-9;
        assert!(close, "{query:?} in {content:?}: {found}");
    }

    #[test]
    fn query_words_are_distinct_and_telling() {
        assert_eq!(query_words("What is the Memory of the memory?"), ["memory"]);
        assert_eq!(query_words("to be or not to be"), ["to", "be", "or", "not"]);
        assert!(query_words(" ?! ").is_empty());
        let long: Vec<String> = (0..200).map(|n| format!("w{n}")).collect();
        assert_eq!(query_words(&long.join(" ")).len(), QUERY_WORDS_MAX);
    }

    #[test]
    fn relevance_is_the_share_of_query_words_found() {
        check_relevance("memory", "Memory matters", 1.0);
        check_relevance("memory leak", "memory matters", 0.5);
        check_relevance("memory leak", "nothing", 0.0);
        check_relevance("memory", "", 0.0);
        check_relevance("", "memory", 0.0);
        check_relevance("deploy", "the deployment", 0.8);
        check_relevance("deployment", "we deploy", 0.8);
        check_relevance("base", "a database", 0.5);
        check_relevance("memory base", "database memory", 0.75);
        check_relevance("ai", "he said", 0.0);
        check_relevance("世", "你好世界", 0.5);
        check_relevance("to be", "to be", 1.0);
        let (_, matched) = relevance(&query_words("red blue"), &words("Blue"));
        assert_eq!(matched, ["blue"]);
    }

    #[test]
    fn folds_plural_ing_and_ed() {
        let same = "cats/cat queries/query boxes/box classes/class storing/stored caching/caches \
            running/run planned/plans calling/called studied/studying anna's/anna";
        for (a, b) in same.split(' ').filter_map(|pair| pair.split_once('/')) {
            check_relevance(a, b, 0.8);
            check_relevance(b, a, 0.8);
        }
        let other = "string/stream focus/focal red/reed news/next store/storm this/thin";
        for (a, b) in other.split(' ').filter_map(|pair| pair.split_once('/')) {
            check_relevance(a, b, 0.0);
            check_relevance(b, a, 0.0);
        }
    }

    #[test]
    fn score_mixes_relevance_and_recency() {
        let (asked, has) = (query_words("memory"), words("memory"));
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        close(score(&asked, &has, 1, 4, 0.5), 0.5 + 0.5 * 0.75);
        close(score(&asked, &has, 1, 4, 0.0), 1.0);
        close(score(&asked, &has, 1, 4, 1.0), 0.75);
        close(score(&asked, &has, 1, 4, 7.0), 0.75);
        close(score(&asked, &has, 1, 4, f64::NEG_INFINITY), 1.0);
        close(score(&asked, &has, 1, 4, f64::NAN), 0.875);
        close(score(&asked, &has, 0, 0, 0.5), 0.5);
        close(score(&asked, &has, 9, 4, 1.0), 0.0);
        close(score(&[], &has, 1, 4, 0.0), 0.75);
    }

    #[test]
    fn without_a_query_the_newest_come_first() {
        let items = [said("old", 1), said("new", 3), said("middle", 2)];
        for query in [None, Some(""), Some("  "), Some("?!")] {
            for weight in [0.0, 0.5, 1.0, f64::NAN] {
                assert_eq!(order(&rank(&items, query, 10, weight)), [1, 2, 0]);
            }
        }
        assert_eq!(order(&rank(&items, None, 2, 0.5)), [1, 2]);
        assert!(rank(&items, None, 0, 0.5).is_empty());
        assert!(rank(&[], Some("x"), 5, 0.5).is_empty());
        assert_eq!(rank(&items, None, 1, 0.5)[0].recency, 1.0);
    }

    #[test]
    fn nothing_irrelevant_stands_above_something_relevant() {
        let items = [said("database", 1), said("other", 2), said("else", 3)];
        for weight in [0.0, 0.5, 1.0] {
            let ranked = rank(&items, Some("base zebra"), 10, weight);
            assert_eq!(order(&ranked), [0, 2, 1], "{weight}");
            assert_eq!(ranked[0].matched, ["base"]);
        }
    }

    #[test]
    fn weight_decides_between_relevant_and_recent() {
        let items = [said("red apple", 1), said("filler", 2), said("red pear", 3)];
        assert_eq!(order(&rank(&items, Some("red apple"), 10, 0.0)), [0, 2, 1]);
        assert_eq!(order(&rank(&items, Some("red apple"), 10, 1.0)), [2, 0, 1]);
        let ranked = rank(&items, Some("red apple"), 10, 0.5);
        assert!(ranked.is_sorted_by(|a, b| a.score >= b.score), "{ranked:?}");
    }

    #[test]
    fn equal_scores_fall_to_the_later_in_the_store() {
        let mut items = [said("red", 5), said("red", 5), said("red", 5)];
        (items[0].seq, items[1].seq, items[2].seq) = (2, 3, 1);
        assert_eq!(order(&rank(&items, Some("red"), 10, 0.0)), [1, 0, 2]);
        assert_eq!(order(&rank(&items, None, 10, 0.0)), [1, 0, 2]);
        assert_eq!(order(&search(&items, "red", 10)), [1, 0, 2]);
    }

    #[test]
    fn search_finds_only_what_is_relevant() {
        let items = [said("red apple", 1), said("green", 2), said("red", 3), said("redness", 4)];
        let found = search(&items, "the red apple", 10);
        assert_eq!(order(&found), [0, 2, 3]);
        assert_eq!(found[0].score, found[0].relevance);
        assert_eq!(order(&search(&items, "red apple", 1)), [0]);
        assert!(search(&items, "red", 0).is_empty());
        assert!(search(&items, " ", 10).is_empty());
        assert!(search(&items, "violet", 10).is_empty());
    }
}
