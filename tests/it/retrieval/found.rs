//! What is found, in which order, and which reasons are given.

use cortex::domain::retrieval::{Filter, Index, Prepared, Question, Source, Vectors, Weights};

use super::{DAY, NOON, ask, asked, plain, said, seqs};

fn talk() -> Index {
    Index::of([
        said(1, "Ada", "I finally bought the kayak, a red one."),
        said(2, "Bob", "Great! What do you call it?"),
        said(3, "Ada", "Perdita, after my aunt."),
        said(4, "Bob", "My kayak is still in the garage."),
        said(5, "Ada", "By the way, error E4031 is back on the ingest host."),
    ])
}

#[test]
fn an_answer_borrows_from_its_question_and_the_person_named_goes_first() {
    let found = ask(&talk(), "What did Ada call her kayak?");
    let places = seqs(&found);
    let place = |seq: i64| places.iter().position(|found| *found == seq).unwrap();
    assert!(place(3) < place(4), "{places:?}: hers before his");
    let answer = &found[place(3)];
    assert!(answer.reasons.terms.is_empty());
    assert_eq!(answer.reasons.nearby, ["call", "kayak"]);
    assert_eq!(answer.reasons.signals(), ["nearby", "speaker"]);
}

#[test]
fn words_are_found_as_written_by_stem_accent_code_slip_and_compound() {
    let index = Index::of([
        said(1, "Ada", "The ingest job died with ERR_CONN_RESET again"),
        said(2, "Bob", "I sent my résumé to the fundraisers"),
        said(3, "Ada", "Our road trip to Kraków went well"),
        said(4, "Bob", "Nothing of note"),
        said(5, "Ada", "我昨天买了一只猫"),
        said(6, "Bob", "Wir haben die Straßenbahn genommen"),
    ]);
    for (question, seq) in [
        ("ERR_CONN_RESET", 1),
        ("err_conn_reset", 1),
        ("resume", 2),
        ("funraiser", 2),
        ("roadtrips", 3),
        ("krakow", 3),
        ("went going", 3),
        ("猫", 5),
        ("昨天", 5),
        ("strassenbahn", 6),
    ] {
        assert_eq!(ask(&index, question).first().map(|found| found.seq), Some(seq), "{question}");
    }
}

#[test]
fn scores_fall_from_one_and_equal_items_come_newest_first() {
    let index = Index::of(
        (1..=5)
            .map(|seq| Prepared::of(&Source { session: "other", content: "kayak", ..plain(seq) })),
    );
    let found = ask(&index, "kayak");
    assert!((found[0].score - 1.0).abs() < 1e-12);
    assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert!(found.iter().all(|found| found.relevance > 0.0 && found.relevance < 1.0));
    let mut apart = Index::new();
    for seq in [3, 1, 2] {
        apart.insert(&Prepared::of(&Source { session: "x", content: "kayak", ..far_apart(seq) }));
    }
    assert_eq!(seqs(&ask(&apart, "kayak")), [3, 2, 1]);
}

/// Too far apart in time to be neighbours.
fn far_apart(seq: i64) -> Source<'static> {
    Source { at: NOON + seq * DAY, ..plain(seq) }
}

#[test]
fn recency_counts_as_far_as_it_is_asked_for() {
    let index = Index::of((1..=9).map(|seq| {
        let content = if seq == 2 { "kayak kayak lessons" } else { "a kayak and much else to say" };
        Prepared::of(&Source { content, ..far_apart(seq) })
    }));
    let first = |recency_weight| {
        let question = Question { recency_weight, ..asked("kayak lessons") };
        let found = index.search(&question, &Weights::default());
        (found[0].seq, found[0].reasons.recency)
    };
    assert_eq!(first(None), (2, false));
    assert_eq!(first(Some(0.0)), (2, false));
    assert_eq!(first(Some(1.0)), (9, true));
    assert_eq!(first(Some(f64::NAN)), (2, false));
    let all = ask(&index, "kayak");
    let newest = all.iter().find(|found| found.seq == 9).unwrap();
    assert!((newest.recency - 1.0).abs() < 1e-12);
}

