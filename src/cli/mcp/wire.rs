//! What passes between the bridge and its two sides: bodies, headers, refusals, and lines.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::StreamExt as _;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, sync::mpsc};

/// Largest answer taken, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Messages that wait to be written.
const LINES_WAITING_MAX: usize = 256;

/// An answer's body.
///
/// # Errors
/// Why there is none.
pub(super) async fn whole(response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| format!("the answer broke: {error}"))?;
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What a refusal outside of the protocol says.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> String {
    let told = serde_json::from_slice::<Value>(body).ok();
    let text =
        told.as_ref().and_then(|told| told.pointer("/error/message")).and_then(Value::as_str);
    match text {
        Some(text) => format!("{status}: {text}"),
        None => status.to_string(),
    }
}

/// A value as a header may carry it: as it is, or in base64 with marks (2026-07-28).
pub(super) fn plain(value: &str) -> String {
    let marked = value.starts_with("=?base64?");
    let fits = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if fits && !marked && value.trim() == value {
        value.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(value))
    }
}

/// Writes lines to `output` until no more come.
pub(super) async fn write_lines(
    mut lines: mpsc::Receiver<String>,
    mut output: impl tokio::io::AsyncWrite + Unpin,
) {
    while let Some(mut line) = lines.recv().await {
        line.push('\n');
        let written = async {
            output.write_all(line.as_bytes()).await?;
            output.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

/// Lines on their way to the output.
pub(super) fn channel() -> (mpsc::Sender<String>, mpsc::Receiver<String>) {
    mpsc::channel(LINES_WAITING_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_plain_or_in_base64() {
        assert_eq!(plain("memory__store_input"), "memory__store_input");
        assert_eq!(plain("memory://history/ü"), "=?base64?bWVtb3J5Oi8vaGlzdG9yeS/DvA==?=");
        assert!(plain(" x").starts_with("=?base64?") && plain("=?base64?x?=").ends_with("?="));
    }
}
