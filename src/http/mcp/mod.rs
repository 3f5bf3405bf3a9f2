//! The Model Context Protocol over Streamable HTTP, both eras: a thin bridge onto the official
//! library, and what a server on the network needs around it.
//!
//! A process makes one [`Endpoint`] over its handler and mounts it on every worker:
//!
//! ```ignore
//! let endpoint = Endpoint::new(Arc::new(handler), &settings.mcp, access, ground.drain.clone());
//! // once per worker
//! config.configure(|config| endpoint.mount(config));
//! ```
//!
//! A handler runs inside the request's context (`backplane::context::current`), ends at its deadline
//! or when its client has gone, and asks [`caller`] who that is.

mod access;
mod bridge;
mod endpoint;
mod guarded;
mod refusal;
mod sessions;
mod work;

use rmcp::{RoleServer, service::RequestContext};

pub use self::{
    access::Access,
    endpoint::{Endpoint, PATH},
};
use crate::backplane::{context, token::Identity};

/// Whose verified token came with the request a handler works on; `None` where none is asked for.
#[must_use]
pub fn caller(request: &RequestContext<RoleServer>) -> Option<Identity> {
    request.extensions.get::<http::request::Parts>()?.extensions.get::<Identity>().cloned()
}

/// The id and the deadline of the HTTP request a handler works on.
#[must_use]
pub fn scene(request: &RequestContext<RoleServer>) -> Option<context::RequestContext> {
    let parts = request.extensions.get::<http::request::Parts>()?;
    parts.extensions.get::<context::RequestContext>().cloned()
}
