//! Sources that are missing: named in lists, and in answers to those who ask for what is theirs.

use rmcp::{
    ErrorData,
    model::{CallToolResponse, MetaObject},
};
use serde_json::{Value, json};

use super::{Gateway, Missing, View};
use crate::{
    backplane::mcp::failed,
    domain::{
        failure::{Failure, Kind},
        gateway::{names::SEPARATOR, uris::scheme},
    },
};

/// Where a list names who is missing from it.
const MISSING_META: &str = "cortex/missing";

/// Whether something of this name may be of a source whose names begin with `prefix`.
pub(super) fn may_own(prefix: &str, name: &str) -> bool {
    prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(SEPARATOR))
}

/// A tool that is not there, or one of a source that is missing.
pub(super) fn unknown_tool(view: &View, name: &str) -> Result<CallToolResponse, ErrorData> {
    if let Some(missing) = missing_owner(view, name) {
        return Ok(failed(&away(missing)).into());
    }
    Err(ErrorData::invalid_params(format!("there is no tool {name:?} here"), None))
}

/// The missing source whose names begin like this one.
pub(super) fn missing_owner<'a>(view: &'a View, name: &str) -> Option<&'a Missing> {
    view.missing.iter().find(|missing| !missing.shown && may_own(&missing.prefix, name))
}

/// The missing service of ours whose resource this is.
pub(super) fn missing_service<'a>(view: &'a View, uri: &str) -> Option<&'a Missing> {
    let scheme = scheme(uri)?;
    view.missing.iter().find(|missing| !missing.shown && missing.source.as_ref() == scheme)
}

/// Why there is nothing of a source that is missing, and when to ask again.
pub(super) fn away(missing: &Missing) -> Failure {
    let failure = &missing.failure;
    let message = format!("{} is not available: {}", missing.source, failure.message);
    let wait = failure.retry_after.unwrap_or(std::time::Duration::from_secs(2));
    Failure::new(Kind::Unavailable, message).of_service(&missing.source).retry_after(wait)
}

/// Who is missing from a list, for its `_meta`.
pub(super) fn missing_meta(view: &View) -> Option<MetaObject> {
    if view.missing.is_empty() {
        return None;
    }
    let missing: Vec<Value> = view
        .missing
        .iter()
        .map(|missing| {
            json!({
                "source": missing.source,
                "code": missing.failure.kind.code(),
                "reason": missing.failure.message,
                "retry_after_seconds":
                    missing.failure.retry_after.map(|wait| wait.as_secs_f64().ceil()),
                "shown_as_before": missing.shown,
            })
        })
        .collect();
    let mut meta = serde_json::Map::new();
    meta.insert(MISSING_META.to_owned(), missing.into());
    Some(MetaObject(meta))
}

/// For how long a list may be kept: shortly, when somebody is missing from it.
pub(super) fn ttl(gateway: &Gateway, view: &View) -> u64 {
    let settings = &gateway.settings;
    let ttl = if view.missing.is_empty() {
        settings.gateway_list_fresh
    } else {
        settings.gateway_list_pause
    };
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}
