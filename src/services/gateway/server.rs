//! The gateway as a server of the protocol: lists are put together, calls are passed to whoever
//! owns what they name.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams,
        CompleteResult, GetPromptRequestParams, GetPromptResponse, GetPromptResult, Implementation,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        MetaObject, PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams,
        ReadResourceResponse, ReadResourceResult, Reference, ResourceContents, ServerCapabilities,
        ServerConfig, SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
};
use serde_json::{Map, Value, json};

use super::{
    Gateway, Missing, View,
    asker::{self, Asker, Reached},
    catalogue::Whose,
    foreign::{self, Reply, What},
    passing::{Answers, Missed, Passing},
    search, turning,
};
use crate::{
    backplane::{
        mcp::{
            REVISIONS, WATCHED_PER_CLIENT_MAX, failed, gone_wrong, offers, visitor,
            watching::{self, Changes, Watches},
        },
        upstream::{Trouble, Upstream},
    },
    domain::failure::{Failure, Kind},
};

/// What the gateway says of itself.
const INSTRUCTIONS: &str = "Everything behind one door: memory keeps what users say, cognition \
     builds context out of it, and further servers are named before two underscores of each \
     tool's name. Call cognition__get_context with the question before you answer it, and \
     core__send_input to keep what was said.";
/// What clients with a session hear of, until they say otherwise.
const LEVEL_DEFAULT: &str = "info";
/// Where a list names who is missing from it.
const MISSING_META: &str = "cortex/missing";

/// The gateway, for one client or one request.
pub struct GatewayServer {
    gateway: Gateway,
    watches: Watches,
    /// From which level on a client with a session hears what upstreams log.
    level: Mutex<Value>,
}

impl GatewayServer {
    /// The gateway for one client.
    #[must_use]
    pub fn new(gateway: Gateway) -> Self {
        GatewayServer {
            gateway,
            watches: Watches::default(),
            level: Mutex::new(LEVEL_DEFAULT.into()),
        }
    }

    /// Whoever sent a request.
    fn asker(&self, context: &RequestContext<RoleServer>) -> Result<Asker, ErrorData> {
        let level = self.level.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Asker::of(context, &level)
    }

    /// Begins to hear of changes of a resource.
    async fn watch(&self, asker: &Asker, uri: &str) -> Result<Changes, Failure> {
        let view = self.gateway.view(&asker.visitor.principal).await;
        let unknown = || Failure::not_found("resource", uri);
        let source = view.catalogue.resource(uri).cloned().ok_or_else(unknown)?;
        if let Some(upstream) = self.gateway.upstreams.get(&source) {
            let (notices, _nobody) = asker::notices();
            let call = asker.call(Arc::new(Reached { peer: None, notices }));
            return foreign::watch(&upstream, uri, asker, call).await;
        }
        let listing = view.listings.get(&source).ok_or_else(unknown)?;
        self.gateway.own.watch(asker.visitor.clone(), &source, uri, &listing.live)
    }

    /// Whether tools are looked for instead of listed.
    fn searches(&self, view: &View) -> bool {
        let settings = &self.gateway.settings;
        let tools = view.catalogue.tools.len();
        search::is_on(settings.gateway_tool_search, tools, settings.gateway_tools_listed_max)
    }

