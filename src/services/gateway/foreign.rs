//! Upstreams behind the gateway: what they offer, and what is asked of them for whoever asked us.

use std::sync::Arc;

use rmcp::{
    ErrorData,
    model::{ErrorCode, InputRequiredResult},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, value::RawValue};

use super::{asker::Asker, listing::Listing};
use crate::{
    backplane::{
        mcp::{
            gone_wrong,
            watching::{self, Changes},
        },
        upstream::{Call, Change, Kind, Trouble, Upstream},
    },
    domain::failure::{Failure, Kind as FailureKind},
};

/// What is asked of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Tool,
    Prompt,
    Resource,
}

/// What an upstream answered.
#[derive(Debug)]
pub(super) enum Reply {
    /// A result, as it came.
    Complete(Box<RawValue>),
    /// It wants to know something first.
    Input(Box<InputRequiredResult>),
}

/// Asks an upstream once.
pub(super) async fn ask(
    upstream: &Upstream,
    what: What,
    params: Map<String, Value>,
    call: &Call,
) -> Result<Reply, Trouble> {
    let raw = match what {
        What::Tool => upstream.call_tool(params, call).await?,
        What::Prompt => upstream.get_prompt(params, call).await?,
        What::Resource => upstream.read_resource(params, call).await?,
    };
    // Cheap: results say it near their beginning, and few have the words at all.
    if memchr::memmem::find(raw.get().as_bytes(), b"input_required").is_some()
        && let Ok(input) = serde_json::from_str::<InputRequiredResult>(raw.get())
    {
        return Ok(Reply::Input(Box::new(input)));
    }
    Ok(Reply::Complete(raw))
}

/// What an upstream offers `call`'s principal.
///
/// # Errors
/// Why it did not say.
pub(super) async fn list(upstream: &Upstream, call: &Call) -> Result<Listing, Failure> {
    let failed = |trouble: Trouble| trouble.into_failure(upstream.name());
    // One first: a breaker that is half open lets one call through and refuses those beside it.
    let tools = upstream.list(Kind::Tools, call).await.map_err(failed)?;
    let (resources, templates, prompts) = tokio::try_join!(
        upstream.list(Kind::Resources, call),
        upstream.list(Kind::Templates, call),
        upstream.list(Kind::Prompts, call),
    )
    .map_err(failed)?;
    for (kind, cut) in [
        ("tools", tools.cut),
        ("resources", resources.cut),
        ("templates", templates.cut),
        ("prompts", prompts.cut),
    ] {
        if let Some(why) = cut {
            log::warn!("a list is not whole upstream={} list={kind} cause={why}", upstream.name());
        }
    }
    Ok(Listing {
        tools: read(upstream, tools.items),
        resources: read(upstream, resources.items),
        templates: read(upstream, templates.items),
        prompts: read(upstream, prompts.items),
        live: Vec::new(),
    })
}

/// The entries that can be read; one that cannot does not keep the others from being shown.
fn read<T: DeserializeOwned>(upstream: &Upstream, items: Vec<Map<String, Value>>) -> Vec<T> {
    let all = items.len();
    let read: Vec<T> = items
        .into_iter()
        .filter_map(|item| serde_json::from_value(Value::Object(item)).ok())
        .collect();
    if read.len() < all {
        log::warn!(
            "entries of a list cannot be read upstream={} count={}",
            upstream.name(),
            all - read.len()
        );
    }
    read
}

/// A result of the kind that was asked for.
///
/// # Errors
/// When it is not of that kind.
pub(super) fn typed<T: DeserializeOwned>(source: &str, raw: &RawValue) -> Result<T, ErrorData> {
    serde_json::from_str(raw.get()).map_err(|error| {
        let text = format!("{source} answered what cannot be read: {error}");
        gone_wrong(&Failure::new(FailureKind::BadReply, text).of_service(source))
    })
}

/// An error in the protocol's words: the upstream's own as it came.
pub(super) fn error(trouble: Trouble, source: &str) -> ErrorData {
    match trouble {
        Trouble::Refused(error) => {
            let code = i32::try_from(error.code).unwrap_or(ErrorCode::INTERNAL_ERROR.0);
            ErrorData::new(ErrorCode(code), error.message, error.data)
        }
        Trouble::Failed(_) | Trouble::Challenged { .. } => {
            gone_wrong(&trouble.into_failure(source))
        }
    }
}

/// Begins to hear of changes of a resource of an upstream.
///
/// # Errors
/// Why it cannot be watched.
pub(super) async fn watch(
    upstream: &Upstream,
    uri: &str,
    asker: &Asker,
    call: Call,
) -> Result<Changes, Failure> {
    let mut heard = upstream.changes();
    upstream
        .subscribe(uri, &call)
        .await
        .map_err(|trouble| trouble.into_failure(upstream.name()))?;
    let (changed, changes) = watching::changes();
    let (upstream, uri) = (upstream.clone(), uri.to_owned());
    let until = asker.visitor.context.authorized_until;
    tokio::spawn(async move {
        let expired = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let hearing = async {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                match heard.recv().await {
                    Ok(Change::Resource(of)) if of == uri => {}
                    Ok(_other) => continue,
                    // It may have been among those that were missed.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
                if changed.try_send(()).is_err() && changed.is_closed() {
                    return;
                }
            }
        };
        tokio::select! {
            () = hearing => {}
            () = expired => {}
            () = changed.closed() => {}
        }
        let call = Call::within(upstream.spec().limits.call_timeout);
        if let Err(trouble) = upstream.unsubscribe(&uri, &call).await {
            log::debug!("not unsubscribed upstream={} cause={trouble}", upstream.name());
        }
    });
    Ok(changes)
}

/// For whom a listing is: for everyone, or for one principal.
pub(super) fn listed_for(upstream: &Upstream, name: &Arc<str>) -> Option<Arc<str>> {
    use crate::contract::upstream::{Share, Transport};
    let share = match &upstream.spec().transport {
        Transport::Http(remote) | Transport::Sse(remote) => remote.share,
        Transport::Stdio(program) => program.share,
    };
    match share {
        Share::Shared => None,
        Share::Principal | Share::Session => Some(Arc::clone(name)),
    }
}
