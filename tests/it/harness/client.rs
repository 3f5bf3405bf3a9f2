//! A thin HTTP client: says who asks, asks, and gives the answer whole or event by event.

use std::net::SocketAddr;

use actix_web::http::{Method, header::HeaderMap};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{events::Events, within};

/// Largest answer read whole, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Asks one process in one caller's name.
#[derive(Clone)]
pub(crate) struct Client {
    http: awc::Client,
    base: String,
    token: Option<String>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: bytes::Bytes,
}

/// A question that is being put together.
pub(crate) struct Question {
    what: String,
    request: awc::ClientRequest,
    body: bytes::Bytes,
}

impl Client {
    /// A client of the process at `base` (`http://127.0.0.1:1234`), without a token.
    pub(crate) fn new(base: &str) -> Self {
        let http = awc::Client::builder().disable_redirects().disable_timeout().finish();
        Client { http, base: base.to_owned(), token: None }
    }

    /// The same client with a token in `Authorization`.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Client { token: Some(token.to_owned()), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path).json(&body).send().await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path).json(&body).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path).send().await
    }

    /// Opens a stream of events, which must be granted.
    pub(crate) async fn events(&self, path: &str) -> Events {
        let (answer, events) = self.ask(Method::GET, path).open().await;
        events.unwrap_or_else(|| panic!("{path}: {} {}", answer.status, answer.text()))
    }

    /// Calls a tool with wrapped arguments; it must succeed.
    pub(crate) async fn tool(&self, name: &str, arguments: Value) -> Value {
        let body = serde_json::json!({ "arguments": arguments });
        self.post(&format!("/tool/{name}"), body).await.ok()["result"].take()
    }

    /// Reads a resource as JSON; it must succeed.
    pub(crate) async fn resource(&self, path: &str) -> Value {
        let question = self.ask(Method::GET, &format!("/resource/{path}"));
        question.header("accept", "application/json").send().await.ok()
    }

    /// A question in this caller's name.
    pub(crate) fn ask(&self, method: Method, path: &str) -> Question {
        let what = format!("{method} {path}");
        let url = format!("{}{path}", self.base);
        let request = self.http.request(method, url.as_str());
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        Question { what, request, body: bytes::Bytes::new() }
    }
}

impl Question {
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Question { request: self.request.insert_header((name, value)), ..self }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn body(self, kind: &str, body: impl Into<bytes::Bytes>) -> Self {
        Question { body: body.into(), ..self.header("content-type", kind) }
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn send(self) -> Answer {
        self.try_send().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Asks, and reads the whole answer if there is one.
    pub(crate) async fn try_send(self) -> Result<Answer, String> {
        let what = self.what.clone();
        let exchange = async {
            let failed = |error: String| format!("{}: {error}", self.what);
            let response = self
                .request
                .send_body(self.body)
                .await
                .map_err(|error| failed(error.to_string()))?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let read = response.timeout(super::DEADLINE).body().limit(BODY_BYTES_MAX).await;
            let body = read.map_err(|error| failed(error.to_string()))?;
            // The client takes the end of a connection for the end of a body.
            let length = headers.get("content-length").and_then(|length| length.to_str().ok());
            if length.and_then(|length| length.parse().ok()).is_some_and(|n: usize| body.len() < n)
            {
                return Err(failed("the answer was cut".to_owned()));
            }
            Ok(Answer { status, headers, body })
        };
        within(&what, exchange).await
    }

    /// Asks, and keeps the answer open if it is a stream of events.
    pub(crate) async fn open(self) -> (Answer, Option<Events>) {
        let opening = self.request.send_body(self.body);
        let mut response = match within(&self.what, opening).await {
            Ok(response) => response,
            Err(error) => panic!("{}: {error}", self.what),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut answer = Answer { status, headers, body: bytes::Bytes::new() };
        if answer.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return (answer, Some(Events::of(&self.what, response)));
        }
        answer.body = within(&self.what, response.body()).await.unwrap();
        (answer, None)
    }
}

impl Question {
    /// Asks for a stream of events; why there is none, if there is none.
    pub(crate) async fn try_open(self) -> Result<Events, String> {
        let what = self.what;
        let response = within(&what, self.request.send_body(self.body)).await;
        let response = response.map_err(|error| format!("{what}: {error}"))?;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Ok(Events::of(&what, response));
        }
        Err(format!("{what}: {}", response.status()))
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} is no JSON ({error}): {}", self.status, self.text()))
    }

    /// The body of an answer that must be a 200 or 201.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(matches!(self.status, 200 | 201), "{}: {}", self.status, self.text());
        self.json()
    }
}

/// Sends bytes that no client would and reads until the end: the status, and everything as text.
pub(crate) async fn raw_exchange(to: SocketAddr, request: &[u8]) -> (u16, String) {
    let exchange = async {
        let mut socket = actix_rt::net::TcpStream::connect(to).await.unwrap();
        // The answer may come, and the connection end, before everything is sent.
        let sent = socket.write_all(request).await;
        let mut answer = Vec::new();
        let read = socket.read_to_end(&mut answer).await;
        (answer, sent, read)
    };
    let (answer, sent, read) = within("a raw exchange", exchange).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {text:?} {sent:?} {read:?}")), text)
}
