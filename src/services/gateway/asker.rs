//! Who a request of the protocol came from, and how they are reached while it is worked on.

use std::sync::Arc;

use rmcp::{
    ErrorData, Peer, RoleServer,
    model::{ProtocolVersion, ServerNotification, ServerRequest},
    service::RequestContext,
};
use serde_json::{Map, Value, json, value::RawValue};
use tokio::sync::mpsc;

use crate::{
    backplane::{
        mcp::{Visitor, visitor},
        upstream::{Boxed, Call, Client, ClientSide, INTERNAL_ERROR, RpcError},
    },
    domain::gateway::access::name_of,
};

/// Notices that wait to be passed on; beyond that the newest are left out.
const NOTICES_WAITING_MAX: usize = 256;
/// Where a request says from which level on it hears what is logged.
const LEVEL_META: &str = "io.modelcontextprotocol/logLevel";
/// What a client may be able to do when it is asked.
const ABILITIES: [&str; 3] = ["elicitation", "sampling", "roots"];

/// Whoever asks.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) visitor: Visitor,
    /// What rules and upstreams know them by.
    pub(super) name: Arc<str>,
    pub(super) peer: Peer<RoleServer>,
    /// Whether they speak 2026-07-28, where nobody is asked while a call is under way.
    pub(super) modern: bool,
    /// What they can do when they are asked.
    pub(super) abilities: Map<String, Value>,
    session: Option<Arc<str>>,
    meta: Map<String, Value>,
}

impl Asker {
    /// Whoever sent a request; one with a session hears what is logged from `level` on.
    ///
    /// # Errors
    /// When nobody has said who it is.
    pub(super) fn of(
        request: &RequestContext<RoleServer>,
        level: &Value,
    ) -> Result<Self, ErrorData> {
        let visitor = visitor(request)?;
        let version = request.protocol_version();
        let modern = version
            .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
        let abilities = request
            .client_capabilities()
            .and_then(|all| serde_json::to_value(all).ok())
            .and_then(|all| all.as_object().cloned())
            .map(|mut all| {
                all.retain(|ability, _| ABILITIES.contains(&ability.as_str()));
                all
            });
        let name: Arc<str> = name_of(&visitor.principal).into();
        let abilities = abilities.unwrap_or_default();
        let session = if modern {
            // The newer era knows no sessions: what such a client says of one is not checked. Where
            // an upstream needs one to ask something, it is its user's, for what they can answer.
            (!abilities.is_empty()).then(|| {
                let able: Vec<&str> = abilities.keys().map(String::as_str).collect();
                Arc::from(format!("{name} able to {}", able.join(" ")))
            })
        } else {
            let parts = request.extensions.get::<http::request::Parts>();
            let id = parts.and_then(|parts| parts.headers.get("mcp-session-id")?.to_str().ok());
            id.map(Arc::from)
        };
        let mut meta = request.meta.0.0.clone();
        // Newer clients say it with each request; for older ones it is said here.
        if !modern {
            meta.insert(LEVEL_META.to_owned(), level.clone());
        }
        Ok(Asker { name, peer: request.peer.clone(), modern, abilities, session, meta, visitor })
    }

    /// A call on their behalf, with `side` to turn to.
    pub(super) fn call(&self, side: Arc<dyn ClientSide>) -> Call {
        let client =
            Client { session: self.session.clone(), capabilities: self.abilities.clone(), side };
        Call {
            principal: Some(Arc::clone(&self.name)),
            deadline: self.visitor.context.deadline,
            meta: self.meta.clone(),
            client: Some(client),
        }
    }
}

/// A client that is told, and not asked. Notices go through a channel, so that they keep their order
/// and come before the answer.
pub(super) struct Reached {
    pub(super) notices: mpsc::Sender<ServerNotification>,
}

/// Notices on their way to a client.
pub(super) fn notices() -> (mpsc::Sender<ServerNotification>, mpsc::Receiver<ServerNotification>) {
    mpsc::channel(NOTICES_WAITING_MAX)
}

/// A notice as the library knows it.
pub(super) fn notice(method: &str, params: Option<&RawValue>) -> Option<ServerNotification> {
    let message = json!({"method": method, "params": params});
    serde_json::from_value(message).ok()
}

impl ClientSide for Reached {
    fn request(
        &self,
        method: String,
        _params: Option<Box<RawValue>>,
    ) -> Boxed<Result<Box<RawValue>, RpcError>> {
        Box::pin(async move { Err(RpcError::no_method(&method)) })
    }

    fn notice(&self, method: &str, params: Option<Box<RawValue>>) {
        if let Some(notice) = notice(method, params.as_deref())
            && self.notices.try_send(notice).is_err()
        {
            log::debug!("a notice was left out: too many wait");
        }
    }
}

/// Asks a client something and waits for its answer.
pub(super) async fn ask(
    peer: &Peer<RoleServer>,
    method: &str,
    params: Option<&RawValue>,
) -> Result<Box<RawValue>, RpcError> {
    let failed = |why: String| RpcError { code: INTERNAL_ERROR, message: why, data: None };
    let message = json!({"method": method, "params": params});
    let request: ServerRequest =
        serde_json::from_value(message).map_err(|_other_shape| RpcError::no_method(method))?;
    match peer.send_request(request).await {
        Ok(result) => serde_json::value::to_raw_value(&result)
            .map_err(|error| failed(format!("the answer was not written: {error}"))),
        Err(rmcp::ServiceError::McpError(error)) => Err(RpcError {
            code: error.code.0.into(),
            message: error.message.into_owned(),
            data: error.data,
        }),
        Err(error) => Err(failed(format!("the client did not answer: {error}"))),
    }
}
