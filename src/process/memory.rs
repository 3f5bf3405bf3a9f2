//! The memory process.

use std::{future::Future, net::TcpListener, rc::Rc, sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::Method,
    web::{self, Data, ServiceConfig},
};
use clap::Args;
use serde_json::json;

use crate::{
    backplane::{
        config::{
            Calls, Data as DataSettings, Http, Identity, Logs, Mcp, Services, Storage, Streams,
            defaults,
        },
        database,
        fanout::BusActor,
        mcp::{About, Pages, TableServer},
    },
    http::{
        doors,
        health::{Reporter, VERSION},
        mcp::{Access, Endpoint},
        routes::at,
    },
    process::{Exit, Ground},
    services::memory::{self, DATABASE_FILE, Live, Memory},
};

/// The port memory listens on unless told otherwise.
pub const PORT: u16 = 9000;

/// What memory says of itself to clients of the protocol.
const ABOUT: About = About {
    name: "memory",
    title: "Cortex Memory",
    instructions: "Keeps what users say, for ever and in order. Store with store_input; read \
                   memory://history/{user_id} and the other resources, or subscribe to them.",
};

/// Time for the writer to commit what is queued and to end.
const WRITER_END: Duration = Duration::from_secs(5);

/// Everything memory can be told.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Listening.
    #[command(flatten)]
    pub http: Http,
    /// Logs.
    #[command(flatten)]
    pub logs: Logs,
    /// Data.
    #[command(flatten)]
    pub data: DataSettings,
    /// The store.
    #[command(flatten)]
    pub storage: Storage,
    /// Identity.
    #[command(flatten)]
    pub identity: Identity,
    /// Streams.
    #[command(flatten)]
    pub streams: Streams,
    /// The Model Context Protocol.
    #[command(flatten)]
    pub mcp: Mcp,
}

/// Runs memory on `listener` until `shutdown`.
///
/// # Errors
/// [`Exit`] when it cannot start or had to give up.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Exit> {
    check_open(&settings.mcp, &settings.http)?;
    // What may fail comes before any actor starts.
    settings.identity.secret().map_err(Exit::Setting)?;
    let path = settings.data.sqlite_path(DATABASE_FILE).map_err(Exit::Setting)?;
    // Together with other memory processes of this host, but not with a restore.
    let _held = database::hold_shared(&path)?;
    memory::prepare(&path, &settings.storage)
        .map_err(|failure| database::naming(&path, failure))?;
    // Memory asks nobody: it needs no other service, and no settings for asking.
    let (calls, services): (Calls, Services) =
        (defaults().map_err(Exit::Failed)?, defaults().map_err(Exit::Failed)?);
    let ground = Ground::lay("memory", &[], &settings.identity, &calls, &services).await?;
    let streams = &settings.streams;
    let bus = BusActor::start(&ground.house, &ground.metrics, streams.bounds());
    let live = Live { bus, drain: ground.drain.clone() };
    let stores = (&settings.data, &settings.storage);
    let memory = Memory::open(&path, stores, streams, live, &ground.house, &ground.metrics)?;
    let reporter = Reporter {
        service: "memory",
        title: "Memory Service",
        house: ground.house.clone(),
        discovery: ground.discovery.clone(),
        database: Some(memory.database().clone()),
        writer: Some(memory.writer()),
        outbox: None,
        log: None,
        index: None,
        metrics: ground.metrics.clone(),
        drain: ground.drain.clone(),
    };
    let serving = memory.clone();
    let (server, endpoint) = protocol(ABOUT, &settings.mcp, &ground);
    let routes = move |_| {
        let serves = doors::Serves(serving.writer().store_id());
        let table: doors::Table = Rc::new(memory::host(&serving));
        server.open(&table);
        let endpoint = endpoint.clone();
        move |config: &mut ServiceConfig| {
            config
                .app_data(Data::new(table))
                .app_data(serves)
                .configure(|config| endpoint.mount(config))
                .service(at("/", vec![(Method::GET, web::to(root))]))
                .configure(doors::configure);
        }
    };
    let result = ground.serve(&settings.http, listener, reporter, routes, shutdown).await;
    memory.close(WRITER_END).await;
    result
}

/// Who may use the protocol's endpoint.
pub(crate) fn access(settings: &Mcp) -> Access {
    settings.open_as().map_or(Access::Tokens, |user| Access::OpenAs(user.to_owned()))
}

/// That an endpoint without tokens is out of others' reach.
///
/// # Errors
/// [`Exit::Setting`] when it is not.
pub(crate) fn check_open(settings: &Mcp, http: &Http) -> Result<(), Exit> {
    if settings.open_as().is_some() && !http.host.is_loopback() {
        return Err(Exit::Setting(format!(
            "MCP_OPEN_AS: lets in whoever comes; refused on {}, which is not loopback",
            http.host
        )));
    }
    Ok(())
}

/// A service's table as a server of the protocol, and where it is served.
pub(crate) fn protocol(
    about: About,
    settings: &Mcp,
    ground: &Ground,
) -> (Arc<TableServer>, Endpoint) {
    let pages = Pages { entries_max: settings.page_entries() };
    let server = Arc::new(TableServer::new(about, pages));
    let sessions = Arc::clone(&server);
    let make = move || sessions.session();
    let endpoint =
        Endpoint::over(about.name, make, settings, access(settings), ground.drain.clone());
    (server, endpoint)
}

/// `GET /` of a service: what it is.
pub(crate) async fn root(reporter: Data<Reporter>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "service": reporter.title,
        "version": VERSION,
        "status": "running",
    }))
}
