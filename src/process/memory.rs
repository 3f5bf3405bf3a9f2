//! The memory process.

use std::{future::Future, net::TcpListener, rc::Rc, time::Duration};

use actix_web::{
    HttpResponse,
    http::Method,
    web::{self, Data, ServiceConfig},
};
use clap::Args;
use serde_json::json;

use crate::{
    backplane::{
        config::{Calls, Data as DataSettings, Http, Identity, Logs, Services, Storage, Streams},
        database,
        fanout::BusActor,
    },
    http::{
        doors,
        health::{Reporter, VERSION},
        routes::at,
    },
    process::{Exit, Ground},
    services::memory::{self, DATABASE_FILE, Live, Memory},
};

/// The port memory listens on unless told otherwise.
pub const PORT: u16 = 9000;

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
    /// Calls to other services.
    #[command(flatten)]
    pub calls: Calls,
    /// Discovery.
    #[command(flatten)]
    pub services: Services,
    /// Streams.
    #[command(flatten)]
    pub streams: Streams,
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
    // What may fail comes before any actor starts.
    settings.identity.secret().map_err(Exit::Setting)?;
    let path = settings.data.sqlite_path(DATABASE_FILE).map_err(Exit::Setting)?;
    // Together with other memory processes of this host, but not with a restore.
    let _held = database::hold_shared(&path)?;
    memory::prepare(&path, &settings.storage)?;
    // Memory asks nobody: it needs no other service.
    let ground =
        Ground::lay("memory", &[], &settings.identity, &settings.calls, &settings.services).await?;
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
        index: None,
        metrics: ground.metrics.clone(),
        drain: ground.drain.clone(),
    };
    let serving = memory.clone();
    let routes = move |_| {
        let table: doors::Table = Rc::new(memory::host(&serving));
        move |config: &mut ServiceConfig| {
            config
                .app_data(Data::new(table))
                .service(at("/", vec![(Method::GET, web::to(root))]))
                .configure(doors::configure);
        }
    };
    let result = ground.serve(&settings.http, listener, reporter, routes, shutdown).await;
    memory.close(WRITER_END).await;
    result
}

/// `GET /` of a service: what it is.
pub(crate) async fn root(reporter: Data<Reporter>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "service": reporter.title,
        "version": VERSION,
        "status": "running",
    }))
}
