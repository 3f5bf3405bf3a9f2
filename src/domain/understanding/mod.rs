//! Understanding without a model: what a history is about, and which of its sentences say so.
//!
//! A [`Survey`] takes a history in, item by item, in bounded memory, and says which items are worth
//! reading again; [`points`] ranks their sentences by a graph. The method is in docs/retrieval.md.

mod foreign;
mod graph;
mod phrases;
mod points;
#[cfg(test)]
mod properties;
mod sentences;
mod survey;
mod tally;

pub use phrases::Topic;
pub use points::{POINTS_MAX, Point, points};
pub use sentences::{SENTENCE_CHARS_MAX, sentences};
pub use survey::{CHOSEN_MAX, Survey};