    async fn call(
        &self,
        mut asked: CallToolRequestParams,
        asker: &Asker,
    ) -> Result<CallToolResponse, ErrorData> {
        let view = self.gateway.view(&asker.visitor.principal).await;
        if self.searches(&view) && asked.name == search::SEARCH_TOOLS {
            let arguments = asked.arguments.unwrap_or_default();
            let found = search::search(&view.catalogue, &arguments);
            return Ok(found.unwrap_or_else(|failure| failed(&failure)).into());
        }
        if self.searches(&view) && asked.name == search::CALL_TOOL {
            let mut arguments = asked.arguments.take().unwrap_or_default();
            let name = arguments.get("name").and_then(Value::as_str).unwrap_or_default();
            asked.name = name.to_owned().into();
            asked.arguments = match arguments.remove("arguments") {
                Some(Value::Object(arguments)) => Some(arguments),
                Some(_) | None => None,
            };
        }
        let Some(Whose { source, name }) = view.catalogue.tool(&asked.name).cloned() else {
            return unknown_tool(&view, &asked.name);
        };
        let Some(upstream) = self.gateway.upstreams.get(&source) else {
            let listing = view.listings.get(&source);
            let mut tools = listing.iter().flat_map(|listing| &listing.tools);
            let Some(tool) = tools.find(|tool| tool.name == name) else {
                return unknown_tool(&view, &asked.name);
            };
            let (visitor, arguments) = (asker.visitor.clone(), asked.arguments.unwrap_or_default());
            return Ok(self.gateway.own.call(visitor, &source, tool, name, arguments).await.into());
        };
        let mut params = Map::new();
        params.insert("name".to_owned(), name.as_str().into());
        if let Some(arguments) = asked.arguments {
            params.insert("arguments".to_owned(), arguments.into());
        }
        let answers = Answers { responses: asked.input_responses, state: asked.request_state };
        let passing = self.passing(&upstream, asker, What::Tool, &name);
        match passing.run(params, answers).await {
            Ok(Reply::Input(input)) => Ok((*input).into()),
            Ok(Reply::Complete(raw)) => Ok(foreign::typed::<CallToolResult>(&source, &raw)?.into()),
            Err(Missed::Ours(error)) => Err(*error),
            Err(Missed::Theirs(trouble)) => match *trouble {
                refused @ Trouble::Refused(_) => Err(foreign::error(refused, &source)),
                other @ (Trouble::Failed(_) | Trouble::Challenged { .. }) => {
                    Ok(failed(&other.into_failure(&source)).into())
                }
            },
        }
    }

    async fn prompt(
        &self,
        asked: GetPromptRequestParams,
        asker: &Asker,
    ) -> Result<GetPromptResponse, ErrorData> {
        let view = self.gateway.view(&asker.visitor.principal).await;
        let Some(Whose { source, name }) = view.catalogue.prompt(&asked.name).cloned() else {
            return Err(match missing_owner(&view, &asked.name) {
                Some(missing) => gone_wrong(&away(missing)),
                None => {
                    let text = format!("there is no prompt {:?} here", asked.name);
                    ErrorData::invalid_params(text, None)
                }
            });
        };
        let arguments = asked.arguments.unwrap_or_default();
        let Some(upstream) = self.gateway.upstreams.get(&source) else {
            let visitor = asker.visitor.clone();
            let filled = self.gateway.own.prompt(visitor, &source, name, arguments).await;
            return Ok(filled.map_err(|failure| gone_wrong(&failure))?.into());
        };
        let mut params = Map::new();
        params.insert("name".to_owned(), name.as_str().into());
        params.insert("arguments".to_owned(), arguments.into());
        let answers = Answers { responses: asked.input_responses, state: asked.request_state };
        let passing = self.passing(&upstream, asker, What::Prompt, &name);
        match passing.run(params, answers).await.map_err(|missed| missed.into_error(&source))? {
            Reply::Input(input) => Ok((*input).into()),
            Reply::Complete(raw) => Ok(foreign::typed::<GetPromptResult>(&source, &raw)?.into()),
        }
    }

