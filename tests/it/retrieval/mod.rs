//! Retrieval as rules: what is found, why, and how well on data with known answers.

mod found;
mod prompt;
mod properties;
mod quality;
mod times;

use cortex::domain::retrieval::{Found, Index, Prepared, Question, Source, Weights};

/// 2024-03-20, a Wednesday, at noon (milliseconds since the Unix epoch).
const NOON: i64 = 1_710_936_000_000;
const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;

/// Something that was said.
fn said(seq: i64, sender: &str, content: &str) -> Prepared {
    Prepared::of(&Source { sender, content, ..plain(seq) })
}

/// An item of this number, a minute after the one before it.
fn plain(seq: i64) -> Source<'static> {
    let at = NOON + seq * MINUTE;
    Source { seq, session: "s", sender: "Ada", role: "user", at, content: "", caption: None }
}

fn asked(text: &str) -> Question<'_> {
    Question { text, limit: 10, ..Question::default() }
}

fn ask(index: &Index, text: &str) -> Vec<Found> {
    index.search(&asked(text), &Weights::default())
}

fn seqs(found: &[Found]) -> Vec<i64> {
    found.iter().map(|found| found.seq).collect()
}
