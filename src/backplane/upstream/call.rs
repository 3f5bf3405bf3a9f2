//! What a call brings with it: for whom it is, until when, and who answers the upstream's own
//! questions.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use serde_json::{Map, Value, value::RawValue};
use tokio::time::Instant;

use super::rpc::RpcError;
use crate::domain::{
    backoff::Setback,
    breaker::Outcome,
    failure::{Failure, Kind},
};

/// A future that may move between threads.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The client behind a call, as far as an upstream may turn to it.
pub trait ClientSide: Send + Sync + 'static {
    /// A request of the upstream's (`sampling/createMessage`, `elicitation/create`, `roots/list`).
    /// Dropping the future means that the upstream's call has ended.
    fn request(
        &self,
        method: String,
        params: Option<Box<RawValue>>,
    ) -> Boxed<Result<Box<RawValue>, RpcError>>;

    /// A notification that belongs to the call: `notifications/progress` with the caller's own
    /// token, `notifications/message`. Must not block.
    fn notice(&self, method: &str, params: Option<Box<RawValue>>);
}

/// A client that can be asked, and what it can do.
#[derive(Clone)]
pub struct Client {
    /// Its session, if it has one: what [`crate::contract::upstream::Share::Session`] goes by.
    pub session: Option<Arc<str>>,
    /// Its capabilities, as it declared them.
    pub capabilities: Map<String, Value>,
    /// Where it is reached.
    pub side: Arc<dyn ClientSide>,
}

/// What a call brings with it.
#[derive(Clone)]
pub struct Call {
    /// For whom it is; connections may be kept apart by it.
    pub principal: Option<Arc<str>>,
    /// When its caller stops waiting.
    pub deadline: Instant,
    /// The caller's `_meta`, with its progress token and trace context.
    pub meta: Map<String, Value>,
    /// Who answers the upstream's questions; nobody, if `None`.
    pub client: Option<Client>,
}

impl Call {
    /// A call of our own, so long.
    #[must_use]
    pub fn within(patience: Duration) -> Self {
        Call {
            principal: None,
            deadline: Instant::now() + patience,
            meta: Map::new(),
            client: None,
        }
    }

    /// The token the caller wants progress under.
    pub(super) fn progress_token(&self) -> Option<&Value> {
        self.meta.get("progressToken")
    }

    /// Whether the client behind it can do anything an upstream may ask for.
    pub(super) fn can_be_asked(&self) -> bool {
        self.client.as_ref().is_some_and(|client| !client.capabilities.is_empty())
    }
}

/// Why there is no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// The upstream answered with an error of its own: to be passed on as it is.
    #[error(transparent)]
    Refused(#[from] RpcError),
    /// The upstream wants other credentials: status 401 or 403, and its `WWW-Authenticate`.
    #[error("{failure}")]
    Challenged {
        /// 401 or 403.
        status: u16,
        /// The challenge, as it came.
        challenge: String,
        /// The same for those who cannot take it up.
        failure: Failure,
    },
    /// It did not answer, or not as it must; says when to try again.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl Trouble {
    /// The same as a failure.
    #[must_use]
    pub fn into_failure(self, upstream: &str) -> Failure {
        match self {
            Trouble::Refused(error) => {
                Failure::new(Kind::ToolFailed, error.to_string()).of_service(upstream)
            }
            Trouble::Failed(failure) | Trouble::Challenged { failure, .. } => failure,
        }
    }
}

/// How an attempt failed: for the caller, for the breaker, and for the retry.
#[derive(Clone, Debug)]
pub(super) struct Missed {
    pub(super) trouble: Box<Trouble>,
    pub(super) outcome: Outcome,
    pub(super) setback: Setback,
    /// What else it says of the connection.
    pub(super) sign: Sign,
}

/// What a failed attempt says of the connection it was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Nothing.
    None,
    /// The session is not known there any more; the call was not begun.
    SessionLost,
    /// It does not speak what we took it to speak.
    OtherEra,
    /// It found the headers and the body to differ: our list of its tools is old.
    HeadersDiffer,
    /// The connection is gone.
    LineLost,
}

impl Missed {
    pub(super) fn new(failure: Failure, outcome: Outcome, setback: Setback) -> Self {
        Missed { trouble: Box::new(Trouble::Failed(failure)), outcome, setback, sign: Sign::None }
    }

    /// No connection: nothing was sent.
    pub(super) fn unreached(name: &str, why: impl std::fmt::Display) -> Self {
        let failure = Failure::new(Kind::Connection, format!("{name} cannot be reached: {why}"));
        Missed::new(failure.of_service(name), Outcome::Failure, Setback::NeverSent)
    }

    /// The connection broke while the answer was awaited.
    pub(super) fn broken(name: &str, why: impl std::fmt::Display) -> Self {
        let failure = Failure::new(Kind::Connection, format!("the line to {name} broke: {why}"));
        let missed = Missed::new(failure.of_service(name), Outcome::Failure, Setback::Unknown);
        missed.with(Sign::LineLost)
    }

    /// An answer that cannot be understood.
    pub(super) fn unreadable(name: &str, why: impl std::fmt::Display) -> Self {
        let failure = Failure::new(Kind::BadReply, format!("{name} gave a bad answer: {why}"));
        Missed::new(failure.of_service(name), Outcome::Failure, Setback::Final)
    }

    /// An answer larger than is taken: says nothing about the upstream's health.
    pub(super) fn too_large(name: &str, most: usize) -> Self {
        let message = format!("the answer of {name} is larger than {most} bytes");
        let failure = Failure::new(Kind::BadReply, message).of_service(name);
        Missed::new(failure, Outcome::Neutral, Setback::Final)
    }

    /// No answer in time.
    pub(super) fn late(name: &str, allowed: Duration, outcome: Outcome) -> Self {
        let message = format!("{name} did not answer within {} ms", allowed.as_millis());
        let failure = Failure::new(Kind::Timeout, message).of_service(name);
        Missed::new(failure, outcome, Setback::Unknown)
    }

    /// An error the upstream itself answered with: it is alive.
    pub(super) fn refused(error: RpcError) -> Self {
        let sign = match error.code {
            super::rpc::HEADER_MISMATCH => Sign::HeadersDiffer,
            super::rpc::UNSUPPORTED_VERSION => Sign::OtherEra,
            _ => Sign::None,
        };
        Missed {
            trouble: Box::new(Trouble::Refused(error)),
            outcome: Outcome::Success,
            setback: Setback::Final,
            sign,
        }
    }

    /// Too much under way here.
    pub(super) fn crowded(name: &str, why: &str) -> Self {
        let failure = Failure::new(Kind::Overloaded, format!("{name} is busy: {why}"))
            .of_service(name)
            .retry_after(Duration::from_secs(1));
        Missed::new(failure, Outcome::Neutral, Setback::Final)
    }

    pub(super) fn with(mut self, sign: Sign) -> Self {
        self.sign = sign;
        self
    }
}
