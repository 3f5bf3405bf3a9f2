//! What of a ranking fits into a prompt: a budget of tokens, and nothing twice.

use std::collections::BTreeSet;

use unicode_segmentation::UnicodeSegmentation as _;

/// Words of a piece that two texts are compared by (count).
const SHINGLE_WORDS: usize = 3;
/// Two texts that share at least this much of their pieces say the same (Jaccard, in percent).
const SAME_PERCENT: usize = 80;
/// Bytes of a token of text without spaces or in odd letters, and of long words, about.
const TOKEN_CHARS: usize = 4;

/// What fits of a ranking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The places in the ranking of what is kept, in its order.
    pub kept: Vec<usize>,
    /// How many are left out because they say what a better one says.
    pub duplicates: usize,
    /// How many are left out because they do not fit any more.
    pub over_budget: usize,
    /// Tokens of what is kept.
    pub tokens: usize,
}

impl Chosen {
    /// How many are left out in all.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.duplicates + self.over_budget
    }
}

/// Tokens of a text, about, as usual models count them: one for each four letters or digits of a
/// word, begun ones whole; one for each character of scripts without spaces; one for each run of
/// other signs. Never less than the number of words.
#[must_use]
pub fn tokens(text: &str) -> usize {
    let piece = |piece: &str| {
        if piece.chars().all(char::is_whitespace) {
            0
        } else {
            let ascii = piece.chars().filter(char::is_ascii).count();
            let others = piece.chars().count() - ascii;
            ascii.div_ceil(TOKEN_CHARS) + others.div_ceil(2).max(usize::from(others > 0))
        }
    };
    text.split_word_bounds().map(piece).sum()
}

/// Chooses from texts in the order of their ranking what fits `max_tokens`, near-duplicates left
/// out: what is later in the ranking and shares four fifths of its three-word pieces with one that
/// is kept. A text that does not fit is left out, a later and shorter one may still fit.
#[must_use]
pub fn choose(texts: &[&str], max_tokens: Option<usize>) -> Chosen {
    let mut chosen = Chosen::default();
    let mut seen: Vec<BTreeSet<String>> = Vec::new();
    for (place, text) in texts.iter().enumerate() {
        let pieces = shingles(text);
        if seen.iter().any(|kept| same(kept, &pieces)) {
            chosen.duplicates += 1;
            continue;
        }
        let cost = tokens(text);
        if max_tokens.is_some_and(|most| chosen.tokens.saturating_add(cost) > most) {
            chosen.over_budget += 1;
            continue;
        }
        chosen.tokens = chosen.tokens.saturating_add(cost);
        chosen.kept.push(place);
        seen.push(pieces);
    }
    chosen
}

fn shingles(text: &str) -> BTreeSet<String> {
    let words: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
    if words.len() < SHINGLE_WORDS {
        return BTreeSet::from([words.join(" ")]);
    }
    words.windows(SHINGLE_WORDS).map(|piece| piece.join(" ")).collect()
}

fn same(one: &BTreeSet<String>, other: &BTreeSet<String>) -> bool {
    let shared = one.intersection(other).count();
    let all = one.len() + other.len() - shared;
    shared * 100 >= all * SAME_PERCENT
}
