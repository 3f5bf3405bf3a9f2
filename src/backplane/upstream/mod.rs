//! Somebody else's MCP servers: one handle for each, of either era, over HTTP, the old event
//! stream, or as a child process.
//!
//! Results go through as they came: what an upstream answers is cut out of its message and never
//! taken apart. A handle may be used from any thread. Calls over HTTP are made where they are
//! asked for, so that a call costs no change of thread; sessions, streams and children live on a
//! thread of their own.

mod bound;
mod call;
mod child;
mod door;
mod ears;
mod era;
mod events;
mod exchange;
mod follow;
mod guard;
mod headers;
mod lines;
mod listen;
mod lists;
mod meta;
mod old;
mod pipe;
mod restarts;
mod roster;
mod rpc;
mod runtime;
mod slot;
mod status;
mod web;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use serde_json::{Map, Value, value::RawValue};
use tokio::{task::AbortHandle, time::Instant};

pub use self::{
    bound::become_child,
    call::{Boxed, Call, Client, ClientSide, Trouble},
    ears::Change,
    era::Peer,
    lists::{Kind, Listing},
    meta::{LEGACY, MODERN},
    roster::{UPSTREAMS_MAX, Upstreams},
    rpc::{INTERNAL_ERROR, METHOD_NOT_FOUND, RpcError},
    status::Status,
};
use self::{
    call::Missed,
    guard::Guard,
    lines::Lines,
    listen::Wanted,
    lists::{Facts, Reading},
    status::History,
    web::Request,
};
use crate::{
    contract::upstream::UpstreamSpec,
    domain::{backoff::Repeatable, failure::Failure},
};

/// The time between two looks for what has been idle too long.
const SWEEP: Duration = Duration::from_secs(5);
/// The least time between them.
const SWEEP_MIN: Duration = Duration::from_millis(50);

/// What upstreams are given of this process.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Its environment, as it was at the start.
    pub variables: Arc<BTreeMap<String, String>>,
    /// The `cortex` program, which starts children so that they end with this process, whatever
    /// ends it.
    pub helper: Option<PathBuf>,
}

impl Surroundings {
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

/// One upstream.
#[derive(Clone)]
pub struct Upstream {
    inner: Arc<Inner>,
}

struct Inner {
    spec: UpstreamSpec,
    lines: Arc<Lines>,
    guard: Guard,
    /// Of the tools in the last list.
    facts: RwLock<Option<HashMap<String, Facts>>>,
    wanted: Arc<Wanted>,
    tasks: Mutex<Vec<AbortHandle>>,
    listening: std::sync::Once,
    history: History,
    _runtime: runtime::Runtime,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.lines.clear();
    }
}

impl Upstream {
    fn new(
        spec: UpstreamSpec,
        surroundings: Surroundings,
        runtime: runtime::Runtime,
    ) -> Result<Self, Failure> {
        let lines = Lines::new(&spec, surroundings, runtime.handle.clone()).map_err(|why| {
            Failure::invalid_field("upstream", format!("{}: {why}", spec.name), "value_error")
        })?;
        let lines = Arc::new(lines);
        let sweeping = Arc::downgrade(&lines);
        let every = (lines.idle() / 4).clamp(SWEEP_MIN, SWEEP);
        let sweep = runtime.handle.spawn(async move {
            let mut ticks = tokio::time::interval(every);
            loop {
                ticks.tick().await;
                let Some(lines) = sweeping.upgrade() else { return };
                lines.sweep(Instant::now());
            }
        });
        let guard = Guard::new(&spec.name, spec.limits);
        let inner = Inner {
            spec,
            lines,
            guard,
            facts: RwLock::default(),
            wanted: Arc::default(),
            tasks: Mutex::new(vec![sweep.abort_handle()]),
            listening: std::sync::Once::new(),
            history: History::default(),
            _runtime: runtime,
        };
        Ok(Upstream { inner: Arc::new(inner) })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.spec.name
    }

    /// Whether both are handles on the same upstream.
    #[must_use]
    pub fn is_same(&self, other: &Upstream) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// How it is configured.
    #[must_use]
    pub fn spec(&self) -> &UpstreamSpec {
        &self.inner.spec
    }

