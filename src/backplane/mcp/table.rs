//! A service's table as a server of the protocol.

use std::{
    borrow::Cow,
    rc::Rc,
    sync::{Arc, OnceLock},
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
        CompletionInfo, GetPromptRequestParams, GetPromptResponse, Implementation,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, ResourceContents, ServerCapabilities, ServerConfig,
        SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
    },
    service::{RequestContext, SubscriptionContext},
};

use crate::{
    backplane::{
        desk::Desks,
        host::{Host, Typed},
        mcp::{
            About, Pages, Visitor, offers,
            served::{Lists, Shared},
            visitor,
            watching::{self, Watches},
            words::{answered, failed, gone_wrong},
        },
    },
    domain::failure::{Failure, Kind},
};

/// The revisions of the protocol that are spoken, oldest first.
pub const REVISIONS: [ProtocolVersion; 4] = [
    ProtocolVersion::V_2025_03_26,
    ProtocolVersion::V_2025_06_18,
    ProtocolVersion::V_2025_11_25,
    ProtocolVersion::V_2026_07_28,
];
/// Time for which what never changes while a process runs may be kept, in milliseconds.
const TABLE_TTL_MS: u64 = 300_000;
/// Calls and reads of one worker that are under way at once.
const QUESTIONS_MAX: usize = 1024;
/// Resources of one worker that are watched at once.
const WATCHED_MAX: usize = 4096;
/// Resources one client watches at most.
pub const WATCHED_PER_CLIENT_MAX: usize = 64;

/// A service's table, for one client or one request.
pub struct TableServer {
    shared: Arc<Shared>,
    watches: Watches,
}

impl TableServer {
    /// A server without a table yet.
    #[must_use]
    pub fn new(about: About, pages: Pages) -> Self {
        let shared = Shared {
            about,
            pages,
            desks: Desks::default(),
            watching: Desks::default(),
            lists: OnceLock::new(),
        };
        TableServer { shared: Arc::new(shared), watches: Watches::default() }
    }

    /// Serves `host`, this thread's copy of the table, from now on.
    pub fn open(&self, host: &Rc<Host>) {
        self.shared.lists.get_or_init(|| Lists::of(host, self.shared.about.name));
        self.shared.desks.open(Rc::clone(host), QUESTIONS_MAX);
        self.shared.watching.open(Rc::clone(host), WATCHED_MAX);
    }

    /// The same table for another client.
    #[must_use]
    pub fn session(&self) -> Self {
        TableServer { shared: Arc::clone(&self.shared), watches: Watches::default() }
    }
}

impl ServerHandler for TableServer {
    fn get_info(&self) -> ServerConfig {
        let about = self.shared.about;
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_completions()
            .build();
        let name = format!("cortex-{}", about.name);
        let info = Implementation::new(name, env!("CARGO_PKG_VERSION")).with_title(about.title);
        ServerConfig::new(capabilities)
            .with_server_info(info)
            .with_protocol_version(ProtocolVersion::V_2025_11_25)
            .with_instructions(about.instructions)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&REVISIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.shared.lists().tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        asked: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (tools, next) = self.shared.pages.of(&self.shared.lists().tools, asked.as_ref())?;
        let mut result = ListToolsResult::with_all_items(tools)
            .with_ttl_ms(TABLE_TTL_MS)
            .with_cache_scope(CacheScope::Public);
        result.next_cursor = next;
        Ok(result)
    }

    async fn call_tool(
        &self,
        asked: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Visitor { principal, context: ours } = visitor(&context)?;
        let name = asked.name.into_owned();
        if self.get_tool(&name).is_none() {
            let unknown = format!("there is no tool {name:?} here");
            return Err(ErrorData::invalid_params(unknown, None));
        }
        let arguments = asked.arguments.unwrap_or_default();
        let calling = self.shared.ask(ours, move |host| {
            Box::pin(async move { host.call(&name, principal, arguments).await })
        });
        let result = tokio::select! {
            result = calling => result,
            () = context.ct.cancelled() => Err(Failure::new(Kind::Timeout, "cancelled")),
        };
        Ok(result.map_or_else(|failure| failed(&failure), answered).into())
    }