#[test]
fn a_question_about_a_day_finds_what_was_said_then_or_about_then() {
    let index = Index::of((0..40).map(|seq| {
        let content = match seq {
            11 => "Yesterday we went bowling, two strikes!",
            30 => "The weather is nice",
            _ => "Nothing happened here",
        };
        let at = NOON - (40 - seq) * DAY;
        Prepared::of(&Source { content, at, ..plain(seq) })
    }));
    // Item 11 is of 20 February.
    let found = ask(&index, "Which recreational activity was on 19 February 2024?");
    assert_eq!(found[0].seq, 11);
    assert!(found[0].reasons.date);
    let distant = Index::of([
        Prepared::of(&Source { content: "We moved to Lisbon today!", ..far_apart(0) }),
        Prepared::of(&Source { content: "Dinner with Carla", at: NOON - 14 * DAY, ..plain(1) }),
        Prepared::of(&Source { content: "Dinner with Dora", at: NOON - 90 * DAY, ..plain(2) }),
    ]);
    let found = ask(&distant, "Who came to dinner two weeks before the move to Lisbon?");
    let dinners: Vec<i64> = seqs(&found).into_iter().filter(|seq| *seq != 0).collect();
    assert_eq!(dinners, [1, 2]);
}

#[test]
fn filters_keep_out_what_is_outside() {
    let items = [
        Source { content: "kayak", session: "a", ..plain(1) },
        Source { content: "kayak", session: "b", ..plain(2) },
        Source { content: "kayak", sender: "Bob", ..plain(3) },
        Source { content: "kayak", role: "assistant", ..plain(4) },
        Source { content: "kayak", at: NOON + DAY, ..plain(5) },
    ];
    let index = Index::of(items.iter().map(Prepared::of));
    let only = |filter: Filter<'_>| {
        let mut found =
            seqs(&index.search(&Question { filter, ..asked("kayak") }, &Weights::default()));
        let mut newest = index.newest(&filter, 10);
        found.sort_unstable();
        newest.sort_unstable();
        assert_eq!(found, newest);
        found
    };
    let all = Filter::default();
    assert_eq!(only(all), [1, 2, 3, 4, 5]);
    assert_eq!(only(Filter { session: Some("a"), ..all }), [1]);
    assert!(only(Filter { session: Some("nowhere"), ..all }).is_empty());
    assert_eq!(only(Filter { sender: Some("Bob"), ..all }), [3]);
    assert_eq!(only(Filter { role: Some("assistant"), ..all }), [4]);
    assert_eq!(only(Filter { from: Some(NOON + DAY), ..all }), [5]);
    assert_eq!(only(Filter { to: Some(NOON + DAY), ..all }), [1, 2, 3, 4]);
    let odd = |seq: i64| seq % 2 == 1;
    assert_eq!(only(Filter { allows: Some(&odd), ..all }), [1, 3, 5]);
}

#[test]
fn vectors_find_what_no_word_does_and_say_so() {
    let index = talk();
    let cosine = |seq: i64| Some(if seq == 5 { 0.9 } else { 0.1 });
    let vectors = Some(Vectors { cosine: &cosine });
    let question = Question { vectors, ..asked("server trouble") };
    let found = index.search(&question, &Weights::default());
    assert_eq!(found[0].seq, 5);
    assert!(found[0].reasons.vector);
    let none = |_: i64| None;
    let vectors = Some(Vectors { cosine: &none });
    let without = index.search(&Question { vectors, ..asked("kayak") }, &Weights::default());
    assert_eq!(without, ask(&index, "kayak"), "no vectors, no difference");
}

#[test]
fn a_question_without_words_finds_nothing_and_one_of_a_person_theirs() {
    let index = talk();
    assert_eq!(ask(&index, ""), []);
    assert_eq!(ask(&index, "what is it?"), []);
    assert_eq!(ask(&Index::new(), "kayak"), []);
    assert_eq!(seqs(&ask(&index, "What did Bob say?"))[..1], [4]);
    assert_eq!(index.newest(&Filter::default(), 2), [5, 4]);
}

#[test]
fn who_asks_speaks_of_what_they_said_and_of_what_the_other_said() {
    let index = Index::of([
        Prepared::of(&Source { content: "A good restaurant", role: "user", ..far_apart(1) }),
        Prepared::of(&Source { content: "A good restaurant", role: "assistant", ..far_apart(2) }),
    ]);
    assert_eq!(seqs(&ask(&index, "Which restaurant did I like?")), [1, 2]);
    assert_eq!(seqs(&ask(&index, "Which restaurant did you tell me about?")), [2, 1]);
}

#[test]
fn a_role_that_is_also_a_thing_stays_a_word_of_the_question() {
    let meeting = |seq, sender: &'static str, content: &'static str| {
        Prepared::of(&Source { sender, content, ..far_apart(seq) })
    };
    let index = Index::of([
        meeting(1, "User Interface", "The buttons should be green"),
        meeting(2, "Project Manager", "The user interface costs too much"),
        meeting(3, "Marketing", "People want fewer buttons"),
    ]);
    assert_eq!(ask(&index, "Why does the user interface cost so much?")[0].seq, 2);
    assert_eq!(ask(&index, "What did User Interface say of the buttons?")[0].seq, 1);
    assert_eq!(ask(&index, "what does marketing want?")[0].seq, 3);
}
