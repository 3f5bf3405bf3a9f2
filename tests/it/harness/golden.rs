//! Compares JSON with what was promised; what cannot be known before is a placeholder.
//!
//! `<uuid>`, `<time>` (RFC 3339, UTC, `Z`), `<token>` (a JWT), `<int>`, `<number>`, `<text>` (not
//! empty), `<any>`.

use serde_json::Value;

use super::client::Answer;

/// `actual` is exactly `expected`.
#[track_caller]
pub(crate) fn assert_json(actual: &Value, expected: Value) {
    check(actual, &expected, true);
}

/// `actual` has everything `expected` has, and perhaps more keys.
#[track_caller]
pub(crate) fn assert_has(actual: &Value, expected: Value) {
    check(actual, &expected, false);
}

/// The answer is a failure in the one format: status, code, the request's id, the short text.
#[track_caller]
pub(crate) fn assert_error(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let body = answer.json();
    assert_json(
        &body,
        serde_json::json!({
            "error": {"code": code, "message": "<text>", "status_code": status, "details": "<any>"},
            "request_id": answer.header("x-request-id").expect("an X-Request-ID"),
            "detail": body["error"]["message"],
        }),
    );
    assert!(body["error"]["details"].is_object(), "{body}");
}

#[track_caller]
fn check(actual: &Value, expected: &Value, exact: bool) {
    let mut differences = Vec::new();
    compare("$", actual, expected, exact, &mut differences);
    assert!(differences.is_empty(), "{}\nin {actual:#}", differences.join("\n"));
}

fn compare(at: &str, actual: &Value, expected: &Value, exact: bool, found: &mut Vec<String>) {
    match (actual, expected) {
        (_, Value::String(wanted)) if wanted.starts_with('<') && wanted.ends_with('>') => {
            if !fits(wanted, actual) {
                found.push(format!("{at}: {actual} is no {wanted}"));
            }
        }
        (Value::Object(actual), Value::Object(expected)) => {
            for (key, wanted) in expected {
                match actual.get(key) {
                    Some(value) => compare(&format!("{at}.{key}"), value, wanted, exact, found),
                    None => found.push(format!("{at}.{key}: missing, wanted {wanted}")),
                }
            }
            let unwanted = actual.keys().filter(|key| exact && !expected.contains_key(*key));
            found.extend(unwanted.map(|key| format!("{at}.{key}: not expected")));
        }
        (Value::Array(actual), Value::Array(expected)) if actual.len() == expected.len() => {
            for (place, (value, wanted)) in actual.iter().zip(expected).enumerate() {
                compare(&format!("{at}[{place}]"), value, wanted, exact, found);
            }
        }
        _ if actual == expected => {}
        _ => found.push(format!("{at}: {actual}, wanted {expected}")),
    }
}

fn fits(placeholder: &str, value: &Value) -> bool {
    let text = value.as_str();
    match placeholder {
        "<any>" => true,
        "<int>" => value.is_i64(),
        "<number>" => value.is_number(),
        "<text>" => text.is_some_and(|text| !text.is_empty()),
        "<uuid>" => {
            text.is_some_and(|text| uuid::Uuid::parse_str(text).is_ok() && text.len() == 36)
        }
        "<time>" => {
            text.is_some_and(|text| text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok())
        }
        "<token>" => text.is_some_and(|text| {
            let parts: Vec<&str> = text.split('.').collect();
            parts.len() == 3 && parts.iter().all(|part| !part.is_empty())
        }),
        unknown => panic!("no placeholder is called {unknown}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(actual: Value, expected: Value, exact: bool) -> Vec<String> {
        let mut found = Vec::new();
        compare("$", &actual, &expected, exact, &mut found);
        found
    }

    #[test]
    fn every_difference_is_named_by_its_place() {
        let actual = json!({"a": 1, "b": [true, "x"], "c": null});
        assert!(differences(actual.clone(), json!({"a": 1}), false).is_empty());
        assert_eq!(
            differences(actual, json!({"a": 2, "b": [true, "y"], "d": 0}), true),
            [
                "$.a: 1, wanted 2",
                "$.b[1]: \"x\", wanted \"y\"",
                "$.d: missing, wanted 0",
                "$.c: not expected",
            ]
        );
    }

    #[test]
    fn placeholders_take_what_they_say_and_nothing_else() {
        for (placeholder, good, bad) in [
            ("<uuid>", json!("550e8400-e29b-41d4-a716-446655440000"), json!("550e8400")),
            ("<time>", json!("2026-11-20T10:33:05.276624Z"), json!("2026-11-20T10:33:05+01:00")),
            ("<token>", json!("a.b.c"), json!("a..c")),
            ("<int>", json!(3), json!(3.5)),
            ("<number>", json!(3.5), json!("3.5")),
            ("<text>", json!("x"), json!("")),
        ] {
            assert!(differences(good, json!(placeholder), true).is_empty(), "{placeholder}");
            assert_eq!(differences(bad, json!(placeholder), true).len(), 1, "{placeholder}");
        }
    }
}
