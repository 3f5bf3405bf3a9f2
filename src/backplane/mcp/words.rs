//! Our answers and failures in the protocol's words.

use rmcp::{
    ErrorData,
    model::{CallToolResult, ContentBlock, ErrorCode, MetaObject},
};
use serde_json::{Map, Value, json};

use crate::domain::failure::{Failure, Kind};

/// Where the particulars of a failure stand in the `_meta` of a tool's answer.
pub(crate) const FAILURE_META: &str = "cortex/error";

/// What a tool answered, as text and as an object.
///
/// The first clients of memory are told of two mistakes by a status in an answer like any other;
/// here that is an error like all errors.
#[must_use]
pub fn answered(value: Value) -> CallToolResult {
    if value.get("status").and_then(Value::as_str) == Some("error") {
        let text = value.get("error").and_then(Value::as_str).unwrap_or("failed").to_owned();
        return failed(&Failure::new(Kind::Validation, text));
    }
    if value.is_object() {
        CallToolResult::structured(value)
    } else {
        // Before 2026-07-28 structured content had to be an object.
        CallToolResult::success(vec![ContentBlock::text(value.to_string())])
    }
}

/// A tool's failure, as a model can read it, with the particulars for programs.
#[must_use]
pub fn failed(failure: &Failure) -> CallToolResult {
    let mut text = format!("{}: {}", failure.kind.code(), failure.message);
    if let Some(wait) = failure.retry_after {
        text.push_str(&format!(" (try again in {} s)", wait.as_secs_f64().ceil()));
    }
    let meta = Map::from_iter([(FAILURE_META.to_owned(), particulars(failure))]);
    CallToolResult::error(vec![ContentBlock::text(text)]).with_meta(Some(MetaObject(meta)))
}

/// A failure of what is no tool.
#[must_use]
pub fn gone_wrong(failure: &Failure) -> ErrorData {
    let code = match failure.kind {
        Kind::NotFound => ErrorCode::RESOURCE_NOT_FOUND,
        Kind::ToolNotFound
        | Kind::Validation
        | Kind::InvalidRequest
        | Kind::InvalidParameter
        | Kind::MissingParameter => ErrorCode::INVALID_PARAMS,
        Kind::MethodNotAllowed => ErrorCode::METHOD_NOT_FOUND,
        Kind::InvalidCredentials
        | Kind::TokenExpired
        | Kind::Unauthorized
        | Kind::PermissionDenied
        | Kind::ServiceNotFound
        | Kind::Conflict
        | Kind::TooLarge
        | Kind::UnsupportedMedia
        | Kind::NotAcceptable
        | Kind::BodyTimeout
        | Kind::WrongStore
        | Kind::Overloaded
        | Kind::Unavailable
        | Kind::CircuitOpen
        | Kind::Connection
        | Kind::Timeout
        | Kind::BadReply
        | Kind::Storage
        | Kind::ToolFailed
        | Kind::Internal => ErrorCode::INTERNAL_ERROR,
    };
    ErrorData::new(code, failure.message.clone(), Some(particulars(failure)))
}

fn particulars(failure: &Failure) -> Value {
    let mut particulars = json!({"code": failure.kind.code(), "message": failure.message});
    let Some(object) = particulars.as_object_mut() else { return particulars };
    if let Some(service) = &failure.service {
        object.insert("service".to_owned(), service.as_ref().into());
    }
    if let Some(wait) = failure.retry_after {
        object.insert("retry_after_seconds".to_owned(), wait.as_secs_f64().ceil().into());
    }
    if let Some((entity, id)) = failure.entity.as_deref() {
        object.insert("entity_type".to_owned(), (*entity).into());
        object.insert("entity_id".to_owned(), id.as_str().into());
    }
    particulars
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_are_text_and_object_and_old_errors_are_errors() {
        let object = answered(json!({"a": 1}));
        assert_eq!(object.structured_content, Some(json!({"a": 1})));
        assert_eq!(object.is_error, Some(false));
        let nothing = answered(Value::Null);
        assert_eq!((nothing.structured_content, nothing.is_error), (None, Some(false)));
        let refused = answered(json!({"status": "error", "error": "User ID is required"}));
        assert_eq!((refused.structured_content.is_none(), refused.is_error), (true, Some(true)));
    }

    #[test]
    fn a_failure_says_when_to_try_again() {
        let open = Failure::new(Kind::CircuitOpen, "memory is not available")
            .of_service("memory")
            .retry_after(Duration::from_millis(1500));
        let result = serde_json::to_value(failed(&open)).unwrap();
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("memory is not available (try again in 2 s)"), "{text}");
        assert_eq!(result["_meta"][FAILURE_META]["retry_after_seconds"], 2.0);
        assert_eq!(result["_meta"][FAILURE_META]["service"], "memory");
        let error = gone_wrong(&Failure::not_found("item", "7"));
        assert_eq!(error.code, ErrorCode::RESOURCE_NOT_FOUND);
        assert_eq!(error.data.unwrap()["entity_id"], "7");
    }
}
