//! Topics: phrases of up to three words that a history comes back to, weighed by C-value.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use unicode_segmentation::UnicodeSegmentation as _;

use super::{foreign::says_nothing, tally::forget_rarest};
use crate::domain::{
    retrieval::words,
    text::{KEYWORD_CHARS_OVER, is_stop_word},
};

/// Words of a phrase at most (count).
const PHRASE_WORDS_MAX: usize = 3;
/// Phrases counted at once (count); the rarest give way.
const PHRASES_MAX: usize = 20_000;
/// Ways one phrase is written that are counted apart (count).
const FORMS_MAX: usize = 4;
/// Items that are named for one phrase (count).
const EXAMPLES_MAX: usize = 3;
/// Items that must have a phrase, where there is any such.
const ITEMS_MIN: u32 = 2;
/// Words of one item that are looked at (count).
const ITEM_WORDS_MAX: usize = 2_000;

/// What a history is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// The phrase as it was written most often.
    pub phrase: String,
    /// Items that have it (count).
    pub items: usize,
    /// What it weighs beside others: its C-value, above 0.
    pub weight: f64,
    /// The numbers in the log of the oldest of them, at most three.
    pub examples: Vec<i64>,
}

#[derive(Clone, Debug, Default)]
struct Phrase {
    items: u32,
    words: usize,
    forms: BTreeMap<String, u32>,
    /// The smallest numbers in the log.
    examples: BTreeSet<i64>,
}

/// A word within a run of telling ones.
#[derive(Clone, Debug)]
struct Part<'a> {
    stem: String,
    written: &'a str,
    /// Whether it may be a topic alone.
    alone: bool,
}

/// Phrases of a history, counted by items.
#[derive(Clone, Debug, Default)]
pub(super) struct Phrases {
    found: HashMap<String, Phrase>,
}

/// What one item has: the stems of its telling words, and the runs they stand in.
pub(super) struct Reading<'a> {
    runs: Vec<Vec<Part<'a>>>,
    pairs: Vec<&'a str>,
}

impl<'a> Reading<'a> {
    /// Reads a text: telling words that stand together, up to the next common word or sign.
    pub(super) fn of(text: &'a str) -> Self {
        let mut runs = vec![Vec::new()];
        let mut pairs = Vec::new();
        let mut before: Option<(usize, char)> = None;
        let mut read = 0;
        for (at, piece) in text.split_word_bound_indices() {
            if read >= ITEM_WORDS_MAX {
                break;
            }
            let first = piece.chars().next().unwrap_or(' ');
            if words::is_ideograph(first) {
                let pair = before.filter(|(start, last)| start + last.len_utf8() == at);
                let pair = pair.and_then(|(start, _)| text.get(start..at + piece.len()));
                pairs.extend(pair);
                before = Some((at, first));
                read += 1;
                begin(&mut runs);
            } else if first.is_alphanumeric() {
                read += 1;
                match part(piece) {
                    Some(part) => {
                        runs.last_mut().into_iter().for_each(|run| run.push(part.clone()))
                    }
                    None => begin(&mut runs),
                }
            } else if !first.is_whitespace() && first != '-' || first == '\n' {
                begin(&mut runs);
            }
        }
        Reading { runs, pairs }
    }

    /// The stems of its telling words, one for each time.
    pub(super) fn stems(&self) -> impl Iterator<Item = &str> {
        let stems = self.runs.iter().flatten().map(|part| part.stem.as_str());
        stems.chain(self.pairs.iter().copied())
    }

    /// Each phrase once, with how it is written first.
    fn phrases(&self) -> BTreeMap<String, (String, usize)> {
        let mut phrases = BTreeMap::new();
        for run in &self.runs {
            for count in 1..=PHRASE_WORDS_MAX.min(run.len()) {
                for parts in run.windows(count) {
                    if count == 1 && !parts.iter().all(|part| part.alone) {
                        continue;
                    }
                    let join = |word: fn(&Part<'a>) -> String| {
                        parts.iter().map(word).collect::<Vec<_>>().join(" ")
                    };
                    let key = join(|part| part.stem.clone());
                    phrases
                        .entry(key)
                        .or_insert_with(|| (join(|part| part.written.to_owned()), count));
                }
            }
        }
        for pair in &self.pairs {
            phrases.entry((*pair).to_owned()).or_insert_with(|| ((*pair).to_owned(), 1));
        }
        phrases
    }
}

fn begin(runs: &mut Vec<Vec<Part<'_>>>) {
    if runs.last().is_none_or(|run| !run.is_empty()) {
        runs.push(Vec::new());
    }
}

/// A telling word; `None` for one that says nothing.
fn part(piece: &str) -> Option<Part<'_>> {
    let read = words::words(piece);
    let word = read.first()?;
    let plain = word.plain.as_str();
    let said = word.stop || is_stop_word(plain) || says_nothing(plain) || piece.contains('.');
    let only_number = plain.chars().all(|c| !c.is_alphabetic());
    if said || only_number || plain.chars().nth(1).is_none() {
        return None;
    }
    let written = piece.strip_suffix("'s").or_else(|| piece.strip_suffix("’s")).unwrap_or(piece);
    let alone = plain.chars().count() > KEYWORD_CHARS_OVER || !plain.is_ascii();
    Some(Part { stem: word.stem.clone(), written, alone })
}

