//! JSON-RPC as upstreams speak it: requests are written, what comes back is cut into messages
//! without touching what they carry.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

/// The error code of a method that is not there (JSON-RPC 2.0, section 5.1).
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The error code of a failure inside (JSON-RPC 2.0, section 5.1).
pub const INTERNAL_ERROR: i64 = -32603;
/// Headers and body disagree (MCP 2026-07-28).
pub(super) const HEADER_MISMATCH: i64 = -32020;
/// The server does not speak the version asked for (MCP 2026-07-28).
pub(super) const UNSUPPORTED_VERSION: i64 = -32022;
/// Messages in one batch, as the era of 2025-03-26 had them.
const BATCH_MAX: usize = 1000;
/// How much of a message that is too large is searched for its id, in bytes.
const ID_SEARCHED: usize = 256;

/// An error as JSON-RPC words it; passed on as it came.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// Its number.
    pub code: i64,
    /// Its sentence.
    #[serde(default)]
    pub message: String,
    /// What else it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl RpcError {
    /// Nobody here answers `method`.
    #[must_use]
    pub fn no_method(method: &str) -> Self {
        RpcError { code: METHOD_NOT_FOUND, message: format!("no {method} here"), data: None }
    }

    /// Whether only a server of the era of 2026-07-28 words an error so.
    pub(super) fn is_modern(&self) -> bool {
        (-32099..=HEADER_MISMATCH).contains(&self.code)
    }
}

/// What an upstream sent.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The answer to a request of ours; no id when it could not read the request's.
    Answer { id: Option<u64>, outcome: Result<Box<RawValue>, RpcError> },
    /// A request to us.
    Request { id: Box<RawValue>, method: String, params: Option<Box<RawValue>> },
    /// A notification.
    Notice { method: String, params: Option<Box<RawValue>> },
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcError>,
}

/// Cuts what came into messages.
///
/// # Errors
/// A short sentence, without what came.
pub(super) fn read(text: &[u8]) -> Result<Vec<Incoming>, String> {
    if text.trim_ascii_start().first() == Some(&b'[') {
        let parts: Vec<&RawValue> =
            serde_json::from_slice(text).map_err(|error| no_json(&error))?;
        if parts.len() > BATCH_MAX {
            return Err(format!("a batch has more than {BATCH_MAX} messages"));
        }
        return parts.iter().map(|part| read_one(part.get().as_bytes())).collect();
    }
    Ok(vec![read_one(text)?])
}

fn no_json(error: &serde_json::Error) -> String {
    // The error's own text may quote what came.
    format!("not a JSON-RPC message (at byte {} of line {})", error.column(), error.line())
}

fn read_one(text: &[u8]) -> Result<Incoming, String> {
    let wire: Wire<'_> = serde_json::from_slice(text).map_err(|error| no_json(&error))?;
    let owned = |raw: Option<&RawValue>| raw.map(ToOwned::to_owned);
    match (wire.method, wire.id, wire.result, wire.error) {
        (Some(method), Some(id), None, None) => {
            Ok(Incoming::Request { id: id.to_owned(), method, params: owned(wire.params) })
        }
        (Some(method), None, None, None) => {
            Ok(Incoming::Notice { method, params: owned(wire.params) })
        }
        (None, Some(id), Some(result), None) => {
            Ok(Incoming::Answer { id: number(id), outcome: Ok(result.to_owned()) })
        }
        (None, id, None, Some(error)) => {
            Ok(Incoming::Answer { id: id.and_then(number), outcome: Err(error) })
        }
        _ => Err("neither a request nor an answer".to_owned()),
    }
}

/// Ids of ours are numbers; some servers give them back as texts.
fn number(id: &RawValue) -> Option<u64> {
    id.get().trim_matches('"').parse().ok()
}

/// The id of ours in the beginning of a message that is too large to be read.
pub(super) fn id_in(beginning: &[u8]) -> Option<u64> {
    let searched = beginning.get(..ID_SEARCHED.min(beginning.len()))?;
    let at = memchr::memmem::find(searched, b"\"id\"")?;
    let rest = searched.get(at + 4..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
}

#[derive(Serialize)]
struct OutgoingWire<'a, P: Serialize> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<P>,
}

/// A request of ours as bytes.
pub(super) fn request(id: u64, method: &str, params: &Map<String, Value>) -> Vec<u8> {
    write(&OutgoingWire { jsonrpc: "2.0", id: Some(id), method, params: Some(params) })
}

/// A notification of ours as bytes.
pub(super) fn notice(method: &str, params: Option<&Value>) -> Vec<u8> {
    write(&OutgoingWire { jsonrpc: "2.0", id: None, method, params })
}

/// That the request `id` is not waited for any longer.
pub(super) fn cancelled(id: u64, reason: &str) -> Vec<u8> {
    let params = serde_json::json!({"requestId": id, "reason": reason});
    notice("notifications/cancelled", Some(&params))
}

#[derive(Serialize)]
struct AnswerWire<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
}

/// Our answer to a request of theirs as bytes.
pub(super) fn answer(id: &RawValue, outcome: &Result<Box<RawValue>, RpcError>) -> Vec<u8> {
    let (result, error) = match outcome {
        Ok(result) => (Some(&**result), None),
        Err(error) => (None, Some(error)),
    };
    write(&AnswerWire { jsonrpc: "2.0", id, result, error })
}

fn write<T: Serialize>(message: &T) -> Vec<u8> {
    // Maps with text keys and raw JSON cannot fail to be written.
    serde_json::to_vec(message).unwrap_or_default()
}

/// `{}`, raw.
pub(super) fn empty() -> Box<RawValue> {
    serde_json::value::to_raw_value(&Map::new())
        .unwrap_or_else(|_cannot_fail| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_is_carried_byte_for_byte() {
        let text = br#"{"jsonrpc":"2.0","id":"7","result":{"z":1.10,"a":[ 1e2 ],"s":"\u00e9"}}"#;
        let read = read(text);
        let Ok([Incoming::Answer { id: Some(7), outcome: Ok(result) }]) = read.as_deref() else {
            panic!("no answer");
        };
        assert_eq!(result.get(), r#"{"z":1.10,"a":[ 1e2 ],"s":"\u00e9"}"#);
    }

    #[test]
    fn a_batch_is_several_messages_and_nonsense_is_none() {
        let batch = br#" [{"method":"a"},{"id":1,"method":"b"},{"id":null,"error":{"code":-1}}]"#;
        assert_eq!(read(batch).unwrap().len(), 3);
        for bad in ["", "{}", "[1]", r#"{"id":1}"#, r#"{"id":1,"result":null}"#, "\u{0}", "[[[["] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_id_of_a_message_that_is_too_large_is_found_in_its_beginning() {
        assert_eq!(id_in(br#"{"jsonrpc":"2.0", "id" : 42,"result":"xxxx"#), Some(42));
        assert_eq!(id_in(br#"{"result":"xxxx"#), None);
        assert_eq!(id_in(br#"{"id":42"#), None);
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_the_reader_panic(text in ".*", cut in 0usize..64) {
            let wrapped = format!(r#"{{"id":{text},"result":{text}}}"#);
            for bytes in [text.as_bytes(), wrapped.as_bytes()] {
                drop(read(bytes));
                drop(read(bytes.get(cut..).unwrap_or_default()));
                let _none = id_in(bytes);
            }
        }
    }
}
