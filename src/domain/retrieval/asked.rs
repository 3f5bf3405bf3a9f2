//! What a question means to an index: its terms, whom and which time it names, what it asks for.

use std::collections::BTreeSet;

use super::{
    index::Index,
    question::Question,
    spelling::{kindred, parts, slips},
    temporal::{Span, spans},
    words::{Word, is_ideograph, words},
};

/// Distinct terms of a question that are looked for.
const QUESTION_TERMS_MAX: usize = 64;
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
    /// Indexed words one slip away, when it is not indexed itself.
    pub(super) repaired: Vec<String>,
    /// Indexed words with the same beginning.
    pub(super) kindred: Vec<String>,
}

/// A question as the ranking takes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) terms: Vec<Term>,
    /// The senders it names, in its order.
    pub(super) speakers: Vec<u32>,
    /// The days it names.
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
            for_name: has(NAMES_ASKED),
            for_title: has(TITLES_ASKED),
        }
    }
}

/// Words of questions that a name answers.
const NAMES_ASKED: &[&str] = &[
    "who",
    "whom",
    "whose",
    "where",
    "which",
    "name",
    "country",
    "countries",
    "city",
    "cities",
    "state",
    "states",
    "place",
    "places",
    "wer",
    "wen",
    "wem",
    "wo",
    "wohin",
    "welche",
    "welcher",
    "welches",
    "qui",
    "ou",
    "quel",
    "quelle",
];

/// Words of questions that a title or a saying answers.
const TITLES_ASKED: &[&str] = &[
    "book", "books", "film", "films", "movie", "movies", "song", "songs", "album", "title",
    "called", "quote", "poem", "slogan", "series", "band", "game", "games", "novel", "buch",
    "lied", "livre",
];

/// Words of asking, which say less than others.
const FILLERS: &str = "
kind kinds type types sort many often mention mentioned mentions thing things long name named time
times way ways last first recently recent currently current describe described say said tell told
talk talked discuss discussed according conversation planned plan specific various different would
likely might could potentially get got go went make made take took use used";

fn terms(all: &[Word], named: &BTreeSet<String>, index: &Index) -> Vec<Term> {
    let mut seen = BTreeSet::new();
    let mut terms = Vec::new();
    for word in all.iter().filter(|word| !word.stop && !named.contains(&word.plain)) {
        let unknown = !index.knows(&word.stem);
        let split = if unknown { parts(&word.plain, index) } else { None };
        let stems = split.map_or_else(|| vec![word.stem.clone()], |(a, b)| vec![a, b]);
        for stem in stems {
            if terms.len() >= QUESTION_TERMS_MAX || !seen.insert(stem.clone()) {
                continue;
            }
            let unknown = !index.knows(&stem);
            terms.push(Term {
                plain: word.plain.clone(),
                filler: FILLERS.split_ascii_whitespace().any(|filler| filler == word.plain),
                part: word.plain.chars().all(is_ideograph) && word.plain.chars().nth(1).is_none(),
                repaired: if unknown { slips(&stem, index) } else { Vec::new() },
                kindred: kindred(&stem, index),
                stem,
            });
        }
    }
    terms
}

/// The senders a question names, in its order, and the words it names them with.
///
/// A sender is named by a word of the name, or by its beginning when no name has it whole. Who is
/// named by fewer words of one name than another gives way ("Ada Smith" and "Bob Smith").
fn speakers(all: &[Word], index: &Index) -> (Vec<u32>, BTreeSet<String>) {
    let capitals = all.iter().skip(1).any(|word| word.capital);
    let may_name = |word: &&Word| !word.stop && (word.capital || !capitals);
    let said: Vec<&str> = all.iter().filter(may_name).map(|word| word.plain.as_str()).collect();
    let senders: Vec<(Vec<Word>, u32)> = index.sender_words().collect();
    let matched = |fits: &dyn Fn(&str, &str) -> bool| {
        let mut found: Vec<(usize, u32, BTreeSet<String>)> = Vec::new();
        for (name, number) in &senders {
            let names = |word: &str| name.iter().any(|part| !part.stop && fits(word, &part.plain));
            let hits: BTreeSet<String> =
                said.iter().filter(|word| names(word)).map(|word| (*word).to_owned()).collect();
            if let Some(first) = said.iter().position(|word| names(word)) {
                found.push((first, *number, hits));
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
    // Numbers of senders depend on the order of insertion, places in the question do not.
    found.sort_by_key(|(first, _, _)| *first);
    let gives_way = |hits: &BTreeSet<String>| {
        found.iter().any(|(_, _, others)| others.len() > hits.len() && hits.is_subset(others))
    };
    let named = found
        .iter()
        .filter(|(_, _, hits)| !gives_way(hits))
        .map(|(_, number, _)| *number)
        .collect();
    (named, found.into_iter().flat_map(|(_, _, hits)| hits).collect())
}