    async fn completed(
        &self,
        asked: CompleteRequestParams,
        asker: &Asker,
    ) -> Result<CompleteResult, ErrorData> {
        let view = self.gateway.view(&asker.visitor.principal).await;
        let whose = match &asked.r#ref {
            Reference::Prompt(prompt) => view.catalogue.prompt(&prompt.name).cloned(),
            Reference::Resource(resource) => {
                let source = view.catalogue.template(&resource.uri).cloned();
                source.map(|source| Whose { source, name: resource.uri.clone() })
            }
            // Of what the protocol may refer to one day nothing is known.
            _ => None,
        };
        // Of what is not there nothing is known, which is no error.
        let Some(Whose { source, name }) = whose else { return Ok(CompleteResult::default()) };
        let Some(upstream) = self.gateway.upstreams.get(&source) else {
            return Ok(CompleteResult::default());
        };
        let params = serde_json::to_value(&asked).map(|params| match params {
            Value::Object(params) => params,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        });
        let mut params =
            params.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        if let Reference::Prompt(_) = &asked.r#ref {
            params.insert("ref".to_owned(), json!({"type": "ref/prompt", "name": name}));
        }
        params.remove("_meta");
        let (notices, _nobody) = asker::notices();
        let call = asker.call(Arc::new(Reached { peer: None, notices }));
        let raw = upstream.complete(params, &call).await;
        let raw = raw.map_err(|trouble| foreign::error(trouble, &source))?;
        foreign::typed(&source, &raw)
    }

    async fn read(
        &self,
        asked: ReadResourceRequestParams,
        asker: &Asker,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let view = self.gateway.view(&asker.visitor.principal).await;
        let uri = asked.uri;
        let not_there = || offers::not_read(&Failure::not_found("resource", &uri), &uri);
        let source = view.catalogue.resource(&uri).cloned().ok_or_else(not_there)?;
        let Some(upstream) = self.gateway.upstreams.get(&source) else {
            let text = self.gateway.own.read(asker.visitor.clone(), &source, &uri).await;
            let text = text.map_err(|failure| offers::not_read(&failure, &uri))?;
            let contents = ResourceContents::text(text, uri).with_mime_type(offers::MIME);
            let result = ReadResourceResult::new(vec![contents])
                .with_ttl_ms(0)
                .with_cache_scope(CacheScope::Private);
            return Ok(result.into());
        };
        let params = Map::from_iter([("uri".to_owned(), uri.as_str().into())]);
        let answers = Answers { responses: asked.input_responses, state: asked.request_state };
        let passing = self.passing(&upstream, asker, What::Resource, &uri);
        match passing.run(params, answers).await.map_err(|missed| missed.into_error(&source))? {
            Reply::Input(input) => Ok((*input).into()),
            Reply::Complete(raw) => Ok(foreign::typed::<ReadResourceResult>(&source, &raw)?.into()),
        }
    }

    fn passing<'a>(
        &'a self,
        upstream: &'a Upstream,
        asker: &'a Asker,
        what: What,
        name: &'a str,
    ) -> Passing<'a> {
        Passing { gateway: &self.gateway, upstream, asker, what, name }
    }
}

async fn unless_cancelled<T>(
    context: &RequestContext<RoleServer>,
    work: impl Future<Output = Result<T, ErrorData>>,
) -> Result<T, ErrorData> {
    tokio::select! {
        result = work => result,
        () = context.ct.cancelled() => Err(ErrorData::internal_error("cancelled", None)),
    }
}

/// A tool that is not there, or one of a source that is missing.
fn unknown_tool(view: &View, name: &str) -> Result<CallToolResponse, ErrorData> {
    if let Some(missing) = missing_owner(view, name) {
        return Ok(failed(&away(missing)).into());
    }
    Err(ErrorData::invalid_params(format!("there is no tool {name:?} here"), None))
}

/// The missing source whose names begin like this one.
fn missing_owner<'a>(view: &'a View, name: &str) -> Option<&'a Missing> {
    view.missing.iter().find(|missing| {
        !missing.shown
            && (missing.prefix.is_empty()
                || name
                    .strip_prefix(missing.prefix.as_ref())
                    .is_some_and(|rest| rest.starts_with("__")))
    })
}

fn away(missing: &Missing) -> Failure {
    let failure = &missing.failure;
    let message = format!("{} is not available: {}", missing.source, failure.message);
    let wait = failure.retry_after.unwrap_or(std::time::Duration::from_secs(2));
    Failure::new(Kind::Unavailable, message).of_service(&missing.source).retry_after(wait)
}

/// Who is missing from a list, for its `_meta`.
fn missing_meta(view: &View) -> Option<MetaObject> {
    if view.missing.is_empty() {
        return None;
    }
    let missing: Vec<Value> = view
        .missing
        .iter()
        .map(|missing| {
            json!({
                "source": missing.source,
                "code": missing.failure.kind.code(),
                "reason": missing.failure.message,
                "retry_after_seconds":
                    missing.failure.retry_after.map(|wait| wait.as_secs_f64().ceil()),
                "shown_as_before": missing.shown,
            })
        })
        .collect();
    let mut meta = serde_json::Map::new();
    meta.insert(MISSING_META.to_owned(), missing.into());
    Some(MetaObject(meta))
}

