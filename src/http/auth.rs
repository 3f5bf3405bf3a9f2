//! Who is calling: the bearer token of a request.

use std::time::Duration;

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest, dev::Payload, http::header, web::Data,
};
use tokio::time::Instant;

use crate::{
    backplane::{
        clock,
        token::{Identity, Tokens},
    },
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
    http::{body::Query, problem::Problem},
    services::conversation::Caller,
};

/// Ten years.
const FOREVER_SECONDS: u64 = 10 * 365 * 86_400;

/// How this process reads tokens, as application data.
#[derive(Clone, Debug)]
pub struct Gatekeeper {
    /// Reads them.
    pub tokens: Tokens,
    /// The name tokens of services must be meant for.
    pub audience: &'static str,
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn read(request: &HttpRequest, token: Option<&str>) -> Result<Identity, Failure> {
    let token = token.ok_or_else(|| Failure::new(Kind::Unauthorized, "Not authenticated"))?;
    let gatekeeper = request
        .app_data::<Data<Gatekeeper>>()
        .ok_or_else(|| Failure::new(Kind::Internal, "not wired"))?;
    gatekeeper.tokens.identify(token, gatekeeper.audience)
}

/// Who the bearer token of a request stands for, if it has a good one.
pub(crate) fn identity(request: &HttpRequest) -> Option<Identity> {
    read(request, bearer(request)).ok()
}

/// Whoever calls: a user or a service.
///
/// # Errors
/// `auth_error`, `token_expired`.
pub fn principal(request: &HttpRequest) -> Result<Principal, Failure> {
    if let Some(identity) = request.extensions().get::<Identity>() {
        return Ok(identity.principal.clone());
    }
    read(request, bearer(request)).map(|identity| identity.principal)
}

/// The user of a stream, and until when they may listen: browsers' `EventSource` cannot set
/// headers, so that `?token=` is taken here, and only here.
///
/// # Errors
/// `auth_error`, `token_expired`.
pub fn stream_caller(request: &HttpRequest) -> Result<(Caller, Instant), Failure> {
    let query = Query::of(request)?;
    let identity = read(request, bearer(request).or_else(|| query.get("token")))?;
    let until = moment(identity.expires);
    user(identity.principal).map(|caller| (caller, until))
}

/// When a token ends, on the clock that only goes forward.
pub(crate) fn moment(expires: i64) -> Instant {
    let left = expires.saturating_sub(clock::now_seconds());
    // Further away than any process runs; far enough from what an instant can hold.
    let left = u64::try_from(left).unwrap_or_default().min(FOREVER_SECONDS);
    Instant::now() + Duration::from_secs(left)
}

fn user(principal: Principal) -> Result<Caller, Failure> {
    match principal {
        Principal::User { id, name, email } => Ok(Caller { id, name, email }),
        Principal::Service { .. } => Err(Failure::denied("this needs a user's token")),
    }
}

/// Whoever calls, as a handler's argument.
#[derive(Clone, Debug)]
pub struct Anyone(pub Principal);

impl FromRequest for Anyone {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(principal(request).map(Anyone).map_err(Problem::from))
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(principal(request).and_then(user).map_err(Problem::from))
    }
}
