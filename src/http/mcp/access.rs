//! Who may use the protocol's endpoint: an OAuth 2.1 resource server (RFC 6750, RFC 9728).

use std::sync::Arc;

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _,
    http::header::{self, HeaderValue},
    web,
};
use serde_json::json;

use crate::{
    backplane::{config::Mcp, token::Identity},
    domain::failure::{Failure, Kind},
    http::{auth, problem::Problem, routes},
};

/// Where the metadata of a protected resource is found (RFC 9728, section 3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// What a token for this endpoint is asked to be good for.
const SCOPE: &str = "mcp";

/// Who may use an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody who reaches it: for fixtures and loopback.
    Open,
    /// Anybody who reaches it, as the user of this id: for loopback.
    OpenAs(String),
    /// Whoever shows a token this process reads.
    Tokens,
}

/// The door of an endpoint.
#[derive(Debug)]
pub(super) struct Door {
    access: Access,
    path: &'static str,
    service: &'static str,
    public_url: Option<String>,
    issuers: Vec<String>,
}

impl Door {
    pub(super) fn new(
        access: Access,
        path: &'static str,
        service: &'static str,
        settings: &Mcp,
    ) -> Self {
        let public_url = settings.public_url().map(str::to_owned);
        Door { access, path, service, public_url, issuers: settings.issuers() }
    }

    /// Who calls, if they may; nobody where nobody needs to say.
    ///
    /// # Errors
    /// What is wrong with the token, or with there being none; to be answered with
    /// [`Door::challenge`].
    pub(super) fn enter(&self, request: &HttpRequest) -> Result<Option<Identity>, Failure> {
        let identity = request.extensions().get::<Identity>().cloned();
        match (&self.access, identity) {
            (Access::Open, identity) | (Access::OpenAs(_), identity @ Some(_)) => Ok(identity),
            (Access::OpenAs(user), None) => Ok(Some(Identity::of_user(user))),
            (Access::Tokens, Some(identity)) if self.is_meant_for_us(request, &identity) => {
                Ok(Some(identity))
            }
            (Access::Tokens, Some(_)) => {
                let text = "the token is not meant for this server";
                Err(Failure::new(Kind::Unauthorized, text))
            }
            (Access::Tokens, None) => {
                let unread = || Failure::new(Kind::Unauthorized, "Not authenticated");
                Err(auth::principal(request).err().unwrap_or_else(unread))
            }
        }
    }

    /// A token that names audiences must name this server (RFC 8707): by its URL, the endpoint's, or
    /// the service's name. Our own tokens for users name none.
    fn is_meant_for_us(&self, request: &HttpRequest, identity: &Identity) -> bool {
        let Some(audience) = &identity.audience else { return true };
        let base = self.base(request);
        let resource = format!("{base}{}", self.path);
        audience.iter().any(|meant| {
            let meant = meant.trim_end_matches('/');
            meant == resource || meant == base || meant == self.service
        })
    }

    /// This server's URL as its clients know it. Whoever lies about `Host` misleads only themselves.
    fn base(&self, request: &HttpRequest) -> String {
        self.public_url.clone().unwrap_or_else(|| {
            let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
            let named = named.filter(|host| host.parse::<http::uri::Authority>().is_ok());
            format!("http://{}", named.unwrap_or("localhost"))
        })
    }

    /// The answer that tells a client where to get a token.
    pub(super) fn challenge(&self, request: &HttpRequest, failure: Failure) -> HttpResponse {
        // Without a token there is nothing wrong with one (RFC 6750, section 3.1).
        let showed = request.headers().contains_key(header::AUTHORIZATION);
        let wrong = if showed { "error=\"invalid_token\", " } else { "" };
        let challenge = format!(
            "Bearer {wrong}resource_metadata=\"{}{WELL_KNOWN}{}\", scope=\"{SCOPE}\"",
            self.base(request),
            self.path
        );
        let mut response = Problem::from(failure).error_response();
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }

    fn metadata(&self, request: &HttpRequest) -> HttpResponse {
        let base = self.base(request);
        let issuers =
            if self.issuers.is_empty() { vec![base.clone()] } else { self.issuers.clone() };
        HttpResponse::Ok().json(json!({
            "resource": format!("{base}{}", self.path),
            "authorization_servers": issuers,
            "scopes_supported": [SCOPE],
            "bearer_methods_supported": ["header"],
            "resource_name": format!("Cortex {}", self.service),
        }))
    }
}

/// Serves the metadata, with the endpoint's path and without, unless anybody may come in.
pub(super) fn mount(door: &Arc<Door>, config: &mut web::ServiceConfig) {
    if door.access != Access::Tokens {
        return;
    }
    for path in [WELL_KNOWN.to_owned(), format!("{WELL_KNOWN}{}", door.path)] {
        let door = Arc::clone(door);
        let answer = move |request: HttpRequest| {
            let door = Arc::clone(&door);
            async move { door.metadata(&request) }
        };
        config.service(routes::at(&path, vec![(actix_web::http::Method::GET, web::to(answer))]));
    }
}
