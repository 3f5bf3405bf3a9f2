//! One attempt over the wire, and what its end means.

use std::{
    cell::Cell,
    time::{Duration, SystemTime},
};

use actix_web::error::ParseError;
use awc::{
    Client, Connector,
    error::{ConnectError, PayloadError, SendRequestError},
    http::{
        Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};
use serde_json::Value;

use super::choice::strange;
use crate::{
    backplane::{
        clock,
        config::Calls,
        context::{
            ATTEMPT_HEADER, REQUEST_ID_HEADER, RequestContext, STORE_HEADER, TIMEOUT_HEADER,
        },
        discovery::Endpoint,
    },
    domain::{
        backoff::Setback,
        breaker::Outcome,
        failure::{Failure, Kind},
        reply::{RETRY_HEADER, classify, obeying},
    },
};

/// Most time a hop keeps for itself.
const HOP_SLACK_MAX: Duration = Duration::from_secs(1);

/// Status of what was meant for another store.
pub(crate) const WRONG_STORE: u16 = 421;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ID_NAME: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);
const TIMEOUT_NAME: HeaderName = HeaderName::from_static(TIMEOUT_HEADER);
const ATTEMPT_NAME: HeaderName = HeaderName::from_static(ATTEMPT_HEADER);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How an attempt failed: for the caller, for the breaker, and for the retry.
#[derive(Debug)]
pub(crate) struct Missed {
    pub(crate) failure: Failure,
    pub(crate) outcome: Outcome,
    pub(crate) setback: Setback,
}

impl Missed {
    /// A failure that says nothing about the endpoint and that trying again will not mend.
    pub(crate) fn ours(failure: Failure) -> Self {
        Missed { failure, outcome: Outcome::Neutral, setback: Setback::Final }
    }

    /// Given up without an answer, because another endpoint can be asked.
    pub(crate) fn silent(service: &str, limit: Duration) -> Self {
        let message = format!("an endpoint of {service} was silent for {} ms", limit.as_millis());
        Missed {
            failure: Failure::new(Kind::Timeout, message).of_service(service),
            outcome: Outcome::Failure,
            setback: Setback::Silent,
        }
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    /// Path and query, from `/` on.
    pub(crate) path: String,
    pub(crate) body: Option<bytes::Bytes>,
}

/// What bounds an attempt.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Which attempt this is, from 1.
    pub(crate) number: u32,
    /// Time for it, whole.
    pub(crate) allowed: Duration,
    pub(crate) settings: &'a Calls,
    /// The store that is meant, if it matters.
    pub(crate) store: Option<&'a str>,
}

/// An HTTP client of this thread: so many connections of its own, no redirects, no time-out of its own (every
/// use has one round the whole call).
#[must_use]
pub fn http_client(settings: &Calls, connections: usize) -> Client {
    if let Some(client) = settings.wire.client(settings, connections) {
        return client;
    }
    let connector = Connector::new()
        .timeout(settings.connection_timeout)
        .limit(connections)
        .conn_keep_alive(settings.connection_idle_timeout)
        .conn_lifetime(Duration::from_secs(600));
    Client::builder().connector(connector).disable_redirects().disable_timeout().finish()
}

/// Sends once and reads the whole answer within the time allowed; sets `heard` when it begins.
pub(crate) async fn send_once(
    client: &Client,
    endpoint: &Endpoint,
    outgoing: &Outgoing,
    context: &RequestContext,
    token: &HeaderValue,
    terms: Terms<'_>,
    heard: &Cell<bool>,
) -> Result<Value, Missed> {
    let Terms { number, allowed, settings, store } = terms;
    let service = endpoint.service.as_str();
    let url = format!("{}{}", endpoint.url, outgoing.path);
    let mut request = client
        .request(outgoing.method.clone(), url)
        .insert_header((header::AUTHORIZATION, token.clone()))
        .insert_header((header::ACCEPT, JSON))
        .insert_header((ID_NAME, context.id.as_ref()))
        .insert_header((TIMEOUT_NAME, millis(time_left_there(allowed))))
        .insert_header((ATTEMPT_NAME, u64::from(number)));
    if let Some(store) = store {
        request = request.insert_header((STORE_HEADER, store));
    }
    let exchange = async {
        let sending = match &outgoing.body {
            Some(body) => {
                request.insert_header((header::CONTENT_TYPE, JSON)).send_body(body.clone())
            }
            None => request.send(),
        };
        let mut response = sending.await.map_err(|error| not_sent(service, &error))?;
        heard.set(true);
        endpoint.heard_now(tokio::time::Instant::now());
        check_head(service, response.headers(), settings.max_response_header_size)?;
        let head = Head::of(&response);
        if head.status == WRONG_STORE {
            endpoint.estrange();
        }
        let limit = settings.max_response_size;
        let body = response.body().limit(limit).await.map_err(|error| not_read(service, &error))?;
        read_reply(service, &head, &body)
    };
    match tokio::time::timeout(allowed, exchange).await {
        Ok(result) => result,
        Err(_elapsed) => Err(too_late(service, allowed, settings)),
    }
}

