//! What happens to every request: an id, a deadline, a log scope, a count.

use std::{sync::Arc, time::Duration};

use actix_cors::Cors;
use actix_web::{
    Error, HttpMessage as _, ResponseError as _,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::Data,
};
use futures_util::StreamExt as _;
use tokio::time::Instant;

use crate::{
    backplane::{
        context::{
            ATTEMPT_HEADER, REQUEST_ID_HEADER, RequestContext, TIMEOUT_HEADER, acceptable_id,
        },
        metrics::Metrics,
        token::Identity,
    },
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
    http::{admission::Admissions, auth, problem::Problem},
};

/// Longest body of a refused request that is read.
const READ_AWAY_BYTES_MAX: usize = 65_536;
/// Time it has to be there.
const READ_AWAY_PATIENCE: Duration = Duration::from_millis(20);

/// What the middleware needs to know.
#[derive(Clone, Debug)]
pub struct Reception {
    /// Time a request may take when its caller sets no deadline.
    pub request_timeout: Duration,
    /// What is counted.
    pub metrics: Metrics,
    /// Who is let in.
    pub admissions: Admissions,
}

/// Lets a browser's request in, or refuses it at once: inside what gives browsers their headers.
/// Others are let in or refused before anything else is done for them.
///
/// # Errors
/// `overloaded` when there is no place for it; else what the handlers answer.
pub async fn admit<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if !is_browser(&request) {
        return next.call(request).await;
    }
    let Some(reception) = request.app_data::<Data<Reception>>() else {
        return Err(Problem::from(Failure::new(Kind::Internal, "not wired")).into());
    };
    let user = user_of(request.extensions().get::<Identity>());
    let place = reception.admissions.enter(request.method(), request.path(), user);
    let _place = place.map_err(Problem::from)?;
    next.call(request).await
}

fn is_browser(request: &ServiceRequest) -> bool {
    request.headers().contains_key(header::ORIGIN)
}

pub(crate) fn user_of(identity: Option<&Identity>) -> Option<Arc<str>> {
    match identity.map(|identity| &identity.principal) {
        Some(Principal::User { id, .. }) => Some(id.as_str().into()),
        Some(Principal::Service { .. }) => None,
        // Whoever says nothing, or nothing true, of themselves: all of them are one.
        None => Some("".into()),
    }
}

/// Gives a request its context and its answer the request's id; counts both.
///
/// # Errors
/// What the handlers answer, and `internal_error` when one of them panicked.
pub async fn receive<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let begun = Instant::now();
    let Some(reception) = request.app_data::<Data<Reception>>().cloned() else {
        return Err(Problem::from(Failure::new(Kind::Internal, "not wired")).into());
    };
    let identity = auth::identity(request.request());
    let mut _place = None;
    if !is_browser(&request) {
        let user = user_of(identity.as_ref());
        match reception.admissions.enter(request.method(), request.path(), user) {
            Ok(place) => _place = place,
            Err(failure) => return Ok(refuse(request, &reception, failure, begun).await),
        }
    }
    let mut context = match context_of(request.headers(), &reception, begun) {
        Ok(context) => context,
        Err(failure) => return Ok(refuse(request, &reception, failure, begun).await),
    };
    context.authorized_until = identity.as_ref().map(|identity| auth::moment(identity.expires));
    if let Some(identity) = identity {
        request.extensions_mut().insert(identity);
    }
    let id = context.id.clone();
    let method = known_method(request.method().as_str());
    let counting = Counting::begin(&reception.metrics, method, begun);
    let result = context.scope(next.call(request)).await;
    match result {
        Ok(mut response) => {
            let pattern = response.request().match_pattern();
            counting.end(pattern.as_deref().unwrap_or("unmatched"), response.status().as_u16());
            if let Ok(value) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(HeaderName::from_static(REQUEST_ID_HEADER), value);
            }
            Ok(if is_refused_preflight(&response) {
                let failure = Failure::new(Kind::InvalidRequest, "this origin may not call here");
                let problem = Problem::of_request(failure, id).error_response();
                response.into_response(problem).map_into_right_body()
            } else {
                response.map_into_left_body()
            })
        }
        Err(error) => {
            let status = error.as_response_error().status_code().as_u16();
            counting.end("unmatched", status);
            if error.as_error::<Problem>().is_some() {
                return Err(error);
            }
            log::error!("request failed unexpectedly request={id} cause={error}");
            let failure = Failure::new(Kind::Internal, "this should not have happened");
            Err(Problem::of_request(failure, id).into())
        }
    }
}

