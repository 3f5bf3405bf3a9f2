//! Takes in a history item by item: its numbers, its words, and what it may be about, in bounded
//! memory.

use std::collections::{BTreeSet, BinaryHeap, HashMap};

use super::{
    phrases::{Phrases, Reading, Topic},
    tally::Tally,
};
use crate::domain::{
    analysis::{self, ConversationSummary, KEY_POINT_CHARS_MAX},
    sentiment::{Sentiment, sentiment},
    text::{Utterance, count_f64, head, keywords, word_count},
};

/// Items that are worth reading again for their sentences (count).
pub const CHOSEN_MAX: usize = 300;
/// Speakers that are told apart (count); others count as messages only.
const SPEAKERS_MAX: usize = 1_000;
/// Words and stems that are counted (count); the rarest give way.
const WORDS_MAX: usize = 50_000;
/// Stems of one item by which it is judged (count).
const ITEM_STEMS_MAX: usize = 32;
/// Stems that make the centre of a history (count).
const CENTRE_STEMS: usize = 200;
/// Stems that an item is taken to have at least, so that the shortest are not the best (count).
const ITEM_STEMS_USUAL: f64 = 8.0;

/// A history, taken in.
///
/// What it says does not depend on the order in which items came, but for the rarest of more than
/// 50,000 words, of more than 20,000 phrases and of more than 1,000 speakers.
#[derive(Clone, Debug)]
pub struct Survey {
    items: usize,
    words: usize,
    positive: usize,
    negative: usize,
    /// The times of the oldest and the newest.
    span: Option<(i64, i64)>,
    first: Option<Edge>,
    last: Option<Edge>,
    speakers: HashMap<String, Speaker>,
    keywords: Tally<String>,
    stems: Tally<u32>,
    phrases: Phrases,
    noted: Vec<Noted>,
}

/// The first or the last message that says something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    at: i64,
    seq: i64,
    head: String,
}

#[derive(Clone, Debug)]
struct Speaker {
    first: (i64, i64),
    count: usize,
}

/// What is kept of every item.
#[derive(Clone, Debug)]
struct Noted {
    seq: i64,
    stems: Box<[u32]>,
}

impl Default for Survey {
    fn default() -> Self {
        Survey {
            items: 0,
            words: 0,
            positive: 0,
            negative: 0,
            span: None,
            first: None,
            last: None,
            speakers: HashMap::new(),
            keywords: Tally::new(WORDS_MAX),
            stems: Tally::new(WORDS_MAX),
            phrases: Phrases::default(),
            noted: Vec::new(),
        }
    }
}

impl Survey {
    /// A history of nothing.
    #[must_use]
    pub fn new() -> Self {
        Survey::default()
    }

    /// A history of these.
    #[must_use]
    pub fn of(said: &[Utterance<'_>]) -> Self {
        let mut survey = Survey::new();
        for utterance in said {
            survey.take(utterance);
        }
        survey
    }

    /// Takes one item in; each is to be given once.
    pub fn take(&mut self, said: &Utterance<'_>) {
        self.items = self.items.saturating_add(1);
        self.words = self.words.saturating_add(word_count(said.content));
        let felt = sentiment([said.content]);
        self.positive = self.positive.saturating_add(felt.positive);
        self.negative = self.negative.saturating_add(felt.negative);
        let (from, to) = self.span.unwrap_or((said.at, said.at));
        self.span = Some((from.min(said.at), to.max(said.at)));
        self.take_edge(said);
        self.take_speaker(said);
        for (word, count) in keywords([said.content], usize::MAX) {
            for _ in 0..count {
                self.keywords.add(word.clone());
            }
        }
        let reading = Reading::of(said.content);
        self.phrases.take(&reading, said.seq);
        let stems: BTreeSet<u32> = reading.stems().map(number_of).take(ITEM_STEMS_MAX).collect();
        for stem in &stems {
            self.stems.add(*stem);
        }
        self.noted.push(Noted { seq: said.seq, stems: stems.into_iter().collect() });
    }

    fn take_edge(&mut self, said: &Utterance<'_>) {
        if said.content.trim().is_empty() {
            return;
        }
        let place = (said.at, said.seq);
        let before = self.first.as_ref().is_none_or(|edge| place < (edge.at, edge.seq));
        let after = self.last.as_ref().is_none_or(|edge| place > (edge.at, edge.seq));
        if before || after {
            // One more than is told shows that there is more.
            let head = head(said.content, KEY_POINT_CHARS_MAX + 1).to_owned();
            let edge = Edge { at: said.at, seq: said.seq, head };
            if before {
                self.first = Some(edge.clone());
            }
            if after {
                self.last = Some(edge);
            }
        }
    }

    fn take_speaker(&mut self, said: &Utterance<'_>) {
        let place = (said.at, said.seq);
        if let Some(speaker) = self.speakers.get_mut(said.speaker) {
            speaker.count = speaker.count.saturating_add(1);
            speaker.first = speaker.first.min(place);
        } else if self.speakers.len() < SPEAKERS_MAX {
            self.speakers.insert(said.speaker.to_owned(), Speaker { first: place, count: 1 });
        }
    }

    /// Items taken in (count).
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    /// Words of all of them (count).
    #[must_use]
    pub fn words(&self) -> usize {
        self.words
    }

    /// How glad they sound together.
    #[must_use]
    pub fn sentiment(&self) -> Sentiment {
        Sentiment::between(self.positive, self.negative)
    }

    /// Who spoke how often, and for how long, as [`analysis::summary`] has it.
    #[must_use]
    pub fn numbers(&self) -> ConversationSummary {
        let mut speakers: Vec<(&String, &Speaker)> = self.speakers.iter().collect();
        speakers.sort_unstable_by_key(|(name, speaker)| (speaker.first, *name));
        let counts: Vec<(String, usize)> =
            speakers.into_iter().map(|(name, speaker)| (name.clone(), speaker.count)).collect();
        ConversationSummary {
            message_count: self.items,
            participants: counts.iter().map(|(name, _)| name.clone()).collect(),
            duration_seconds: analysis::summary(&self.ends()).duration_seconds,
            participant_counts: counts,
        }
    }

    /// How long it spans, in words, as [`analysis::time_span`] has it.
    #[must_use]
    pub fn time_span(&self) -> String {
        analysis::time_span(&self.ends())
    }

    /// How it began and ended, as [`analysis::key_points`] has it.
    #[must_use]
    pub fn edges(&self) -> Vec<String> {
        let edges: BTreeSet<&Edge> = self.first.iter().chain(&self.last).collect();
        let edge = |edge: &Edge| analysis::key_points(&[utterance(edge.at, edge.seq, &edge.head)]);
        edges.into_iter().flat_map(edge).collect()
    }

    /// Something said at the beginning and at the end, for rules about time.
    fn ends(&self) -> Vec<Utterance<'static>> {
        let Some((from, to)) = self.span else { return Vec::new() };
        let ends = [utterance(from, 0, ""), utterance(to, 1, "")];
        ends.into_iter().take(self.items).collect()
    }

