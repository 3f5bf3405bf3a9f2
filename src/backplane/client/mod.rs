//! Calling other services: one client actor per service and worker, behind ports.
//!
//! The order of a call: deadline, retry (budget), bulkhead, breaker, attempt time-out, transport.
//! An [`awc::Client`] belongs to its thread, so each worker starts its own actors, lazily, on its
//! own arbiter; what they share (endpoints, breakers, budgets) is shared through discovery.

mod actor;
mod attempt;
mod bulkhead;
mod choice;
mod line;
mod pool;
mod stream;

pub(crate) use attempt::retry_after;
pub use attempt::{error_from_body, http_client};
pub use stream::{StreamItem, StreamReader};

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::{
    backplane::{
        config::Calls,
        context::{self, RequestContext},
        discovery::Directory,
        metrics::Metrics,
        port::Port,
        token::{ServiceToken, Tokens},
        vitals::House,
    },
    domain::{
        backoff::Repeatable,
        failure::{Failure, Kind},
    },
};
use actor::ServiceClient;

/// Longest wait a refused caller is told: a health check that passes opens the way within about a
/// second, long before the breaker's own time is up, and a refusal costs next to nothing.
pub const RETRY_HINT_MAX: Duration = Duration::from_secs(5);
/// Calls of one batch that are under way at once.
pub const BATCH_AT_ONCE: usize = 8;
/// Calls of one client actor that pause before another attempt.
const CALLS_PAUSING_MAX: usize = 1024;
/// Streams one client actor opens at once.
const STREAMS_OPENING: usize = 256;

/// What is called by its name, with arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
}

/// Calls a tool of the service, or fills in a prompt.
#[derive(actix::Message)]
#[rtype(result = "Result<Value, Failure>")]
pub struct CallTool {
    /// What travels with it.
    pub context: RequestContext,
    /// Whether it is a tool or a prompt.
    pub named: Named,
    /// Its name.
    pub tool: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// Whether sending it twice is harmless.
    pub repeatable: Repeatable,
    /// Ends when the caller has gone.
    pub caller: Caller,
}

/// The caller's presence: the work for it ends with it, so that the bound on calls is one on work.
pub type Caller = oneshot::Receiver<()>;

/// Reads a resource of the service, or the list of what it offers, whole.
#[derive(actix::Message)]
#[rtype(result = "Result<Value, Failure>")]
pub struct ReadResource {
    /// What travels with it.
    pub context: RequestContext,
    /// The path from `/` on, its segments percent-encoded, with the query.
    pub path: String,
    /// Ends when the caller has gone.
    pub caller: Caller,
}

/// Opens a live stream of the service, which reconnects by itself.
#[derive(actix::Message)]
#[rtype(result = "Result<StreamReader, Failure>")]
pub struct OpenStream {
    /// Path below `/resource/`, ending in `/stream`.
    pub path: String,
    /// The sequence number after which to begin; `None` begins with what comes next.
    pub after: Option<i64>,
}

/// One call of a batch.
#[derive(Clone, Debug)]
pub struct BatchCall {
    /// The service.
    pub service: String,
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// Whether sending it twice is harmless.
    pub repeatable: Repeatable,
}

/// The way to one service.
#[derive(Clone)]
pub struct ServicePort {
    call: Port<CallTool>,
    read: Port<ReadResource>,
    open: Port<OpenStream>,
    patience: Duration,
}

impl ServicePort {
    /// Calls a tool.
    ///
    /// # Errors
    /// The service's own failure, or why it could not be asked; always naming the service.
    pub async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        repeatable: Repeatable,
    ) -> Result<Value, Failure> {
        self.call_named(Named::Tool, tool, arguments, repeatable).await
    }

    /// Fills in a prompt: the answer is as the protocol has it.
    ///
    /// # Errors
    /// As [`ServicePort::call`].
    pub async fn prompt(
        &self,
        prompt: &str,
        arguments: Map<String, Value>,
    ) -> Result<Value, Failure> {
        self.call_named(Named::Prompt, prompt, arguments, Repeatable::Always).await
    }

    async fn call_named(
        &self,
        named: Named,
        tool: &str,
        arguments: Map<String, Value>,
        repeatable: Repeatable,
    ) -> Result<Value, Failure> {
        let context = context::current_or(self.patience);
        let (_present, caller) = oneshot::channel();
        let tool = tool.to_owned();
        self.call.ask(CallTool { context, named, tool, arguments, repeatable, caller }).await
    }

    /// What the service offers: its tools, resources and prompts.
    ///
    /// # Errors
    /// As [`ServicePort::call`].
    pub async fn offers(&self) -> Result<Value, Failure> {
        self.fetch("/tools".to_owned()).await
    }

    /// Reads a resource, whole.
    ///
    /// # Errors
    /// As [`ServicePort::call`].
    pub async fn read(&self, path: String) -> Result<Vec<Value>, Failure> {
        let reply = self.fetch(format!("/resource/{path}")).await?;
        if let Value::Array(items) = reply { Ok(items) } else { Ok(vec![reply]) }
    }

    async fn fetch(&self, path: String) -> Result<Value, Failure> {
        let context = context::current_or(self.patience);
        let (_present, caller) = oneshot::channel();
        self.read.ask(ReadResource { context, path, caller }).await
    }

    /// Opens a live stream that reconnects by itself and ends when its reader is dropped.
    ///
    /// # Errors
    /// `overloaded` or `service_unavailable` of the client itself; a service that is away is an
    /// item of the stream, not an error here.
    pub async fn open(&self, path: String, after: Option<i64>) -> Result<StreamReader, Failure> {
        self.open.ask(OpenStream { path, after }).await
    }
}

