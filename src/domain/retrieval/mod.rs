//! Retrieval: which of a user's items answer a question, as rules without I/O or clock.
//!
//! [`Prepared`] is what one item contributes, [`Index`] holds one user's, [`Question`] is what is
//! asked, [`Weights`] say what each signal counts; [`Index::search`] gives the best with reasons.
//! The method and its figures are in docs/retrieval.md.

mod asked;
mod best;
pub mod budget;
mod calendar;
mod codec;
mod dates;
mod index;
mod lexical;
mod prepared;
mod question;
mod search;
mod signals;
mod spelling;
pub mod temporal;
mod traits;
mod weights;
pub mod words;

pub use index::Index;
pub use prepared::{MOMENTS_MAX, Prepared, RULES_VERSION, Source};
pub use question::{Filter, Found, Question, Reasons, Vectors};
pub use traits::Traits;
pub use weights::Weights;
