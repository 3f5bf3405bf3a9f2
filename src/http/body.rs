//! Reading bodies and queries: bounded, and with an error that says what is wrong where.

use std::{collections::BTreeMap, time::Duration};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderValue},
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, future::LocalBoxFuture};
use serde::de::DeserializeOwned;

use crate::{
    backplane::context,
    domain::failure::{Failure, FieldProblem, Kind},
    http::problem::Problem,
};

/// Time for a body to arrive where no request sets a deadline.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// The largest body taken, as application data.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit(pub usize);

/// A whole body within the limit.
///
/// # Errors
/// `request_too_large`; `unsupported_media_type` when it is encoded; `request_timeout` when it does
/// not come in time; `invalid_request` when it breaks off.
pub async fn read(request: &HttpRequest, payload: Payload) -> Result<Bytes, Failure> {
    must_be_plain(request)?;
    let limit = request.app_data::<BodyLimit>().map_or(1_048_576, |limit| limit.0);
    let too_large =
        || Failure::new(Kind::TooLarge, format!("the body is larger than {limit} bytes"));
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut payload = payload;
    let mut body = BytesMut::with_capacity(announced.unwrap_or_default());
    let deadline = context::current_or(BODY_PATIENCE).deadline;
    loop {
        let piece =
            tokio::time::timeout_at(deadline, payload.next()).await.map_err(|_elapsed| {
                Failure::new(Kind::BodyTimeout, "the body did not arrive in time")
            })?;
        let Some(piece) = piece else { return Ok(body.freeze()) };
        let piece = piece.map_err(|error| {
            Failure::new(Kind::InvalidRequest, format!("the body broke off: {error}"))
        })?;
        if body.len() + piece.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
}

/// Bodies are taken as they are: a small one that grows when it is decoded is a known trap.
fn must_be_plain(request: &HttpRequest) -> Result<(), Failure> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING);
    let encoded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    match encodings.find(|value| encoded(value)) {
        None => Ok(()),
        Some(encoding) => {
            let encoding = encoding.to_str().unwrap_or("something");
            let text = format!("the body is encoded as {encoding:?}: send it as it is");
            Err(Failure::new(Kind::UnsupportedMedia, text))
        }
    }
}

/// JSON of a type; what does not fit is named by its place.
///
/// # Errors
/// `validation_error`.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    // serde would take a list for an object, by position.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Failure::invalid(vec![FieldProblem {
            at: vec!["body".to_owned()],
            message: "must be an object".to_owned(),
            kind: "type_error",
        }]));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let mut at = vec!["body".to_owned()];
        at.extend(error.path().iter().map(ToString::to_string).filter(|part| part != "?"));
        let cause = error.inner();
        let kind = if cause.is_data() { "type_error" } else { "json_invalid" };
        Failure::invalid(vec![FieldProblem { at, message: cause.to_string(), kind }])
    })?;
    json.end().map_err(|error| {
        Failure::invalid(vec![FieldProblem {
            at: vec!["body".to_owned()],
            message: error.to_string(),
            kind: "json_invalid",
        }])
    })?;
    Ok(value)
}

/// A JSON body of a type.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { Ok(Json(parse(&read(&request, payload).await?)?)) })
    }
}

/// The query as text by name; of a name given twice the last counts.
#[derive(Clone, Debug, Default)]
pub struct Query(pub BTreeMap<String, String>);

impl Query {
    /// The query of a request.
    ///
    /// # Errors
    /// `invalid_request` when it cannot be read.
    pub fn of(request: &HttpRequest) -> Result<Self, Failure> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|error| {
                Failure::new(Kind::InvalidRequest, format!("the query cannot be read: {error}"))
            })?;
        Ok(Query(pairs.into_inner().into_iter().collect()))
    }

    /// A value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// An integer within bounds, or its default.
    ///
    /// # Errors
    /// `validation_error` naming it.
    pub fn integer(&self, name: &str, default: i64, low: i64, high: i64) -> Result<i64, Failure> {
        let Some(text) = self.get(name) else { return Ok(default) };
        text.parse().ok().filter(|value| (low..=high).contains(value)).ok_or_else(|| {
            Failure::invalid(vec![FieldProblem {
                at: vec!["query".to_owned(), name.to_owned()],
                message: format!("must be an integer from {low} to {high}"),
                kind: "value_error",
            }])
        })
    }
}

impl FromRequest for Query {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Query::of(request).map_err(Problem::from))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Shape {
        #[serde(rename = "inner")]
        _inner: Vec<i32>,
    }

    fn check(body: &[u8], at: &[&str], kind: &str) {
        let failure = parse::<Shape>(body).unwrap_err();
        let field = &failure.fields[0];
        assert_eq!(
            (field.at.iter().map(String::as_str).collect::<Vec<_>>(), field.kind),
            (at.to_vec(), kind),
            "{failure}"
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        check(br#"{"inner": [1, "x"]}"#, &["body", "inner", "[1]"], "type_error");
        check(br#"{"inner": [99999999999]}"#, &["body", "inner", "[0]"], "type_error");
        check(br#"{"inner": 1e999}"#, &["body", "inner"], "json_invalid");
        check(b"{\"inner\": [\xff]}", &["body", "inner", "[0]"], "json_invalid");
        check(b"{}", &["body"], "type_error");
        check(b" [[1]]", &["body"], "type_error");
        check(b"", &["body"], "json_invalid");
        check(br#"{"inner": []} x"#, &["body"], "json_invalid");
    }
}
