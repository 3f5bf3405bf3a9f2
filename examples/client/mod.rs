//! The parts of the conformance client: what it answers, and how it gets its tokens.

pub(crate) mod answers;
pub(crate) mod authorize;
