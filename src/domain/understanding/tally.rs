//! Counts of many things in bounded memory: the rarest are forgotten when there are too many.

use std::{collections::HashMap, hash::Hash};

/// Counts, of at most so many things.
#[derive(Clone, Debug)]
pub(super) struct Tally<K> {
    counts: HashMap<K, u32>,
    most: usize,
}

impl<K: Hash + Eq + Ord + Clone> Tally<K> {
    /// Counts of at most `most` things (count).
    pub(super) fn new(most: usize) -> Self {
        Tally { counts: HashMap::new(), most: most.max(1) }
    }

    /// Counts one more.
    pub(super) fn add(&mut self, key: K) {
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(1);
        if self.counts.len() > self.most {
            forget_rarest(&mut self.counts, self.most, |count| *count);
        }
    }

    /// How often something was counted, as far as it is not forgotten.
    pub(super) fn of(&self, key: &K) -> u32 {
        self.counts.get(key).copied().unwrap_or_default()
    }

    /// The commonest, equal ones in their order.
    pub(super) fn commonest(&self, most: usize) -> Vec<(K, u32)> {
        let mut all: Vec<(&K, u32)> =
            self.counts.iter().map(|(key, count)| (key, *count)).collect();
        all.sort_unstable_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
        all.truncate(most);
        all.into_iter().map(|(key, count)| (key.clone(), count)).collect()
    }
}

/// Forgets what was counted least, step by step, until at most three quarters of `most` are left.
/// What goes depends on the counts alone.
pub(super) fn forget_rarest<K: Hash + Eq, V>(
    counts: &mut HashMap<K, V>,
    most: usize,
    count: impl Fn(&V) -> u32,
) {
    let mut floor: u32 = 1;
    while counts.len() > most - most / 4 {
        counts.retain(|_, value| count(value) > floor);
        floor = floor.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_outlive_the_rare() {
        let mut tally = Tally::new(10);
        for round in 0..100 {
            tally.add("often".to_owned());
            tally.add(format!("rare {round}"));
            assert!(tally.counts.len() <= 10);
        }
        assert_eq!(tally.of(&"often".to_owned()), 100);
        assert_eq!(tally.commonest(1), [("often".to_owned(), 100)]);
    }

    #[test]
    fn equal_ones_stand_in_their_order() {
        let mut tally = Tally::new(10);
        for word in ["b", "a", "c", "c"] {
            tally.add(word);
        }
        assert_eq!(tally.commonest(9), [("c", 2), ("a", 1), ("b", 1)]);
    }
}
