//! What a client keeps between the rounds of one call: sealed, so that nobody else can use it, nor
//! for another call, nor for ever.

use std::time::Duration;

use rmcp::{
    ErrorData,
    model::{RequestStateCodec, SealOptions},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::failure::{Failure, Kind};

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// The upstream's own state, as it gave it.
    Upstream(String),
    /// The call waits here under this number.
    Parked(String),
}

/// Seals and opens what clients keep.
#[derive(Debug)]
pub struct Seal {
    codec: RequestStateCodec,
    life: Duration,
}

impl Seal {
    /// A seal drawn from the secret that signs tokens: every process with that secret can open it.
    ///
    /// # Errors
    /// `internal_error` when the library takes no key of that length.
    pub fn new(secret: &str, life: Duration) -> Result<Self, Failure> {
        let key = Sha256::digest(format!("cortex request state\0{secret}"));
        let codec = RequestStateCodec::try_new(key.to_vec())
            .map_err(|error| Failure::new(Kind::Internal, format!("no seal: {error}")))?;
        Ok(Seal { codec, life })
    }

    /// Seals for `bound`: whoever asks, of whom, and what for.
    pub(super) fn close(&self, state: &State, bound: &str) -> Result<String, ErrorData> {
        let options = SealOptions::new().associated_data(bound.as_bytes()).ttl(self.life);
        self.codec
            .seal_json_with(state, &options)
            .map_err(|error| ErrorData::internal_error(format!("not sealed: {error}"), None))
    }

    /// Opens what was sealed for `bound`.
    ///
    /// # Errors
    /// `-32602` for what was not, or long ago.
    pub(super) fn open(&self, sealed: &str, bound: &str) -> Result<State, ErrorData> {
        self.codec.open_json_with(sealed, bound.as_bytes()).map_err(|error| {
            ErrorData::invalid_params(format!("requestState is not acceptable: {error}"), None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_it_was_sealed_for_can_open_it() {
        let seal = Seal::new(&"s".repeat(32), Duration::from_secs(60)).unwrap();
        let state = State::Upstream("opaque \u{e9}".to_owned());
        let sealed = seal.close(&state, "ann files read").unwrap();
        assert_eq!(seal.open(&sealed, "ann files read").unwrap(), state);
        assert!(seal.open(&sealed, "bob files read").is_err());
        assert!(seal.open(&format!("{sealed}x"), "ann files read").is_err());
        let other = Seal::new(&"t".repeat(32), Duration::from_secs(60)).unwrap();
        assert!(other.open(&sealed, "ann files read").is_err());
    }
}
