//! A handler with what every one of ours needs around it: its work guarded, its capabilities truthful,
//! its results complete.

use std::{borrow::Cow, future::Future, sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::*,
    service::{NotificationContext, RequestContext, SubscriptionContext},
};
use serde_json::Value;

use crate::{
    backplane::{drain::Drain, mcp::REVISIONS},
    http::mcp::work::{Outcome, Work, complete},
};

type Request = RequestContext<RoleServer>;

/// Methods of both eras. The library takes a message of theirs for one of an unknown method when it
/// cannot read the parameters.
const KNOWN: [&str; 8] = [
    "completion/complete",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "tools/call",
    "tools/list",
];
/// Methods of clients of 2026-07-28 alone.
const KNOWN_MODERN: [&str; 1] = ["subscriptions/listen"];
/// Methods of clients before that alone.
const KNOWN_LEGACY: [&str; 3] =
    ["logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// The handler `H`, guarded.
#[derive(Debug)]
pub(super) struct Guarded<H> {
    inner: H,
    around: Arc<Surroundings>,
}

/// What all handlers of an endpoint have around them.
#[derive(Debug)]
pub(super) struct Surroundings {
    server: Value,
    list_ttl: Duration,
    drain: Drain,
}

impl Surroundings {
    pub(super) fn of<H: ServerHandler>(handler: &H, list_ttl: Duration, drain: Drain) -> Self {
        // Who answers stays who it is for as long as the process runs.
        let server = serde_json::to_value(handler.get_info().server_info).unwrap_or_default();
        Surroundings { server, list_ttl, drain }
    }
}

impl<H: ServerHandler> Guarded<H> {
    pub(super) fn new(inner: H, around: Arc<Surroundings>) -> Self {
        Guarded { inner, around }
    }

    async fn guard<T: Outcome>(
        &self,
        request: Work,
        work: impl Future<Output = Result<T, ErrorData>> + Send,
    ) -> Result<T, ErrorData> {
        let modern = request.modern;
        let mut outcome = request.run(work).await?;
        if modern {
            complete(&mut outcome, &self.around.server, self.around.list_ttl);
        }
        Ok(outcome)
    }

    fn finish(&self, modern: bool, outcome: &mut impl Outcome) {
        if modern {
            complete(outcome, &self.around.server, self.around.list_ttl);
        }
    }

    /// What is not declared is not there, even where the library would answer with an empty list.
    fn declared<M: ConstString>(
        &self,
        has: impl FnOnce(ServerCapabilities) -> bool,
    ) -> Result<(), ErrorData> {
        if has(self.inner.get_info().capabilities) {
            return Ok(());
        }
        Err(ErrorData::method_not_found::<M>())
    }
}

#[expect(
    deprecated,
    reason = "clients of 2025-11-25 and before subscribe by requests of their own"
)]
impl<H: ServerHandler> ServerHandler for Guarded<H> {
    fn get_info(&self) -> ServerConfig {
        self.inner.get_info()
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&REVISIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.inner.get_tool(name)
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        self.inner.accepted_subscription_filter(requested)
    }

    async fn initialize(
        &self,
        params: InitializeRequestParams,
        request: Request,
    ) -> Result<InitializeResult, ErrorData> {
        let work = Work::of(&request);
        let mut result = work.run(self.inner.initialize(params, request)).await?;
        if !REVISIONS.contains(&result.protocol_version) {
            result.protocol_version = ProtocolVersion::LATEST_WITH_INITIALIZE;
        }
        Ok(result)
    }

    async fn discover(&self, request: Request) -> Result<DiscoverResult, ErrorData> {
        let work = Work::of(&request);
        let mut result = self.guard(work, self.inner.discover(request)).await?;
        result.supported_versions = REVISIONS.to_vec();
        Ok(result)
    }

    async fn ping(&self, request: Request) -> Result<(), ErrorData> {
        Work::of(&request).run(self.inner.ping(request)).await
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        request: Request,
    ) -> Result<CallToolResponse, ErrorData> {
        let work = Work::of(&request);
        let modern = work.modern;
        let mut response = work.run(self.inner.call_tool(params, request)).await?;
        if let CallToolResponse::Complete(result) = &mut response {
            self.finish(modern, result);
        } else if let CallToolResponse::InputRequired(result) = &mut response {
            self.finish(modern, result);
        }
        Ok(response)
    }

    async fn get_prompt(
        &self,
        params: GetPromptRequestParams,
        request: Request,
    ) -> Result<GetPromptResponse, ErrorData> {
        let work = Work::of(&request);
        let modern = work.modern;
        let mut response = work.run(self.inner.get_prompt(params, request)).await?;
        if let GetPromptResponse::Complete(result) = &mut response {
            self.finish(modern, result);
        } else if let GetPromptResponse::InputRequired(result) = &mut response {
            self.finish(modern, result);
        }
        Ok(response)
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        request: Request,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let work = Work::of(&request);
        let modern = work.modern;
        let mut response = work.run(self.inner.read_resource(params, request)).await?;
        if let ReadResourceResponse::Complete(result) = &mut response {
            self.finish(modern, result);
        } else if let ReadResourceResponse::InputRequired(result) = &mut response {
            self.finish(modern, result);
        }
        Ok(response)
    }

