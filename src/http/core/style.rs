//! The two styles of answers: plain, and `/v1` with everything under `data`.

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload, http::StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    backplane::{clock, context},
    http::problem::Problem,
};

/// How an answer is put together; `/v1` sets its own, everything else is plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    V1,
}

impl FromRequest for Style {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Ok(request.app_data::<Style>().copied().unwrap_or(Style::Plain)))
    }
}

impl Style {
    /// Rows of a list when the client names no limit.
    pub(crate) fn page_default(self) -> i64 {
        match self {
            Style::Plain => 100,
            Style::V1 => 50,
        }
    }

    /// An answer whose plain form has `fields` beside a `status` text.
    pub(crate) fn answer(
        self,
        code: StatusCode,
        status: Option<&str>,
        fields: Map<String, Value>,
    ) -> HttpResponse {
        let body = match self {
            Style::Plain => {
                let mut body = Map::new();
                if let Some(status) = status {
                    body.insert("status".to_owned(), status.into());
                }
                body.extend(fields);
                Value::Object(body)
            }
            Style::V1 => wrapped(status.unwrap_or("success"), Value::Object(fields)),
        };
        HttpResponse::build(code).json(body)
    }

    /// An answer that has `status` and `data` in both styles; `/v1` echoes the request id the body
    /// `named`, if it did.
    pub(crate) fn with_data(self, status: &str, data: Value, named: Option<&str>) -> HttpResponse {
        HttpResponse::Ok().json(match self {
            Style::Plain => json!({ "status": status, "data": data }),
            Style::V1 => {
                let mut body = wrapped(status, data);
                if let (Some(id), Some(body)) = (named, body.as_object_mut()) {
                    body.insert("request_id".to_owned(), id.into());
                }
                body
            }
        })
    }
}

/// The `/v1` envelope.
pub(crate) fn wrapped(status: &str, data: Value) -> Value {
    json!({
        "status": status,
        "request_id": context::current_id().as_deref(),
        "timestamp": clock::now_rfc3339(),
        "data": data,
    })
}
