//! Who asks over the protocol, and for how long they wait.

use rmcp::{ErrorData, RoleServer, model::Extensions, service::RequestContext};
use tokio::time::Instant;

use crate::{
    backplane::{context, mcp::words::gone_wrong},
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
};

/// Who asks. The door they came through puts it among the request's extensions.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Whoever they have shown to be.
    pub principal: Principal,
    /// When what they showed ends: what is live for them does not outlive it.
    pub until: Option<Instant>,
    /// What travels with their request.
    pub context: context::RequestContext,
}

/// The visitor of a request.
///
/// # Errors
/// `auth_error` when nobody has said who it is.
pub fn visitor(request: &RequestContext<RoleServer>) -> Result<Visitor, ErrorData> {
    of(&request.extensions)
        .ok_or_else(|| gone_wrong(&Failure::new(Kind::Unauthorized, "nobody is logged in")))
}

fn of(extensions: &Extensions) -> Option<Visitor> {
    // Over HTTP it came with the request; elsewhere whoever serves has put it there itself.
    extensions
        .get::<http::request::Parts>()
        .and_then(|parts| parts.extensions.get::<Visitor>())
        .or_else(|| extensions.get::<Visitor>())
        .cloned()
}
