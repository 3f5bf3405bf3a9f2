//! The gateway as a server of the protocol: lists are put together, calls are passed to whoever
//! owns what they name.

use std::{
    borrow::Cow,
    sync::{Mutex, PoisonError},
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
        GetPromptRequestParams, GetPromptResponse, Implementation, ListPromptsResult,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
        ServerConfig, SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
};
use serde_json::Value;

use super::{
    Gateway, View,
    asker::Asker,
    missing::{missing_meta, ttl},
    search, turning,
};
use crate::backplane::mcp::{
    REVISIONS, WATCHED_PER_CLIENT_MAX, offers, visitor,
    watching::{self, Watches},
};

/// What the gateway says of itself.
const INSTRUCTIONS: &str = "Everything behind one door: memory keeps what users say, cognition \
     builds context out of it, and further servers are named before two underscores of each \
     tool's name. Call cognition__get_context with the question before you answer it, and \
     core__send_input to keep what was said.";
/// What clients with a session hear of, until they say otherwise.
const LEVEL_DEFAULT: &str = "info";

/// The gateway, for one client or one request.
pub struct GatewayServer {
    pub(super) gateway: Gateway,
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

    /// Whether tools are looked for instead of listed.
    pub(super) fn searches(&self, view: &View) -> bool {
        let settings = &self.gateway.settings;
        let tools = view.catalogue.tools.len();
        search::is_on(settings.gateway_tool_search, tools, settings.gateway_tools_listed_max)
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
        let (page, next) = self.gateway.pages.of(&search::tools(), asked.as_ref())?;
        let mut result = ListToolsResult::with_all_items(page)
            .with_ttl_ms(ttl(&self.gateway, &view))
            .with_cache_scope(CacheScope::Private);
        result.next_cursor = next;
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
                Ok(changes) => {
                    watched.push((uri.clone(), changes));
                    // The client was told that it listens before it was so: whatever came between is
                    // made up for.
                    if subscription.sink().notify_resource_updated(uri.clone()).await.is_err() {
                        return Ok(());
                    }
                }
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
