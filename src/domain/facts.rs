//! When a fact holds, what becomes of it when another takes its place, and how it is found.

use super::retrieval::{Prepared, Source};

/// The time in which a fact holds, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub from: i64,
    /// Until then, which is no part of it; without end when absent.
    pub to: Option<i64>,
}

impl Validity {
    /// Whether it holds at a moment.
    #[must_use]
    pub fn holds_at(self, at: i64) -> bool {
        self.from <= at && self.to.is_none_or(|to| at < to)
    }

    /// Whether it never holds from a moment on.
    #[must_use]
    pub fn is_over_at(self, at: i64) -> bool {
        self.to.is_some_and(|to| to <= at.max(self.from))
    }

    /// Whether there is a moment at which both hold.
    #[must_use]
    pub fn meets(self, other: Validity) -> bool {
        let begins = self.from.max(other.from);
        let ends = |validity: Validity| validity.to.is_none_or(|to| begins < to);
        ends(self) && ends(other)
    }

    /// What is left of it when `other` takes its place: it ends where the other begins. Nothing is
    /// left, and it never held, when that is before its own beginning.
    #[must_use]
    pub fn ended_by(self, other: Validity) -> Validity {
        let begins = other.from.max(self.from);
        Validity { from: self.from, to: Some(self.to.map_or(begins, |to| to.min(begins))) }
    }
}

/// What subjects and keys are compared by: without regard to case and to white space around and
/// between words.
#[must_use]
pub fn folded(name: &str) -> String {
    let words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

/// A fact as it is to be found.
#[derive(Clone, Copy, Debug)]
pub struct Findable<'a> {
    /// Its number in the log.
    pub seq: i64,
    /// Whose it is.
    pub user_id: &'a str,
    /// Its own id.
    pub id: &'a str,
    /// What it is about.
    pub subject: &'a str,
    /// Which of the subject's traits it tells, if it says so.
    pub key: Option<&'a str>,
    /// What it says.
    pub text: &'a str,
    /// When it began to hold, or was recorded if that was earlier, in microseconds since the Unix
    /// epoch: a fact of the future is not newer than the question.
    pub at: i64,
}

/// What a fact contributes to the index of its user: as something the user said, in a conversation of
/// its own, so that it lends no words to others.
#[must_use]
pub fn prepare(fact: &Findable<'_>) -> Prepared {
    // Keys are written like names in a program.
    let key = fact.key.unwrap_or_default().replace(['_', '-', '.', '/', ':'], " ");
    Prepared::of(&Source {
        seq: fact.seq,
        session: &format!("\0fact\0{}", fact.id),
        sender: fact.user_id,
        role: "user",
        at: fact.at / 1000,
        content: &format!("{} {key}\n{}", fact.subject, fact.text),
        caption: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn validity(from: i64, to: Option<i64>) -> Validity {
        Validity { from, to }
    }

    #[test]
    fn a_validity_has_its_beginning_and_not_its_end() {
        let may = validity(5, Some(6));
        assert_eq!([4, 5, 6].map(|at| may.holds_at(at)), [false, true, false]);
        assert!(validity(5, None).holds_at(i64::MAX));
        assert!(!may.meets(validity(6, None)) && may.meets(validity(0, None)));
        assert!(may.is_over_at(6) && !may.is_over_at(5) && !validity(5, None).is_over_at(9));
        assert!(validity(9, Some(9)).is_over_at(0), "it never held");
    }

    #[test]
    fn names_are_the_same_whatever_their_case_and_spaces() {
        assert_eq!(folded("  Ännchen \t von  THARAU "), "ännchen von tharau");
    }

    #[test]
    fn a_fact_is_found_by_its_subject_its_key_and_its_text() {
        let fact = Findable {
            seq: 1,
            user_id: "u",
            id: "f",
            subject: "Grandmother",
            key: Some("favourite_flower"),
            text: "likes peonies",
            at: 0,
        };
        let terms: Vec<String> = prepare(&fact).terms.into_iter().map(|(term, _)| term).collect();
        for word in ["grandmoth", "flower", "peoni"] {
            assert!(terms.iter().any(|term| term.starts_with(word)), "{word} {terms:?}");
        }
    }

    fn any_validity() -> impl Strategy<Value = Validity> {
        let to = prop_oneof![1 => Just(None), 2 => (1..20_i64).prop_map(Some)];
        (0..20_i64, to)
            .prop_map(|(from, length)| validity(from, length.map(|length| from + length)))
    }

    proptest! {
        #[test]
        fn of_those_that_take_each_others_place_one_holds_at_a_time_and_the_last_in_all_of_its_own(
            remembered in proptest::collection::vec(any_validity(), 1..12)
        ) {
            let mut slot: Vec<Validity> = Vec::new();
            for new in &remembered {
                for old in slot.iter_mut().filter(|old| old.meets(*new)) {
                    *old = old.ended_by(*new);
                }
                slot.push(*new);
            }
            for at in -1..45 {
                let holding = slot.iter().filter(|one| one.holds_at(at)).count();
                prop_assert!(holding <= 1, "{holding} at {at}: {slot:?}");
            }
            prop_assert_eq!(slot.last(), remembered.last());
            for (old, new) in remembered.iter().zip(&slot) {
                prop_assert!(new.from == old.from && (old.to.is_none() || new.to <= old.to));
            }
        }
    }
}