    async fn list_resources(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let Visitor { principal, .. } = visitor(&context)?;
        let resources = offers::resources_of(&principal, &self.shared.lists().resources);
        let (resources, next) = self.shared.pages.of(&resources, asked.as_ref())?;
        let mut result = ListResourcesResult::with_all_items(resources)
            .with_ttl_ms(TABLE_TTL_MS)
            .with_cache_scope(CacheScope::Private);
        result.next_cursor = next;
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        asked: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let (templates, next) =
            self.shared.pages.of(&self.shared.lists().templates, asked.as_ref())?;
        let mut result = ListResourceTemplatesResult::with_all_items(templates)
            .with_ttl_ms(TABLE_TTL_MS)
            .with_cache_scope(CacheScope::Public);
        result.next_cursor = next;
        Ok(result)
    }

    async fn read_resource(
        &self,
        asked: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let reading = self.shared.read(visitor(&context)?, &asked.uri);
        let text = tokio::select! {
            text = reading => text,
            () = context.ct.cancelled() => Err(Failure::new(Kind::Timeout, "cancelled")),
        };
        let text = text.map_err(|failure| offers::not_read(&failure, &asked.uri))?;
        let contents = ResourceContents::text(text, asked.uri).with_mime_type(offers::MIME);
        let result = ReadResourceResult::new(vec![contents])
            .with_ttl_ms(0)
            .with_cache_scope(CacheScope::Private);
        Ok(result.into())
    }

    async fn list_prompts(
        &self,
        asked: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let (prompts, next) =
            self.shared.pages.of(&self.shared.lists().offers.prompts, asked.as_ref())?;
        let mut result = ListPromptsResult::with_all_items(prompts)
            .with_ttl_ms(TABLE_TTL_MS)
            .with_cache_scope(CacheScope::Public);
        result.next_cursor = next;
        Ok(result)
    }

    async fn get_prompt(
        &self,
        asked: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let Visitor { principal, context: ours } = visitor(&context)?;
        let arguments = offers::texts(asked.arguments.unwrap_or_default());
        let filling = self.shared.ask(ours, move |host| {
            Box::pin(async move { host.fill_in(&asked.name, principal, arguments).await })
        });
        let result = filling.await.map_err(|failure| gone_wrong(&failure))?;
        Ok(result.into())
    }

    async fn complete(
        &self,
        asked: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let Visitor { principal, context: ours } = visitor(&context)?;
        let typed = Typed { argument: asked.argument.name, beginning: asked.argument.value };
        let completing = self
            .shared
            .ask(ours, move |host| Box::pin(async move { host.complete(principal, typed).await }));
        let mut values = completing.await.map_err(|failure| gone_wrong(&failure))?;
        values.truncate(CompletionInfo::MAX_VALUES);
        let completion =
            CompletionInfo::new(values).map_err(|text| ErrorData::internal_error(text, None))?;
        Ok(CompleteResult::new(completion))
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let wanted = requested.resource_subscriptions.iter().flatten();
        let accepted = wanted.filter(|uri| self.shared.is_live(uri)).take(WATCHED_PER_CLIENT_MAX);
        Some(SubscriptionFilter::builder().resource_subscriptions(accepted).build())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let visitor = visitor(subscription.request_context())?;
        let mut watched = Vec::new();
        for uri in subscription.accepted().resource_subscriptions.iter().flatten() {
            let changes = self.shared.watch(visitor.clone(), uri).await;
            watched.push((uri.clone(), changes.map_err(|failure| gone_wrong(&failure))?));
        }
        watching::tell(&subscription, watched).await;
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
        let changes = self.shared.watch(visitor(&context)?, &asked.uri).await;
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