/// Refuses a request with the least work: the answer is Cortex's like any other.
async fn refuse<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    reception: &Reception,
    failure: Failure,
    begun: Instant,
) -> ServiceResponse<EitherBody<B>> {
    read_away(&mut request).await;
    let method = known_method(request.method().as_str());
    reception.metrics.http_begun();
    let id = request_id(request.headers());
    let answer = Problem::of_request(failure, id).error_response();
    let status = answer.status().as_u16();
    reception.metrics.http_done(method, "refused", status, begun.elapsed());
    request.into_response(answer).map_into_right_body()
}

/// Reads a small body that is there already: the server closes a connection whose request was not
/// read, and a new connection costs many times what the refusal does.
async fn read_away(request: &mut ServiceRequest) {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_none_or(|bytes| bytes > READ_AWAY_BYTES_MAX) {
        return;
    }
    let mut payload = request.take_payload();
    let reading = async { while let Some(Ok(_piece)) = payload.next().await {} };
    if tokio::time::timeout(READ_AWAY_PATIENCE, reading).await.is_err() {
        log::debug!("a refused body did not come at once");
    }
}

/// Counts a request's end, also when its caller hangs up before it (status 499, as proxies say).
struct Counting<'a> {
    metrics: &'a Metrics,
    method: &'static str,
    begun: Instant,
    end: Option<(String, u16)>,
}

impl<'a> Counting<'a> {
    fn begin(metrics: &'a Metrics, method: &'static str, begun: Instant) -> Self {
        metrics.http_begun();
        Counting { metrics, method, begun, end: None }
    }

    fn end(mut self, pattern: &str, status: u16) {
        self.end = Some((pattern.to_owned(), status));
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        let (pattern, status) =
            self.end.as_ref().map_or(("unmatched", 499), |(pattern, status)| (pattern, *status));
        self.metrics.http_done(self.method, pattern, status, self.begun.elapsed());
    }
}

/// Whether this is the plain text a preflight from a strange origin is refused with.
fn is_refused_preflight<B>(response: &ServiceResponse<B>) -> bool {
    response.request().method() == Method::OPTIONS && response.status() == StatusCode::BAD_REQUEST
}

fn context_of(
    headers: &HeaderMap,
    reception: &Reception,
    now: Instant,
) -> Result<RequestContext, Failure> {
    let id = request_id(headers);
    let patience = time_left(headers)?
        .map_or(reception.request_timeout, |left| left.min(reception.request_timeout));
    Ok(RequestContext {
        id,
        deadline: now + patience,
        retried_above: headers.contains_key(ATTEMPT_HEADER),
        authorized_until: None,
        bearer: None,
    })
}

/// The time its caller gives a request, if it says so. What cannot be read is refused: a caller who
/// means to wait for a second must not be kept for thirty.
fn time_left(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let mut given = headers.get_all(TIMEOUT_HEADER);
    let Some(value) = given.next() else { return Ok(None) };
    let millis = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    match (millis, given.next()) {
        (Some(millis), None) => Ok(Some(Duration::from_millis(millis))),
        (Some(_) | None, _) => {
            let text = "X-Cortex-Timeout-Ms must be one whole number of milliseconds";
            Err(Failure::new(Kind::InvalidRequest, text))
        }
    }
}

/// The id the caller gave, or a new one.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
    match given.filter(|id| acceptable_id(id)) {
        Some(id) => id.into(),
        None => uuid::Uuid::now_v7().to_string().into(),
    }
}

fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("OTHER")
}

/// Which browsers' pages may call: a comma list of origins, or `*` for all.
pub fn cors(allowed: &str) -> Cors {
    let cors = Cors::default()
        .allow_any_method()
        .allow_any_header()
        .supports_credentials()
        .expose_headers([
            REQUEST_ID_HEADER,
            "retry-after",
            "idempotency-replayed",
            "mcp-session-id",
            "www-authenticate",
        ])
        .max_age(600);
    allowed.split(',').map(str::trim).filter(|origin| !origin.is_empty()).fold(cors, |cors, one| {
        if one == "*" { cors.allow_any_origin() } else { cors.allowed_origin(one) }
    })
}
