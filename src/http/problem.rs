//! The one place that turns a failure into a status and an error body.

use std::{fmt, sync::Arc, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::{Map, Value, json};

use crate::{
    backplane::{
        context::{self, REQUEST_ID_HEADER},
        seldom::Seldom,
    },
    domain::failure::{Failure, Kind},
};

/// Requests that failed because of the store.
static UNSTORED: Seldom = Seldom::new();

/// A failure on its way out.
#[derive(Debug)]
pub struct Problem {
    failure: Failure,
    request_id: Option<Arc<str>>,
}

impl Problem {
    /// A failure of a request whose context is known otherwise than from the task.
    #[must_use]
    pub fn of_request(failure: Failure, request_id: Arc<str>) -> Self {
        Problem { failure, request_id: Some(request_id) }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Problem { failure, request_id: context::current_id() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

/// The status of a kind of failure.
#[must_use]
pub fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::InvalidCredentials | Kind::TokenExpired | Kind::Unauthorized => {
            StatusCode::UNAUTHORIZED
        }
        Kind::PermissionDenied => StatusCode::FORBIDDEN,
        Kind::NotFound | Kind::ToolNotFound | Kind::ServiceNotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Validation => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::InvalidRequest | Kind::InvalidParameter | Kind::MissingParameter => {
            StatusCode::BAD_REQUEST
        }
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        Kind::WrongStore => StatusCode::MISDIRECTED_REQUEST,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        Kind::Overloaded | Kind::Unavailable | Kind::CircuitOpen | Kind::Connection => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::BadReply => StatusCode::BAD_GATEWAY,
        Kind::Storage | Kind::ToolFailed | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn details(failure: &Failure) -> Map<String, Value> {
    let mut details = Map::new();
    if let Some(service) = &failure.service {
        details.insert("service".to_owned(), service.as_ref().into());
    }
    if let Some((entity, id)) = failure.entity.as_deref() {
        details.insert("entity_type".to_owned(), (*entity).into());
        details.insert("entity_id".to_owned(), id.as_str().into());
    }
    if let Some(wait) = failure.retry_after {
        details.insert("retry_after_seconds".to_owned(), wait.as_secs_f64().ceil().into());
    }
    if !failure.fields.is_empty() {
        let fields: Vec<Value> = failure
            .fields
            .iter()
            .map(|field| json!({"loc": field.at, "msg": field.message, "type": field.kind}))
            .collect();
        details.insert("validation_errors".to_owned(), fields.into());
    }
    details
}

/// The error body: `code`, `message`, `status_code`, `details`, the request's id, and the short
/// text older clients read.
#[must_use]
pub fn body(failure: &Failure, request_id: Option<&str>) -> Value {
    json!({
        "error": {
            "code": failure.kind.code(),
            "message": failure.message,
            "status_code": status(failure.kind).as_u16(),
            "details": details(failure),
        },
        "request_id": request_id,
        "detail": failure.message,
    })
}

/// Whole seconds, rounded up: earlier is too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        status(self.failure.kind)
    }

    fn error_response(&self) -> HttpResponse {
        let failure = &self.failure;
        // Refusing is what an overloaded process has no time to write about; who refuses counts.
        let code = failure.kind.code();
        if failure.kind == Kind::Storage {
            // A store that fails does so with every request.
            if let Some(count) = UNSTORED.happened() {
                log::warn!("request failed code={code} cause={failure} count={count}");
            }
        } else if failure.is_ours() && failure.kind != Kind::Overloaded {
            log::warn!("request failed code={code} cause={failure}");
        }
        let mut response = HttpResponse::build(self.status_code());
        if let Some(wait) = failure.retry_after {
            response.insert_header((header::RETRY_AFTER, whole_seconds(wait)));
        }
        if failure.kind == Kind::Unauthorized || failure.kind == Kind::TokenExpired {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(id) = &self.request_id {
            response.insert_header((REQUEST_ID_HEADER, id.as_ref()));
        }
        response.json(body(failure, self.request_id.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_what_every_generation_reads() {
        let failure = Failure::not_found("conversation", "c1");
        assert_eq!(
            body(&failure, Some("r1")),
            json!({
                "error": {
                    "code": "resource_not_found",
                    "message": "conversation not found: c1",
                    "status_code": 404,
                    "details": {"entity_type": "conversation", "entity_id": "c1"},
                },
                "request_id": "r1",
                "detail": "conversation not found: c1",
            })
        );
    }

    #[test]
    fn fields_are_listed_and_services_named() {
        let invalid = Failure::invalid_field("name", "field required", "missing");
        assert_eq!(
            body(&invalid, None)["error"]["details"]["validation_errors"],
            json!([{"loc": ["body", "name"], "msg": "field required", "type": "missing"}])
        );
        let open = Failure::new(Kind::CircuitOpen, "memory is not available")
            .of_service("memory")
            .retry_after(Duration::from_millis(1500));
        let response = Problem::from(open).error_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers().get("retry-after").unwrap(), "2");
    }

    #[test]
    fn ours_are_5xx_and_theirs_4xx() {
        for kind in Kind::ALL {
            let failure = Failure::new(kind, "x");
            assert_eq!(failure.is_ours(), status(kind).is_server_error(), "{kind:?}");
        }
    }
}
