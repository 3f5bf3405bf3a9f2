//! What the other side is: whether it wants a handshake, which version it speaks, what it can do.

use std::sync::{Arc, atomic::Ordering};

use reqwest::header::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    call::{Call, Missed, Sign, Trouble},
    lines::Parts,
    meta::{self, LEGACY, MODERN},
    pipe::Pipe,
    rpc,
    web::{Request, Web},
};
use crate::domain::breaker::Outcome;

/// What an upstream said of itself.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Whether it is of 2026-07-28: no handshake, no session.
    pub modern: bool,
    /// The version spoken with it.
    pub version: String,
    /// Its capabilities.
    pub capabilities: Map<String, Value>,
    /// Its name and version (`serverInfo`).
    pub info: Option<Value>,
    /// What it says to a model about itself.
    pub instructions: Option<String>,
    /// Whether it was told of what the client can do, and may ask.
    pub(super) asks: bool,
}

impl Peer {
    /// One of which nothing is known but its era.
    pub(super) fn unknown(modern: bool) -> Self {
        let version = if modern { MODERN } else { LEGACY[0] };
        Peer {
            modern,
            version: version.to_owned(),
            capabilities: Map::new(),
            info: None,
            instructions: None,
            asks: false,
        }
    }

    /// Whether it declared the capability at that path: `["resources", "subscribe"]`.
    #[must_use]
    pub fn can(&self, path: &[&str]) -> bool {
        let mut steps = path.iter();
        let Some(mut here) = steps.next().and_then(|first| self.capabilities.get(*first)) else {
            return false;
        };
        for step in steps {
            match here.get(*step) {
                Some(deeper) => here = deeper,
                None => return false,
            }
        }
        !matches!(here, Value::Bool(false) | Value::Null)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    supported_versions: Vec<String>,
    #[serde(default)]
    capabilities: Map<String, Value>,
    instructions: Option<String>,
    #[serde(rename = "_meta", default)]
    meta: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    #[serde(default)]
    capabilities: Map<String, Value>,
    instructions: Option<String>,
    server_info: Option<Value>,
}

/// What a probe with `server/discover` showed.
enum Probed {
    Modern(Peer),
    Legacy,
}

fn probed(answer: &RawValue) -> Probed {
    let Ok(found) = serde_json::from_str::<Discovered>(answer.get()) else {
        return Probed::Legacy;
    };
    if !found.supported_versions.iter().any(|version| version == MODERN) {
        return Probed::Legacy;
    }
    let info = found.meta.get("io.modelcontextprotocol/serverInfo").cloned();
    Probed::Modern(Peer {
        capabilities: found.capabilities,
        info,
        instructions: found.instructions,
        ..Peer::unknown(true)
    })
}

/// What a failed probe shows; `again` is whether the version may be offered once more.
fn misprobed(missed: Missed) -> Result<Again, Missed> {
    match &*missed.trouble {
        Trouble::Refused(error) if error.code == rpc::UNSUPPORTED_VERSION => {
            let supported: Vec<&str> = error
                .data
                .as_ref()
                .and_then(|data| data.get("supported")?.as_array())
                .map(|list| list.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            if supported.contains(&MODERN) {
                Ok(Again::Offer)
            } else if supported.is_empty() || supported.iter().any(|v| LEGACY.contains(v)) {
                Ok(Again::Legacy)
            } else {
                Err(missed)
            }
        }
        Trouble::Refused(error) if error.is_modern() => Err(missed),
        Trouble::Refused(_) => Ok(Again::Legacy),
        Trouble::Failed(_) if matches!(missed.sign, Sign::OtherEra | Sign::SessionLost) => {
            Ok(Again::Legacy)
        }
        Trouble::Failed(_) | Trouble::Challenged { .. } => Err(missed),
    }
}

/// What to try after a failed probe.
enum Again {
    Offer,
    Legacy,
}

fn initialize(call: Option<&Call>, version: &str) -> (Request, bool) {
    let capabilities = meta::capabilities(call);
    let asks = capabilities.as_object().is_some_and(|declared| !declared.is_empty());
    let params = json!({"protocolVersion": version, "capabilities": capabilities,
        "clientInfo": meta::client_info()});
    let Value::Object(params) = params else {
        return (Request::new("initialize", Map::new()), asks);
    };
    (Request::new("initialize", params), asks)
}

fn initialized(name: &str, answer: &RawValue, asks: bool) -> Result<Peer, Missed> {
    let found: Initialized = serde_json::from_str(answer.get())
        .map_err(|_no_result| Missed::unreadable(name, "no answer to initialize"))?;
    if !LEGACY.contains(&found.protocol_version.as_str()) {
        let version: String = found.protocol_version.chars().take(32).collect();
        return Err(Missed::unreadable(name, format!("it speaks the version {version:?}")));
    }
    Ok(Peer {
        version: found.protocol_version,
        capabilities: found.capabilities,
        info: found.server_info,
        instructions: found.instructions,
        asks,
        ..Peer::unknown(false)
    })
}

/// Meets an upstream over Streamable HTTP; `era` is what it was last time.
pub(super) async fn meet_web(
    parts: &Parts,
    door: &Arc<super::door::Door>,
    era: Option<bool>,
    call: Option<&Call>,
) -> Result<Arc<Web>, Missed> {
    let line = |peer: Peer| {
        let ids = Arc::clone(&parts.ids);
        Web::new(Arc::clone(door), parts.ears.clone(), peer, parts.runtime.clone(), ids)
    };
    let probe = Arc::new(line(Peer::unknown(true)));
    let mut silent = false;
    if era != Some(false) {
        let discover = Request::new("server/discover", Map::new());
        let mut offers = 0;
        loop {
            offers += 1;
            let patience = parts.limits.probe_timeout;
            match tokio::time::timeout(patience, probe.ask(&discover, None)).await {
                // Old servers may say nothing to what they do not know.
                Err(_elapsed) => {
                    silent = true;
                    break;
                }
                Ok(Ok(answer)) => match probed(&answer) {
                    Probed::Modern(peer) => return Ok(Arc::new(line(peer))),
                    Probed::Legacy => break,
                },
                Ok(Err(missed)) => match misprobed(missed.clone())? {
                    Again::Offer if offers < 2 => {}
                    Again::Offer => return Err(missed),
                    Again::Legacy => break,
                },
            }
        }
    }
    match shake_hands(parts, door, call, line).await {
        // A new one after all, that was only slow.
        Err(missed)
            if silent && matches!(&*missed.trouble, Trouble::Refused(e) if e.is_modern()) =>
        {
            match probed(&probe.ask(&Request::new("server/discover", Map::new()), None).await?) {
                Probed::Modern(peer) => Ok(Arc::new(line(peer))),
                Probed::Legacy => Err(missed),
            }
        }
        shaken => shaken,
    }
}

async fn shake_hands(
    parts: &Parts,
    door: &Arc<super::door::Door>,
    call: Option<&Call>,
    line: impl Fn(Peer) -> Web,
) -> Result<Arc<Web>, Missed> {
    const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
    let (request, asks) = initialize(call, LEGACY[0]);
    let id = parts.ids.fetch_add(1, Ordering::Relaxed);
    let body = rpc::request(id, request.method, &request.params);
    let (reply, head) = door.post_to(door.url.clone(), body, HeaderMap::new()).await?;
    let answer = Arc::new(line(Peer::unknown(false))).result(reply, id, None).await?;
    let peer = initialized(&door.name, &answer, asks)?;
    let session = head.get(SESSION).cloned();
    let with_session = session.is_some();
    let line = Arc::new(line(peer).in_session(session));
    line.tell(rpc::notice("notifications/initialized", None)).await?;
    if with_session {
        line.follow();
    }
    Ok(line)
}

/// Meets an upstream over a line of its own; `era` is what it was last time.
pub(super) async fn meet_pipe(
    pipe: &Arc<Pipe>,
    era: Option<bool>,
    call: Option<&Call>,
) -> Result<(), Missed> {
    if era != Some(false) {
        let mut params = Map::new();
        meta::modern(&mut params, None, MODERN, 0);
        let discover = Request::new("server/discover", params);
        let patience = pipe.limits.probe_timeout;
        match tokio::time::timeout(patience, pipe.ask(&discover, None)).await {
            Ok(Ok(answer)) => {
                if let Probed::Modern(peer) = probed(&answer) {
                    pipe.met(peer);
                    return Ok(());
                }
            }
            Ok(Err(missed)) if missed.sign == Sign::LineLost => {
                return Err(missed.with(Sign::OtherEra));
            }
            Ok(Err(missed)) => {
                // There is one version to offer; whatever it is, the handshake comes next.
                let (Again::Offer | Again::Legacy) = misprobed(missed)?;
            }
            // Old servers may say nothing to what they do not know.
            Err(_elapsed) => {}
        }
    }
    let (request, asks) = initialize(call, LEGACY[0]);
    let answer = pipe.ask(&request, None).await?;
    pipe.met(initialized(&pipe.ears.name, &answer, asks)?);
    pipe.tell(rpc::notice("notifications/initialized", None)).await
}

/// A line that never came to be: what the breaker makes of it.
pub(super) fn not_met(name: &str, allowed: std::time::Duration) -> Missed {
    let mut missed = Missed::late(name, allowed, Outcome::Failure);
    missed.setback = crate::domain::backoff::Setback::NeverSent;
    missed
}
