//! Finding tools instead of listing them all: for catalogues that would fill a model's window.

use rmcp::model::{CallToolResult, JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::catalogue::Catalogue;
use crate::{
    backplane::{config::ToolSearch, mcp::answered},
    domain::{
        failure::Failure,
        retrieval::{Index, Prepared, Question, Source, Weights},
    },
};

/// Looks for tools.
pub const SEARCH_TOOLS: &str = "search_tools";
/// Calls one that was found.
pub const CALL_TOOL: &str = "call_tool";
/// Tools told of when nobody says how many.
const FOUND_DEFAULT: usize = 10;
/// Tools told of at most.
const FOUND_MAX: usize = 50;
/// Characters of a question that are read.
const QUERY_CHARS_MAX: usize = 1000;

/// Whether tools are looked for in a catalogue of so many.
#[must_use]
pub fn is_on(setting: ToolSearch, tools: usize, listed_max: usize) -> bool {
    match setting {
        ToolSearch::Off => false,
        ToolSearch::On => true,
        ToolSearch::Auto => tools > listed_max,
    }
}

/// The two tools that are listed instead of all.
#[must_use]
pub fn tools() -> Vec<Tool> {
    let object = |value: Value| value.as_object().cloned().unwrap_or_default();
    let calling: JsonObject = object(json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "The tool's name, as search_tools told it."},
            "arguments": {"type": "object", "description": "Its arguments, by its inputSchema."},
        },
        "required": ["name"],
    }));
    let searching: JsonObject = object(json!({
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What is to be done, in words."},
            "limit": {"type": "integer", "minimum": 1, "maximum": FOUND_MAX,
                      "description": "Tools told of at most; 10 when absent."},
        },
        "required": ["query"],
    }));
    let reading = ToolAnnotations::new().read_only(true).open_world(false);
    vec![
        Tool::new(CALL_TOOL, "Calls a tool that search_tools found.", calling),
        Tool::new(
            SEARCH_TOOLS,
            "Finds the tools for a task among all that are behind this gateway, with what they take.",
            searching,
        )
        .with_annotations(reading),
    ]
}

/// An index of a catalogue's tools, by their places in it.
#[must_use]
pub fn index(tools: &[Tool]) -> Index {
    let prepared = (0_i64..).zip(tools).map(|(place, tool)| {
        let session = place.to_string();
        let content = text_of(tool);
        Prepared::of(&Source {
            seq: place,
            session: &session,
            content: &content,
            ..Source::default()
        })
    });
    Index::of(prepared)
}

/// What a tool is found by: its name in words, what it says of itself, and its arguments' names.
fn text_of(tool: &Tool) -> String {
    let mut text = spaced(&tool.name);
    for part in [tool.title.as_deref(), tool.description.as_deref()].into_iter().flatten() {
        text.push_str(". ");
        text.push_str(part);
    }
    let arguments = tool.input_schema.get("properties").and_then(Value::as_object);
    for name in arguments.into_iter().flat_map(|arguments| arguments.keys()) {
        text.push(' ');
        text.push_str(&spaced(name));
    }
    text
}

/// A name as words: `readFile` and `read_file` are `read file`.
fn spaced(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    let mut lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() {
            words.push(' ');
        } else {
            if c.is_uppercase() && lower {
                words.push(' ');
            }
            words.push(c);
        }
        lower = c.is_lowercase();
    }
    words
}

/// Answers `search_tools` out of what the caller may use.
///
/// # Errors
/// `validation_error` when there is no question.
pub fn search(catalogue: &Catalogue, arguments: &JsonObject) -> Result<CallToolResult, Failure> {
    let query = arguments.get("query").and_then(Value::as_str).unwrap_or_default();
    let query: String = query.chars().take(QUERY_CHARS_MAX).collect();
    if query.trim().is_empty() {
        return Err(Failure::invalid_field("query", "field required", "missing"));
    }
    let limit = arguments.get("limit").and_then(Value::as_u64);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(FOUND_DEFAULT);
    let question = Question {
        text: &query,
        limit: limit.clamp(1, FOUND_MAX),
        // Tools have no time.
        recency_weight: Some(0.0),
        any_speaker: true,
        ..Question::default()
    };
    let found = catalogue.index().search(&question, &Weights::default());
    let tools: Vec<Value> = found
        .iter()
        .filter(|found| !found.reasons.terms.is_empty())
        .filter_map(|found| {
            let tool = catalogue.tools.get(usize::try_from(found.seq).ok()?)?;
            Some(json!({
                "name": tool.name,
                "description": tool.description,
                "inputSchema": tool.input_schema,
                "annotations": tool.annotations,
                "score": found.score,
            }))
        })
        .collect();
    Ok(answered(json!({ "tools": tools, "of": catalogue.tools.len() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_words() {
        assert_eq!(spaced("files__readTextFile"), "files  read Text File");
    }

    #[test]
    fn the_setting_decides_by_the_number_of_tools() {
        assert!(!is_on(ToolSearch::Off, 1000, 10));
        assert!(is_on(ToolSearch::On, 1, 10));
        assert!(!is_on(ToolSearch::Auto, 10, 10) && is_on(ToolSearch::Auto, 11, 10));
    }

    #[test]
    fn what_fits_a_task_is_found_first() {
        let schema = |argument: &str| {
            let value = json!({"type": "object", "properties": {argument: {"type": "string"}}});
            value.as_object().cloned().unwrap()
        };
        let tools = [
            Tool::new("files__read_file", "Reads a file from disk.", schema("path")),
            Tool::new("mail__send_message", "Sends a mail to somebody.", schema("recipient")),
            Tool::new("memory__get_context", "Finds what was said before.", schema("query")),
        ];
        let index = index(&tools);
        for (asked, expected) in
            [("send a mail", 1), ("which file is on the disk", 0), ("what did she say before", 2)]
        {
            let question = Question { text: asked, limit: 3, ..Question::default() };
            let found = index.search(&question, &Weights::default());
            assert_eq!(found.first().map(|found| found.seq), Some(expected), "{asked}");
        }
    }
}
