//! Tokens that the gateway makes to speak to our own services for whoever asked: what a client
//! showed to the gateway goes no further.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_web::http::header::HeaderValue;
use tokio::time::Instant;

use crate::{
    backplane::token::Tokens,
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
};

/// Life of a pass.
const LIFE: Duration = Duration::from_secs(300);
/// A pass that has less than this left is made anew.
const RENEWAL: Duration = Duration::from_secs(60);
/// Passes kept; beyond that all are forgotten and made anew.
const KEPT_MAX: usize = 10_000;

type Kept = HashMap<String, (Instant, HeaderValue)>;

/// Makes passes, and keeps them while they are good. Cheap to clone.
#[derive(Clone)]
pub struct Passes {
    tokens: Tokens,
    kept: Arc<Mutex<Kept>>,
}

impl Passes {
    /// Passes signed as all tokens are.
    #[must_use]
    pub fn new(tokens: Tokens) -> Self {
        Passes { tokens, kept: Arc::default() }
    }

    /// What is shown to our services for `principal`; `None` for a service, whose calls are made
    /// as core's own.
    ///
    /// # Errors
    /// `internal_error` when signing fails.
    pub fn of(&self, principal: &Principal) -> Result<Option<HeaderValue>, Failure> {
        let Principal::User { id, name, email } = principal else { return Ok(None) };
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, pass)) = kept.get(id)
            && now + RENEWAL < *until
        {
            return Ok(Some(pass.clone()));
        }
        let token = self.tokens.for_user(id, name, email, LIFE)?;
        let pass = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_not_a_header| Failure::new(Kind::Internal, "pass not written"))?;
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(id.clone(), (now + LIFE, pass.clone()));
        Ok(Some(pass))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pass_is_kept_until_it_is_nearly_over() {
        let passes = Passes::new(Tokens::new(&"x".repeat(32)));
        let ann = Principal::User { id: "a".into(), name: "Ann".into(), email: String::new() };
        let first = passes.of(&ann).unwrap().unwrap();
        let until = passes.kept.lock().unwrap()["a"].0;
        tokio::time::advance(Duration::from_secs(239)).await;
        assert_eq!(passes.of(&ann).unwrap().unwrap(), first);
        tokio::time::advance(Duration::from_secs(2)).await;
        passes.of(&ann).unwrap();
        assert!(passes.kept.lock().unwrap()["a"].0 > until, "made anew");
        let service = Principal::Service { name: "cognition".into() };
        assert_eq!(passes.of(&service).unwrap(), None);
    }
}