    /// What it said of itself, once it was met.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        self.inner.lines.peer()
    }

    /// Meets it, if it was not met yet: what it says of itself.
    ///
    /// # Errors
    /// [`Trouble`] as for every call.
    pub async fn meet(&self, call: &Call) -> Result<Peer, Trouble> {
        let deadline = self.deadline(call, self.inner.spec.limits.call_timeout);
        let lines = &self.inner.lines;
        let met =
            self.inner
                .guard
                .run(deadline, Repeatable::Always, || async {
                    let taken = lines.take(call).await?;
                    taken.line.peer().cloned().ok_or_else(|| {
                        Missed::unreadable(self.name(), "it has not said what it is")
                    })
                })
                .await;
        self.inner.history.note(&met);
        met
    }

    /// One of its lists: all pages, within its bounds and [`crate::contract::upstream::Limits`].
    /// Of what it did not declare, or does not know, it has none.
    ///
    /// # Errors
    /// [`Trouble`], when not even the first page came.
    pub async fn list(&self, kind: Kind, call: &Call) -> Result<Listing, Trouble> {
        let limits = self.inner.spec.limits;
        let deadline = self.deadline(call, limits.list_timeout);
        let mut reading = Reading::new(self.name(), kind, limits);
        let mut cursor: Option<String> = None;
        loop {
            let mut params = Map::new();
            if let Some(cursor) = cursor.take() {
                params.insert("cursor".to_owned(), Value::from(cursor));
            }
            let request = Request::new(kind.method(), params);
            let page =
                self.exchange(&request, call, deadline, Repeatable::Always, Some(kind)).await;
            let next = match page {
                Ok(None) => None,
                Ok(Some((page, modern))) => {
                    reading.take(&page, modern).map_err(|missed| *missed.trouble)?
                }
                // Many declare resources and know no templates.
                Err(Trouble::Refused(error)) if error.code == METHOD_NOT_FOUND => None,
                Err(trouble) => return Err(trouble),
            };
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        let listing = reading.end();
        if kind == Kind::Tools {
            let name = |tool: &Map<String, Value>| tool.get("name")?.as_str().map(str::to_owned);
            let facts =
                listing.items.iter().filter_map(|tool| Some((name(tool)?, Facts::of(tool))));
            *self.inner.facts.write().unwrap_or_else(PoisonError::into_inner) =
                Some(facts.collect());
        }
        Ok(listing)
    }

    /// Calls a tool: `name`, `arguments`, and in the newer era `inputResponses`, `requestState`.
    /// The result is as it came, also when it asks for more input.
    ///
    /// # Errors
    /// [`Trouble`]; it is repeated only when the tool may be repeated, or was never reached.
    pub async fn call_tool(
        &self,
        params: Map<String, Value>,
        call: &Call,
    ) -> Result<Box<RawValue>, Trouble> {
        let deadline = self.deadline(call, self.inner.spec.limits.call_timeout);
        let mut request = Request::new("tools/call", params);
        let mut listed = self.facts(&request).is_some();
        if !listed && self.knows_no_tools() && self.inner.lines.peer().is_some_and(|p| p.modern) {
            // Some arguments may have to go as headers too. That the list is not to be had now is
            // no reason not to call: the upstream will say so if it misses one.
            drop(self.list(Kind::Tools, call).await);
        }
        loop {
            let facts = self.facts(&request);
            let repeatable = facts.as_ref().map_or(Repeatable::IfNeverSent, |f| f.repeatable);
            request.headers = facts
                .map(|facts| headers::of_call(&facts.headers, request.params.get("arguments")))
                .unwrap_or_default();
            let asked = self.exchange(&request, call, deadline, repeatable, None).await;
            match asked {
                Err(Trouble::Refused(error)) if error.code == rpc::HEADER_MISMATCH && listed => {
                    // Its tools are not what they were.
                    listed = false;
                    self.list(Kind::Tools, call).await?;
                }
                other => return other.map(|answer| answer.map_or_else(rpc::empty, |(raw, _)| raw)),
            }
        }
    }

    /// Renders a prompt.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn get_prompt(
        &self,
        params: Map<String, Value>,
        call: &Call,
    ) -> Result<Box<RawValue>, Trouble> {
        self.read("prompts/get", params, call).await
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn read_resource(
        &self,
        params: Map<String, Value>,
        call: &Call,
    ) -> Result<Box<RawValue>, Trouble> {
        self.read("resources/read", params, call).await
    }

    /// Completes an argument.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn complete(
        &self,
        params: Map<String, Value>,
        call: &Call,
    ) -> Result<Box<RawValue>, Trouble> {
        self.read("completion/complete", params, call).await
    }

    /// Any other request, of which nothing is known but its method: not repeated once it was sent.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn ask(
        &self,
        method: &'static str,
        params: Map<String, Value>,
        call: &Call,
    ) -> Result<Box<RawValue>, Trouble> {
        let deadline = self.deadline(call, self.inner.spec.limits.call_timeout);
        let request = Request::new(method, params);
        let asked = self.exchange(&request, call, deadline, Repeatable::IfNeverSent, None).await?;
        Ok(asked.map_or_else(rpc::empty, |(raw, _)| raw))
    }
}