/// What the other side may use of our time: a little less, so that its own answer about being late
/// still reaches us.
fn time_left_there(allowed: Duration) -> Duration {
    allowed - (allowed / 10).min(HOP_SLACK_MAX)
}

fn too_late(service: &str, allowed: Duration, settings: &Calls) -> Missed {
    // A caller in a hurry says nothing about the endpoint.
    let hurried = allowed < settings.call_timeout / 2;
    Missed {
        failure: Failure::new(
            Kind::Timeout,
            format!(
                "{service} did not answer in time; the last attempt had {} ms",
                allowed.as_millis()
            ),
        )
        .of_service(service),
        outcome: if hurried { Outcome::Neutral } else { Outcome::Failure },
        setback: Setback::Unknown,
    }
}

fn not_sent(service: &str, error: &SendRequestError) -> Missed {
    if let SendRequestError::Response(broken) = error
        && !matches!(broken, ParseError::Io(_) | ParseError::Incomplete)
    {
        return unreadable(service, &format!("the head cannot be read: {broken}"));
    }
    // "Disconnected" also comes when the connection ends after the request was sent.
    let never_sent = matches!(error, SendRequestError::Connect(cause) if !matches!(cause, ConnectError::Disconnected));
    let setback = if never_sent { Setback::NeverSent } else { Setback::Unknown };
    Missed {
        failure: Failure::new(Kind::Connection, format!("{service} cannot be reached: {error}"))
            .of_service(service),
        outcome: Outcome::Failure,
        setback,
    }
}

fn not_read(service: &str, error: &PayloadError) -> Missed {
    // An answer that is too large says nothing about the endpoint's health, and asking again
    // brings the same one: one caller's large data must not open the breaker for everyone.
    let too_large = matches!(error, PayloadError::Overflow);
    let (kind, outcome, setback) = if too_large {
        (Kind::BadReply, Outcome::Neutral, Setback::Final)
    } else {
        (Kind::Connection, Outcome::Failure, Setback::Unknown)
    };
    let message = format!("the answer of {service} was not read: {error}");
    Missed { failure: Failure::new(kind, message).of_service(service), outcome, setback }
}

/// An answer that cannot be understood: the endpoint's fault, and not mended by asking again.
fn unreadable(service: &str, why: &str) -> Missed {
    Missed {
        failure: Failure::new(Kind::BadReply, format!("{service} gave a bad answer: {why}"))
            .of_service(service),
        outcome: Outcome::Failure,
        setback: Setback::Final,
    }
}

/// The transport bounds a head to 128 KiB and 96 fields; this is the bound an operator sets.
fn check_head(service: &str, headers: &HeaderMap, most: usize) -> Result<(), Missed> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes <= most {
        return Ok(());
    }
    Err(unreadable(service, &format!("its head is larger than {most} bytes")))
}

/// What the head of an answer says of it.
struct Head {
    status: u16,
    /// Bytes its body has, if it says so.
    length: Option<usize>,
    /// Whether it asks to come back later, and when if that can be read.
    asks_to_wait: bool,
    wait: Option<Duration>,
    retry: Option<String>,
}

impl Head {
    fn of<S>(response: &awc::ClientResponse<S>) -> Self {
        let text = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let asked = text("retry-after");
        Head {
            status: response.status().as_u16(),
            length: text("content-length").and_then(|length| length.parse().ok()),
            asks_to_wait: asked.is_some(),
            wait: asked.and_then(|asked| retry_after(&asked, clock::now_seconds())),
            retry: text(RETRY_HEADER),
        }
    }
}

/// Reads `Retry-After`: seconds, or a date (then what is left until it).
pub(crate) fn retry_after(text: &str, now: i64) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at: SystemTime = text.trim().parse::<header::HttpDate>().ok()?.into();
    let at = i64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()?;
    Some(Duration::from_secs(u64::try_from(at.saturating_sub(now)).unwrap_or_default()))
}

fn read_reply(service: &str, head: &Head, body: &[u8]) -> Result<Value, Missed> {
    let &Head { status, length, asks_to_wait, wait, ref retry } = head;
    let (outcome, setback) = classify(status, asks_to_wait);
    let value: Result<Value, _> = serde_json::from_slice(body);
    let Some(setback) = setback else {
        return value.map_err(|error| {
            // The transport takes the end of a connection for the end of a body.
            let cut = length.map_or(error.is_eof(), |length| body.len() < length);
            if cut {
                not_read(service, &PayloadError::Incomplete(None))
            } else {
                unreadable(service, &format!("no JSON: {error}"))
            }
        });
    };
    let mut failure = error_from_body(status, value.ok().as_ref()).of_service(service);
    failure.retry_after = wait;
    let failure = seen_from_here(service, failure);
    Err(Missed { failure, outcome, setback: obeying(setback, retry.as_deref()) })
}

