//! Passing on what clients ask to whoever owns what they name. Only those who may own it are waited
//! for: a source that hangs costs the others' callers nothing.

use std::sync::Arc;

use rmcp::{
    ErrorData,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams,
        CompleteResult, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
        ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Reference,
        ResourceContents,
    },
};
use serde_json::{Map, Value, json};

use super::{
    View,
    asker::{self, Asker, Reached},
    catalogue::{Catalogue, Whose},
    foreign::{self, Reply, What},
    missing::{away, may_own, missing_owner, missing_service, unknown_tool},
    passing::{Answers, Missed, Passing},
    search,
    server::GatewayServer,
};
use crate::{
    backplane::{
        mcp::{failed, gone_wrong, offers, watching::Changes},
        upstream::{Trouble, Upstream},
    },
    domain::{failure::Failure, gateway::uris::scheme},
};

impl GatewayServer {
    /// What there is, and what `look` finds there: in what is known at this moment, else once those
    /// that may own it have said what they offer.
    async fn find<T>(
        &self,
        asker: &Asker,
        may_own: impl Fn(&str, &str) -> bool,
        look: impl Fn(&Catalogue) -> Option<T>,
    ) -> (View, Option<T>) {
        let (gateway, principal) = (&self.gateway, &asker.visitor.principal);
        let mut view = gateway.gather(principal, |_, _| false).await;
        let mut found = look(&view.catalogue);
        if found.is_none() {
            view = gateway.gather(principal, may_own).await;
            found = look(&view.catalogue);
        }
        (view, found)
    }

    /// Whose a resource is.
    async fn find_resource(&self, asker: &Asker, uri: &str) -> Result<(View, Arc<str>), Failure> {
        let (own, scheme) = (&self.gateway.own, scheme(uri).unwrap_or_default());
        let may_own = |source: &str, _: &str| {
            if own.is_ours(scheme) { source == scheme } else { !own.is_ours(source) }
        };
        let (view, found) = self.find(asker, may_own, |all| all.resource(uri).cloned()).await;
        match (found, missing_service(&view, uri)) {
            (Some(source), _) => Ok((view, source)),
            (None, Some(missing)) => Err(away(missing)),
            (None, None) => Err(Failure::not_found("resource", uri)),
        }
    }

    /// Begins to hear of changes of a resource.
    pub(super) async fn watch(&self, asker: &Asker, uri: &str) -> Result<Changes, Failure> {
        let (view, source) = self.find_resource(asker, uri).await?;
        if let Some(upstream) = self.gateway.upstream(&source) {
            let (notices, _nobody) = asker::notices();
            let call = asker.call(Arc::new(Reached { notices }));
            return foreign::watch(&upstream, uri, asker, call).await;
        }
        let unknown = || Failure::not_found("resource", uri);
        let listing = view.listings.get(&source).ok_or_else(unknown)?;
        self.gateway.own.watch(asker.visitor.clone(), &source, uri, &listing.live).await
    }

    pub(super) async fn call(
        &self,
        mut asked: CallToolRequestParams,
        asker: &Asker,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(result) = self.searched(&mut asked, asker).await {
            return Ok(result.into());
        }
        let shown = asked.name.clone();
        let may_own = |_: &str, prefix: &str| may_own(prefix, &shown);
        let (view, whose) = self.find(asker, may_own, |all| all.tool(&shown).cloned()).await;
        let Some(Whose { source, name }) = whose else {
            return unknown_tool(&view, &shown);
        };
        let Some(upstream) = self.gateway.upstream(&source) else {
            let listing = view.listings.get(&source);
            let mut tools = listing.iter().flat_map(|listing| &listing.tools);
            let Some(tool) = tools.find(|tool| tool.name == name) else {
                return unknown_tool(&view, &shown);
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

    /// Answers a search for tools; puts the tool that was found in the place of `call_tool`.
    async fn searched(
        &self,
        asked: &mut CallToolRequestParams,
        asker: &Asker,
    ) -> Option<CallToolResult> {
        if asked.name != search::SEARCH_TOOLS && asked.name != search::CALL_TOOL {
            return None;
        }
        let view = self.gateway.view(&asker.visitor.principal).await;
        if !self.searches(&view) {
            return None;
        }
        let mut arguments = asked.arguments.take().unwrap_or_default();
        if asked.name == search::SEARCH_TOOLS {
            let found = search::search(&view.catalogue, &arguments);
            return Some(found.unwrap_or_else(|failure| failed(&failure)));
        }
        let name = arguments.get("name").and_then(Value::as_str).unwrap_or_default();
        asked.name = name.to_owned().into();
        asked.arguments = match arguments.remove("arguments") {
            Some(Value::Object(arguments)) => Some(arguments),
            Some(_) | None => None,
        };
        None
    }

    pub(super) async fn prompt(
        &self,
        asked: GetPromptRequestParams,
        asker: &Asker,
    ) -> Result<GetPromptResponse, ErrorData> {
        let may_own = |_: &str, prefix: &str| may_own(prefix, &asked.name);
        let (view, whose) = self.find(asker, may_own, |all| all.prompt(&asked.name).cloned()).await;
        let Some(Whose { source, name }) = whose else {
            return Err(match missing_owner(&view, &asked.name) {
                Some(missing) => gone_wrong(&away(missing)),
                None => {
                    let text = format!("there is no prompt {:?} here", asked.name);
                    ErrorData::invalid_params(text, None)
                }
            });
        };
        let arguments = asked.arguments.unwrap_or_default();
        let Some(upstream) = self.gateway.upstream(&source) else {
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

    pub(super) async fn completed(
        &self,
        asked: CompleteRequestParams,
        asker: &Asker,
    ) -> Result<CompleteResult, ErrorData> {
        let (_, whose) = match &asked.r#ref {
            Reference::Prompt(prompt) => {
                let may_own = |_: &str, prefix: &str| may_own(prefix, &prompt.name);
                self.find(asker, may_own, |all| all.prompt(&prompt.name).cloned()).await
            }
            Reference::Resource(resource) => {
                let whose = |all: &Catalogue| {
                    let source = all.template(&resource.uri).cloned()?;
                    Some(Whose { source, name: resource.uri.clone() })
                };
                self.find(asker, |_, _| true, whose).await
            }
            // Of what the protocol may refer to one day nothing is known.
            _ => return Ok(CompleteResult::default()),
        };
        // Of what is not there nothing is known, which is no error.
        let Some(Whose { source, name }) = whose else { return Ok(CompleteResult::default()) };
        let Some(upstream) = self.gateway.upstream(&source) else {
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
        let call = asker.call(Arc::new(Reached { notices }));
        let raw = upstream.complete(params, &call).await;
        let raw = raw.map_err(|trouble| foreign::error(trouble, &source))?;
        foreign::typed(&source, &raw)
    }

    pub(super) async fn read(
        &self,
        asked: ReadResourceRequestParams,
        asker: &Asker,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = asked.uri;
        let found = self.find_resource(asker, &uri).await;
        let (_, source) = found.map_err(|failure| offers::not_read(&failure, &uri))?;
        let Some(upstream) = self.gateway.upstream(&source) else {
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