    /// The commonest telling words, as [`analysis::topics`] has them.
    #[must_use]
    pub fn keywords(&self, most: usize) -> Vec<(String, usize)> {
        let wide = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let words = self.keywords.commonest(most).into_iter();
        words.map(|(word, count)| (word, wide(count))).collect()
    }

    /// What it is about: phrases it comes back to, best first.
    #[must_use]
    pub fn topics(&self, most: usize) -> Vec<Topic> {
        self.phrases.topics(most)
    }

    /// The numbers in the log of the at most [`CHOSEN_MAX`] items that are nearest to the centre of
    /// the history, ascending.
    ///
    /// The centre (after Radev, Jing, Styś and Tam, 2004) are the 200 stems with the highest product
    /// of the items that have them and the logarithm of their rarity; an item has the sum of those in
    /// it, over the root of how many stems it has, or 8 if that is more. Of equal ones the newest.
    #[must_use]
    pub fn chosen(&self) -> Vec<i64> {
        let mut seqs: Vec<i64> = if self.noted.len() <= CHOSEN_MAX {
            self.noted.iter().map(|noted| noted.seq).collect()
        } else {
            self.nearest()
        };
        seqs.sort_unstable();
        seqs
    }

    fn nearest(&self) -> Vec<i64> {
        let mut centre: Vec<(f64, u32)> = self
            .stems
            .commonest(usize::MAX)
            .into_iter()
            .map(|(stem, count)| (f64::from(count) * self.rarity(stem), stem))
            .collect();
        centre.sort_unstable_by(|(a, one), (b, other)| b.total_cmp(a).then(one.cmp(other)));
        centre.truncate(CENTRE_STEMS);
        let centre: HashMap<u32, f64> =
            centre.into_iter().map(|(worth, stem)| (stem, worth)).collect();
        let mut best: BinaryHeap<std::cmp::Reverse<Near>> = BinaryHeap::new();
        for noted in &self.noted {
            let sum: f64 = noted.stems.iter().filter_map(|stem| centre.get(stem)).sum();
            let near = sum / count_f64(noted.stems.len()).max(ITEM_STEMS_USUAL).sqrt();
            best.push(std::cmp::Reverse(Near { near, seq: noted.seq }));
            if best.len() > CHOSEN_MAX {
                best.pop();
            }
        }
        best.into_iter().map(|std::cmp::Reverse(near)| near.seq).collect()
    }

    /// How much it says to have a stem: ln(1 + items / items that have it).
    pub(super) fn rarity(&self, stem: u32) -> f64 {
        let having = f64::from(self.stems.of(&stem).max(1));
        (1.0 + count_f64(self.items).max(having) / having).ln()
    }
}

/// How near an item is to the centre.
struct Near {
    near: f64,
    seq: i64,
}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.near.total_cmp(&other.near).then(self.seq.cmp(&other.seq))
    }
}
impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Near {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == std::cmp::Ordering::Equal
    }
}
impl Eq for Near {}

fn utterance(at: i64, seq: i64, content: &str) -> Utterance<'_> {
    Utterance { content, speaker: "", at, seq }
}

/// A stem as a number: FNV-1a. Two stems with one number count as one.
pub(super) fn number_of(stem: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    stem.bytes().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_history_the_central_items_are_chosen() {
        let texts: Vec<String> = (0..1_000)
            .map(|n| match n % 10 {
                0 => format!("the garden project needs seeds and water, part {n}"),
                _ => format!("w{n} x{n} y{n}"),
            })
            .collect();
        let said: Vec<Utterance<'_>> =
            (0..).zip(&texts).map(|(seq, text)| utterance(seq, seq, text)).collect();
        let chosen = Survey::of(&said).chosen();
        assert_eq!(chosen.len(), CHOSEN_MAX);
        assert!((0..1_000).step_by(10).all(|seq| chosen.binary_search(&seq).is_ok()));
    }

    #[test]
    fn of_nothing_nothing_is_said() {
        let survey = Survey::new();
        assert_eq!(survey.numbers(), ConversationSummary::default());
        assert_eq!(survey.time_span(), "0 seconds");
        assert!(survey.edges().is_empty() && survey.topics(5).is_empty());
        assert!(survey.chosen().is_empty());
    }
}
