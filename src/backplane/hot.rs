//! Counters that are counted all the time, found without writing their labels anew.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::Mutex,
};

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use crate::backplane::locks::lock;

/// Entries kept; what is counted beyond them is found the slow way.
const HOT_MAX: usize = 1024;

/// A count and its durations.
pub(crate) type Pair = (Counter, Histogram);

struct Entry {
    words: Box<[Box<str>]>,
    number: u32,
    pair: Pair,
}

/// Finds a pair by some words and a number.
#[derive(Default)]
pub(crate) struct Hot {
    hasher: RandomState,
    entries: Mutex<HashMap<u64, Vec<Entry>>>,
}

impl fmt::Debug for Hot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hot")
    }
}

impl Hot {
    /// The pair of `words` and `number`; `make` finds it the slow way.
    pub(crate) fn get(&self, words: &[&str], number: u32, make: impl FnOnce() -> Pair) -> Pair {
        let hash = self.hasher.hash_one((words, number));
        let mut entries = lock(&self.entries);
        if let Some(known) = entries.get(&hash) {
            let same = |entry: &&Entry| {
                entry.number == number
                    && entry.words.iter().map(AsRef::as_ref).eq(words.iter().copied())
            };
            if let Some(entry) = known.iter().find(same) {
                return entry.pair.clone();
            }
        }
        let pair = make();
        if entries.len() < HOT_MAX {
            let words = words.iter().map(|word| (*word).into()).collect();
            entries.entry(hash).or_default().push(Entry { words, number, pair: pair.clone() });
        }
        pair
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Pair {
        (Counter::default(), Histogram::new([1.0]))
    }

    #[test]
    fn the_same_words_and_number_give_the_same_counter_others_another() {
        let hot = Hot::default();
        hot.get(&["a", "b"], 1, pair).0.inc();
        hot.get(&["a", "b"], 1, pair).0.inc();
        assert_eq!(hot.get(&["a", "b"], 1, pair).0.get(), 2);
        for (words, number) in [(["a", "b"], 2), (["b", "a"], 1), (["ab", ""], 1)] {
            assert_eq!(hot.get(&words, number, pair).0.get(), 0, "{words:?}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let hot = Hot::default();
        for number in 0..5000 {
            hot.get(&["a"], number, pair);
        }
        assert!(hot.entries.lock().unwrap().len() <= HOT_MAX);
    }
}
