//! Reading a tool's arguments: their types, whose data is meant, and which value was wrong.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::domain::{
    failure::{Failure, FieldProblem},
    principal::Principal,
};

/// The arguments of a tool.
///
/// # Errors
/// `validation_error` naming every value of a wrong type.
pub fn read<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, Failure> {
    let whole = Value::Object(arguments);
    T::deserialize(&whole).map_err(|error| {
        // serde does not say which value it was; every argument may be absent, so each can be
        // tried alone.
        let mut wrong: Vec<FieldProblem> = whole
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| wrong_alone::<T>(name, value))
            .collect();
        if wrong.is_empty() {
            wrong.push(problem("arguments", &error));
        }
        Failure::invalid(wrong)
    })
}

fn wrong_alone<T: DeserializeOwned>(name: &str, value: &Value) -> Option<FieldProblem> {
    let alone = Map::from_iter([(name.to_owned(), value.clone())]);
    let error = serde_json::from_value::<T>(Value::Object(alone)).err()?;
    Some(problem(name, &error))
}

/// Says what was expected, not what came: that may be long or secret.
fn problem(name: &str, error: &serde_json::Error) -> FieldProblem {
    let text = error.to_string();
    let message = match text.rsplit_once("expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => "has a wrong type".to_owned(),
    };
    FieldProblem { at: vec!["body".to_owned(), name.to_owned()], message, kind: "type_error" }
}

/// Whose memory is meant: the one named, else a user's own; `None` for a service that names none.
///
/// # Errors
/// `permission_denied` when it is not the caller's to touch.
pub fn subject(caller: &Principal, named: Option<String>) -> Result<Option<String>, Failure> {
    let own = || caller.confined_to().map(str::to_owned);
    let subject = given(named).or_else(own);
    if let Some(user_id) = &subject {
        caller.must_act_for(user_id)?;
    }
    Ok(subject)
}

/// [`subject`] of a tool, which has to have one.
///
/// # Errors
/// As [`subject`]; `validation_error` when there is none.
pub fn required_subject(caller: &Principal, named: Option<String>) -> Result<String, Failure> {
    required("user_id", subject(caller, named)?)
}

/// The text, unless it is blank, which is as good as absent.
#[must_use]
pub fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// The text of an argument that has to be there.
///
/// # Errors
/// `validation_error` naming it.
pub fn required(name: &str, text: Option<String>) -> Result<String, Failure> {
    given(text).ok_or_else(|| Failure::invalid_field(name, "field required", "missing"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{contract::cognition::GetContext, domain::failure::Kind};

    fn check_refused(arguments: Value, message: &str) {
        let refused = read::<GetContext>(arguments.as_object().unwrap().clone()).unwrap_err();
        assert_eq!((refused.kind, refused.message.as_str()), (Kind::Validation, message));
    }

    #[test]
    fn every_value_of_a_wrong_type_is_named_and_not_repeated() {
        check_refused(json!({"user_id": 7}), "invalid input: user_id: expected a string");
        check_refused(
            json!({"limit": "secret, expected", "recency_weight": true, "query": "q"}),
            "invalid input: limit: expected i64; recency_weight: expected f64",
        );
        check_refused(json!({"limit": u64::MAX}), "invalid input: limit: expected i64");
    }

    #[test]
    fn users_may_leave_themselves_unnamed_and_name_nobody_else() {
        let user = Principal::User { id: "u".into(), name: String::new(), email: String::new() };
        let service = Principal::Service { name: "s".into() };
        let named = |name: &str| Some(name.to_owned());
        let subject_of = |caller, name| required_subject(caller, name).map_err(|f| f.kind);
        for own in [None, named(" "), named("u")] {
            assert_eq!(subject_of(&user, own).as_deref(), Ok("u"));
        }
        assert_eq!(subject_of(&user, named("v")), Err(Kind::PermissionDenied));
        assert_eq!(subject_of(&service, named("v")).as_deref(), Ok("v"));
        assert_eq!(subject_of(&service, None), Err(Kind::Validation));
        assert_eq!(subject(&service, named("")), Ok(None));
    }
}
