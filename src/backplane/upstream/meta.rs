//! A request's `_meta`: the caller's, with what the era asks for in our own words.

use serde_json::{Map, Value, json};

use super::call::Call;

/// What every key of the protocol itself begins with.
const PREFIX: &str = "io.modelcontextprotocol/";
/// The version without handshake we speak.
pub const MODERN: &str = "2026-07-28";
/// The versions with handshake we speak, newest first.
pub const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Who we are, towards upstreams.
pub(super) fn client_info() -> Value {
    json!({"name": "cortex", "version": env!("CARGO_PKG_VERSION")})
}

/// What the caller can do, as far as upstreams may know: nothing, unless somebody answers.
pub(super) fn capabilities(call: Option<&Call>) -> Value {
    let client = call.and_then(|call| call.client.as_ref());
    Value::Object(client.map(|client| client.capabilities.clone()).unwrap_or_default())
}

/// Puts into `params` the `_meta` of a request to a server of 2026-07-28 under `version`.
pub(super) fn modern(
    params: &mut Map<String, Value>,
    call: Option<&Call>,
    version: &str,
    token: u64,
) {
    let mut meta = kept(params, call, token);
    let client_info = call
        .and_then(|call| call.meta.get(&format!("{PREFIX}clientInfo")).cloned())
        .unwrap_or_else(client_info);
    meta.insert(format!("{PREFIX}protocolVersion"), Value::from(version));
    meta.insert(format!("{PREFIX}clientInfo"), client_info);
    meta.insert(format!("{PREFIX}clientCapabilities"), capabilities(call));
    params.insert("_meta".to_owned(), Value::Object(meta));
}

/// The same for a server with a handshake: what belongs to the newer era is left out.
pub(super) fn legacy(params: &mut Map<String, Value>, call: Option<&Call>, token: u64) {
    let mut meta = kept(params, call, token);
    meta.retain(|key, _| !key.starts_with(PREFIX));
    if meta.is_empty() {
        params.remove("_meta");
    } else {
        params.insert("_meta".to_owned(), Value::Object(meta));
    }
}

/// The caller's `_meta`; its progress token makes room for ours, which is the request's id and thus
/// nobody else's.
fn kept(params: &mut Map<String, Value>, call: Option<&Call>, token: u64) -> Map<String, Value> {
    let mut meta = match params.remove("_meta") {
        Some(Value::Object(meta)) => meta,
        _ => Map::new(),
    };
    if let Some(call) = call {
        meta.extend(call.meta.clone());
    }
    if meta.contains_key("progressToken") {
        meta.insert("progressToken".to_owned(), Value::from(token));
    }
    meta
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn call() -> Call {
        let meta = json!({"progressToken": "mine", "traceparent": "00-1", "io.modelcontextprotocol/protocolVersion": "1999"});
        let Value::Object(meta) = meta else { panic!("no object") };
        Call { meta, ..Call::within(Duration::from_secs(1)) }
    }

    #[tokio::test]
    async fn a_modern_request_says_who_asks_and_keeps_the_trace() {
        let mut params = Map::new();
        modern(&mut params, Some(&call()), MODERN, 7);
        let meta = &params["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], MODERN);
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
        assert_eq!((&meta["progressToken"], &meta["traceparent"]), (&json!(7), &json!("00-1")));
    }

    #[tokio::test]
    async fn an_older_server_is_not_told_of_what_it_does_not_know() {
        let mut params = Map::new();
        legacy(&mut params, Some(&call()), 7);
        assert_eq!(params["_meta"], json!({"progressToken": 7, "traceparent": "00-1"}));
        let mut bare = Map::new();
        legacy(&mut bare, None, 7);
        assert!(bare.is_empty());
    }
}
