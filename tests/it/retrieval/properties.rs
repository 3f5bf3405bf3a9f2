//! What must hold of an index and its searches whatever comes.

use cortex::domain::retrieval::{
    Filter, Found, Index, Prepared, Question, Source, Weights, budget, words,
};
use proptest::prelude::*;

use super::{NOON, asked};

const WORDS: [&str; 14] = [
    "kayak",
    "kayaks",
    "lisbon",
    "move",
    "yesterday",
    "in May",
    "Ada",
    "Bob",
    "17",
    "who?",
    "book",
    "fundraiser",
    "猫が好き",
    "when",
];

#[derive(Clone, Debug)]
struct Item {
    seq: i64,
    session: &'static str,
    sender: &'static str,
    role: &'static str,
    hours: i64,
    words: Vec<&'static str>,
}

impl Item {
    fn prepared(&self) -> Prepared {
        Prepared::of(&Source {
            seq: self.seq,
            session: self.session,
            sender: self.sender,
            role: self.role,
            at: NOON + self.hours * 3_600_000,
            content: &self.words.join(" "),
            caption: None,
        })
    }
}

/// Items with different numbers, their times in no order of these.
fn items(most: usize) -> impl Strategy<Value = Vec<Item>> {
    let words = proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..6);
    let names = (
        proptest::sample::select(&["a", "b", ""][..]),
        proptest::sample::select(&["Ada Smith", "Bob Smith", "Carl"][..]),
        proptest::sample::select(&["user", "assistant"][..]),
    );
    let one = (names, 0..200_i64, words);
    proptest::collection::vec(one, 1..most).prop_map(|all| {
        let numbered = (1_i64..).zip(all);
        let item = |(seq, ((session, sender, role), hours, words))| Item {
            seq,
            session,
            sender,
            role,
            hours,
            words,
        };
        numbered.map(item).collect()
    })
}

fn question() -> impl Strategy<Value = String> {
    let words = proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..6);
    words.prop_map(|words| format!("What {}", words.join(" ")))
}

fn filled<'a>(items: impl IntoIterator<Item = &'a Item>) -> Index {
    let mut index = Index::new();
    for item in items {
        index.insert(&item.prepared());
    }
    index
}

