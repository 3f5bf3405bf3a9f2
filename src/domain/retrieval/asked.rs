//! What a question means to an index: its terms, whom and which time it names, what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    index::Index,
    question::Question,
    spelling::{kindred, parts, slips},
    temporal::{Distance, Span, spans},
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
    /// A distance it names from something that is no date.
    pub(super) distance: Option<Distance>,
    pub(super) for_time: bool,
    pub(super) for_number: bool,
    pub(super) for_name: bool,
    pub(super) for_title: bool,
    /// The role that must have said it: who asks speaks of what they or the other one said.
    pub(super) role: Option<u32>,
}

impl Asked {
    pub(super) fn of(question: &Question<'_>, now: i64, index: &Index) -> Self {
        let all = words(question.text);
        let (speakers, named) = match question.any_speaker {
            true => (Vec::new(), BTreeSet::new()),
            false => speakers(&all, index),
        };
        let mut terms = terms(&all, &named, index);
        let distance = Distance::of(question.text, now);
        if let Some(distance) = &distance {
            // What it is measured from is not what is asked for.
            let event = words(&distance.event);
            for term in &mut terms {
                term.filler |= event.iter().any(|word| word.plain == term.plain);
            }
        }
        if terms.is_empty() {
            terms = self::terms(&all, &BTreeSet::new(), index);
        }
        let has = |wanted: &[&str]| all.iter().any(|word| wanted.contains(&word.plain.as_str()));
        let pair = |first: &str, second: &[&str]| {
            let mut pairs = all.iter().zip(all.iter().skip(1));
            pairs.any(|(a, b)| a.plain == first && second.contains(&b.plain.as_str()))
        };
        let own =
            has(&["i", "my", "me", "mine", "we", "our", "ich", "mein", "meine", "je", "mon", "ma"]);
        let others = has(&["you", "your", "du", "dein", "tu", "ton", "vous", "votre"]);
        let role = match (own, others) {
            (_, true) => index.roles.in_use("assistant"),
            (true, false) => index.roles.in_use("user"),
            (false, false) => None,
        };
        Asked {
            role: role.filter(|_| index.roles.in_use("assistant").is_some()),
            terms,
            speakers,
            spans: spans(question.text, now),
            distance,
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

/// The senders a question names, in its order, and the words that only name them.
///
/// A word with a capital names whoever has it in the name; without, the whole name must be there,
/// and its words still count as words ("user interface"), unless the question has no capitals at
/// all. Else the beginning of a name names as well. Who is named by fewer words than another of the
/// same ones gives way ("Ada Smith" and "Bob Smith").
fn speakers(all: &[Word], index: &Index) -> (Vec<u32>, BTreeSet<String>) {
    let no_capitals = !all.iter().any(|word| word.capital);
    let senders: Vec<(Vec<Word>, u32)> = index.sender_words().collect();
    let named_by = |fits: &dyn Fn(&str, &str) -> bool, whole_names: bool| {
        let mut found: Vec<Named> = Vec::new();
        for (name, number) in &senders {
            let parts = || name.iter().filter(|part| !part.stop);
            let telling = || parts().filter(|part| part.plain.chars().nth(1).is_some());
            let said = |part: &Word| all.iter().any(|word| word.plain == part.plain);
            let whole = whole_names && telling().next().is_some() && telling().all(said);
            let hits = |word: &Word| {
                !word.stop
                    && (word.capital || whole)
                    && parts().any(|part| fits(&word.plain, &part.plain))
            };
            let Some(first) = all.iter().position(hits) else { continue };
            let words = all.iter().filter(|word| hits(word));
            let words = words.map(|word| (word.plain.clone(), word.capital || no_capitals));
            found.push(Named { first, number: *number, words: words.collect() });
        }
        found
    };
    let mut found = named_by(&|word, part| word == part, true);
    if found.is_empty() {
        let begins = |word: &str, part: &str| {
            word.chars().count() >= NICKNAME_CHARS_MIN && part.starts_with(word)
        };
        found = named_by(&begins, false);
    }
    // Numbers of senders depend on the order of insertion, places in the question do not.
    found.sort_by_key(|named| named.first);
    let gives_way = |named: &Named| {
        let more = |other: &Named| {
            other.words.len() > named.words.len()
                && named.words.keys().all(|word| other.words.contains_key(word))
        };
        found.iter().any(more)
    };
    let numbers =
        found.iter().filter(|named| !gives_way(named)).map(|named| named.number).collect();
    let words = found.iter().flat_map(|named| &named.words).filter(|(_, only)| **only);
    (numbers, words.map(|(word, _)| word.clone()).collect())
}

/// A sender whom a question names.
struct Named {
    /// The place of the first word that does.
    first: usize,
    number: u32,
    /// The words, and whether they do nothing else.
    words: BTreeMap<String, bool>,
}
