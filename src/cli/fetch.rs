//! Asking a process over HTTP, with a limit on every wait and every body.

use std::{pin::Pin, time::Duration};

use awc::{
    Client, Connector, SendClientRequest,
    error::{ConnectError, PayloadError, SendRequestError},
    http::header,
};
use bytes::Bytes;
use futures_util::Stream;
use serde_json::Value;

use super::trouble::{Outcome, Trouble};
use crate::{
    backplane::client::error_from_body,
    domain::failure::{Failure, Kind},
};

/// Time to make a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Time for a whole answer: longer than the services' own `REQUEST_TIMEOUT`, so that theirs is seen.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(40);
/// Time for a stream to open.
const OPEN_DEADLINE: Duration = Duration::from_secs(15);
/// Largest body taken.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The pieces of a stream as they come.
pub(super) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

/// An answer, whole.
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    body: Bytes,
    url: String,
}

impl Answer {
    /// The answer as JSON, whatever its status.
    pub(super) fn json(&self) -> Outcome<Value> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Trouble::plain(format!("{} answered {} and no JSON: {error}", self.url, self.status))
        })
    }

    /// The JSON of a success; an error is the failure it speaks of.
    pub(super) fn success(&self) -> Outcome<Value> {
        if (200..300).contains(&self.status) { self.json() } else { Err(self.refusal()) }
    }

    fn refusal(&self) -> Trouble {
        let body: Option<Value> = serde_json::from_slice(&self.body).ok();
        let mut failure: Failure = error_from_body(self.status, body.as_ref());
        if body.is_none() {
            // Not one of our services, or a proxy before it.
            failure.message = format!("{} {}", self.url, failure.message);
        }
        if failure.kind == Kind::Unauthorized {
            failure.message.push_str(
                " (tokens are signed with JWT_SECRET_KEY, else with the secret in --data-dir: it \
                 must be the one the service has)",
            );
        }
        Trouble::Answered(failure)
    }
}

/// An HTTP client of this command.
pub(super) struct Web(Client);

impl Web {
    /// A client that follows no redirects.
    pub(super) fn new() -> Self {
        let connector = Connector::new().timeout(CONNECT_DEADLINE);
        // Every use has a deadline of its own round the whole of it.
        let client = Client::builder().connector(connector).disable_redirects().disable_timeout();
        Web(client.finish())
    }

    /// `GET`, whole.
    pub(super) async fn get(
        &self,
        url: &str,
        token: Option<&str>,
        allowed: Duration,
    ) -> Outcome<Answer> {
        let mut request = self.0.get(url).insert_header((header::ACCEPT, "application/json"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        whole(url, request.send(), allowed).await
    }

    /// `DELETE`, whole.
    pub(super) async fn delete(&self, url: &str, token: &str) -> Outcome<Answer> {
        let request = self
            .0
            .delete(url)
            .bearer_auth(token)
            .insert_header((header::ACCEPT, "application/json"));
        whole(url, request.send(), ANSWER_DEADLINE).await
    }

    /// `POST` of a JSON text, whole.
    pub(super) async fn post(&self, url: &str, token: &str, body: String) -> Outcome<Answer> {
        let request = self
            .0
            .post(url)
            .bearer_auth(token)
            .insert_header((header::ACCEPT, "application/json"))
            .insert_header((header::CONTENT_TYPE, "application/json"));
        whole(url, request.send_body(body), ANSWER_DEADLINE).await
    }

    /// Opens a stream of server-sent events.
    pub(super) async fn open(&self, url: &str, token: &str) -> Outcome<Pieces> {
        let request =
            self.0.get(url).bearer_auth(token).insert_header((header::ACCEPT, "text/event-stream"));
        let opening = async {
            let mut response = request.send().await.map_err(|error| unreachable(url, &error))?;
            let status = response.status().as_u16();
            if response.status().is_success() {
                let pieces: Pieces = Box::pin(response);
                return Ok(pieces);
            }
            let body = response.body().limit(BODY_BYTES_MAX).await.unwrap_or_default();
            Err(Answer { status, body, url: url.to_owned() }.refusal())
        };
        tokio::time::timeout(OPEN_DEADLINE, opening)
            .await
            .unwrap_or_else(|_elapsed| Err(silent(url, OPEN_DEADLINE)))
    }
}

async fn whole(url: &str, sending: SendClientRequest, allowed: Duration) -> Outcome<Answer> {
    let exchange = async {
        let mut response = sending.await.map_err(|error| unreachable(url, &error))?;
        let status = response.status().as_u16();
        let body = response.body().limit(BODY_BYTES_MAX).await.map_err(|error| {
            if matches!(error, PayloadError::Overflow) {
                Trouble::TooLarge(url.to_owned())
            } else {
                Trouble::Unreachable { url: url.to_owned(), cause: error.to_string() }
            }
        })?;
        Ok(Answer { status, body, url: url.to_owned() })
    };
    tokio::time::timeout(allowed, exchange)
        .await
        .unwrap_or_else(|_elapsed| Err(silent(url, allowed)))
}

fn unreachable(url: &str, error: &SendRequestError) -> Trouble {
    let cause = if let SendRequestError::Connect(ConnectError::Timeout) = error {
        format!("no connection within {} s", CONNECT_DEADLINE.as_secs())
    } else {
        error.to_string()
    };
    Trouble::Unreachable { url: url.to_owned(), cause }
}

fn silent(url: &str, allowed: Duration) -> Trouble {
    let cause = format!("no answer within {} s", allowed.as_secs());
    Trouble::Unreachable { url: url.to_owned(), cause }
}

/// A URL as commands take it: plain HTTP with a host; no slash at the end.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    let trimmed = text.trim().trim_end_matches('/');
    let rest = trimmed.strip_prefix("http://").ok_or_else(|| {
        "only http:// URLs are taken, like http://127.0.0.1:8000; TLS ends at your proxy".to_owned()
    })?;
    let uri: awc::http::Uri = trimmed.parse().map_err(|error| format!("{error}"))?;
    if rest.starts_with('/') || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
        return Err("a URL needs a host and has no query, like http://127.0.0.1:8000".to_owned());
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer { status, body: Bytes::from_static(body.as_bytes()), url: "http://x".into() }
    }

    #[test]
    fn urls_are_plain_http_with_a_host() {
        assert_eq!(base_url(" http://h:1/ ").as_deref(), Ok("http://h:1"));
        assert_eq!(base_url("http://h/deep/").as_deref(), Ok("http://h/deep"));
        for bad in ["", "h:1", "https://h", "http://", "http:///x", "http://a b", "http://h?x=1"] {
            assert!(base_url(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_is_told_with_its_code_and_a_wrong_token_with_a_hint() {
        let refused = answer(404, r#"{"error": {"code": "tool_not_found", "message": "no"}}"#);
        assert_eq!(refused.success().unwrap_err().to_string(), "tool_not_found: no");
        let wrong = answer(401, r#"{"error": {"code": "auth_error", "message": "not valid"}}"#);
        let text = wrong.success().unwrap_err().to_string();
        assert!(text.starts_with("auth_error: not valid (") && text.contains("JWT_SECRET_KEY"));
        let foreign = answer(502, "<html>").success().unwrap_err().to_string();
        assert_eq!(foreign, "data_error: http://x answered 502");
        assert!(answer(200, "{}").success().is_ok());
        assert!(answer(200, "<html>").success().unwrap_err().to_string().contains("no JSON"));
    }
}
