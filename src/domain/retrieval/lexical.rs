//! BM25F over windows: how much of the question's words an item and its neighbours have.

use super::{
    asked::Term,
    index::{Entry, Index, wide},
    weights::Weights,
};
use crate::domain::text::count_f64;

/// What a lone ideograph is worth beside a pair.
const PART_WORTH: f64 = 0.3;
const HOUR_MS: u64 = 3_600_000;
/// An item of which more than this is questions (of 255) is one.
const QUESTION_SHARE: u8 = 100;

/// What one term gathered, in ten-thousandths of a word. Whole numbers, because their sum does not
/// depend on the order in which items came.
struct Gathered {
    shares: Vec<u32>,
    touched: Vec<u32>,
}

impl Gathered {
    fn add(&mut self, number: u32, share: u32) {
        if let Some(sum) = self.shares.get_mut(wide(number)) {
            if *sum == 0 {
                self.touched.push(number);
            }
            *sum = sum.saturating_add(share);
        }
    }
}

/// The words of one question, weighed over an index.
pub(super) struct Lexical<'a> {
    index: &'a Index,
    weights: &'a Weights,
    window: Window<'a>,
    gathered: Gathered,
    lengths: Vec<f64>,
    usual_length: f64,
    /// What each item has of the question.
    pub(super) scores: Vec<f64>,
    /// What an item would have that is full of every term.
    pub(super) whole: f64,
}

impl<'a> Lexical<'a> {
    /// Nothing weighed yet.
    pub(super) fn new(index: &'a Index, weights: &'a Weights) -> Self {
        let count = index.entries.len();
        let window = weights.before.iter().chain(&weights.after).sum::<u32>();
        let items = count_f64(index.len()).max(1.0);
        let usual = whole(index.total_length) * (1.0 + f64::from(window) / 100.0) / items;
        Lexical {
            index,
            weights,
            window: Window::of(weights),
            gathered: Gathered { shares: vec![0; count], touched: Vec::new() },
            lengths: vec![0.0; count],
            usual_length: usual.max(1.0),
            scores: vec![0.0; count],
            whole: 0.0,
        }
    }

    /// Adds what a term is worth to the items in whose windows it is.
    ///
    /// Rare is a term that few windows have as it was asked; kindred words do not make it commoner.
    pub(super) fn weigh(&mut self, term: &Term) {
        self.lend(&term.stem, 1.0);
        for other in &term.repaired {
            self.lend(other, self.weights.repaired);
        }
        let exact = self.gathered.touched.len();
        for other in &term.kindred {
            self.lend(other, self.weights.kindred);
        }
        let having = if exact > 0 { exact } else { self.gathered.touched.len() };
        let mut worth = rarity(having, self.index.len());
        if term.filler {
            worth *= self.weights.filler;
        }
        if term.part {
            worth *= PART_WORTH;
        }
        let (k1, b) = (self.weights.saturation, self.weights.length);
        let touched = std::mem::take(&mut self.gathered.touched);
        for number in &touched {
            let place = wide(*number);
            let length = self.window_length(*number);
            let Some(share) = self.gathered.shares.get_mut(place) else { continue };
            let frequency = f64::from(std::mem::take(share)) / 10_000.0;
            let bar = k1 * (1.0 - b + b * length / self.usual_length);
            if let Some(score) = self.scores.get_mut(place) {
                *score += worth * frequency * (k1 + 1.0) / (frequency + bar);
            }
        }
        self.gathered.touched = touched;
        self.gathered.touched.clear();
        self.whole += worth * (k1 + 1.0);
    }

    /// Gives every window around a word its share of it.
    fn lend(&mut self, stem: &str, worth: f64) {
        let worth = hundredths(worth);
        if worth == 0 {
            return;
        }
        let (index, window) = (self.index, self.window);
        for posting in index.having(stem) {
            let share = worth.saturating_mul(posting.count);
            window.lent(index, posting.item, |number, percent| {
                self.gathered.add(number, share.saturating_mul(percent));
            });
        }
    }

