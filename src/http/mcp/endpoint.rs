//! The endpoint of the protocol: one for all workers of a process.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError as _,
    dev::Payload,
    http::Method,
    web::{self, Data, ServiceConfig},
};
use bytes::Bytes;
use http_body_util::Full;
use rmcp::{
    ServerHandler,
    transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService},
};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    backplane::{
        config::Mcp,
        context::{self, RequestContext, TIMEOUT_HEADER},
        drain::Drain,
        token::Identity,
    },
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
    http::{
        body,
        mcp::{
            access::{self, Access, Door},
            bridge::{self, Answer, End, Hold},
            guarded::{Guarded, Surroundings},
            sessions::{RETRY, Sessions, in_name_of},
        },
        middleware::{Reception, user_of},
        problem::Problem,
    },
};

/// Where the protocol is served.
pub const PATH: &str = "/mcp";
/// The header that names a message's method (2026-07-28).
const METHOD_HEADER: &str = "mcp-method";
/// The method whose answer is a stream without an end.
const LISTEN: &str = "subscriptions/listen";
/// When a client that found no stream free may come back.
const COME_BACK: Duration = Duration::from_secs(5);

type Working = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Serve = Arc<dyn Fn(http::Request<Full<Bytes>>) -> Working + Send + Sync>;

/// The endpoint. Cheap to clone; clones share sessions and bounds.
#[derive(Clone)]
pub struct Endpoint {
    serve: Serve,
    door: Arc<Door>,
    streams: Arc<Semaphore>,
    call_timeout: Duration,
    drain: Drain,
}

impl Endpoint {
    /// An endpoint of `service` over `handler`, to be made once per process.
    #[must_use]
    pub fn new<H: ServerHandler>(
        service: &'static str,
        handler: Arc<H>,
        settings: &Mcp,
        access: Access,
        drain: Drain,
    ) -> Self {
        Endpoint::over(service, move || Arc::clone(&handler), settings, access, drain)
    }

    /// An endpoint of `service`, to be made once per process, with a handler from `make` for each
    /// session, and for each request that belongs to none.
    #[must_use]
    pub fn over<H: ServerHandler>(
        service: &'static str,
        make: impl Fn() -> H + Send + Sync + 'static,
        settings: &Mcp,
        access: Access,
        drain: Drain,
    ) -> Self {
        let surroundings = Surroundings::of(&make(), settings.mcp_list_ttl, drain.clone());
        let surroundings = Arc::new(surroundings);
        let library = Arc::new(StreamableHttpService::new(
            move || Ok(Guarded::new(make(), Arc::clone(&surroundings))),
            Arc::new(Sessions::new(settings)),
            library_settings(settings),
        ));
        let serve = move |request| -> Working {
            let library = Arc::clone(&library);
            Box::pin(async move { library.handle(request).await })
        };
        Endpoint {
            serve: Arc::new(serve),
            door: Arc::new(Door::new(access, PATH, service, settings)),
            streams: Arc::new(Semaphore::new(settings.mcp_streams_max)),
            call_timeout: settings.mcp_call_timeout,
            drain,
        }
    }

    /// Serves it at [`PATH`], and where clients look for who gives out tokens.
    pub fn mount(&self, config: &mut ServiceConfig) {
        access::mount(&self.door, config);
        let endpoint = self.clone();
        config.service(web::resource(PATH).route(web::to(
            move |request: HttpRequest, payload: web::Payload| {
                let endpoint = endpoint.clone();
                async move { endpoint.handle(&request, payload.into_inner()).await }
            },
        )));
    }

    async fn handle(&self, request: &HttpRequest, payload: Payload) -> HttpResponse {
        let identity = match self.door.enter(request) {
            Ok(identity) => identity,
            Err(failure) => return self.door.challenge(request, failure),
        };
        match self.serve(request, payload, identity).await {
            Ok(response) => response,
            Err(failure) => Problem::from(failure).error_response(),
        }
    }

