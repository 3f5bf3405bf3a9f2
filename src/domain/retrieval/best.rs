//! The best of many: a heap that never holds more than are wanted.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use super::index::Entry;

/// Items found at once at most (count).
const LIMIT_MAX: usize = 1000;

/// An item with its place in the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// What it is ordered by.
    pub(super) score: f64,
    /// What it has of the question.
    pub(super) raw: f64,
    pub(super) number: u32,
    pub(super) seq: i64,
    at: i64,
}

impl Candidate {
    pub(super) fn new(raw: f64, number: u32, entry: &Entry) -> Self {
        Candidate { score: raw, raw, number, seq: entry.seq, at: entry.at }
    }
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
pub(super) struct Best {
    most: usize,
    heap: BinaryHeap<Reverse<Candidate>>,
}

impl Best {
    pub(super) fn new(limit: usize) -> Self {
        Best { most: limit.min(LIMIT_MAX), heap: BinaryHeap::new() }
    }

    pub(super) fn offer(&mut self, candidate: Candidate) {
        if self.heap.len() < self.most {
            self.heap.push(Reverse(candidate));
        } else if self.heap.peek().is_some_and(|Reverse(worst)| candidate > *worst) {
            self.heap.pop();
            self.heap.push(Reverse(candidate));
        }
    }

    pub(super) fn ordered(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(candidate)| candidate).collect()
    }
}