fn search(index: &Index, text: &str, recency: Option<f64>) -> Vec<Found> {
    let question = Question { limit: 100, recency_weight: recency, ..asked(text) };
    index.search(&question, &Weights::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_insertion_changes_nothing(
        (sorted, mixed) in items(40).prop_flat_map(|items| {
            (Just(items.clone()), Just(items).prop_shuffle())
        }),
        text in question(),
        recency in proptest::option::of(0.0..1.0),
    ) {
        let one = search(&filled(&sorted), &text, recency);
        prop_assert_eq!(&one, &search(&filled(&mixed), &text, recency));
        let at_once = Index::of(mixed.iter().map(Item::prepared));
        prop_assert_eq!(&one, &search(&at_once, &text, recency));
    }

    #[test]
    fn what_is_removed_has_never_been(
        kept in items(20),
        gone in items(20),
        text in question(),
        rounds in 1..40_usize,
    ) {
        let gone: Vec<Item> =
            gone.into_iter().map(|item| Item { seq: item.seq + 1000, ..item }).collect();
        let mut index = filled(&kept);
        // Often enough for the postings to be cleaned.
        for _ in 0..rounds {
            for item in &gone {
                prop_assert!(!index.insert(&item.prepared()));
            }
            for item in &gone {
                prop_assert!(index.remove(item.seq));
                prop_assert!(!index.remove(item.seq));
            }
        }
        prop_assert_eq!(index.len(), kept.len());
        let fresh = filled(&kept);
        prop_assert_eq!(search(&index, &text, Some(0.3)), search(&fresh, &text, Some(0.3)));
        prop_assert_eq!(index.newest(&Filter::default(), 9), fresh.newest(&Filter::default(), 9));
    }

    #[test]
    fn a_replaced_item_is_what_it_is_now(
        before in items(20),
        after in items(20),
        text in question(),
    ) {
        let mut index = filled(&before);
        for item in &after {
            index.replace(&item.prepared());
        }
        let rest = before.iter().filter(|item| after.iter().all(|other| other.seq != item.seq));
        let fresh = filled(rest.chain(&after));
        prop_assert_eq!(search(&index, &text, None), search(&fresh, &text, None));
    }

    #[test]
    fn nothing_outside_a_filter_is_found(
        items in items(40),
        text in question(),
        session in proptest::option::of(proptest::sample::select(&["a", "b", "z"][..])),
        sender in proptest::option::of(proptest::sample::select(&["Carl", "Nobody"][..])),
        role in proptest::option::of(proptest::sample::select(&["user", "assistant"][..])),
        hours in proptest::option::of((0..200_i64, 0..200_i64)),
        modulus in 1..4_i64,
    ) {
        let allows = |seq: i64| seq % modulus == 0;
        let from = hours.map(|(from, _)| NOON + from * 3_600_000);
        let to = hours.map(|(_, to)| NOON + to * 3_600_000);
        let filter = Filter { session, sender, role, from, to, allows: Some(&allows) };
        let index = filled(&items);
        let question = Question { filter, limit: 100, ..asked(&text) };
        let found = index.search(&question, &Weights::default());
        let newest = index.newest(&filter, 100);
        for seq in found.iter().map(|found| found.seq).chain(newest) {
            let item = items.iter().find(|item| item.seq == seq).unwrap();
            prop_assert!(session.is_none_or(|session| session == item.session));
            prop_assert!(sender.is_none_or(|sender| sender == item.sender));
            prop_assert!(role.is_none_or(|role| role == item.role));
            let at = NOON + item.hours * 3_600_000;
            prop_assert!(from.is_none_or(|from| from <= at) && to.is_none_or(|to| at < to));
            prop_assert!(allows(seq));
        }
    }

    #[test]
    fn scores_are_ordered_shares_and_no_more_than_asked_for(
        items in items(40),
        text in question(),
        limit in 0..8_usize,
        recency in proptest::option::of(-1.0..2.0),
    ) {
        let question = Question { limit, recency_weight: recency, ..asked(&text) };
        let found = filled(&items).search(&question, &Weights::default());
        prop_assert!(found.len() <= limit);
        for one in &found {
            for share in [one.score, one.relevance, one.recency] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&share), "{:?}", one);
            }
        }
        prop_assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }

    #[test]
    fn any_text_is_stored_asked_and_counted(
        content in "\\PC{0,120}",
        sender in "\\PC{0,12}",
        caption in proptest::option::of("\\PC{0,20}"),
        text in "\\PC{0,120}",
        at: i64,
        now: Option<i64>,
        most in 0..50_usize,
    ) {
        let sources = [1, 2, 3].map(|seq| Source {
            seq,
            sender: &sender,
            at: at.saturating_add(seq),
            content: &content,
            caption: caption.as_deref(),
            ..Source::default()
        });
        let index = Index::of(sources.iter().map(Prepared::of));
        for text in [&text, &content, &sender] {
            let question = Question { now, ..asked(text) };
            let found = index.search(&question, &Weights::default());
            prop_assert!(found.len() <= 3);
            for word in words::words(text) {
                prop_assert!(!word.stem.is_empty());
            }
        }
        let chosen = budget::choose(&[&content, &text], Some(most));
        prop_assert!(chosen.tokens <= most);
        prop_assert_eq!(chosen.kept.len() + chosen.left_out(), 2);
    }
}

#[test]
fn an_index_gives_back_what_removed_items_took() {
    let long = "a rather long sentence about kayaks, lisbon, books and 17 fundraisers";
    let of = |seq: i64| Prepared::of(&Source { seq, at: seq, content: long, ..Source::default() });
    let mut index = Index::of((0..10).map(of));
    let few = index.bytes();
    for seq in 10..5000 {
        index.insert(&of(seq));
    }
    let many = index.bytes();
    assert!(many > few * 50, "{few} and {many} bytes");
    for seq in 10..5000 {
        index.remove(seq);
    }
    assert_eq!(index.len(), 10);
    assert!(index.bytes() < many / 10, "{many} and {} bytes", index.bytes());
}
