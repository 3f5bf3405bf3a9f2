//! LexRank: which sentences the others speak of as well.

use crate::domain::text::count_f64;

/// Share of a sentence's standing that comes from the others (the damping of `PageRank`).
const DAMPING: f64 = 0.85;
/// Sentences less alike than this are no neighbours (cosine).
const NEIGHBOURS_FROM: f64 = 0.1;
/// Rounds of the power iteration at most (count).
const ROUNDS_MAX: usize = 100;
/// The iteration ends when no sentence moves by more.
const STILL: f64 = 1e-9;

/// A sentence's words by number, ascending, with their weights; of length 1.
pub(super) type Words = Vec<(u32, f64)>;

/// Sentences with how alike they are.
pub(super) struct Graph {
    /// The neighbours of each, ascending.
    pub(super) alike: Vec<Vec<(usize, f64)>>,
}

/// Weighted words scaled to length 1.
pub(super) fn unit(mut words: Words) -> Words {
    words.sort_unstable_by_key(|(word, _)| *word);
    let length = words.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
    if length > 0.0 {
        words.iter_mut().for_each(|(_, weight)| *weight /= length);
    }
    words
}

impl Graph {
    /// Compares each with each: quadratic in their number.
    pub(super) fn of(sentences: &[Words]) -> Self {
        let mut alike: Vec<Vec<(usize, f64)>> = vec![Vec::new(); sentences.len()];
        for (one, words) in sentences.iter().enumerate() {
            for (other, others) in sentences.iter().enumerate().skip(one + 1) {
                let cosine = cosine(words, others);
                if cosine >= NEIGHBOURS_FROM {
                    for (from, to) in [(one, other), (other, one)] {
                        alike.get_mut(from).into_iter().for_each(|list| list.push((to, cosine)));
                    }
                }
            }
        }
        Graph { alike }
    }

    /// How alike two sentences are; 0 for those that are no neighbours.
    pub(super) fn between(&self, one: usize, other: usize) -> f64 {
        let neighbours = self.alike.get(one).map_or(&[][..], Vec::as_slice);
        let found = neighbours.binary_search_by_key(&other, |(place, _)| *place);
        found.ok().and_then(|at| neighbours.get(at)).map_or(0.0, |(_, cosine)| *cosine)
    }

    /// The standing of each (continuous LexRank, Erkan and Radev, 2004, with a share for each by
    /// itself, as in the topic-sensitive form of Otterbacher, Erkan and Radev, 2005): they sum to at
    /// most 1.
    pub(super) fn standing(&self, own: &[f64]) -> Vec<f64> {
        let all: f64 = own.iter().sum();
        let fair = 1.0 / count_f64(own.len()).max(1.0);
        let own: Vec<f64> =
            own.iter().map(|share| if all > 0.0 { share / all } else { fair }).collect();
        let given: Vec<f64> =
            self.alike.iter().map(|list| list.iter().map(|(_, cosine)| cosine).sum()).collect();
        let mut standing = own.clone();
        for _ in 0..ROUNDS_MAX {
            let next: Vec<f64> = self
                .alike
                .iter()
                .zip(&own)
                .map(|(list, own)| {
                    let from = |(place, cosine): &(usize, f64)| {
                        let (standing, given) = (standing.get(*place)?, given.get(*place)?);
                        Some(standing * cosine / given)
                    };
                    (1.0 - DAMPING) * own + DAMPING * list.iter().filter_map(from).sum::<f64>()
                })
                .collect();
            let moved = next.iter().zip(&standing).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            standing = next;
            if moved < STILL {
                break;
            }
        }
        standing
    }
}

fn cosine(one: &Words, other: &Words) -> f64 {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut sum = 0.0;
    while let (Some((a, x)), Some((b, y))) = (one.peek(), other.peek()) {
        match a.cmp(b) {
            std::cmp::Ordering::Less => drop(one.next()),
            std::cmp::Ordering::Greater => drop(other.next()),
            std::cmp::Ordering::Equal => {
                sum += x * y;
                one.next();
                other.next();
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_like_many_stands_highest() {
        let words = |list: &[u32]| unit(list.iter().map(|word| (*word, 1.0)).collect());
        let sentences = [words(&[1, 2, 3]), words(&[1, 9]), words(&[2, 8]), words(&[7]), vec![]];
        let graph = Graph::of(&sentences);
        let standing = graph.standing(&[1.0; 5]);
        let best = (0..5).max_by(|a, b| standing[*a].total_cmp(&standing[*b]));
        assert_eq!(best, Some(0));
        assert_eq!(standing[3], standing[4], "nobody speaks of them");
        assert!((graph.between(0, 1) - graph.between(1, 0)).abs() < 1e-12);
        assert_eq!(graph.between(1, 3), 0.0);
        assert!(standing.iter().sum::<f64>() <= 1.0 + 1e-9);
    }

    #[test]
    fn none_and_nothing_of_their_own_are_no_trouble() {
        assert!(Graph::of(&[]).standing(&[]).is_empty());
        let alone = Graph::of(&[vec![]]);
        assert!(alone.standing(&[0.0])[0] > 0.0);
    }
}
