//! What a question means to an index: its terms, whom and which time it names, what it asks for.

use std::collections::BTreeSet;

use super::{
    index::Index,
    question::Question,
    temporal::{Span, spans},
    words::{Word, is_ideograph, words},
};

/// Distinct terms of a question that are looked for.
pub const QUESTION_TERMS_MAX: usize = 64;
/// Shorter words have no kindred.
const KINDRED_CHARS_MIN: usize = 4;
/// Words kindred to one word (count).
const KINDRED_MAX: usize = 32;
/// A beginning of a name that is shorter names nobody.
const NICKNAME_CHARS_MIN: usize = 3;

/// A word that is looked for.
#[derive(Clone, Debug)]
pub(super) struct Term {
    /// As it was asked.
    pub(super) plain: String,
    /// As it is indexed.
    pub(super) stem: String,
    /// Whether it is one of asking rather than of what is asked.
    pub(super) filler: bool,
    /// A character that is more often part of a word than a word.
    pub(super) part: bool,
    /// Indexed words with the same beginning.
    pub(super) kindred: Vec<String>,
}

/// A question as the ranking takes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) terms: Vec<Term>,
    pub(super) speakers: Vec<u32>,
    pub(super) spans: Vec<Span>,
    pub(super) for_time: bool,
    pub(super) for_number: bool,
    pub(super) for_name: bool,
    pub(super) for_title: bool,
}

impl Asked {
    pub(super) fn of(question: &Question<'_>, now: i64, index: &Index) -> Self {
        let all = words(question.text);
        let (speakers, named) = match question.any_speaker {
            true => (Vec::new(), BTreeSet::new()),
            false => speakers(&all, index),
        };
        let mut terms = terms(&all, &named, index);
        if terms.is_empty() {
            terms = self::terms(&all, &BTreeSet::new(), index);
        }
        let has = |wanted: &[&str]| all.iter().any(|word| wanted.contains(&word.plain.as_str()));
        let pair = |first: &str, second: &[&str]| {
            let mut pairs = all.iter().zip(all.iter().skip(1));
            pairs.any(|(a, b)| a.plain == first && second.contains(&b.plain.as_str()))
        };
        Asked {
            terms,
            speakers,
            spans: spans(question.text, now),
            for_time: has(&["when", "wann", "quand"])
                || pair("how", &["long"])
                || pair("what", &["day", "date", "time", "month", "year"])
                || pair("which", &["day", "date", "month", "year", "week", "season"]),
            for_number: pair("how", &["many", "much", "old", "far", "big"])
                || has(&["wieviele", "combien"]),
            for_name: has(&["who", "whom", "where", "which", "whose", "name", "wer", "wo", "qui"]),
            for_title: has(TITLES),
        }
    }
}

const TITLES: &[&str] = &[
    "book", "books", "film", "films", "movie", "movies", "song", "songs", "album", "title",
    "called", "quote", "poem", "slogan", "series", "band", "game", "games", "novel",
];

const FILLERS: &str = "
kind kinds type types sort many often mention mentioned mentions thing things long name named time
times way ways last first recently recent currently current describe described say said tell told
talk talked discuss discussed according conversation planned plan specific various different would
likely might could potentially get got go went make made take took use used";

fn terms(all: &[Word], named: &BTreeSet<String>, index: &Index) -> Vec<Term> {
    let mut seen = BTreeSet::new();
    let mut terms = Vec::new();
    for word in all.iter().filter(|word| !word.stop && !named.contains(&word.plain)) {
        if terms.len() >= QUESTION_TERMS_MAX || !seen.insert(word.stem.clone()) {
            continue;
        }
        terms.push(Term {
            plain: word.plain.clone(),
            stem: word.stem.clone(),
            filler: FILLERS.split_ascii_whitespace().any(|filler| filler == word.plain),
            part: word.plain.chars().all(is_ideograph) && word.plain.chars().nth(1).is_none(),
            kindred: kindred(&word.stem, index),
        });
    }
    terms
}

/// Indexed words that share at least three quarters of the shorter and half of the longer word.
fn kindred(stem: &str, index: &Index) -> Vec<String> {
    let length = stem.chars().count();
    if length < KINDRED_CHARS_MIN || !stem.is_ascii() || stem.bytes().any(|b| b.is_ascii_digit()) {
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
    });
    near.map(|(other, _)| other.to_owned()).take(KINDRED_MAX).collect()
}

/// The senders a question names, and the words it names them with.
///
/// A sender is named by a word of the name, or by its beginning when no other name has it whole.
/// Whoever is named by fewer words of one name than another gives way ("Ada Smith" and "Bob Smith").
fn speakers(all: &[Word], index: &Index) -> (Vec<u32>, BTreeSet<String>) {
    let capitals = all.iter().skip(1).any(|word| word.capital);
    let may_name = |word: &&Word| !word.stop && (word.capital || !capitals);
    let said: BTreeSet<&str> = all.iter().filter(may_name).map(|w| w.plain.as_str()).collect();
    let senders: Vec<(Vec<Word>, u32)> = index.sender_words().collect();
    let matched = |fits: &dyn Fn(&str, &str) -> bool| {
        let mut found: Vec<(u32, BTreeSet<String>)> = Vec::new();
        for (name, number) in &senders {
            let parts = || name.iter().filter(|word| !word.stop);
            let hits = said.iter().filter(|word| parts().any(|part| fits(word, &part.plain)));
            let hits: BTreeSet<String> = hits.map(|word| (*word).to_owned()).collect();
            if !hits.is_empty() {
                found.push((*number, hits));
            }
        }
        found
    };
    let mut found = matched(&|word, part| word == part);
    if found.is_empty() {
        found = matched(&|word, part| {
            word.chars().count() >= NICKNAME_CHARS_MIN && part.starts_with(word)
        });
    }
    let gives_way = |hits: &BTreeSet<String>| {
        found.iter().any(|(_, others)| others.len() > hits.len() && hits.is_subset(others))
    };
    let named: Vec<u32> =
        found.iter().filter(|(_, hits)| !gives_way(hits)).map(|(number, _)| *number).collect();
    (named, found.into_iter().flat_map(|(_, hits)| hits).collect())
}
