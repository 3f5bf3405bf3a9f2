//! What the library refuses outside the protocol, in words of the protocol or in our one error format.

use std::time::Duration;

use actix_web::{
    HttpResponse, ResponseError as _,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use rmcp::{
    ErrorData,
    model::{ErrorCode, JsonRpcError, RequestId},
};
use serde::Deserialize as _;
use serde_json::Value;

use crate::{
    domain::failure::{Failure, Kind},
    http::{mcp::sessions::NoSession, problem::Problem},
};

/// What the library's refusal of a body it cannot read begins with.
const UNREADABLE: &str = "fail to deserialize request body";
/// When a client that found no room may come back.
const COME_BACK: Duration = Duration::from_secs(5);

/// The answer to a request the library refused with `status` and the plain text `said`.
pub(super) fn refusal(
    status: u16,
    said: &str,
    allow: Option<&HeaderValue>,
    body: &[u8],
) -> HttpResponse {
    if said.starts_with(UNREADABLE) {
        return in_protocol(body);
    }
    let mut response = Problem::from(failure(status, said)).error_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

fn failure(status: u16, said: &str) -> Failure {
    if said.ends_with(&NoSession::Full.to_string()) {
        return Failure::new(Kind::Overloaded, NoSession::Full.to_string()).retry_after(COME_BACK);
    }
    if said.ends_with(&NoSession::Unknown.to_string()) {
        return Failure::new(Kind::NotFound, NoSession::Unknown.to_string());
    }
    let said = said.split_once(": ").map_or(said, |(_, reason)| reason);
    match status {
        403 => {
            let hint = "MCP_ALLOWED_HOSTS and MCP_ALLOWED_ORIGINS say what is";
            Failure::new(Kind::PermissionDenied, format!("{said}; {hint}"))
        }
        404 => Failure::new(Kind::NotFound, NoSession::Unknown.to_string()),
        405 => Failure::new(Kind::MethodNotAllowed, "this method is not for this endpoint"),
        406 => Failure::new(Kind::NotAcceptable, said),
        413 => Failure::new(Kind::TooLarge, said),
        415 => Failure::new(Kind::UnsupportedMedia, said),
        500.. => {
            log::warn!("the protocol library failed cause={said:?}");
            Failure::new(Kind::Internal, "this should not have happened")
        }
        _ => Failure::new(Kind::InvalidRequest, said),
    }
}

/// What is wrong with a body that is no message of the protocol (JSON-RPC 2.0, section 5.1).
fn in_protocol(body: &[u8]) -> HttpResponse {
    let (id, error) = match serde_json::from_slice::<Value>(body) {
        Err(error) => (None, ErrorData::new(ErrorCode::PARSE_ERROR, error.to_string(), None)),
        Ok(Value::Array(_)) => (None, invalid("batches are not part of this protocol")),
        Ok(Value::Object(message)) => {
            let id = message.get("id").and_then(|id| RequestId::deserialize(id).ok());
            let why = if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
                "jsonrpc must be \"2.0\""
            } else if message.contains_key("id") && id.is_none() {
                "id must be a string or an integer"
            } else {
                "this is no request, notification or response of the protocol"
            };
            (id, invalid(why))
        }
        Ok(_) => (None, invalid("a message is an object")),
    };
    HttpResponse::build(StatusCode::BAD_REQUEST).json(JsonRpcError::new(id, error))
}

fn invalid(why: &'static str) -> ErrorData {
    ErrorData::invalid_request(why, None)
}
