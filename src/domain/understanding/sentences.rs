//! Sentences of a text, in any script.

use unicode_segmentation::UnicodeSegmentation as _;

use crate::domain::text::head;

/// A longer sentence is cut to this many characters.
pub const SENTENCE_CHARS_MAX: usize = 300;
/// Of one text at most this many sentences are read.
pub(super) const TEXT_SENTENCES_MAX: usize = 100;

/// The sentences of a text in order, each as it was written and without space around it, at most
/// 100, each cut at [`SENTENCE_CHARS_MAX`].
///
/// Sentences end where Unicode says (UAX 29), which includes line breaks, but not after a title, an
/// initial or a common abbreviation.
#[must_use]
pub fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut from = 0;
    let mut upto = 0;
    for piece in text.split_sentence_bounds() {
        upto += piece.len();
        if is_broken_off(piece) {
            continue;
        }
        keep(text.get(from..upto), &mut found);
        from = upto;
        if found.len() >= TEXT_SENTENCES_MAX {
            return found;
        }
    }
    keep(text.get(from..upto), &mut found);
    found
}

fn keep<'a>(piece: Option<&'a str>, found: &mut Vec<&'a str>) {
    let piece = piece.map(str::trim).unwrap_or_default();
    if piece.chars().any(char::is_alphanumeric) {
        found.push(head(piece, SENTENCE_CHARS_MAX));
    }
}

/// Whether a piece ends in something that has a full stop of its own.
fn is_broken_off(piece: &str) -> bool {
    if piece.contains('\n') {
        return false;
    }
    let Some(before) = piece.trim_end().strip_suffix('.') else { return false };
    let last = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let initial = last.chars().nth(1).is_none() && last.starts_with(char::is_uppercase);
    initial || ABBREVIATIONS.contains(&last.to_lowercase().as_str())
}

const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "mx", "dr", "prof", "rev", "capt", "sen", "st", "vs", "no", "nr", "e.g",
    "i.e", "approx", "fig", "bzw", "z.b", "hr", "fr", "sra", "mme", "mlle",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_a_reader_ends_them() {
        for (text, expected) in [
            ("", vec![]),
            (" \n… ?!", vec![]),
            ("One. Two!  Three?", vec!["One.", "Two!", "Three?"]),
            ("No end\nA line", vec!["No end", "A line"]),
            ("It was 3.14 for Dr. Smith. Good.", vec!["It was 3.14 for Dr. Smith.", "Good."]),
            ("J. R. R. Tolkien wrote. I read.", vec!["J. R. R. Tolkien wrote.", "I read."]),
            ("我们去了海边。天气很好！", vec!["我们去了海边。", "天气很好！"]),
            ("Plan B.\nNext", vec!["Plan B.", "Next"]),
        ] {
            assert_eq!(sentences(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sentences_have_bounds() {
        assert_eq!(sentences(&"Yes. ".repeat(10_000)).len(), TEXT_SENTENCES_MAX);
        let long = "ä".repeat(10_000);
        assert_eq!(sentences(&long)[0].chars().count(), SENTENCE_CHARS_MAX);
        assert!(sentences(&"Dr. ".repeat(10_000)).len() <= 1);
    }
}
