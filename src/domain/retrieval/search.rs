//! Searching an index: BM25F over windows of neighbours, times what else speaks for an item.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use super::{
    asked::{Asked, Term},
    index::{Entry, Index, NOBODY, wide},
    question::{Filter, Found, Question, Reasons},
    temporal::{Span, day_of},
    weights::Weights,
};
use crate::domain::text::count_f64;

/// Items found at once at most (count).
pub const LIMIT_MAX: usize = 1000;
/// How far a window reaches to each side (items).
const REACH: usize = 3;
/// Of a month's or year's name not each day is a fitting day.
const DAY_LIKE_DAYS_MAX: i32 = 7;

impl Index {
    /// The items that answer a question best, best first, equal ones newest first.
    ///
    /// Without a telling word, and without a person or time that it names, nothing is found; see
    /// [`Index::newest`]. The time taken grows with the items that have a word of the question.
    #[must_use]
    pub fn search(&self, question: &Question<'_>, weights: &Weights) -> Vec<Found> {
        let newest = self.entries.iter().filter(|entry| entry.alive).map(|entry| entry.at).max();
        let now = question.now.or(newest).unwrap_or_default();
        let asked = Asked::of(question, now, self);
        let search = Search { index: self, asked: &asked, question, weights };
        search.run()
    }

    /// The newest items that pass, newest first.
    #[must_use]
    pub fn newest(&self, filter: &Filter<'_>, limit: usize) -> Vec<i64> {
        let passes = Passing::of(filter, self);
        let mut best = Best::new(limit);
        for (number, entry) in (0_u32..).zip(&self.entries) {
            if entry.alive && passes.entry(entry) {
                best.offer(Candidate {
                    score: 0.0,
                    raw: 0.0,
                    at: entry.at,
                    seq: entry.seq,
                    number,
                });
            }
        }
        best.ordered().into_iter().map(|candidate| candidate.seq).collect()
    }
}

/// A filter with its names looked up.
struct Passing<'a> {
    filter: Filter<'a>,
    session: Option<u32>,
    role: Option<u32>,
    sender: Option<u32>,
}

impl<'a> Passing<'a> {
    fn of(filter: &Filter<'a>, index: &Index) -> Self {
        // A name that nobody has is a number that nobody has.
        let session = filter.session.map(|name| index.sessions.known(name).unwrap_or(NOBODY));
        let role = filter.role.map(|name| index.roles.known(name).unwrap_or(NOBODY));
        let sender = filter.sender.map(|name| index.senders.known(name).unwrap_or(NOBODY));
        Passing { filter: *filter, session, role, sender }
    }

    fn entry(&self, entry: &Entry) -> bool {
        self.session.is_none_or(|session| session == entry.session)
            && self.role.is_none_or(|role| role == entry.role)
            && self.sender.is_none_or(|sender| sender == entry.sender)
            && self.filter.from.is_none_or(|from| from <= entry.at)
            && self.filter.to.is_none_or(|to| entry.at < to)
            && self.filter.allows.is_none_or(|allows| allows(entry.seq))
    }
}

/// An item with its place in the order.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    score: f64,
    raw: f64,
    at: i64,
    seq: i64,
    number: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then(self.at.cmp(&other.at)).then(self.seq.cmp(&other.seq))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// The best so far.
struct Best {
    most: usize,
    heap: BinaryHeap<Reverse<Candidate>>,
}

impl Best {
    fn new(limit: usize) -> Self {
        Best { most: limit.min(LIMIT_MAX), heap: BinaryHeap::new() }
    }

    fn offer(&mut self, candidate: Candidate) {
        if self.heap.len() < self.most {
            self.heap.push(Reverse(candidate));
        } else if self.heap.peek().is_some_and(|Reverse(worst)| candidate > *worst) {
            self.heap.pop();
            self.heap.push(Reverse(candidate));
        }
    }

    fn ordered(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(candidate)| candidate).collect()
    }
}

