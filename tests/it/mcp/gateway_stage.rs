//! A backplane with upstreams: the conformance fixture in either era, in this process, behind core.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex},
};

use actix_rt::task::JoinHandle;
use actix_web::{
    HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web::{self, ServiceConfig},
};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use cortex::{
    backplane::{
        config::{Calls, Http, Identity, Mcp, Services},
        mcp::Pages,
    },
    http::{
        health::Reporter,
        mcp::{Access, Endpoint},
    },
    process::{Exit, Ground},
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    fixture::Everything,
    gateway_guest::{Era, Guest},
    upstream_peer::{Peer, discovered, modern},
};
use crate::harness::{Cluster, SECRET, User, within};

/// The fixture as an upstream.
pub(super) struct Fixture {
    address: SocketAddr,
    door: Arc<Doorway>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), Exit>>,
}

/// What stands before the fixture: it can make it one of the earlier era, and one that has forgotten
/// its sessions.
struct Doorway {
    era: Era,
    /// The headers of every request.
    seen: Mutex<Vec<Vec<(String, String)>>>,
    forgotten: Mutex<Vec<String>>,
}

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    calls: Calls,
    #[command(flatten)]
    services: Services,
    #[command(flatten)]
    mcp: Mcp,
}

impl Fixture {
    pub(super) fn start(era: Era) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let door = Doorway { era, seen: Mutex::default(), forgotten: Mutex::default() };
        let door = Arc::new(door);
        let (stop, stopped) = oneshot::channel();
        let ended = actix_rt::spawn(serve(listener, Arc::clone(&door), stopped));
        Fixture { address, door, stop, ended }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The headers of every request so far.
    pub(super) fn seen(&self) -> Vec<Vec<(String, String)>> {
        self.door.seen.lock().unwrap().clone()
    }

    /// The sessions that were spoken of so far.
    pub(super) fn sessions(&self) -> Vec<String> {
        let mut sessions: Vec<String> = self
            .seen()
            .iter()
            .flatten()
            .filter(|(name, _)| name == "mcp-session-id")
            .map(|(_, id)| id.clone())
            .collect();
        sessions.sort();
        sessions.dedup();
        sessions
    }

    /// From now on nothing is known of the sessions there were.
    pub(super) fn forget_sessions(&self) {
        *self.door.forgotten.lock().unwrap() = self.sessions();
    }

    pub(super) async fn stop(self) {
        self.stop.send(()).unwrap();
        within("the fixture leaves", self.ended).await.unwrap().unwrap();
    }
}

async fn serve(
    listener: TcpListener,
    door: Arc<Doorway>,
    stopped: oneshot::Receiver<()>,
) -> Result<(), Exit> {
    let arguments = ["--workers", "1", "--shutdown-grace", "5", "--jwt-secret-key", SECRET];
    let command = Settings::command().no_binary_name(true).mut_args(|argument| argument.env(None));
    let matches = command.try_get_matches_from(arguments).unwrap();
    let settings = Settings::from_arg_matches(&matches).unwrap();
    let Settings { http, identity, calls, services, mcp } = settings;
    let ground = Ground::lay("fixture", &[], &identity, &calls, &services).await?;
    let reporter = Reporter {
        service: "fixture",
        title: "Fixture",
        house: ground.house.clone(),
        discovery: ground.discovery.clone(),
        database: None,
        writer: None,
        outbox: None,
        log: None,
        index: None,
        metrics: ground.metrics.clone(),
        drain: ground.drain.clone(),
    };
    let handler = Everything::new(Pages { entries_max: 5 }).unwrap();
    let endpoint =
        Endpoint::new("fixture", Arc::new(handler), &mcp, Access::Open, ground.drain.clone());
    let routes = move |_clients| {
        let (endpoint, door) = (endpoint.clone(), Arc::clone(&door));
        move |config: &mut ServiceConfig| {
            let guard = from_fn(move |request, next| look(Arc::clone(&door), request, next));
            config.service(web::scope("").wrap(guard).configure(|config| endpoint.mount(config)));
        }
    };
    let shutdown = async move { stopped.await.unwrap_or_default() };
    ground.serve(&http, listener, reporter, routes, shutdown).await
}

async fn look<B: MessageBody + 'static>(
    door: Arc<Doorway>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
    let headers: Vec<(String, String)> =
        request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let value = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, v)| v);
    let lost =
        value("mcp-session-id").is_some_and(|id| door.forgotten.lock().unwrap().contains(id));
    let refused = if lost {
        Some((404, "Session not found"))
    } else if door.era == Era::Legacy && value("mcp-method").is_some() {
        Some((400, "Bad Request: Server not initialized"))
    } else {
        None
    };
    door.seen.lock().unwrap().push(headers);
    if let Some((status, why)) = refused {
        let error =
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": why}});
        let status = actix_web::http::StatusCode::from_u16(status).unwrap();
        let response = HttpResponse::build(status).json(error);
        return Ok(request.into_response(response).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// A good upstream of the newer era that notes what it is asked: it has the tools `look`, which only
/// reads, and `change`.
pub(super) async fn peer() -> Peer {
    Peer::start(modern("ping", |_| discovered())).await
}

/// A backplane with a file of upstreams.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    folder: Rc<tempfile::TempDir>,
}

impl Stage {
    /// One whose file says this.
    pub(super) async fn start(config: Value) -> Self {
        Stage::start_with(config, &[]).await
    }

    /// The same with further settings of core.
    pub(super) async fn start_with(config: Value, settings: &[&str]) -> Self {
        let folder = Rc::new(tempfile::tempdir().unwrap());
        let path = folder.path().join("upstreams.yml");
        std::fs::write(&path, config.to_string()).unwrap();
        let path = path.display().to_string();
        let cluster = Cluster::builder()
            .core_args(&["--upstreams-config", &path, "--gateway-changes-pause", "0.1"])
            .core_args(&["--upstreams-look-interval", "0.05"])
            .core_args(settings)
            .start()
            .await;
        Stage { cluster, folder }
    }

    /// Puts another text in the place of the file, at once.
    pub(super) fn configure(&self, config: &Value) {
        let next = self.folder.path().join("next");
        std::fs::write(&next, config.to_string()).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("upstreams.yml")
    }

    /// Somebody new who cannot be asked anything.
    pub(super) async fn guest(&self, era: Era) -> Guest {
        Guest::of(self.cluster.core.of(&User::new("guest")), era).await
    }

    pub(super) async fn stop(self) {
        self.cluster.stop().await;
    }
}
