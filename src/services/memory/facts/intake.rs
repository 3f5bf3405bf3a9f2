//! From what a caller sent to a fact, and to which facts are meant: what is not acceptable is told.

use super::store::{FactRow, NewFact, Which};
use crate::{
    backplane::{
        arguments::{given, required},
        clock,
    },
    contract::{
        fact::{FACT_CHARS_MAX, Recall, Remember},
        item::NAME_CHARS_MAX,
    },
    domain::{
        facts::folded,
        failure::{Failure, FieldProblem},
    },
};

/// Longest query, in characters.
const QUERY_CHARS_MAX: usize = 10_000;

/// What is wrong with a call so far.
#[derive(Default)]
struct Problems(Vec<FieldProblem>);

impl Problems {
    fn add(&mut self, field: &str, message: String) {
        let at = vec!["body".to_owned(), field.to_owned()];
        self.0.push(FieldProblem { at, message, kind: "value_error" });
    }

    fn bound(&mut self, field: &str, text: &str, most: usize) {
        if text.chars().count() > most {
            self.add(field, format!("is longer than {most} characters"));
        }
    }

    /// A name without white space around it; none when it is blank.
    fn name(&mut self, field: &str, text: Option<String>) -> Option<String> {
        let name = given(text)?.trim().to_owned();
        self.bound(field, &name, NAME_CHARS_MAX);
        Some(name)
    }

    fn moment(&mut self, field: &str, text: Option<String>) -> Option<i64> {
        let moment = clock::parse(&given(text)?);
        if moment.is_none() {
            self.add(field, "must be RFC 3339".to_owned());
        }
        moment
    }

    fn none(self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(Failure::invalid(self.0)) }
    }
}

/// A fact of `user_id`; its number is 0 until it is stored.
///
/// # Errors
/// `validation_error` naming every field that is not acceptable.
pub(super) fn fact(user_id: String, asked: Remember, now: i64) -> Result<NewFact, Failure> {
    let mut problems = Problems::default();
    let subject = required("subject", asked.subject)?;
    let text = required("text", asked.text)?;
    problems.bound("user_id", &user_id, NAME_CHARS_MAX);
    problems.bound("text", &text, FACT_CHARS_MAX);
    let subject = problems.name("subject", Some(subject)).unwrap_or_default();
    let key = problems.name("key", asked.key);
    let source_item_id = problems.name("source_item_id", asked.source_item_id);
    let supersedes = problems.name("supersedes", asked.supersedes);
    let id = problems.name("id", asked.id);
    let valid_from = problems.moment("valid_from", asked.valid_from).unwrap_or(now);
    let valid_to = problems.moment("valid_to", asked.valid_to);
    if valid_to.is_some_and(|to| to <= valid_from) {
        problems.add("valid_to", "must be later than valid_from".to_owned());
    }
    problems.none()?;
    let row = FactRow {
        seq: 0,
        id: id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
        user_id,
        subject_folded: folded(&subject),
        subject,
        key_folded: key.as_deref().map(folded),
        key,
        text,
        source_item_id,
        recorded_at: now,
        valid_from,
        valid_to,
        superseded_by: None,
        superseded_at: None,
    };
    Ok(NewFact { row, supersedes })
}

/// What is recalled: which facts, and what they have to do with.
///
/// # Errors
/// `validation_error` naming every field that is not acceptable.
pub(super) fn which(
    user_id: String,
    asked: Recall,
    now: i64,
) -> Result<(Which, Option<String>), Failure> {
    let mut problems = Problems::default();
    let at = problems.moment("at", asked.at);
    let all = asked.include_superseded.unwrap_or_default();
    if all && at.is_some() {
        let message = "names a moment, and include_superseded asks for every one: give one of them";
        problems.add("at", message.to_owned());
    }
    let query = given(asked.query);
    problems.bound("query", query.as_deref().unwrap_or_default(), QUERY_CHARS_MAX);
    problems.none()?;
    let folded = |name: Option<String>| given(name).map(|name| folded(&name));
    let at = if all { None } else { Some(at.unwrap_or(now)) };
    Ok((Which { user_id, subject: folded(asked.subject), key: folded(asked.key), at }, query))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    const NOW: i64 = 1_795_170_785_276_624;

    fn check(asked: Value) -> Result<NewFact, Failure> {
        fact("u".to_owned(), from_value(asked).unwrap(), NOW)
    }

    #[test]
    fn a_fact_with_nothing_but_subject_and_text_holds_from_now_on() {
        let NewFact { row, supersedes } =
            check(json!({"subject": " Ann ", "text": "likes tea", "key": ""})).unwrap();
        assert_eq!((row.valid_from, row.valid_to, row.recorded_at), (NOW, None, NOW));
        assert_eq!((row.subject.as_str(), row.subject_folded.as_str()), ("Ann", "ann"));
        assert_eq!((row.key, row.key_folded, row.id.len(), supersedes), (None, None, 36, None));
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let failure = check(json!({
            "subject": "s".repeat(256), "text": "t".repeat(10_001), "valid_from": "soon",
            "valid_to": "2000-01-01T00:00:00Z", "id": "i".repeat(256)
        }));
        let fields: Vec<String> = failure
            .unwrap_err()
            .fields
            .iter()
            .filter_map(|problem| problem.at.last().cloned())
            .collect();
        assert_eq!(fields, ["text", "subject", "id", "valid_from", "valid_to"]);
        for missing in [json!({"text": "x"}), json!({"subject": "x", "text": " "})] {
            assert!(check(missing).unwrap_err().message.contains("field required"));
        }
    }

    #[test]
    fn what_holds_now_is_recalled_unless_another_moment_or_all_is_asked_for() {
        let which = |asked: Value| which("u".to_owned(), from_value(asked).unwrap(), NOW);
        assert_eq!(which(json!({})).unwrap().0.at, Some(NOW));
        assert_eq!(which(json!({"at": "1970-01-01T00:00:01Z"})).unwrap().0.at, Some(1_000_000));
        let (all, query) = which(json!({"include_superseded": true, "query": "tea"})).unwrap();
        assert_eq!((all.at, query.as_deref()), (None, Some("tea")));
        for wrong in [
            json!({"at": "soon"}),
            json!({"at": "1970-01-01T00:00:01Z", "include_superseded": true}),
        ] {
            assert!(which(wrong).is_err());
        }
    }
}
