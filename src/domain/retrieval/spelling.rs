//! Words that are nearly those of an index: with the same beginning, one slip away, or two in one.

use super::{index::Index, words::stem};

/// Shorter words have no kindred.
const KINDRED_CHARS_MIN: usize = 4;
/// Words kindred to one word, and words one slip away from it (count).
const NEAR_MAX: usize = 32;
/// A shorter word has too many others one slip away, or is no two words.
const SLIP_CHARS_MIN: usize = 5;
/// A part of two words written as one is no shorter.
const PART_CHARS_MIN: usize = 3;

/// Indexed words that share at least three quarters of the shorter and half of the longer word.
pub(super) fn kindred(stem: &str, index: &Index) -> Vec<String> {
    let length = stem.chars().count();
    if length < KINDRED_CHARS_MIN || !is_letters(stem) {
        return Vec::new();
    }
    let head: String = stem.chars().take(KINDRED_CHARS_MIN - 1).collect();
    let near = index.terms.beginning(&head).filter(|(other, _)| {
        let others = other.chars().count();
        let shared = stem.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
        *other != stem
            && others >= KINDRED_CHARS_MIN
            && shared * 4 >= length.min(others) * 3
            && shared * 2 >= length.max(others)
            && index.knows(other)
    });
    near.map(|(other, _)| other.to_owned()).take(NEAR_MAX).collect()
}

/// Indexed words with the same first letter that one letter too many, too few or wrong, or two
/// neighbouring letters the wrong way round, would make of a word.
pub(super) fn slips(stem: &str, index: &Index) -> Vec<String> {
    let Some(first) = stem.chars().next() else { return Vec::new() };
    if stem.chars().count() < SLIP_CHARS_MIN || !is_letters(stem) {
        return Vec::new();
    }
    let head = first.to_string();
    let near = index.terms.beginning(&head);
    let used = near.filter(|(other, _)| is_one_slip(stem, other) && index.knows(other));
    used.map(|(other, _)| other.to_owned()).take(NEAR_MAX).collect()
}

/// Two indexed words that a word is written from (`roadtrip`).
pub(super) fn parts(plain: &str, index: &Index) -> Option<(String, String)> {
    if plain.chars().count() < 2 * PART_CHARS_MIN || !is_letters(plain) {
        return None;
    }
    let both = |at: usize| {
        let (first, second) = plain.split_at_checked(at)?;
        let (first, second) = (stem(first), stem(second));
        let known = index.knows(&first) && index.knows(&second);
        known.then_some((first, second))
    };
    (PART_CHARS_MIN..=plain.len().saturating_sub(PART_CHARS_MIN)).find_map(both)
}

fn is_letters(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn is_one_slip(one: &str, other: &str) -> bool {
    let (a, b) = (one.as_bytes(), other.as_bytes());
    let longer = a.len().max(b.len());
    if a.len().abs_diff(b.len()) > 1 || b.len() < SLIP_CHARS_MIN - 1 || a == b {
        return false;
    }
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let turned = || {
        let pair = |word: &[u8]| Some((*word.get(head)?, *word.get(head + 1)?));
        let (first, second) = (pair(a), pair(b).map(|(x, y)| (y, x)));
        a.len() == b.len() && head + tail + 2 == longer && first.is_some() && first == second
    };
    head + tail + 1 >= longer || turned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::retrieval::{Prepared, Source};

    fn index(text: &str) -> Index {
        Index::of([Prepared::of(&Source { content: text, ..Source::default() })])
    }

    #[test]
    fn a_slip_is_one_letter_or_two_turned() {
        for (one, other) in [
            ("funrais", "fundrais"),
            ("kayack", "kayak"),
            ("freind", "friend"),
            ("violon", "violin"),
        ] {
            assert!(is_one_slip(one, other), "{one} {other}");
            assert!(is_one_slip(other, one), "{other} {one}");
        }
        for (one, other) in
            [("piano", "piano"), ("violin", "violet"), ("art", "ant"), ("frdn", "friend")]
        {
            assert!(!is_one_slip(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_compound_is_its_two_words_and_an_unknown_word_its_neighbour() {
        let index = index("Our road trip raised money at the fundraiser, with photographs");
        assert_eq!(parts("roadtrips", &index), Some(("road".to_owned(), "trip".to_owned())));
        assert_eq!(parts("roadside", &index), None);
        assert_eq!(slips("funrais", &index), ["fundrais"]);
        assert_eq!(kindred("photo", &index), ["photograph"]);
    }
}
