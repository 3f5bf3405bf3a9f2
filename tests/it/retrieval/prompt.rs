//! What of a ranking goes into a prompt.

use cortex::domain::retrieval::budget::{choose, tokens};

#[test]
fn tokens_are_counted_by_a_rule_that_one_can_check() {
    assert_eq!(tokens(""), 0);
    assert_eq!(tokens(" \n"), 0);
    assert_eq!(tokens("a cat"), 2);
    assert_eq!(tokens("hello world"), 4, "five letters are two tokens");
    assert_eq!(tokens("a, b"), 3, "a sign is one");
    assert_eq!(tokens("你好世界"), 4, "an ideograph is one");
}

#[test]
fn the_best_come_first_and_what_does_not_fit_is_counted() {
    let texts = ["one two three four", "a much longer text than there is room for", "five six"];
    let all = choose(&texts, None);
    assert_eq!(all.kept, [0, 1, 2]);
    assert_eq!(all.left_out(), 0);
    let some = choose(&texts, Some(8));
    assert_eq!(some.kept, [0, 2], "a shorter one still fits");
    assert_eq!((some.over_budget, some.duplicates), (1, 0));
    assert!(some.tokens <= 8);
    assert!(choose(&texts, Some(0)).kept.is_empty());
}

#[test]
fn what_was_said_before_is_not_said_again() {
    let texts = [
        "The deploy key of the staging cluster expires on Friday, please rotate it.",
        "the deploy key of the staging cluster expires on friday please rotate it",
        "The deploy key of the production cluster was rotated on Monday.",
        "ok",
        "OK!",
        "",
    ];
    let chosen = choose(&texts, None);
    assert_eq!(chosen.kept, [0, 2, 3, 5]);
    assert_eq!(chosen.duplicates, 2);
}