/// All services as one worker reaches them.
pub struct Clients {
    shared: ClientsShared,
    started: RefCell<BTreeMap<String, ServicePort>>,
    place: String,
}

/// What the clients of all workers have in common. Cheap to clone.
#[derive(Clone)]
pub struct ClientsShared {
    /// The actors' book.
    pub house: House,
    /// Where services are.
    pub directory: Directory,
    /// How to call.
    pub settings: Arc<Calls>,
    /// What is counted.
    pub metrics: Metrics,
    /// Signs the tokens sent along.
    pub tokens: Tokens,
    /// Who we are.
    pub own_name: &'static str,
}

impl Clients {
    /// The clients of one worker, called `place` in the book of actors.
    #[must_use]
    pub fn new(shared: ClientsShared, place: String) -> Rc<Self> {
        Rc::new(Clients { shared, started: RefCell::default(), place })
    }

    /// The way to `service`; its actor starts with the first use.
    ///
    /// # Errors
    /// `service_not_found` when discovery does not know it.
    pub fn of(&self, service: &str) -> Result<ServicePort, Failure> {
        if let Some(port) = self.started.borrow().get(service) {
            return Ok(port.clone());
        }
        if !self.shared.directory.knows(service) {
            return Err(Failure::new(Kind::ServiceNotFound, format!("no service {service:?}"))
                .of_service(service));
        }
        let port = self.start(service);
        self.started.borrow_mut().insert(service.to_owned(), port.clone());
        Ok(port)
    }

    /// Makes several calls, a few at once; the answers come in the order of the calls, each with
    /// its own outcome.
    pub async fn call_batch(&self, calls: Vec<BatchCall>) -> Vec<Result<Value, Failure>> {
        futures_util::stream::iter(calls)
            .map(|call| async move {
                let port = self.of(&call.service)?;
                port.call(&call.tool, call.arguments, call.repeatable).await
            })
            .buffered(BATCH_AT_ONCE)
            .collect()
            .await
    }

    fn start(&self, service: &str) -> ServicePort {
        let shared = &self.shared;
        let name = format!("client:{service}@{}", self.place);
        let token = ServiceToken::new(shared.tokens.clone(), shared.own_name, service);
        let client = ServiceClient::new(service, shared, Arc::new(token));
        let actor = crate::backplane::keeper::start(&shared.house, &name, |_| client);
        let settings = &shared.settings;
        // The bulkhead is the bound; this one only has room for those it lets wait, and for calls
        // that pause between attempts.
        let slots = settings.places() + usize::from(settings.calls_waiting_max) + CALLS_PAUSING_MAX;
        // The whole call may take all its attempts; a request's own deadline cuts it shorter.
        let patience = settings.call_timeout * settings.max_retries.saturating_add(2);
        ServicePort {
            call: Port::to("service client", &actor, slots, patience),
            read: Port::to("service client", &actor, slots, patience),
            open: Port::to("service client", &actor, STREAMS_OPENING, settings.call_timeout),
            patience: settings.call_timeout,
        }
    }
}

/// Escapes one path segment.
#[must_use]
pub fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The settings of a process that was given none.
#[cfg(test)]
pub(crate) fn test_settings() -> Calls {
    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        calls: Calls,
    }
    <Only as clap::Parser>::parse_from(["test"]).calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("a/b?c#d é"), "a%2Fb%3Fc%23d%20%C3%A9");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
