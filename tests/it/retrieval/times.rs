//! Expressions of time mean the days that a person would take them for.

use cortex::domain::retrieval::temporal::{Distance, Span, spans};
use jiff::civil::Date;
use proptest::prelude::*;

use super::NOON;

fn day(number: i32) -> String {
    let epoch = Date::new(1970, 1, 1).unwrap();
    epoch.checked_add(jiff::Span::new().days(number)).unwrap().to_string()
}

fn shown(span: Span) -> String {
    if span.days() == 1 { day(span.from) } else { format!("{}..{}", day(span.from), day(span.to)) }
}

fn check(text: &str, expected: &[&str]) {
    let read: Vec<String> = spans(text, NOON).into_iter().map(shown).collect();
    assert_eq!(read, expected, "{text:?}");
}

#[test]
fn dates_are_read_in_the_forms_people_write() {
    for text in [
        "on 8 May 2023",
        "on the 8th of May 2023",
        "May 8th, 2023",
        "2023-05-08",
        "08.05.2023",
        "5/8/2023",
        "am 8. Mai 2023",
        "le 8 mai 2023",
        "我在2023年5月8日去了",
    ] {
        check(text, &["2023-05-08"]);
    }
    check("in May 2022", &["2022-05-01..2022-06-01"]);
    check("2023年5月", &["2023-05-01..2023-06-01"]);
    check("in 2022", &["2022-01-01..2023-01-01"]);
    check("the summer of 2022", &["2022-06-01..2022-09-01"]);
}

#[test]
fn what_has_no_year_is_the_last_there_was() {
    check("in May", &["2023-05-01..2023-06-01"]);
    check("in February", &["2024-02-01..2024-03-01"]);
    check("on 20 March", &["2024-03-20"]);
    check("on 21 March", &["2023-03-21"]);
    check("Christmas", &["2023-12-25"]);
    check("the 15th", &["2024-03-15"]);
    check("the 25th", &["2024-02-25"]);
}

#[test]
fn near_days_are_counted_from_now() {
    check("yesterday", &["2024-03-19"]);
    check("the day before yesterday", &["2024-03-18"]);
    check("gestern", &["2024-03-19"]);
    check("three days ago", &["2024-03-17"]);
    check("vor drei Tagen", &["2024-03-17"]);
    check("il y a trois jours", &["2024-03-17"]);
    check("two weeks ago", &["2024-03-03..2024-03-10"]);
    check("last Tuesday", &["2024-03-19"]);
    check("last Wednesday", &["2024-03-13"]);
    check("next Friday", &["2024-03-22"]);
    check("last week", &["2024-03-11..2024-03-18"]);
    check("last weekend", &["2024-03-16..2024-03-18"]);
    check("last month", &["2024-02-01..2024-03-01"]);
    check("this year", &["2024-01-01..2025-01-01"]);
    check("in the past three months", &["2023-12-05..2024-03-21"]);
}

#[test]
fn distances_and_stretches_are_put_together() {
    check("the Sunday before 25 May 2023", &["2023-05-21"]);
    check("three days after May 8, 2023", &["2023-05-11"]);
    check("two weeks before 8 May 2023", &["2023-04-21..2023-04-28"]);
    check("in the week of 10 May 2023", &["2023-05-08..2023-05-15"]);
    check("between 11 August and 15 August 2023", &["2023-08-11..2023-08-16"]);
    check("from March to May 2022", &["2022-03-01..2022-06-01"]);
    check("in 1999 or 2001", &["1999-01-01..2000-01-01", "2001-01-01..2002-01-01"]);
}

#[test]
fn words_that_only_look_like_times_are_left_alone() {
    for text in ["may I come in?", "we march to the beat", "a week", "room 12", "99999 years ago"] {
        check(text, &[]);
    }
}

#[test]
fn a_distance_from_an_event_waits_for_the_event() {
    let distance =
        Distance::of("Where were we two weeks before the move to Lisbon?", NOON).unwrap();
    assert_eq!(distance.event, "the move to lisbon");
    let moved = spans("2024-03-20", NOON)[0].from;
    assert_eq!(shown(distance.from(moved).unwrap()), "2024-03-03..2024-03-10");
    assert_eq!(Distance::of("two weeks before 8 May 2023", NOON), None);
}

proptest! {
    #[test]
    fn any_text_at_any_time_is_read(text in "\\PC{0,80}", at: i64) {
        for span in spans(&text, at) {
            prop_assert!(span.from < span.to);
        }
        let _distance = Distance::of(&text, at);
    }

    #[test]
    fn words_of_time_in_any_order_are_read(
        words in proptest::collection::vec(
            prop_oneof![
                Just("the"), Just("of"), Just("week"), Just("two"), Just("years"), Just("before"),
                Just("after"), Just("May"), Just("8"), Just("2023"), Just("9999"), Just("from"),
                Just("to"), Just("last"), Just("Sunday"), Just("31"), Just("ago"), Just("winter"),
            ],
            0..40,
        ),
        at in -400_000_000_000_000_i64..400_000_000_000_000,
    ) {
        for span in spans(&words.join(" "), at) {
            prop_assert!(span.from < span.to, "{:?}", span);
        }
    }
}

#[test]
fn long_rows_of_small_words_are_read_in_a_moment() {
    for word in ["the ", "of ", "week of ", "from ", "two weeks before ", "8 "] {
        let text = word.repeat(100_000);
        assert!(spans(&text, NOON).len() <= 32, "{word:?}");
        let _distance = Distance::of(&text, NOON);
    }
}