    async fn serve(
        &self,
        request: &HttpRequest,
        payload: Payload,
        identity: Option<Identity>,
    ) -> Result<HttpResponse, Failure> {
        let hold = Arc::new(self.hold(request, identity.as_ref())?);
        let scene = self.scene(request);
        let end = (request.method() == Method::GET).then(|| self.end(&scene));
        let body = body::read(request, payload).await?;
        let unreadable = || Failure::new(Kind::InvalidRequest, "the request cannot be read");
        let mut asked = bridge::request(request, body.clone()).ok_or_else(unreadable)?;
        let user = name_of(identity.as_ref());
        asked.extensions_mut().insert(Arc::clone(&hold));
        asked.extensions_mut().insert(scene);
        if let Some(identity) = identity {
            asked.extensions_mut().insert(identity);
        }
        let answer = in_name_of(user, (self.serve)(asked)).await;
        if *request.method() == Method::DELETE && answer.status() == http::StatusCode::ACCEPTED {
            // The session has ended, not only been told to.
            return Ok(HttpResponse::NoContent().finish());
        }
        Ok(bridge::answer(answer, hold, end, &body).await)
    }

    /// A place for the work of a request, or a stream for one that only listens.
    fn hold(&self, request: &HttpRequest, identity: Option<&Identity>) -> Result<Hold, Failure> {
        let method = request.headers().get(METHOD_HEADER);
        let listens = method.is_some_and(|method| method.as_bytes() == LISTEN.as_bytes());
        if *request.method() == Method::GET || listens {
            let full = |_| Failure::new(Kind::Overloaded, "too many streams are open");
            let stream = Arc::clone(&self.streams).try_acquire_owned().map_err(full);
            return stream.map(Hold::Stream).map_err(|failure| failure.retry_after(COME_BACK));
        }
        let reception = request.app_data::<Data<Reception>>();
        let reception = reception.ok_or_else(|| Failure::new(Kind::Internal, "not wired"))?;
        reception.admissions.enter_others(user_of(identity)).map(Hold::Place)
    }

    /// The request's context, with more time than others have: a person may be asked something.
    fn scene(&self, request: &HttpRequest) -> RequestContext {
        let scene = context::current_or(self.call_timeout);
        if request.headers().contains_key(TIMEOUT_HEADER) {
            return scene;
        }
        RequestContext { deadline: Instant::now() + self.call_timeout, ..scene }
    }

    /// When a session's stream ends: the process leaves, or its client's token has run out.
    fn end(&self, scene: &RequestContext) -> End {
        let (mut drain, until) = (self.drain.clone(), scene.authorized_until);
        Box::pin(async move {
            match until {
                Some(until) => tokio::select! {
                    () = drain.leaving() => (),
                    () = tokio::time::sleep_until(until) => (),
                },
                None => drain.leaving().await,
            }
        })
    }
}

fn library_settings(settings: &Mcp) -> StreamableHttpServerConfig {
    let config = StreamableHttpServerConfig::default()
        .with_json_response(true)
        .with_legacy_session_mode(settings.mcp_sessions)
        .with_sse_keep_alive(Some(settings.mcp_keep_alive))
        .with_sse_retry(Some(RETRY))
        // Ours is the limit, before the body is read.
        .with_max_request_body_bytes(usize::MAX);
    let config = match settings.hosts() {
        Some(hosts) => config.with_allowed_hosts(hosts),
        None => config.disable_allowed_hosts(),
    };
    match settings.origins() {
        Some(origins) => config.with_allowed_origins(origins).enforce_origin_validation(),
        None => config.disable_allowed_origins(),
    }
}

/// Who owns the sessions a request makes: users and services apart.
fn name_of(identity: Option<&Identity>) -> Arc<str> {
    match identity.map(|identity| &identity.principal) {
        Some(Principal::User { id, .. }) => format!("user:{id}").into(),
        Some(Principal::Service { name }) => format!("service:{name}").into(),
        None => "".into(),
    }
}
