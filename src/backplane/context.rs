//! What travels with a request through a process: its id, its deadline, which attempt it is.

use std::{future::Future, sync::Arc, time::Duration};

use actix_web::http::header::HeaderValue;
use tokio::time::Instant;

/// Header that carries the id of a request, in and out.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Header that carries the time left for a request, in milliseconds (relative: no clock skew).
pub const TIMEOUT_HEADER: &str = "x-cortex-timeout-ms";
/// Header that says which attempt of a call this is, from 1. A service that sees it does not retry
/// further down: only the first process in a chain retries.
pub const ATTEMPT_HEADER: &str = "x-cortex-attempt";
/// Header that names a store: which one a caller means, and which one a live stream is of.
pub const STORE_HEADER: &str = "x-cortex-store";
/// Longer than any process runs.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Longest request id taken from a caller, in characters.
pub const REQUEST_ID_CHARS_MAX: usize = 128;

/// What travels with a request.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Its id, in every log line and answer.
    pub id: Arc<str>,
    /// When its caller stops waiting.
    pub deadline: Instant,
    /// Whether a caller further up already retries for us.
    pub retried_above: bool,
    /// When the caller's token ends, if they showed one: a stream does not outlive it.
    pub authorized_until: Option<Instant>,
    /// What calls made for this request show instead of this service's own token: one made for
    /// whoever asked, so that the service called sees them and not us.
    pub bearer: Option<HeaderValue>,
}

impl RequestContext {
    /// A context of our own making, `patience` long.
    #[must_use]
    pub fn fresh(patience: Duration) -> Self {
        RequestContext {
            id: uuid::Uuid::now_v7().to_string().into(),
            deadline: Instant::now() + patience,
            retried_above: false,
            authorized_until: None,
            bearer: None,
        }
    }

    /// The same request without its deadline: a stream outlives it, and what it asks on the way has
    /// bounds of its own.
    #[must_use]
    pub fn without_deadline(self) -> Self {
        RequestContext { deadline: Instant::now() + FOREVER, ..self }
    }

    /// Time left until the deadline.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Runs `work` inside this context, for work on a thread of its own.
    pub fn scope_sync<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// Runs `future` inside this context: its log lines carry the id.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }
}

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// The context this task runs in, if any.
#[must_use]
pub fn current() -> Option<RequestContext> {
    CURRENT.try_with(Clone::clone).ok()
}

/// The context this task runs in, or a fresh one of `patience`.
#[must_use]
pub fn current_or(patience: Duration) -> RequestContext {
    current().unwrap_or_else(|| RequestContext::fresh(patience))
}

/// The id of the request this task serves, if any.
#[must_use]
pub fn current_id() -> Option<Arc<str>> {
    CURRENT.try_with(|context| Arc::clone(&context.id)).ok()
}

/// Whether a caller's request id may be used as it is: short, visible ASCII.
#[must_use]
pub fn acceptable_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_CHARS_MAX && id.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_context_is_seen_inside_its_scope_only() {
        assert!(current().is_none());
        let context = RequestContext::fresh(Duration::from_secs(1));
        let id = Arc::clone(&context.id);
        let seen = context.scope(async { current_id() }).await;
        assert_eq!(seen, Some(id));
    }

    #[test]
    fn ids_with_spaces_controls_or_great_length_are_not_taken() {
        assert!(acceptable_id("a-1"));
        for bad in ["", "a b", "a\n", "ü", "x".repeat(129).as_str()] {
            assert!(!acceptable_id(bad), "{bad:?}");
        }
    }
}