/// A refusal of our own token, or of the store we mean, is nothing our caller could mend.
pub(crate) fn seen_from_here(service: &str, mut failure: Failure) -> Failure {
    if matches!(failure.kind, Kind::Unauthorized | Kind::TokenExpired | Kind::InvalidCredentials) {
        log::error!("service={service} refuses our token; is JWT_SECRET_KEY the same everywhere?");
        failure.kind = Kind::Unavailable;
        failure.message =
            format!("{service} refuses our token: is JWT_SECRET_KEY the same everywhere?");
    }
    if failure.kind == Kind::WrongStore {
        return strange(service);
    }
    failure
}

/// The failure an error body speaks of, whichever generation wrote it: `error.message`, then
/// `detail.error.message`, then a `detail` text, then `message`.
#[must_use]
pub fn error_from_body(status: u16, body: Option<&Value>) -> Failure {
    let error = body.and_then(|body| {
        body.get("error").filter(|e| e.is_object()).or_else(|| body.get("detail")?.get("error"))
    });
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let message = text(error.and_then(|e| e.get("message")))
        .or_else(|| text(body.and_then(|b| b.get("detail"))))
        .or_else(|| text(body.and_then(|b| b.get("message"))))
        .or_else(|| text(body.and_then(|b| b.get("error"))))
        .unwrap_or_else(|| format!("answered {status}"));
    let kind = error
        .and_then(|e| e.get("code"))
        .and_then(Value::as_str)
        .and_then(Kind::from_code)
        .unwrap_or(match status {
            400 => Kind::InvalidRequest,
            401 => Kind::Unauthorized,
            403 => Kind::PermissionDenied,
            404 => Kind::NotFound,
            409 => Kind::Conflict,
            413 => Kind::TooLarge,
            422 => Kind::Validation,
            429 | 503 => Kind::Unavailable,
            504 | 408 => Kind::Timeout,
            500 => Kind::ToolFailed,
            _ => Kind::BadReply,
        });
    Failure::new(kind, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(status: u16, body: Value, kind: Kind, message: &str) {
        let failure = error_from_body(status, Some(&body));
        assert_eq!((failure.kind, failure.message.as_str()), (kind, message), "{body}");
    }

    #[test]
    fn errors_of_every_generation_are_understood() {
        check(
            404,
            json!({"error": {"code": "tool_not_found", "message": "m"}}),
            Kind::ToolNotFound,
            "m",
        );
        check(
            404,
            json!({"detail": {"error": {"code": "resource_not_found", "message": "m"}}}),
            Kind::NotFound,
            "m",
        );
        check(401, json!({"detail": "Not authenticated"}), Kind::Unauthorized, "Not authenticated");
        check(500, json!({"message": "m"}), Kind::ToolFailed, "m");
        check(500, json!({"error": "m"}), Kind::ToolFailed, "m");
        check(418, json!([]), Kind::BadReply, "answered 418");
    }

    #[test]
    fn an_answer_that_is_too_large_does_not_count_against_the_endpoint() {
        let missed = not_read("memory", &PayloadError::Overflow);
        assert_eq!((missed.outcome, missed.setback), (Outcome::Neutral, Setback::Final));
        let broken = not_read("memory", &PayloadError::Incomplete(None));
        assert_eq!((broken.outcome, broken.setback), (Outcome::Failure, Setback::Unknown));
    }

    #[test]
    fn an_answer_that_was_cut_is_a_broken_connection_and_not_a_bad_reply() {
        let read = |length, body: &str| {
            let head = Head { status: 200, length, asks_to_wait: false, wait: None, retry: None };
            let missed = read_reply("memory", &head, body.as_bytes()).unwrap_err();
            (missed.failure.kind, missed.setback)
        };
        let (cut, bad) = ((Kind::Connection, Setback::Unknown), (Kind::BadReply, Setback::Final));
        assert_eq!(read(Some(9), "[1, 2"), cut);
        assert_eq!(read(None, "[1, 2"), cut);
        assert_eq!(read(Some(5), "[1, 2"), bad);
        assert_eq!(read(Some(0), ""), bad);
        assert_eq!(read(None, "[1,,]"), bad);
    }

    #[test]
    fn a_hurried_caller_does_not_count_against_the_endpoint() {
        let settings = crate::backplane::client::test_settings();
        let late = |ms| too_late("memory", Duration::from_millis(ms), &settings).outcome;
        assert_eq!(late(100), Outcome::Neutral);
        assert_eq!(late(30_000), Outcome::Failure);
    }

    #[test]
    fn a_request_to_wait_is_read_in_seconds_and_as_a_date() {
        let at = |text: &str| retry_after(text, 1_445_412_470);
        assert_eq!(at(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(at("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(at("Wed, 21 Oct 2015 07:27:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "99999999999999999999"] {
            assert_eq!(at(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_head_that_is_too_large_is_the_endpoints_fault_and_not_asked_for_again() {
        let mut headers = HeaderMap::new();
        let value = header::HeaderValue::from_str(&"x".repeat(100)).unwrap();
        headers.insert(header::HeaderName::from_static("x-flood"), value);
        assert!(check_head("memory", &headers, 107).is_ok());
        let missed = check_head("memory", &headers, 106).unwrap_err();
        assert_eq!((missed.outcome, missed.setback), (Outcome::Failure, Setback::Final));
    }
}
