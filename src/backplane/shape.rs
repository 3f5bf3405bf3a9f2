//! What callers are told of a tool beyond its name: which arguments it takes, what it answers, and
//! whether calling it changes anything. Drawn from the types that are read and written.

use std::sync::Arc;

use rmcp::model::{JsonObject, ToolAnnotations};
use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Value, json};

/// The shape of a tool (JSON Schema 2020-12).
#[derive(Clone, Debug)]
pub struct Shape {
    /// What its arguments are.
    pub input: Arc<JsonObject>,
    /// What it answers, if that is one kind of object.
    pub output: Option<Arc<JsonObject>>,
    /// Whether it changes anything, and whether calling it again changes more.
    pub hints: ToolAnnotations,
}

impl Default for Shape {
    /// Of a tool that says nothing: any object in, anything out, and it may change things.
    fn default() -> Self {
        let any = json!({"type": "object"}).as_object().cloned().unwrap_or_default();
        let hints = ToolAnnotations::new().open_world(false);
        Shape { input: Arc::new(any), output: None, hints }
    }
}

impl Shape {
    /// Of a tool that takes `I`; of its arguments, those in `required` must be there. (The types
    /// let every argument be absent, so that what is missing is told by our own words.)
    #[must_use]
    pub fn taking<I: JsonSchema>(required: &[&str]) -> Self {
        let settings = drawn().for_deserialize();
        let mut input = object(settings.into_generator().into_root_schema_for::<I>());
        if required.is_empty() {
            input.remove("required");
        } else {
            input.insert("required".to_owned(), json!(required));
        }
        Shape { input: Arc::new(input), ..Shape::default() }
    }

    /// The same, answering `O`.
    #[must_use]
    pub fn answering<O: JsonSchema>(mut self) -> Self {
        let settings = drawn().for_serialize();
        let output = object(settings.into_generator().into_root_schema_for::<O>());
        self.output = Some(Arc::new(output));
        self
    }

    /// The same, of a tool that changes nothing.
    #[must_use]
    pub fn reading(mut self) -> Self {
        self.hints = self.hints.read_only(true).destructive(false).idempotent(true);
        self
    }

    /// The same, of a tool that only adds: once more for each call.
    #[must_use]
    pub fn adding(mut self) -> Self {
        self.hints = self.hints.read_only(false).destructive(false).idempotent(false);
        self
    }

    /// The same, of a tool that changes or removes what is there; calling it again changes no more.
    #[must_use]
    pub fn changing(mut self) -> Self {
        self.hints = self.hints.read_only(false).destructive(true).idempotent(true);
        self
    }
}

/// How all schemas are drawn: whole, and without the formats of numbers (`uint`, `int64`), which are
/// names of Rust's types: JSON Schema has none for numbers, and strict clients complain of them.
fn drawn() -> SchemaSettings {
    let plain = RecursiveTransform(|schema: &mut Schema| {
        if schema.get("type").is_some_and(is_number) {
            schema.remove("format");
        }
    });
    let mut settings = SchemaSettings::draft2020_12().with_transform(plain);
    settings.inline_subschemas = true;
    settings
}

fn is_number(kind: &Value) -> bool {
    let names = kind.as_array().map_or(std::slice::from_ref(kind), Vec::as_slice);
    names.iter().any(|name| name == "integer" || name == "number")
}

fn object(schema: Schema) -> JsonObject {
    let mut object = match schema.to_value() {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            JsonObject::new()
        }
    };
    // The type's name says nothing to a caller.
    object.remove("title");
    object
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(JsonSchema, Deserialize)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Asked {
        /// Whose.
        user_id: Option<String>,
        /// How many.
        limit: Option<i64>,
    }

    #[derive(JsonSchema, Serialize)]
    struct Answered {
        inner: Inner,
    }

    #[derive(JsonSchema, Serialize)]
    struct Inner {
        count: usize,
    }

    #[test]
    fn a_shape_is_drawn_from_the_types() {
        let shape = Shape::taking::<Asked>(&["user_id"]).answering::<Answered>().reading();
        let input = Value::Object((*shape.input).clone());
        assert_eq!(input["type"], "object");
        assert_eq!(input["required"], json!(["user_id"]));
        assert_eq!(input["properties"]["user_id"]["description"], "Whose.");
        assert_eq!(input["properties"]["limit"]["type"], json!(["integer", "null"]));
        assert!(input["properties"]["limit"].get("format").is_none(), "no name of a type of ours");
        let output = Value::Object((*shape.output.unwrap()).clone());
        let count = &output["properties"]["inner"]["properties"]["count"];
        assert_eq!(*count, json!({"type": "integer", "minimum": 0}));
        assert!(output.get("$defs").is_none(), "nothing to be looked up elsewhere");
        assert_eq!(shape.hints.read_only_hint, Some(true));
    }
}
