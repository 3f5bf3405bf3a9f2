//! How a command of people fails: one sentence that says what to do next.

use std::io;

use crate::domain::failure::Failure;

/// What a command may end with.
pub type Outcome<T = ()> = Result<T, Trouble>;

/// Why a command could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// One sentence says it all.
    #[error("{0}")]
    Plain(String),
    /// A service answered with an error: its code, and what it says.
    #[error("{}: {}", .0.kind.code(), .0.message)]
    Answered(Failure),
    /// Nobody answers at this URL.
    #[error("{url} cannot be reached: {cause}; is `cortex up` running? --url names another place")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why there was no answer.
        cause: String,
    },
    /// An answer larger than what is taken.
    #[error("the answer of {0} is larger than 16 MiB")]
    TooLarge(String),
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(io::Error),
    /// A store was looked at and has problems.
    #[error("{0}")]
    Found(String),
    /// A store that cannot be opened, or is not there.
    #[error("{0}")]
    Unopened(String),
    /// Whoever read standard output has gone: no error, but the end.
    #[error("nobody reads standard output any more")]
    ReaderGone,
}

impl Trouble {
    /// The exit code: 2 for a store that cannot be opened, 1 for the rest.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Trouble::Unopened(_) => 2,
            Trouble::Plain(_)
            | Trouble::Answered(_)
            | Trouble::Unreachable { .. }
            | Trouble::TooLarge(_)
            | Trouble::Output(_)
            | Trouble::Found(_)
            | Trouble::ReaderGone => 1,
        }
    }

    /// One sentence.
    pub fn plain(text: impl Into<String>) -> Self {
        Trouble::Plain(text.into())
    }

    /// Why, without what to do about it: for a place where that is said already.
    pub(super) fn cause(&self) -> String {
        match self {
            Trouble::Unreachable { cause, .. } => cause.clone(),
            Trouble::Plain(_)
            | Trouble::Answered(_)
            | Trouble::TooLarge(_)
            | Trouble::Output(_)
            | Trouble::Found(_)
            | Trouble::Unopened(_)
            | Trouble::ReaderGone => self.to_string(),
        }
    }

    /// A failure of our own, without its code: people read the sentence.
    pub(super) fn of(failure: &Failure) -> Self {
        Trouble::Plain(failure.message.clone())
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Trouble::ReaderGone
        } else {
            Trouble::Output(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Kind;

    #[test]
    fn an_answered_failure_shows_its_code_and_a_closed_pipe_is_told_apart() {
        let failure = Failure::new(Kind::ToolNotFound, "there is no tool \"x\" here");
        assert_eq!(
            Trouble::Answered(failure).to_string(),
            "tool_not_found: there is no tool \"x\" here"
        );
        let gone = Trouble::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(gone, Trouble::ReaderGone));
        let full = Trouble::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(full, Trouble::Output(_)));
    }
}
