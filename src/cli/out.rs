//! What is written for people and programs: whole texts, without what a terminal would obey.

use std::io::Write as _;

use clap::ValueEnum;
use serde_json::Value;

use super::trouble::Outcome;

/// How lists are written: in columns for people, or as JSON for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Listing {
    // Without documentation of their own, so that the help of a command stays short.
    Table,
    Json,
}

/// How what was said is written: a line each for people, or one JSON object per line for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Telling {
    Pretty,
    Json,
}

/// Writes to standard output and flushes, so that a reader sees it now.
pub(super) fn print(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line to standard output.
pub(super) fn line(text: &str) -> Outcome {
    print(&format!("{text}\n"))
}

/// A value as indented JSON.
pub(super) fn indented(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_no_text| value.to_string())
}

/// Text from elsewhere, without control characters: a terminal must not obey what a user wrote.
/// Line ends and tabs stay.
pub(super) fn safe(text: &str) -> String {
    text.chars()
        .filter(|letter| *letter != '\r')
        .map(|letter| match letter {
            '\n' | '\t' => letter,
            other if other.is_control() => '\u{fffd}',
            other => other,
        })
        .collect()
}

/// [`safe`] on one line.
pub(super) fn flat(text: &str) -> String {
    safe(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(safe("a\x1b[31mb\u{9b}c\r\n\td"), "a\u{fffd}[31mb\u{fffd}c\n\td");
        assert_eq!(flat("a\nb\tc"), "a b c");
    }
}
