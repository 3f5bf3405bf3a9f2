//! Who is calling: the bearer token of a request.

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web::Data};

use crate::{
    backplane::token::Tokens,
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
    http::{body::Query, problem::Problem},
    services::conversation::Caller,
};

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

fn read(request: &HttpRequest, token: Option<&str>) -> Result<Principal, Failure> {
    let token = token.ok_or_else(|| Failure::new(Kind::Unauthorized, "Not authenticated"))?;
    let gatekeeper = request
        .app_data::<Data<Gatekeeper>>()
        .ok_or_else(|| Failure::new(Kind::Internal, "not wired"))?;
    gatekeeper.tokens.read(token, gatekeeper.audience)
}

/// Whoever calls: a user or a service.
///
/// # Errors
/// `auth_error`, `token_expired`.
pub fn principal(request: &HttpRequest) -> Result<Principal, Failure> {
    read(request, bearer(request))
}

/// The user of a stream: browsers' `EventSource` cannot set headers, so that `?token=` is taken
/// here, and only here.
///
/// # Errors
/// `auth_error`, `token_expired`.
pub fn stream_caller(request: &HttpRequest) -> Result<Caller, Failure> {
    let query = Query::of(request)?;
    user(read(request, bearer(request).or_else(|| query.get("token")))?)
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