/// What one term gathered.
#[derive(Default)]
struct Gathered {
    /// How much of it each item has within its window, in ten-thousandths of a word.
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

struct Search<'a> {
    index: &'a Index,
    asked: &'a Asked,
    question: &'a Question<'a>,
    weights: &'a Weights,
}

impl Search<'_> {
    fn run(&self) -> Vec<Found> {
        let (mut scores, whole) = self.lexical();
        let passes = Passing::of(&self.question.filter, self.index);
        let fused = self.fuse(&mut scores, &passes);
        let mut judged: Vec<Candidate> = Vec::new();
        for (number, (entry, score)) in (0_u32..).zip(self.index.entries.iter().zip(&scores)) {
            if *score > 0.0 && entry.alive && passes.entry(entry) {
                let raw = score * self.factor(entry, number);
                judged.push(Candidate { score: raw, raw, at: entry.at, seq: entry.seq, number });
            }
        }
        let recency = self.question.recency_weight.unwrap_or(self.weights.recency);
        let recency = if recency.is_nan() { self.weights.recency } else { recency.clamp(0.0, 1.0) };
        let top = judged.iter().map(|candidate| candidate.raw).fold(0.0, f64::max);
        let places = self.places();
        let mut best = Best::new(self.question.limit);
        for mut candidate in judged {
            let place = places.get(wide(candidate.number)).copied().unwrap_or_default();
            candidate.score = (1.0 - recency) * candidate.raw / top + recency * place;
            best.offer(candidate);
        }
        let ideal = if fused { 1.0 } else { whole };
        let tell = |candidate: Candidate| {
            let entry = self.index.entry(candidate.number)?;
            Some(Found {
                seq: candidate.seq,
                score: candidate.score,
                relevance: candidate.raw / (candidate.raw + ideal),
                recency: places.get(wide(candidate.number)).copied()?,
                reasons: self.reasons(entry, candidate.number, recency > 0.0, fused),
            })
        };
        best.ordered().into_iter().filter_map(tell).collect()
    }

    /// BM25F over windows: what each item has of the terms, and what one would have that is full of
    /// each.
    fn lexical(&self) -> (Vec<f64>, f64) {
        let count = self.index.entries.len();
        let mut scores = vec![0.0; count];
        if self.asked.terms.is_empty() {
            if !(self.asked.spans.is_empty() && self.asked.speakers.is_empty()) {
                scores.fill(1.0);
            }
            return (scores, 1.0);
        }
        let mut whole = 0.0;
        let mut lengths = vec![0.0; count];
        let mut gathered = Gathered { shares: vec![0; count], touched: Vec::new() };
        for term in &self.asked.terms {
            self.gather(term, &mut gathered);
            whole += self.score(term, &mut gathered, &mut lengths, &mut scores);
        }
        (scores, whole)
    }

    fn gather(&self, term: &Term, gathered: &mut Gathered) {
        let mut lend = |stem: &str, worth: u32| {
            for posting in self.index.having(stem) {
                let share = worth.saturating_mul(posting.count);
                self.around(posting.item, |number, percent| {
                    gathered.add(number, share.saturating_mul(percent));
                });
            }
        };
        lend(&term.stem, 100);
        let kindred = hundredths(self.weights.kindred);
        for other in term.kindred.iter().filter(|_| kindred > 0) {
            lend(other, kindred);
        }
    }

    /// An item and its neighbours, with what the one lends the other.
    fn around(&self, item: u32, mut visit: impl FnMut(u32, u32)) {
        let Some(entry) = self.index.entry(item).filter(|entry| entry.alive) else { return };
        let [b3, b2, b1, own, a1, a2, a3] = self.weights.window;
        visit(item, own);
        // What an item says lends to those after it what they take from before them.
        let sides = [(entry.after, [b1, b2, b3], true), (entry.before, [a1, a2, a3], false)];
        for (first, lent, onward) in sides {
            let mut next = first;
            for percent in lent.into_iter().take(REACH) {
                let Some(neighbour) = self.index.entry(next) else { break };
                if percent > 0 {
                    visit(next, percent);
                }
                next = if onward { neighbour.after } else { neighbour.before };
            }
        }
    }

    /// Adds what a term is worth to those that have it; returns what it is worth at most.
    fn score(
        &self,
        term: &Term,
        gathered: &mut Gathered,
        lengths: &mut [f64],
        scores: &mut [f64],
    ) -> f64 {
        let all = count_f64(self.index.len());
        let having = count_f64(gathered.touched.len());
        let rarity = (1.0 + (all - having + 0.5) / (having + 0.5)).ln().max(0.0);
        let mut worth = rarity;
        if term.filler {
            worth *= self.weights.filler;
        }
        if term.part {
            worth *= PART_WORTH;
        }
        let (k1, b) = (self.weights.saturation, self.weights.length);
        let usual = self.usual_length();
        for number in gathered.touched.drain(..) {
            let place = wide(number);
            let Some(share) = gathered.shares.get_mut(place) else { continue };
            let frequency = f64::from(std::mem::take(share)) / 10_000.0;
            let Some(length) = lengths.get_mut(place) else { continue };
            if *length == 0.0 {
                *length = self.window_length(number);
            }
            let bar = k1 * (1.0 - b + b * *length / usual);
            if let Some(score) = scores.get_mut(place) {
                *score += worth * frequency * (k1 + 1.0) / (frequency + bar);
            }
        }
        worth * (k1 + 1.0)
    }

    fn window_length(&self, item: u32) -> f64 {
        let Some(entry) = self.index.entry(item) else { return 1.0 };
        let [b3, b2, b1, own, a1, a2, a3] = self.weights.window;
        let mut sum = u64::from(own) * u64::from(entry.length);
        let sides = [(entry.before, [b1, b2, b3], true), (entry.after, [a1, a2, a3], false)];
        for (first, taken, back) in sides {
            let mut next = first;
            for percent in taken {
                let Some(neighbour) = self.index.entry(next) else { break };
                sum += u64::from(percent) * u64::from(neighbour.length);
                next = if back { neighbour.before } else { neighbour.after };
            }
        }
        whole(sum) / 100.0
    }

    fn usual_length(&self) -> f64 {
        let window = f64::from(self.weights.window.iter().sum::<u32>()) / 100.0;
        let items = count_f64(self.index.len()).max(1.0);
        (whole(self.index.total_length) * window / items).max(1.0)
    }

    /// Adds what vectors say; whether they had a say.
    fn fuse(&self, scores: &mut [f64], passes: &Passing<'_>) -> bool {
        let Some(vectors) = self.question.vectors else { return false };
        let mut cosines: Vec<Option<f64>> = Vec::with_capacity(scores.len());
        for entry in &self.index.entries {
            let passing = entry.alive && passes.entry(entry);
            let cosine = if passing { (vectors.cosine)(entry.seq) } else { None };
            cosines.push(cosine.map(f64::from).filter(|cosine| cosine.is_finite()));
        }
        let known = || cosines.iter().flatten().copied();
        let (low, high) = (known().fold(f64::MAX, f64::min), known().fold(f64::MIN, f64::max));
        if low >= high {
            return false;
        }
        let passing = |(_, entry): &(f64, &Entry)| entry.alive && passes.entry(entry);
        let pairs = scores.iter().copied().zip(&self.index.entries);
        let top = pairs.filter(passing).map(|(score, _)| score).fold(0.0, f64::max);
        for (score, cosine) in scores.iter_mut().zip(&cosines) {
            let lexical = if top > 0.0 { *score / top } else { 0.0 };
            let near = cosine.map_or(0.0, |cosine| (cosine - low) / (high - low));
            *score = lexical + self.weights.vector * near;
        }
        true
    }

    /// What speaks for an item beside its words.
    fn factor(&self, entry: &Entry, number: u32) -> f64 {
        let (weights, asked, traits) = (self.weights, self.asked, entry.traits);
        let mut factor = 1.0 + weights.telling * (1.0 + f64::from(entry.length)).ln();
        factor *= 1.0 - (1.0 - weights.asking) * f64::from(traits.asking) / 255.0;
        if asked.speakers.contains(&entry.sender) {
            factor *= weights.speaker;
        }
        if asked.for_time && traits.time {
            factor *= weights.time_asked;
        }
        if asked.for_number && traits.number {
            factor *= weights.number_asked;
        }
        if asked.for_name {
            factor *= 1.0
                + weights.name_asked * f64::from(traits.names.min(NAMES_ENOUGH))
                    / f64::from(NAMES_ENOUGH);
        }
        if asked.for_title && traits.quoted {
            factor *= weights.title_asked;
        }
        let preferred =
            self.question.preferred_session.and_then(|name| self.index.sessions.known(name));
        if preferred == Some(entry.session) {
            factor *= weights.preferred;
        }
        factor * self.fit(entry, number)
    }

    /// How well the item's time, and the times it speaks of, fit those that are asked about.
    fn fit(&self, entry: &Entry, number: u32) -> f64 {
        let day = day_of(entry.at);
        let spoken = self.index.moments.get(&number).map_or(&[][..], Vec::as_slice);
        let of = |span: &Span| {
            let own = Span { from: day, to: day.saturating_add(1) };
            let stretch = |days: i32| Span { from: span.to, to: span.to.saturating_add(days) };
            let weights = self.weights;
            let by_time = if span.days() > 31 {
                if span.meets(own) { weights.same_year } else { 1.0 }
            } else if span.days() > DAY_LIKE_DAYS_MAX {
                if span.meets(own) { weights.same_month } else { 1.0 }
            } else if span.meets(own) {
                weights.same_day
            } else if stretch(7).meets(own) {
                weights.week_after
            } else {
                1.0
            };
            let told = spoken.iter().any(|moment| moment.meets(*span) && moment.days() <= 31);
            let by_word = if told && span.days() <= 31 { weights.spoken_time } else { 1.0 };
            f64::max(by_time, by_word)
        };
        self.asked.spans.iter().map(of).fold(1.0, f64::max)
    }

    /// How new each item is, from just above 0 (oldest) to 1 (newest).
    fn places(&self) -> Vec<f64> {
        let mut order: Vec<(i64, i64, u32)> = (0_u32..)
            .zip(&self.index.entries)
            .filter(|(_, entry)| entry.alive)
            .map(|(number, entry)| (entry.at, entry.seq, number))
            .collect();
        order.sort();
        let all = count_f64(order.len());
        let mut places = vec![0.0; self.index.entries.len()];
        for (rank, (_, _, number)) in (1_usize..).zip(order) {
            if let Some(place) = places.get_mut(wide(number)) {
                *place = count_f64(rank) / all;
            }
        }
        places
    }

    fn reasons(&self, entry: &Entry, number: u32, recent: bool, fused: bool) -> Reasons {
        let mut reasons = Reasons {
            speaker: self.asked.speakers.contains(&entry.sender),
            date: self.fit(entry, number) > 1.0,
            recency: recent,
            vector: fused,
            ..Reasons::default()
        };
        for term in &self.asked.terms {
            let stems = std::iter::once(&term.stem).chain(&term.kindred);
            let mut own = false;
            let mut near = false;
            for stem in stems {
                let list = self.index.having(stem);
                let has = |item: u32| list.binary_search_by_key(&item, |p| p.item).is_ok();
                own |= has(number);
                self.around(number, |neighbour, _| near |= has(neighbour));
            }
            if own {
                reasons.terms.push(term.plain.clone());
            } else if near {
                reasons.nearby.push(term.plain.clone());
            }
        }
        reasons
    }
}

/// What a lone ideograph is worth beside a pair.
const PART_WORTH: f64 = 0.3;
/// More names in one item say no more.
const NAMES_ENOUGH: u8 = 3;

fn hundredths(weight: f64) -> u32 {
    (0..=100_u32).rev().find(|percent| f64::from(*percent) / 100.0 <= weight).unwrap_or_default()
}

/// A sum of lengths as a number to calculate with.
fn whole(sum: u64) -> f64 {
    count_f64(usize::try_from(sum).unwrap_or(usize::MAX))
}
