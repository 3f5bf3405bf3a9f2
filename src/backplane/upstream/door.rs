//! One HTTP upstream's door: requests with its headers and credential out, bounded answers in.

use std::{
    cell::RefCell,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use tokio::time::Instant;

use super::{
    Surroundings,
    call::{Missed, Sign, Trouble},
    events::Events,
    rpc,
};
use crate::{
    backplane::{client::retry_after, clock},
    contract::upstream::{Credential, Limits, Remote},
    domain::{
        failure::{Failure, Kind},
        reply::classify,
    },
};

/// How long a credential read from a file is good for.
const CREDENTIAL_AGE_MAX: Duration = Duration::from_secs(10);
/// Time a connection nobody uses is kept; below what servers keep theirs.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// Redirects followed, on the same origin only.
const REDIRECTS_MAX: usize = 3;
/// How much of an error's body is read, in bytes.
const ERROR_BYTES_MAX: usize = 65_536;

const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

thread_local! {
    /// One client for each thread that asks upstreams, and each time to connect: its connections
    /// are served where they are used, so that a call needs no other thread.
    static CLIENTS: RefCell<Vec<(Duration, Client)>> = const { RefCell::new(Vec::new()) };
}

/// One HTTP upstream's door.
pub(super) struct Door {
    pub(super) name: String,
    pub(super) url: Url,
    pub(super) limits: Limits,
    headers: HeaderMap,
    credential: Bearer,
}

/// What an upstream answered a request with.
pub(super) enum Reply {
    /// Taken, and nothing to say.
    Nothing,
    /// One body.
    Whole(Bytes),
    /// A stream of events.
    Stream(Box<Events>),
}

enum Bearer {
    None,
    Fixed(HeaderValue),
    File { path: PathBuf, read: Mutex<Option<(Instant, HeaderValue)>> },
}

impl Door {
    /// The door to `remote`.
    ///
    /// # Errors
    /// A sentence naming what is wrong with the settings.
    pub(super) fn new(
        name: &str,
        remote: &Remote,
        limits: Limits,
        surroundings: &Surroundings,
    ) -> Result<Self, String> {
        let url: Url = remote.url.parse().map_err(|error| format!("url: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("url: must begin with http:// or https:// and have a host".to_owned());
        }
        let mut headers = HeaderMap::new();
        for (key, value) in &remote.headers {
            let key: HeaderName =
                key.parse().map_err(|_no_name| format!("headers: {key:?} is no header"))?;
            headers.insert(key.clone(), secret_value(&value.0, key.as_str())?);
        }
        let credential = match &remote.credential {
            Credential::None => Bearer::None,
            Credential::Env(variable) => {
                let token = surroundings.variable(variable).filter(|token| !token.is_empty());
                let token = token.ok_or_else(|| format!("credential: {variable} is not set"))?;
                Bearer::Fixed(secret_value(&format!("Bearer {token}"), "credential")?)
            }
            Credential::File(path) => Bearer::File { path: path.clone(), read: Mutex::new(None) },
        };
        Ok(Door { name: name.to_owned(), url, limits, headers, credential })
    }

    /// Sends a message.
    pub(super) async fn post(&self, body: Vec<u8>, headers: HeaderMap) -> Result<Reply, Missed> {
        self.post_to(self.url.clone(), body, headers).await.map(|(reply, _)| reply)
    }

    /// Sends a message to another place behind the same door; also gives the head of the answer.
    pub(super) async fn post_to(
        &self,
        url: Url,
        body: Vec<u8>,
        headers: HeaderMap,
    ) -> Result<(Reply, HeaderMap), Missed> {
        let request = self
            .client()?
            .post(url)
            .headers(self.dressed(headers, BOTH)?)
            .header(header::CONTENT_TYPE, JSON)
            .body(body);
        self.open(request.send().await.map_err(|error| self.not_sent(&error))?).await
    }

    /// Opens a stream of events.
    pub(super) async fn get(&self, headers: HeaderMap) -> Result<Reply, Missed> {
        const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
        let request = self.client()?.get(self.url.clone()).headers(self.dressed(headers, EVENTS)?);
        let response = request.send().await.map_err(|error| self.not_sent(&error))?;
        self.open(response).await.map(|(reply, _)| reply)
    }

    /// Ends a session there; how that ends is no matter.
    pub(super) async fn delete(&self, headers: HeaderMap) {
        let sent = async {
            let request = self.client().ok()?.delete(self.url.clone());
            request.headers(self.dressed(headers, BOTH).ok()?).send().await.ok()
        };
        if sent.await.is_none() {
            log::debug!("session not ended upstream={}", self.name);
        }
    }

    fn client(&self) -> Result<Client, Missed> {
        let patience = self.limits.connect_timeout;
        CLIENTS.with_borrow_mut(|clients| {
            if let Some((_, client)) = clients.iter().find(|(known, _)| *known == patience) {
                return Ok(client.clone());
            }
            let client = Client::builder()
                .connect_timeout(patience)
                .pool_idle_timeout(IDLE_CONNECTION)
                .redirect(redirect::Policy::custom(follows))
                .build()
                .map_err(|error| Missed::unreached(&self.name, error))?;
            clients.push((patience, client.clone()));
            Ok(client)
        })
    }

    fn dressed(&self, mut headers: HeaderMap, accept: HeaderValue) -> Result<HeaderMap, Missed> {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        headers.insert(header::ACCEPT, accept);
        let bearer = match &self.credential {
            Bearer::None => return Ok(headers),
            Bearer::Fixed(bearer) => bearer.clone(),
            Bearer::File { path, read } => {
                let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                match &*read {
                    Some((at, bearer)) if now < *at + CREDENTIAL_AGE_MAX => bearer.clone(),
                    _ => {
                        // A small file, every ten seconds at most.
                        let token = std::fs::read_to_string(path).map_err(|error| {
                            Missed::unreached(&self.name, format!("its credential: {error}"))
                        })?;
                        let bearer =
                            secret_value(&format!("Bearer {}", token.trim()), "credential")
                                .map_err(|error| Missed::unreached(&self.name, error))?;
                        *read = Some((now, bearer.clone()));
                        bearer
                    }
                }
            }
        };
        headers.insert(header::AUTHORIZATION, bearer);
        Ok(headers)
    }

    fn not_sent(&self, error: &reqwest::Error) -> Missed {
        // The error's own text holds the URL, which may hold a secret.
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let why =
            if std::ptr::eq(cause, error) { "no answer".to_owned() } else { cause.to_string() };
        if error.is_connect() {
            Missed::unreached(&self.name, why)
        } else {
            Missed::broken(&self.name, why)
        }
    }

    /// Reads what kind of answer it is, and all of it unless it is a stream.
    async fn open(&self, response: Response) -> Result<(Reply, HeaderMap), Missed> {
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            return Err(self.refused(response, status, &headers).await);
        }
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().trim().to_ascii_lowercase();
        let most = self.limits.answer_bytes_max;
        if kind.starts_with("text/event-stream") {
            let events = Events::new(&self.name, response, most);
            return Ok((Reply::Stream(Box::new(events)), headers));
        }
        let body = self.whole(response, most).await?;
        if kind.starts_with("application/json") && !body.is_empty() {
            return Ok((Reply::Whole(body), headers));
        }
        if body.is_empty() || status == StatusCode::ACCEPTED {
            return Ok((Reply::Nothing, headers));
        }
        Err(Missed::unreadable(&self.name, "neither JSON nor events").with(Sign::OtherEra))
    }

    async fn whole(&self, mut response: Response, most: usize) -> Result<Bytes, Missed> {
        let announced = response.content_length().unwrap_or_default();
        let mut body = Vec::new();
        if usize::try_from(announced).unwrap_or(usize::MAX) > most {
            return Err(Missed::too_large(&self.name, most));
        }
        while let Some(piece) = response.chunk().await.map_err(|error| self.not_sent(&error))? {
            if body.is_empty() && u64::try_from(piece.len()) == Ok(announced) {
                return Ok(piece);
            }
            if body.len() + piece.len() > most {
                return Err(Missed::too_large(&self.name, most));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }

    async fn refused(&self, response: Response, status: StatusCode, head: &HeaderMap) -> Missed {
        let text = |name| head.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (challenge, wait) = (text(header::WWW_AUTHENTICATE), text(header::RETRY_AFTER));
        let body = self.whole(response, ERROR_BYTES_MAX).await.unwrap_or_default();
        let code = status.as_u16();
        if let (401 | 403, Some(challenge)) = (code, challenge) {
            let failure = self.unwelcome(code);
            let mut missed = Missed::new(failure.clone(), classify(403, false).0, FINAL);
            *missed.trouble = Trouble::Challenged { status: code, challenge, failure };
            return missed;
        }
        if let (true, Ok([rpc::Incoming::Answer { outcome: Err(error), .. }])) =
            (status.is_client_error() && code != 429, rpc::read(&body).as_deref())
        {
            // 404 as specified; 400 with this code is what the TypeScript library answers.
            let lost = code == 404 || (code == 400 && error.code == -32000);
            let sign = if lost { Sign::SessionLost } else { Sign::None };
            let missed = Missed::refused(error.clone());
            return if missed.sign == Sign::None { missed.with(sign) } else { missed };
        }
        let wait_for = wait.as_deref().and_then(|text| retry_after(text, clock::now_seconds()));
        let (outcome, setback) = classify(code, wait.is_some());
        let failure = match code {
            401 | 403 => self.unwelcome(code),
            _ => Failure::new(Kind::BadReply, format!("{} answered {code}", self.name))
                .of_service(&self.name),
        };
        let mut missed = Missed::new(failure, outcome, setback.unwrap_or(FINAL));
        if let Trouble::Failed(failure) = &mut *missed.trouble {
            failure.retry_after = wait_for;
        }
        match code {
            404 => missed.with(Sign::SessionLost),
            400 | 405 | 406 | 415 => missed.with(Sign::OtherEra),
            _ => missed,
        }
    }

    fn unwelcome(&self, status: u16) -> Failure {
        let message = format!("{} does not accept our credential ({status})", self.name);
        Failure::new(Kind::Unavailable, message).of_service(&self.name)
    }
}

const FINAL: crate::domain::backoff::Setback = crate::domain::backoff::Setback::Final;

/// Same origin, same method: anything else could carry the credential elsewhere.
fn follows(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let same =
        attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    let keeps = matches!(attempt.status().as_u16(), 307 | 308);
    if same && keeps && attempt.previous().len() <= REDIRECTS_MAX {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn secret_value(text: &str, what: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_not_a_value| format!("{what}: not a header's value"))?;
    value.set_sensitive(true);
    Ok(value)
}
