//! The headers a request to a server of 2026-07-28 carries beside its body, so that those in
//! between can route it.
//!
//! Source: MCP 2026-07-28, "Streamable HTTP", `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The annotation in a tool's input schema that asks for a header.
const ANNOTATION: &str = "x-mcp-header";
/// Headers one tool may ask for.
const ANNOTATIONS_MAX: usize = 64;

/// An argument that is also sent as a header: the path to it, and the header.
pub(super) type Param = (Vec<String>, HeaderName);

/// Puts in what every request carries.
pub(super) fn standard(head: &mut HeaderMap, method: &'static str, params: &Map<String, Value>) {
    head.insert(METHOD, HeaderValue::from_static(method));
    let key = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return,
    };
    if let Some(value) = params.get(key).and_then(Value::as_str).and_then(encoded) {
        head.insert(NAME, value);
    }
}

/// The headers of a call with `arguments`.
pub(super) fn of_call(
    params: &[Param],
    arguments: Option<&Value>,
) -> Vec<(HeaderName, HeaderValue)> {
    let Some(arguments) = arguments else {
        return Vec::new();
    };
    let header = |(path, name): &Param| {
        let value = path.iter().try_fold(arguments, |value, key| value.get(key))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(truth) => truth.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some((name.clone(), encoded(&text)?))
    };
    params.iter().filter_map(header).collect()
}

/// The arguments a tool's input schema wants as headers.
///
/// # Errors
/// A sentence, when an annotation is not as the specification has it: then the tool is not to be
/// offered.
pub(super) fn annotated(schema: &Value) -> Result<Vec<Param>, String> {
    let mut params = Vec::new();
    collect(schema, &mut Vec::new(), true, &mut params)?;
    for (at, (_, name)) in params.iter().enumerate() {
        if params.iter().take(at).any(|(_, earlier)| earlier == name) {
            return Err(format!("two arguments want the header {name}"));
        }
    }
    Ok(params)
}

/// Walks a schema; `chain` says that only `properties` led here from the root.
fn collect(
    schema: &Value,
    path: &mut Vec<String>,
    chain: bool,
    params: &mut Vec<Param>,
) -> Result<(), String> {
    if let Value::Array(parts) = schema {
        return parts.iter().try_for_each(|part| collect(part, path, false, params));
    }
    let Value::Object(keywords) = schema else {
        return Ok(());
    };
    if let Some(wanted) = keywords.get(ANNOTATION) {
        if !chain || path.is_empty() {
            return Err(format!("{ANNOTATION} is not on a property reached through properties"));
        }
        params.push((path.clone(), wanted_header(wanted, keywords.get("type"))?));
        if params.len() > ANNOTATIONS_MAX {
            return Err(format!("more than {ANNOTATIONS_MAX} headers are wanted"));
        }
    }
    for (keyword, value) in keywords {
        match keyword.as_str() {
            // Data, not schemas.
            ANNOTATION | "default" | "const" | "enum" | "examples" => {}
            "properties" | "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                let Value::Object(named) = value else { continue };
                for (name, schema) in named {
                    path.push(name.clone());
                    collect(schema, path, chain && keyword == "properties", params)?;
                    path.pop();
                }
            }
            _ => collect(value, path, false, params)?,
        }
    }
    Ok(())
}

fn wanted_header(wanted: &Value, kind: Option<&Value>) -> Result<HeaderName, String> {
    let wanted = wanted.as_str().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.ok_or_else(|| format!("{ANNOTATION} is not a text"))?;
    if !matches!(kind.and_then(Value::as_str), Some("string" | "integer" | "boolean")) {
        return Err(format!("{ANNOTATION} {wanted:?} is on a value that is not primitive"));
    }
    HeaderName::from_bytes(format!("mcp-param-{wanted}").as_bytes())
        .map_err(|_no_name| format!("{ANNOTATION} {wanted:?} is no header's name"))
}

/// A text as a header's value; what a header cannot carry as it is goes as base64.
fn encoded(text: &str) -> Option<HeaderValue> {
    let plain = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && text.trim_matches([' ', '\t']) == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    if plain {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_str(&format!("=?base64?{}?=", BASE64_STANDARD.encode(text))).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_header_cannot_carry_is_wrapped() {
        let wrapped = |text: &str| encoded(text).unwrap().to_str().unwrap().to_owned();
        assert_eq!(wrapped("a b"), "a b");
        assert_eq!(wrapped(""), "");
        for text in [" a", "a\t", "grün", "a\r\nx: y", "=?base64?YQ==?="] {
            let plain = wrapped(text);
            let inner = plain.strip_prefix("=?base64?").unwrap().strip_suffix("?=").unwrap();
            assert_eq!(BASE64_STANDARD.decode(inner).unwrap(), text.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn arguments_become_headers_where_the_schema_says_so() {
        let schema = json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}}}});
        let params = annotated(&schema).unwrap();
        let headers = of_call(&params, Some(&json!({"region": "eu", "deep": {"n": 7}})));
        let texts: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert!(texts.contains(&("mcp-param-region", "eu")), "{texts:?}");
        assert!(texts.contains(&("mcp-param-n", "7")), "{texts:?}");
        assert!(of_call(&params, Some(&json!({"region": null, "deep": 1}))).is_empty());
    }

    #[test]
    fn annotations_that_are_not_as_specified_are_refused() {
        let string = json!({"type": "string", "x-mcp-header": "A"});
        for bad in [
            json!({"x-mcp-header": "A", "type": "string"}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": ""}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": "a b"}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": 1}}}),
            json!({"properties": {"a": {"type": "number", "x-mcp-header": "A"}}}),
            json!({"properties": {"a": string, "b": {"type": "string", "x-mcp-header": "a"}}}),
            json!({"properties": {"a": {"items": string}}}),
            json!({"allOf": [{"properties": {"a": string}}]}),
            json!({"$defs": {"a": string}}),
        ] {
            assert!(annotated(&bad).is_err(), "{bad}");
        }
        let data = json!({"properties": {"a": {"default": {"x-mcp-header": "A"}}}});
        assert_eq!(annotated(&data).unwrap(), Vec::new());
    }
}
