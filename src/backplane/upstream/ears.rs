//! What an upstream says beside its answers: notices to the call they belong to or to everyone who
//! listens, questions to the client that can answer them.

use std::sync::Arc;

use serde_json::{Map, Value, value::RawValue};
use tokio::sync::{Semaphore, broadcast};

use super::{
    call::{Call, ClientSide},
    rpc::{self, RpcError},
};

/// Changes a listener may be behind; then it is told that it missed some.
const CHANGES_KEPT: usize = 256;
/// Questions of one upstream that are answered at once, over all its connections.
const QUESTIONS_AT_ONCE: usize = 64;

/// Something an upstream said has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its list of tools.
    Tools,
    /// Its list of prompts.
    Prompts,
    /// Its list of resources.
    Resources,
    /// One resource that was subscribed to.
    Resource(String),
}

/// Where what an upstream says beside its answers goes.
#[derive(Clone)]
pub(super) struct Ears {
    pub(super) name: Arc<str>,
    changes: broadcast::Sender<Change>,
    questions: Arc<Semaphore>,
}

/// The call something may belong to.
#[derive(Clone)]
pub(super) struct Asker {
    side: Arc<dyn ClientSide>,
    token: Option<Value>,
    capable: bool,
}

impl Asker {
    pub(super) fn of(call: Option<&Call>) -> Option<Self> {
        let call = call?;
        let client = call.client.as_ref()?;
        Some(Asker {
            side: Arc::clone(&client.side),
            token: call.progress_token().cloned(),
            capable: call.can_be_asked(),
        })
    }
}

impl Ears {
    pub(super) fn new(name: &str) -> Self {
        Ears {
            name: name.into(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            questions: Arc::new(Semaphore::new(QUESTIONS_AT_ONCE)),
        }
    }

    /// What changes from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Takes a notification.
    pub(super) fn notice(
        &self,
        method: &str,
        params: Option<Box<RawValue>>,
        asker: Option<&Asker>,
    ) {
        let change = match method {
            "notifications/tools/list_changed" => Change::Tools,
            "notifications/prompts/list_changed" => Change::Prompts,
            "notifications/resources/list_changed" => Change::Resources,
            "notifications/resources/updated" => match uri_of(params.as_deref()) {
                Some(uri) => Change::Resource(uri),
                None => return,
            },
            "notifications/progress" => return progress(params, asker),
            "notifications/message" => {
                if let Some(asker) = asker {
                    asker.side.notice(method, params);
                }
                return;
            }
            _ => return log::debug!("unknown notice upstream={}", self.name),
        };
        // Nobody listening is no failure.
        drop(self.changes.send(change));
    }

    /// Answers a request of the upstream's.
    pub(super) async fn question(
        &self,
        method: String,
        params: Option<Box<RawValue>>,
        asker: Option<&Asker>,
    ) -> Result<Box<RawValue>, RpcError> {
        if method == "ping" {
            return Ok(rpc::empty());
        }
        let Some(asker) = asker.filter(|asker| asker.capable) else {
            return Err(RpcError::no_method(&method));
        };
        let Ok(_place) = self.questions.try_acquire() else {
            let message = "too many questions at once".to_owned();
            return Err(RpcError { code: rpc::INTERNAL_ERROR, message, data: None });
        };
        asker.side.request(method, params).await
    }
}

/// Passes progress on under the caller's own token.
fn progress(params: Option<Box<RawValue>>, asker: Option<&Asker>) {
    let Some(Asker { side, token: Some(token), .. }) = asker else {
        return;
    };
    let read =
        params.and_then(|params| serde_json::from_str::<Map<String, Value>>(params.get()).ok());
    let Some(mut read) = read else {
        return;
    };
    read.insert("progressToken".to_owned(), token.clone());
    side.notice("notifications/progress", serde_json::value::to_raw_value(&read).ok());
}

/// The token a progress notification is for: the id of a request of ours.
pub(super) fn token_of(params: Option<&RawValue>) -> Option<u64> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Token {
        progress_token: Value,
    }
    let token: Token = serde_json::from_str(params?.get()).ok()?;
    token.progress_token.as_u64().or_else(|| token.progress_token.as_str()?.parse().ok())
}

fn uri_of(params: Option<&RawValue>) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Updated {
        uri: String,
    }
    serde_json::from_str::<Updated>(params?.get()).ok().map(|updated| updated.uri)
}