/// For how long a list may be kept: shortly, when somebody is missing from it.
fn ttl(gateway: &Gateway, view: &View) -> u64 {
    let settings = &gateway.settings;
    let ttl = if view.missing.is_empty() {
        settings.gateway_list_fresh
    } else {
        settings.gateway_list_pause
    };
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

/// One page of a list of the view.
macro_rules! listed {
    ($self:ident, $asked:ident, $context:ident, $result:ident, $field:ident) => {{
        let view = $self.gateway.view(&visitor(&$context)?.principal).await;
        let (page, next) = $self.gateway.pages.of(&view.catalogue.$field, $asked.as_ref())?;
        let mut result = $result::with_all_items(page)
            .with_ttl_ms(ttl(&$self.gateway, &view))
            .with_cache_scope(CacheScope::Private);
        result.next_cursor = next;
        result.meta = missing_meta(&view);
        Ok(result)
    }};
}

#[expect(deprecated, reason = "clients of 2025-11-25 and before set levels and subscribe so")]
impl ServerHandler for GatewayServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_completions()
            .enable_logging()
            .build();
        let info = Implementation::new("cortex", env!("CARGO_PKG_VERSION")).with_title("Cortex");
        ServerConfig::new(capabilities)
            .with_server_info(info)
            .with_protocol_version(ProtocolVersion::V_2025_11_25)
            .with_instructions(INSTRUCTIONS)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&REVISIONS)
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let turns =
            turning::settled(self.gateway.turns(), self.gateway.settings.gateway_changes_pause);
        self.watches.run("lists", turning::tell_peer(turns, context.peer));
    }

    async fn set_level(
        &self,
        asked: rmcp::model::SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let level = serde_json::to_value(asked.level)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
        Ok(())
    }

    async fn list_tools(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let view = self.gateway.view(&visitor(&context)?.principal).await;
        if !self.searches(&view) {
            return listed!(self, asked, context, ListToolsResult, tools);
        }
        let mut result = ListToolsResult::with_all_items(search::tools())
            .with_ttl_ms(ttl(&self.gateway, &view))
            .with_cache_scope(CacheScope::Private);
        result.meta = missing_meta(&view);
        Ok(result)
    }

    async fn list_prompts(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        listed!(self, asked, context, ListPromptsResult, prompts)
    }

    async fn list_resources(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        listed!(self, asked, context, ListResourcesResult, resources)
    }

    async fn list_resource_templates(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        listed!(self, asked, context, ListResourceTemplatesResult, templates)
    }

    async fn call_tool(
        &self,
        asked: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let asker = self.asker(&context)?;
        unless_cancelled(&context, Box::pin(self.call(asked, &asker))).await
    }

    async fn get_prompt(
        &self,
        asked: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let asker = self.asker(&context)?;
        unless_cancelled(&context, Box::pin(self.prompt(asked, &asker))).await
    }

    async fn read_resource(
        &self,
        asked: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let asker = self.asker(&context)?;
        unless_cancelled(&context, Box::pin(self.read(asked, &asker))).await
    }

    async fn complete(
        &self,
        asked: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let asker = self.asker(&context)?;
        unless_cancelled(&context, Box::pin(self.completed(asked, &asker))).await
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let mut accepted = requested.clone();
        if let Some(uris) = &mut accepted.resource_subscriptions {
            uris.truncate(WATCHED_PER_CLIENT_MAX);
        }
        Some(accepted)
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let asker = self.asker(subscription.request_context())?;
        let mut watched = Vec::new();
        for uri in subscription.accepted().resource_subscriptions.iter().flatten() {
            // What cannot be watched does not keep the rest from being told.
            match self.watch(&asker, uri).await {
                Ok(changes) => watched.push((uri.clone(), changes)),
                Err(failure) => log::info!("a resource cannot be watched cause={failure}"),
            }
        }
        let turns =
            turning::settled(self.gateway.turns(), self.gateway.settings.gateway_changes_pause);
        tokio::join!(
            watching::tell(&subscription, watched),
            turning::tell_subscription(turns, &subscription),
        );
        Ok(())
    }

    async fn subscribe(
        &self,
        asked: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if self.watches.len() >= WATCHED_PER_CLIENT_MAX {
            let text = format!("a client may watch {WATCHED_PER_CLIENT_MAX} resources");
            return Err(ErrorData::invalid_params(text, None));
        }
        let changes = self.watch(&self.asker(&context)?, &asked.uri).await;
        let changes = changes.map_err(|failure| offers::not_read(&failure, &asked.uri))?;
        self.watches.begin(asked.uri, changes, context.peer);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        asked: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.watches.end(&asked.uri);
        Ok(())
    }
}
