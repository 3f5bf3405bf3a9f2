//! Between the server's requests and answers and those the protocol library knows.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    body::{BodySize, MessageBody},
    http::{StatusCode, header},
};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use tokio::sync::OwnedSemaphorePermit;

use crate::http::{admission::Place, mcp::refusal};

/// An answer of the library.
pub(super) type Answer = http::Response<BoxBody<Bytes, Infallible>>;

/// What a request holds until its work is done and its answer has gone: the work may outlive the
/// answer, in a session, and the answer the work.
#[derive(Debug)]
pub(super) enum Hold {
    /// A place among the requests.
    Place(#[expect(dead_code, reason = "dropping it leaves")] Place),
    /// One of the streams.
    Stream(#[expect(dead_code, reason = "dropping it leaves")] OwnedSemaphorePermit),
}

/// What ends an answer's stream from our side.
pub(super) type End = Pin<Box<dyn Future<Output = ()>>>;

/// The request as the library reads it. Credentials stay here: a handler that passes a request on
/// must not be able to pass them on too.
pub(super) fn request(from: &HttpRequest, body: Bytes) -> Option<http::Request<Full<Bytes>>> {
    let mut request = http::Request::new(Full::new(body));
    *request.method_mut() = from.method().as_str().parse().ok()?;
    *request.uri_mut() = from.uri().to_string().parse().ok()?;
    let headers = request.headers_mut();
    headers.reserve(from.headers().len());
    for (name, value) in from.headers() {
        if name == header::AUTHORIZATION || name == header::COOKIE {
            continue;
        }
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        headers.append(name, http::HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    if takes_anything(headers) {
        let both = http::HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(http::header::ACCEPT, both);
    }
    Some(request)
}

/// Whether a client takes any type of answer: it says so, or nothing (RFC 9110, section 12.5.1). The
/// protocol has clients list both types; `*/*` lists them too.
fn takes_anything(headers: &http::HeaderMap) -> bool {
    let said = headers.get_all(http::header::ACCEPT);
    let mut ranges =
        said.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    !headers.contains_key(http::header::ACCEPT) || ranges.any(is_anything)
}

fn is_anything(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let excluded = |part: &str| {
        let weight = part.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
        weight.and_then(|(_, weight)| weight.trim().parse::<f32>().ok()) == Some(0.0)
    };
    parts.next() == Some("*/*") && !parts.any(excluded)
}

/// The library's answer as the server sends it; `body` is the request's.
pub(super) async fn answer(
    answer: Answer,
    hold: Arc<Hold>,
    end: Option<End>,
    body: &Bytes,
) -> HttpResponse {
    let (parts, content) = answer.into_parts();
    let status =
        StatusCode::from_u16(parts.status.as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if (status.is_client_error() || status.is_server_error()) && !is_json(&parts.headers) {
        return refuse(status, &parts.headers, content, body).await;
    }
    let mut response = HttpResponse::build(status);
    copy_headers(&parts.headers, &mut response);
    response.body(Outflow { content, end, _hold: hold })
}

async fn refuse(
    status: StatusCode,
    headers: &http::HeaderMap,
    content: BoxBody<Bytes, Infallible>,
    body: &Bytes,
) -> HttpResponse {
    let said = match content.collect().await {
        Ok(said) => String::from_utf8_lossy(&said.to_bytes()).into_owned(),
        Err(never) => match never {},
    };
    let allow = headers.get(http::header::ALLOW);
    let allow = allow.and_then(|allow| header::HeaderValue::from_bytes(allow.as_bytes()).ok());
    refusal::refusal(status.as_u16(), &said, allow.as_ref(), body)
}

fn is_json(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

fn copy_headers(headers: &http::HeaderMap, response: &mut HttpResponseBuilder) {
    for (name, value) in headers {
        response.append_header((name.as_str(), value.as_bytes()));
    }
}

/// A body on its way out: with its length when that is known, else piece by piece.
struct Outflow {
    content: BoxBody<Bytes, Infallible>,
    end: Option<End>,
    _hold: Arc<Hold>,
}

impl MessageBody for Outflow {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.content.size_hint().exact().map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        if let Some(end) = &mut this.end
            && end.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        loop {
            match Pin::new(&mut this.content).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(never))) => match never {},
                // Trailers have no place in an event stream.
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
            }
        }
    }
}
