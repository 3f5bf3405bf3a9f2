//! Says whether texts sound glad or unhappy, by counting words of two fixed lists.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::domain::text::{count_f64, word_set, words};

/// How many words after a negation may stand before the word it turns (`not a very good`).
const NEGATION_REACH_WORDS: usize = 3;

/// How glad some texts sound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sentiment {
    /// From -1 (only negative words) to 1 (only positive ones); 0 when there is neither.
    pub score: f64,
    /// How many positive words were found.
    pub positive: usize,
    /// How many negative words were found.
    pub negative: usize,
}

/// Counts positive and negative words of all `texts`: `score` is (p - n) / (p + n).
///
/// A negation shortly before such a word in the same clause turns it round: `not good` counts as
/// negative, `no problem` as positive. One negation turns one word.
pub fn sentiment<I>(texts: I) -> Sentiment
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let (mut positive, mut negative) = (0_usize, 0_usize);
    for text in texts {
        for clause in text.as_ref().split(ends_clause) {
            let (glad, unhappy) = count_clause(clause);
            positive = positive.saturating_add(glad);
            negative = negative.saturating_add(unhappy);
        }
    }
    Sentiment::between(positive, negative)
}

impl Sentiment {
    /// How texts sound with so many words of each side.
    #[must_use]
    pub fn between(positive: usize, negative: usize) -> Self {
        let (p, n) = (count_f64(positive), count_f64(negative));
        let score = if p + n > 0.0 { (p - n) / (p + n) } else { 0.0 };
        Sentiment { score, positive, negative }
    }
}

fn ends_clause(c: char) -> bool {
    matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '\n' | '—' | '–' | '…')
}

fn count_clause(clause: &str) -> (usize, usize) {
    static POSITIVE: LazyLock<HashSet<&str>> = LazyLock::new(|| word_set(POSITIVE_LIST));
    static NEGATIVE: LazyLock<HashSet<&str>> = LazyLock::new(|| word_set(NEGATIVE_LIST));
    let (mut positive, mut negative) = (0, 0);
    let mut turned_for: usize = 0; // how many more words the last negation reaches
    for word in words(clause) {
        let glad = POSITIVE.contains(word.as_str());
        if glad || NEGATIVE.contains(word.as_str()) {
            if glad != (turned_for > 0) {
                positive += 1;
            } else {
                negative += 1;
            }
            turned_for = 0;
        } else if is_negation(&word) {
            turned_for = NEGATION_REACH_WORDS;
        } else if word == "but" || word == "only" {
            turned_for = 0; // "not fast but good", "not only good"
        } else {
            turned_for = turned_for.saturating_sub(1);
        }
    }
    (positive, negative)
}

fn is_negation(word: &str) -> bool {
    static NEGATIONS: LazyLock<HashSet<&str>> = LazyLock::new(|| word_set(NEGATION_LIST));
    word.ends_with("n't") || NEGATIONS.contains(word)
}

const NEGATION_LIST: &str = "
no not never none nor neither nothing nobody cannot without hardly barely
dont doesnt didnt isnt arent wasnt werent wont cant couldnt";

const POSITIVE_LIST: &str = "
amazing appreciate awesome beautiful best better brilliant cool delighted easy enjoy enjoyed
excellent excited fantastic fast fun glad good great happy helpful impressive like love loved loves
nice perfect pleasant pleased reliable smooth success successful thank thanks useful win wonderful
works";

const NEGATIVE_LIST: &str = "
angry annoyed annoying awful bad bored boring broken bug bugs confused confusing crash crashed
difficult disappointed disappointing error errors fail failed fails failure frustrated frustrating
hate hated horrible issue issues poor problem problems sad slow terrible ugly unhappy useless worse
worst wrong";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, positive: usize, negative: usize) {
        let found = sentiment([text]);
        assert_eq!((found.positive, found.negative), (positive, negative), "{text:?}");
    }

    #[test]
    fn nothing_is_neutral() {
        assert_eq!(sentiment(Vec::<&str>::new()), Sentiment::default());
        assert_eq!(sentiment(["", "the table stands there"]), Sentiment::default());
    }

    #[test]
    fn counts_both_sides() {
        check("A great, GREAT day", 2, 0);
        check("a terrible and slow thing", 0, 2);
        check("good but slow", 1, 1);
        check("goodness sadness", 0, 0);
    }

    #[test]
    fn negation_turns_the_next_telling_word() {
        check("not good", 0, 1);
        check("this isn't good", 0, 1);
        check("It isn’t a very good idea", 0, 1);
        check("no problem", 1, 0);
        check("I don't like it", 0, 1);
        check("never a bad day", 1, 0);
        check("not bad great", 2, 0);
    }

    #[test]
    fn negation_ends_with_its_clause_and_its_reach() {
        check("No, good idea", 1, 0);
        check("I did not go. Great day", 1, 0);
        check("not one two three four good", 1, 0);
        check("not fast but good", 1, 1);
        check("not quick but good", 1, 0);
        check("not only good", 1, 0);
    }

    #[test]
    fn score_is_the_share_between_the_two() {
        assert_eq!(sentiment(["good", "great"]).score, 1.0);
        assert_eq!(sentiment(["bad"]).score, -1.0);
        assert_eq!(sentiment(["good nice great", "bad"]).score, 0.5);
        assert_eq!(sentiment(["good", "bad"]).score, 0.0);
    }

    #[test]
    fn lists_are_disjoint_lower_case_single_words_listed_once() {
        let positive = word_set(POSITIVE_LIST);
        let negative = word_set(NEGATIVE_LIST);
        assert!(positive.is_disjoint(&negative));
        for list in [POSITIVE_LIST, NEGATIVE_LIST, NEGATION_LIST] {
            assert_eq!(list.split_whitespace().count(), word_set(list).len());
            for word in list.split_whitespace() {
                assert_eq!(words(word), [word]);
            }
        }
        assert!((35..=45).contains(&positive.len()), "{}", positive.len());
        assert!((35..=45).contains(&negative.len()), "{}", negative.len());
    }
}
