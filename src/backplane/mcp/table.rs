//! A service's table as a server of the protocol.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, LazyLock, OnceLock},
};

use futures_util::{StreamExt as _, future::LocalBoxFuture};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
        CompletionInfo, GetPromptRequestParams, GetPromptResponse, Implementation,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, Resource, ResourceContents, ResourceTemplate, ServerCapabilities,
        ServerConfig, SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
    },
    service::{RequestContext, SubscriptionContext},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    backplane::{
        context,
        desk::Desks,
        host::{Asked, Content, Host, Typed},
        mcp::{
            Pages, Visitor, offers, visitor,
            watching::{self, Changes, Watches},
            words::{answered, failed, gone_wrong},
        },
    },
    contract::offers::Offers,
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

/// What a server says of itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The service's name, and the scheme of its resources.
    pub name: &'static str,
    /// A name for people.
    pub title: &'static str,
    /// What a model should know before it uses it.
    pub instructions: &'static str,
}

/// A service's table, for one client or one request.
pub struct TableServer {
    shared: Arc<Shared>,
    watches: Watches,
}

struct Shared {
    about: About,
    pages: Pages,
    desks: Desks<Host>,
    watching: Desks<Host>,
    lists: OnceLock<Lists>,
}

/// What the table offers; the same on every thread.
#[derive(Default)]
struct Lists {
    offers: Offers,
    tools: Vec<Tool>,
    templates: Vec<ResourceTemplate>,
    resources: Vec<Resource>,
    /// What can be watched.
    live: Vec<&'static str>,
}

impl Lists {
    fn of(host: &Host, service: &str) -> Self {
        let offers = offers::all(host);
        let live = host.resources().iter().filter_map(|row| row.template.strip_suffix("/stream"));
        Lists {
            tools: offers.tools.iter().map(|offered| offered.tool.clone()).collect(),
            templates: offers::templates(&offers, service),
            resources: offers::personal(&offers, service),
            live: live.collect(),
            offers,
        }
    }
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

    /// Begins to hear of changes of `uri` on behalf of `visitor`.
    async fn watch(&self, visitor: Visitor, uri: &str) -> Result<Changes, Failure> {
        let (path, query) = self.shared.path_of(uri)?;
        let path = format!("{path}/stream");
        let (changed, changes) = watching::changes();
        let (opened, opening) = oneshot::channel();
        let Visitor { principal, context } = visitor;
        let until = context.authorized_until;
        let desk = self.shared.watching.nearest()?;
        let context = context.without_deadline();
        tokio::spawn(context.scope(async move {
            let hearing = desk.ask(move |host: Rc<Host>| {
                Box::pin(async move {
                    let asked = Asked { query, ..Asked::default() };
                    let read = host.read(&path, principal, asked).await;
                    let body = match read {
                        Ok(Content::Live(body)) => body,
                        Ok(Content::Items(_)) => {
                            drop(opened.send(Err(Failure::not_found("live resource", path))));
                            return Ok(());
                        }
                        Err(failure) => {
                            drop(opened.send(Err(failure)));
                            return Ok(());
                        }
                    };
                    drop(opened.send(Ok(())));
                    hear(body, &changed).await;
                    Ok::<(), Failure>(())
                })
            });
            let end = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = hearing => if let Err(failure) = ended {
                    log::warn!("a resource is not watched any longer cause={failure}");
                },
                () = end => {}
            }
        }));
        match opening.await {
            Ok(opened) => opened.map(|()| changes),
            Err(_dropped) => Err(Failure::new(Kind::Overloaded, "too many resources are watched")),
        }
    }
}

/// Says `changed` for every event of a live body, until nobody listens.
async fn hear(mut body: crate::backplane::host::LiveBody, changed: &mpsc::Sender<()>) {
    loop {
        let piece = tokio::select! {
            piece = body.next() => piece,
            () = changed.closed() => return,
        };
        let Some(Ok(piece)) = piece else { return };
        // The first piece only says where the stream begins; comments keep it open.
        if memchr::memmem::find(&piece, b"data:").is_some() {
            // Full: the change before this one has not been heard yet, and they are one.
            if changed.try_send(()).is_err() && changed.is_closed() {
                return;
            }
        }
    }
}

impl Shared {
    fn lists(&self) -> &Lists {
        static NONE: LazyLock<Lists> = LazyLock::new(Lists::default);
        self.lists.get().unwrap_or(&NONE)
    }

    /// Asks the table on the nearest thread that has it, in the request's context.
    async fn ask<T: Send + 'static>(
        &self,
        context: context::RequestContext,
        work: impl FnOnce(Rc<Host>) -> LocalBoxFuture<'static, Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let desk = self.desks.nearest()?;
        context.scope(desk.ask(work)).await
    }

    /// The path and the query that a URI of this service stands for.
    fn path_of(&self, uri: &str) -> Result<(String, BTreeMap<String, String>), Failure> {
        let rest = uri
            .strip_prefix(self.about.name)
            .and_then(|rest| rest.strip_prefix("://"))
            .ok_or_else(|| Failure::not_found("resource", uri))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok((path.to_owned(), query))
    }

    /// Whether a URI stands for something that can be watched.
    fn is_live(&self, uri: &str) -> bool {
        let Ok((path, _)) = self.path_of(uri) else { return false };
        self.lists()
            .live
            .iter()
            .any(|template| crate::domain::gateway::uris::expands(template, &path))
    }

    async fn read(&self, visitor: Visitor, uri: &str) -> Result<String, Failure> {
        let (path, query) = self.path_of(uri)?;
        let Visitor { principal, context } = visitor;
        self.ask(context, move |host| {
            Box::pin(async move {
                match host.read(&path, principal, Asked { query, ..Asked::default() }).await? {
                    Content::Items(items) => serde_json::to_string(&items).map_err(|error| {
                        Failure::new(Kind::Internal, format!("items not written: {error}"))
                    }),
                    Content::Live(_) => Err(Failure::not_found("resource", path)),
                }
            })
        })
        .await
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
            let changes = self.watch(visitor.clone(), uri).await;
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
        let changes = self.watch(visitor(&context)?, &asked.uri).await;
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
