//! Who asks over the protocol, and for how long they wait.

use std::time::Duration;

use rmcp::{ErrorData, RoleServer, model::Extensions, service::RequestContext};

use crate::{
    backplane::{context, mcp::words::gone_wrong, token::Identity},
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
};

/// Time a request has that came with no deadline.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who asks.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Whoever they have shown to be.
    pub principal: Principal,
    /// What travels with their request; what is live for them does not outlive what they showed.
    pub context: context::RequestContext,
}

/// The visitor of a request. The door they came through has put who they are among the extensions:
/// of the HTTP request, or of the message itself where there is no HTTP.
///
/// # Errors
/// When nobody has said who it is.
pub fn visitor(request: &RequestContext<RoleServer>) -> Result<Visitor, ErrorData> {
    let identity = find::<Identity>(&request.extensions)
        .ok_or_else(|| gone_wrong(&Failure::new(Kind::Unauthorized, "nobody is logged in")))?;
    let context = context::current()
        .or_else(|| find(&request.extensions))
        .unwrap_or_else(|| context::RequestContext::fresh(PATIENCE));
    Ok(Visitor { principal: identity.principal, context })
}

fn find<T: Clone + Send + Sync + 'static>(extensions: &Extensions) -> Option<T> {
    extensions
        .get::<http::request::Parts>()
        .and_then(|parts| parts.extensions.get::<T>())
        .or_else(|| extensions.get::<T>())
        .cloned()
}
