//! What the client says when a server asks: defaults for forms, an echo for a model.

use cortex::backplane::upstream::{Boxed, ClientSide, RpcError};
use serde_json::{Map, Value, json, value::RawValue};

/// Answers every question by itself.
pub(crate) struct Answers;

impl ClientSide for Answers {
    fn request(
        &self,
        method: String,
        params: Option<Box<RawValue>>,
    ) -> Boxed<Result<Box<RawValue>, RpcError>> {
        Box::pin(async move {
            let params: Value = params
                .and_then(|params| serde_json::from_str(params.get()).ok())
                .unwrap_or(Value::Null);
            let answer = to(&json!({"method": method, "params": params}));
            if answer.is_null() {
                return Err(RpcError::no_method(&method));
            }
            serde_json::value::to_raw_value(&answer)
                .map_err(|_cannot_fail| RpcError::no_method(&method))
        })
    }

    fn notice(&self, method: &str, _: Option<Box<RawValue>>) {
        log::info!("noticed method={method}");
    }
}

/// The answer to one request of a server's; null to what is not known.
pub(crate) fn to(request: &Value) -> Value {
    let params = request.get("params").unwrap_or(&Value::Null);
    match request.get("method").and_then(Value::as_str) {
        Some("elicitation/create") => {
            json!({"action": "accept", "content": defaults(params.get("requestedSchema"))})
        }
        Some("sampling/createMessage") => {
            let asked = params.pointer("/messages/0/content/text").and_then(Value::as_str);
            let text = format!("An answer to: {}", asked.unwrap_or_default());
            json!({"role": "assistant", "content": {"type": "text", "text": text},
                "model": "echo", "stopReason": "endTurn"})
        }
        Some("roots/list") => json!({"roots": []}),
        _ => Value::Null,
    }
}

/// A form filled in: with its defaults, and what is required with anything of its type.
fn defaults(schema: Option<&Value>) -> Map<String, Value> {
    filled(schema.unwrap_or(&Value::Null), |property, required| {
        property.get("default").cloned().or_else(|| required.then(|| anything(property)))
    })
}

/// Arguments for a tool: what its schema requires.
pub(crate) fn arguments(tool: &Map<String, Value>) -> Option<Value> {
    let schema = tool.get("inputSchema")?;
    schema.get("properties")?;
    let filled = filled(schema, |property, required| required.then(|| anything(property)));
    Some(Value::Object(filled))
}

fn filled(schema: &Value, value: impl Fn(&Value, bool) -> Option<Value>) -> Map<String, Value> {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return Map::new();
    };
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &String| {
        required.is_some_and(|names| names.iter().any(|required| required == name.as_str()))
    };
    let each = |(name, property): (&String, &Value)| {
        Some((name.clone(), value(property, is_required(name))?))
    };
    properties.iter().filter_map(each).collect()
}

fn anything(property: &Value) -> Value {
    if let Some(first) = property.pointer("/enum/0") {
        return first.clone();
    }
    match property.get("type").and_then(Value::as_str) {
        Some("number") => json!(1.5),
        Some("integer") => json!(1),
        Some("string") => json!("test"),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => Value::Null,
    }
}