    async fn complete(
        &self,
        params: CompleteRequestParams,
        request: Request,
    ) -> Result<CompleteResult, ErrorData> {
        self.declared::<CompleteRequestMethod>(|has| has.completions.is_some())?;
        self.guard(Work::of(&request), self.inner.complete(params, request)).await
    }

    async fn list_tools(
        &self,
        params: Option<PaginatedRequestParams>,
        request: Request,
    ) -> Result<ListToolsResult, ErrorData> {
        self.declared::<ListToolsRequestMethod>(|has| has.tools.is_some())?;
        self.guard(Work::of(&request), self.inner.list_tools(params, request)).await
    }

    async fn list_prompts(
        &self,
        params: Option<PaginatedRequestParams>,
        request: Request,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.declared::<ListPromptsRequestMethod>(|has| has.prompts.is_some())?;
        self.guard(Work::of(&request), self.inner.list_prompts(params, request)).await
    }

    async fn list_resources(
        &self,
        params: Option<PaginatedRequestParams>,
        request: Request,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.declared::<ListResourcesRequestMethod>(|has| has.resources.is_some())?;
        self.guard(Work::of(&request), self.inner.list_resources(params, request)).await
    }

    async fn list_resource_templates(
        &self,
        params: Option<PaginatedRequestParams>,
        request: Request,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.declared::<ListResourceTemplatesRequestMethod>(|has| has.resources.is_some())?;
        self.guard(Work::of(&request), self.inner.list_resource_templates(params, request)).await
    }

    async fn set_level(
        &self,
        params: SetLevelRequestParams,
        request: Request,
    ) -> Result<(), ErrorData> {
        Work::of(&request).run(self.inner.set_level(params, request)).await
    }

    async fn subscribe(
        &self,
        params: SubscribeRequestParams,
        request: Request,
    ) -> Result<(), ErrorData> {
        Work::of(&request).run(self.inner.subscribe(params, request)).await
    }

    async fn unsubscribe(
        &self,
        params: UnsubscribeRequestParams,
        request: Request,
    ) -> Result<(), ErrorData> {
        Work::of(&request).run(self.inner.unsubscribe(params, request)).await
    }

    async fn get_task(
        &self,
        params: GetTaskParams,
        request: Request,
    ) -> Result<GetTaskResult, ErrorData> {
        Work::of(&request).run(self.inner.get_task(params, request)).await
    }

    async fn update_task(
        &self,
        params: UpdateTaskParams,
        request: Request,
    ) -> Result<(), ErrorData> {
        Work::of(&request).run(self.inner.update_task(params, request)).await
    }

    async fn cancel_task(
        &self,
        params: CancelTaskParams,
        request: Request,
    ) -> Result<(), ErrorData> {
        Work::of(&request).run(self.inner.cancel_task(params, request)).await
    }

    async fn list_skills(
        &self,
        params: Option<PaginatedRequestParams>,
        request: Request,
    ) -> Result<ListSkillsResult, ErrorData> {
        Work::of(&request).run(self.inner.list_skills(params, request)).await
    }

    async fn get_skill(
        &self,
        params: GetSkillRequestParams,
        request: Request,
    ) -> Result<GetSkillResult, ErrorData> {
        Work::of(&request).run(self.inner.get_skill(params, request)).await
    }

    async fn read_resource_directory(
        &self,
        params: ReadResourceDirectoryRequestParams,
        request: Request,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        Work::of(&request).run(self.inner.read_resource_directory(params, request)).await
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let work = Work::of(subscription.request_context());
        let (mut drain, until) = (self.around.drain.clone(), work.authorized_until());
        let expired = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = work.run_on(self.inner.listen(subscription)) => ended,
            // Both end it in good order: the client is told that this was the last message.
            () = drain.leaving() => Ok(()),
            () = expired => Ok(()),
        }
    }

    async fn on_custom_request(
        &self,
        custom: CustomRequest,
        request: Request,
    ) -> Result<CustomResult, ErrorData> {
        let method = custom.method.as_str();
        let era: &[&str] = if Work::of(&request).modern { &KNOWN_MODERN } else { &KNOWN_LEGACY };
        if KNOWN.contains(&method) || era.contains(&method) {
            let text = format!("the parameters of {} do not have its shape", custom.method);
            return Err(ErrorData::invalid_params(text, None));
        }
        Work::of(&request).run(self.inner.on_custom_request(custom, request)).await
    }

    async fn on_cancelled(
        &self,
        notification: CancelledNotificationParam,
        context: NotificationContext<RoleServer>,
    ) {
        self.inner.on_cancelled(notification, context).await;
    }

    async fn on_progress(
        &self,
        notification: ProgressNotificationParam,
        context: NotificationContext<RoleServer>,
    ) {
        self.inner.on_progress(notification, context).await;
    }

    async fn on_custom_notification(
        &self,
        notification: CustomNotification,
        context: NotificationContext<RoleServer>,
    ) {
        self.inner.on_custom_notification(notification, context).await;
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.inner.on_initialized(context).await;
    }

    async fn on_roots_list_changed(&self, context: NotificationContext<RoleServer>) {
        self.inner.on_roots_list_changed(context).await;
    }
}
