//! The one error type inside Cortex: what went wrong, whose fault it is, and when to try again.

use std::time::Duration;

/// What kind of thing went wrong. Each kind has one stable code (see [`Kind::code`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Login with a wrong password or an unknown name.
    InvalidCredentials,
    /// A token whose `exp` has passed.
    TokenExpired,
    /// No token, or one that does not verify.
    Unauthorized,
    /// Known caller, but not theirs to do.
    PermissionDenied,
    /// The thing asked for does not exist.
    NotFound,
    /// The service has no tool of that name.
    ToolNotFound,
    /// No service of that name is known to discovery.
    ServiceNotFound,
    /// It exists already, with other content.
    Conflict,
    /// Well-formed, but the values are not acceptable.
    Validation,
    /// Not even well-formed.
    InvalidRequest,
    /// A query or path parameter has a wrong value.
    InvalidParameter,
    /// A needed query parameter is absent.
    MissingParameter,
    /// The body is larger than the limit.
    TooLarge,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body has a content type that is not accepted here.
    UnsupportedMedia,
    /// The caller accepts no content type that could be answered here.
    NotAcceptable,
    /// It was meant for a service with another store.
    WrongStore,
    /// Too much asked of this service at this moment.
    Overloaded,
    /// Something this answer needs is not available.
    Unavailable,
    /// The breaker of every endpoint of a service is open.
    CircuitOpen,
    /// The deadline passed before there was an answer.
    Timeout,
    /// No connection to a service, or it broke.
    Connection,
    /// A service answered something that cannot be understood.
    BadReply,
    /// The store failed.
    Storage,
    /// A tool failed in a way of its own.
    ToolFailed,
    /// A bug of ours.
    Internal,
}

impl Kind {
    /// Every kind, for tests and tables.
    pub const ALL: [Kind; 27] = [
        Kind::InvalidCredentials,
        Kind::TokenExpired,
        Kind::Unauthorized,
        Kind::PermissionDenied,
        Kind::NotFound,
        Kind::ToolNotFound,
        Kind::ServiceNotFound,
        Kind::Conflict,
        Kind::Validation,
        Kind::InvalidRequest,
        Kind::InvalidParameter,
        Kind::MissingParameter,
        Kind::TooLarge,
        Kind::BodyTimeout,
        Kind::MethodNotAllowed,
        Kind::UnsupportedMedia,
        Kind::NotAcceptable,
        Kind::WrongStore,
        Kind::Overloaded,
        Kind::Unavailable,
        Kind::CircuitOpen,
        Kind::Timeout,
        Kind::Connection,
        Kind::BadReply,
        Kind::Storage,
        Kind::ToolFailed,
        Kind::Internal,
    ];

    /// The stable code clients match on.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Kind::InvalidCredentials => "invalid_credentials",
            Kind::TokenExpired => "token_expired",
            Kind::Unauthorized => "auth_error",
            Kind::PermissionDenied => "permission_denied",
            Kind::NotFound => "resource_not_found",
            Kind::ToolNotFound => "tool_not_found",
            Kind::ServiceNotFound => "service_not_found",
            Kind::Conflict => "resource_already_exists",
            Kind::Validation => "validation_error",
            Kind::InvalidRequest => "invalid_request",
            Kind::InvalidParameter => "invalid_parameter",
            Kind::MissingParameter => "missing_parameter",
            Kind::TooLarge => "request_too_large",
            Kind::BodyTimeout => "request_timeout",
            Kind::WrongStore => "wrong_store",
            Kind::MethodNotAllowed => "method_not_allowed",
            Kind::UnsupportedMedia => "unsupported_media_type",
            Kind::NotAcceptable => "not_acceptable",
            Kind::Overloaded => "overloaded",
            Kind::Unavailable => "service_unavailable",
            Kind::CircuitOpen => "circuit_open",
            Kind::Timeout => "timeout",
            Kind::Connection => "connection",
            Kind::BadReply => "data_error",
            Kind::Storage => "database_error",
            Kind::ToolFailed => "tool_execution_error",
            Kind::Internal => "internal_error",
        }
    }

    /// The kind a code stands for, if it is one of ours.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// One value of the input that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Path to the value, outermost first: `["body", "content"]`.
    pub at: Vec<String>,
    /// What is wrong with it.
    pub message: String,
    /// A short machine word: `missing`, `type_error`, `value_error`.
    pub kind: &'static str,
}