    /// Words in an item's window, each as far as it counts.
    fn window_length(&mut self, number: u32) -> f64 {
        let Some(known) = self.lengths.get_mut(wide(number)) else { return 1.0 };
        if *known == 0.0 {
            let own = self.index.entry(number).map_or(0, |entry| entry.length);
            let mut sum = u64::from(own) * 100;
            for (percent, _, neighbour) in self.window.taken(self.index, number) {
                sum += u64::from(percent) * u64::from(neighbour.length);
            }
            *known = (whole(sum) / 100.0).max(f64::MIN_POSITIVE);
        }
        *known
    }

    /// Whether an item, or only its window, has a term.
    pub(super) fn has(&self, term: &Term, number: u32) -> (bool, bool) {
        let (mut own, mut near) = (false, false);
        for stem in std::iter::once(&term.stem).chain(&term.repaired).chain(&term.kindred) {
            let list = self.index.having(stem);
            let has = |item: u32| list.binary_search_by_key(&item, |posting| posting.item).is_ok();
            own |= has(number);
            near |= self.window.taken(self.index, number).any(|(_, neighbour, _)| has(neighbour));
        }
        (own, near)
    }
}

/// How much it says to have what this many of all have: the logarithm of BM25, never negative.
pub(super) fn rarity(having: usize, all: usize) -> f64 {
    let (having, all) = (count_f64(having), count_f64(all));
    (1.0 + (all - having + 0.5).max(0.0) / (having + 0.5)).ln()
}

/// What neighbours lend each other.
#[derive(Clone, Copy)]
struct Window<'a> {
    before: &'a [u32],
    after: &'a [u32],
    answer: u32,
    gap: u64,
}

impl<'a> Window<'a> {
    fn of(weights: &'a Weights) -> Self {
        let reach = |percents: &'a [u32]| {
            let far = percents.iter().rposition(|percent| *percent > 0).map_or(0, |last| last + 1);
            percents.get(..far).unwrap_or_default()
        };
        Window {
            before: reach(&weights.before),
            after: reach(&weights.after),
            answer: weights.answer,
            gap: u64::from(weights.gap).saturating_mul(HOUR_MS),
        }
    }

    /// An item and those in whose windows it is, with what it lends them in percent.
    fn lent(self, index: &Index, item: u32, mut visit: impl FnMut(u32, u32)) {
        let Some(entry) = index.entry(item).filter(|entry| entry.alive) else { return };
        visit(item, 100);
        // Those after it take from before them, and those before it from after them.
        let onward = self.before.iter().zip(neighbours(index, self.gap, item, false));
        for (place, (percent, (number, neighbour))) in onward.enumerate() {
            let asked = entry.traits.asking > QUESTION_SHARE && neighbour.sender != entry.sender;
            let answers = place == 0 && asked;
            visit(number, if answers { self.answer.max(*percent) } else { *percent });
        }
        for (percent, (number, _)) in self.after.iter().zip(neighbours(index, self.gap, item, true))
        {
            visit(number, *percent);
        }
    }

    /// The neighbours in an item's window, with what they lend it in percent.
    fn taken(self, index: &Index, item: u32) -> impl Iterator<Item = (u32, u32, &Entry)> {
        let side = move |percents: &'a [u32], back| {
            let neighbours = neighbours(index, self.gap, item, back);
            percents.iter().zip(neighbours).map(|(percent, (at, entry))| (*percent, at, entry))
        };
        side(self.before, true).chain(side(self.after, false))
    }
}

/// The neighbours on one side, the nearest first, up to a gap in time.
fn neighbours(
    index: &Index,
    gap: u64,
    item: u32,
    back: bool,
) -> impl Iterator<Item = (u32, &Entry)> {
    let step = move |number: u32| {
        let from = index.entry(number)?;
        let next = if back { from.before } else { from.after };
        let entry = index.entry(next)?;
        (entry.at.abs_diff(from.at) <= gap).then_some((next, entry))
    };
    std::iter::successors(step(item), move |(number, _)| step(*number))
}

fn hundredths(weight: f64) -> u32 {
    (0..=100_u32).rev().find(|percent| f64::from(*percent) / 100.0 <= weight).unwrap_or_default()
}

/// A sum of lengths as a number to calculate with.
fn whole(sum: u64) -> f64 {
    count_f64(usize::try_from(sum).unwrap_or(usize::MAX))
}