impl Phrases {
    /// Counts what an item has.
    pub(super) fn take(&mut self, reading: &Reading<'_>, seq: i64) {
        for (key, (written, words)) in reading.phrases() {
            let phrase = self.found.entry(key).or_default();
            phrase.words = words;
            phrase.items = phrase.items.saturating_add(1);
            if phrase.forms.len() < FORMS_MAX || phrase.forms.contains_key(&written) {
                let count = phrase.forms.entry(written).or_default();
                *count = count.saturating_add(1);
            }
            phrase.examples.insert(seq);
            if phrase.examples.len() > EXAMPLES_MAX {
                phrase.examples.pop_last();
            }
        }
        if self.found.len() > PHRASES_MAX {
            forget_rarest(&mut self.found, PHRASES_MAX, |phrase| phrase.items);
        }
    }

    /// The best, by C-value (Frantzi, Ananiadou and Mima, 2000) over items: log2(1 + words) times the
    /// items that have the phrase, less the mean of those of the longer phrases it is part of.
    pub(super) fn topics(&self, most: usize) -> Vec<Topic> {
        let often = self.found.values().any(|phrase| phrase.items >= ITEMS_MIN);
        let least = if often { ITEMS_MIN } else { 1 };
        let counted = || self.found.iter().filter(|(_, phrase)| phrase.items >= least);
        let mut within: HashMap<&str, (u32, u32)> = HashMap::new();
        for (key, phrase) in counted().filter(|(_, phrase)| phrase.words > 1) {
            for part in parts_of(key) {
                let (sum, count) = within.entry(part).or_default();
                *sum = sum.saturating_add(phrase.items);
                *count = count.saturating_add(1);
            }
        }
        let mut weighed: Vec<(f64, &String, &Phrase)> = counted()
            .filter_map(|(key, phrase)| {
                let longer = within.get(key.as_str());
                let mean = longer.map_or(0.0, |(sum, count)| f64::from(*sum) / f64::from(*count));
                let words = u32::try_from(phrase.words).unwrap_or(u32::MAX);
                let weight = (1.0 + f64::from(words)).log2() * (f64::from(phrase.items) - mean);
                (weight > 0.0).then_some((weight, key, phrase))
            })
            .collect();
        weighed.sort_unstable_by(|(a, one, _), (b, other, _)| b.total_cmp(a).then(one.cmp(other)));
        weighed.truncate(most);
        weighed.into_iter().map(|(weight, key, phrase)| topic(weight, key, phrase)).collect()
    }
}

fn topic(weight: f64, key: &str, phrase: &Phrase) -> Topic {
    let form = phrase.forms.iter().max_by(|(a, one), (b, other)| one.cmp(other).then(b.cmp(a)));
    Topic {
        phrase: form.map_or(key, |(written, _)| written).to_owned(),
        items: usize::try_from(phrase.items).unwrap_or(usize::MAX),
        weight,
        examples: phrase.examples.iter().copied().collect(),
    }
}

/// All shorter phrases within a phrase.
fn parts_of(key: &str) -> BTreeSet<&str> {
    let mut starts = vec![0];
    let mut ends = Vec::new();
    for (at, _) in key.match_indices(' ') {
        ends.push(at);
        starts.push(at + 1);
    }
    ends.push(key.len());
    let mut parts = BTreeSet::new();
    for from in &starts {
        let within = ends.iter().filter(|to| *to > from).filter_map(|to| key.get(*from..*to));
        parts.extend(within.filter(|part| part.len() < key.len()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(said: &[&str]) -> Vec<(String, usize)> {
        let mut phrases = Phrases::default();
        for (seq, text) in (1..).zip(said) {
            phrases.take(&Reading::of(text), seq);
        }
        phrases.topics(3).into_iter().map(|topic| (topic.phrase, topic.items)).collect()
    }

    fn check(said: &[&str], expected: &[(&str, usize)]) {
        let expected: Vec<(String, usize)> =
            expected.iter().map(|(phrase, items)| ((*phrase).to_owned(), *items)).collect();
        assert_eq!(topics(said), expected, "{said:?}");
    }

    #[test]
    fn a_phrase_wins_over_its_words() {
        let said = ["The red kites fly", "I saw a red kite", "a red kite, and a boat", "my boat"];
        check(&said, &[("red kite", 3), ("boat", 2)]);
    }

    #[test]
    fn what_is_said_once_counts_where_nothing_is_said_twice() {
        check(&["a walk"], &[("walk", 1)]);
        check(&["", "… the of 12"], &[]);
    }

    #[test]
    fn other_languages_have_topics() {
        let german = ["Wir fahren mit dem Nachtzug nach Wien", "Der Nachtzug war pünktlich"];
        check(&german, &[("Nachtzug", 2)]);
        check(&["我们去了海边", "海边很好"], &[("海边", 2)]);
        check(&["поезд в Вену", "Поезд опоздал"], &[("Поезд", 2)]);
    }

    #[test]
    fn examples_are_the_oldest_whatever_order_they_come_in() {
        let mut phrases = Phrases::default();
        for seq in [5, 3, 9, 1, 7] {
            phrases.take(&Reading::of("kites"), seq);
        }
        assert_eq!(phrases.topics(1)[0].examples, [1, 3, 5]);
    }
}