/// What went wrong, in full.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of thing went wrong.
    pub kind: Kind,
    /// One sentence for a person; never holds secrets or bodies.
    pub message: String,
    /// The service that is the cause, when it is not this one.
    pub service: Option<Box<str>>,
    /// The thing concerned: its type and its id.
    pub entity: Option<Box<(&'static str, String)>>,
    /// When it makes sense to try again.
    pub retry_after: Option<Duration>,
    /// The values that were not acceptable.
    pub fields: Vec<FieldProblem>,
}

impl Failure {
    /// A failure of `kind` with a sentence for a person.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Failure {
            kind,
            message: message.into(),
            service: None,
            entity: None,
            retry_after: None,
            fields: Vec::new(),
        }
    }

    /// `entity` with `id` does not exist (or the caller may not know that it does).
    #[must_use]
    pub fn not_found(entity: &'static str, id: impl Into<String>) -> Self {
        let id = id.into();
        let mut failure = Failure::new(Kind::NotFound, format!("{entity} not found: {id}"));
        failure.entity = Some(Box::new((entity, id)));
        failure
    }

    /// The caller may not do `what`.
    #[must_use]
    pub fn denied(what: impl Into<String>) -> Self {
        Failure::new(Kind::PermissionDenied, what)
    }

    /// One field of the input is not acceptable.
    #[must_use]
    pub fn invalid_field(field: &str, message: impl Into<String>, kind: &'static str) -> Self {
        Failure::invalid(vec![FieldProblem {
            at: vec!["body".to_owned(), field.to_owned()],
            message: message.into(),
            kind,
        }])
    }

    /// Several values of the input are not acceptable.
    #[must_use]
    pub fn invalid(fields: Vec<FieldProblem>) -> Self {
        let parts: Vec<String> = fields
            .iter()
            .map(|field| match field.at.last() {
                Some(name) => format!("{name}: {}", field.message),
                None => field.message.clone(),
            })
            .collect();
        let mut failure =
            Failure::new(Kind::Validation, format!("invalid input: {}", parts.join("; ")));
        failure.fields = fields;
        failure
    }

    /// Names the service that is the cause.
    #[must_use]
    pub fn of_service(mut self, service: &str) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Whether the cause lies outside the caller's request (a 5xx in HTTP's words).
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match self.kind {
            Kind::Overloaded
            | Kind::Unavailable
            | Kind::CircuitOpen
            | Kind::Timeout
            | Kind::Connection
            | Kind::BadReply
            | Kind::Storage
            | Kind::ToolFailed
            | Kind::Internal => true,
            Kind::InvalidCredentials
            | Kind::TokenExpired
            | Kind::Unauthorized
            | Kind::PermissionDenied
            | Kind::NotFound
            | Kind::ToolNotFound
            | Kind::ServiceNotFound
            | Kind::Conflict
            | Kind::Validation
            | Kind::InvalidRequest
            | Kind::InvalidParameter
            | Kind::MissingParameter
            | Kind::TooLarge
            | Kind::BodyTimeout
            | Kind::MethodNotAllowed
            | Kind::UnsupportedMedia
            | Kind::NotAcceptable
            | Kind::WrongStore => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_distinct_and_leads_back_to_its_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.code()), Some(kind));
        }
    }

    #[test]
    fn an_invalid_field_is_named_in_the_sentence() {
        let failure = Failure::invalid_field("content", "field required", "missing");
        assert_eq!(failure.to_string(), "invalid input: content: field required");
        assert!(!failure.is_ours());
    }
}
