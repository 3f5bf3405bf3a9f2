//! The cognition process.

use std::{future::Future, net::TcpListener, rc::Rc};

use actix_web::{
    http::Method,
    web::{self, Data, ServiceConfig},
};
use clap::Args;

use crate::{
    backplane::{
        client::Clients,
        config::{
            Calls, Http, Identity, Index as IndexSettings, Logs, Mcp, Services, Understanding,
        },
        mcp::About,
    },
    http::{doors, health::Reporter, routes::at},
    process::{
        Exit, Ground,
        memory::{check_open, protocol, root},
    },
    services::cognition::{Cognition, index::Index},
};

/// The port cognition listens on unless told otherwise.
pub const PORT: u16 = 9100;

/// What cognition says of itself to clients of the protocol.
const ABOUT: About = About {
    name: "cognition",
    title: "Cortex Cognition",
    instructions: "Builds the context a model needs out of what a user said before: call \
                   get_context with the question before you answer it.",
};

/// Everything cognition can be told.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Listening.
    #[command(flatten)]
    pub http: Http,
    /// Logs.
    #[command(flatten)]
    pub logs: Logs,
    /// Identity.
    #[command(flatten)]
    pub identity: Identity,
    /// Calls to other services.
    #[command(flatten)]
    pub calls: Calls,
    /// Discovery.
    #[command(flatten)]
    pub services: Services,
    /// The Model Context Protocol.
    #[command(flatten)]
    pub mcp: Mcp,
    /// The index.
    #[command(flatten)]
    pub index: IndexSettings,
    /// Summaries and analyses.
    #[command(flatten)]
    pub understanding: Understanding,
}

/// Runs cognition on `listener` until `shutdown`.
///
/// # Errors
/// [`Exit`] when it cannot start or had to give up.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Exit> {
    check_open(&settings.mcp, &settings.http)?;
    let ground = Ground::lay(
        "cognition",
        &["memory"],
        &settings.identity,
        &settings.calls,
        &settings.services,
    )
    .await?;
    let index = Index::open(&settings.index, &ground.metrics)?;
    let control = Clients::new(ground.clients.clone(), "control".to_owned());
    index.follow(&ground.house, control.of("memory")?);
    let reporter = Reporter {
        service: "cognition",
        title: "Cognition Service",
        house: ground.house.clone(),
        discovery: ground.discovery.clone(),
        database: None,
        writer: None,
        outbox: None,
        log: None,
        index: Some(index.clone()),
        metrics: ground.metrics.clone(),
        drain: ground.drain.clone(),
    };
    let metrics = ground.metrics.clone();
    let (server, endpoint) = protocol(ABOUT, &settings.mcp, &ground);
    let routes = move |clients: Rc<Clients>| {
        let (index, metrics) = (index.clone(), metrics.clone());
        let cognition = Cognition::new(clients, index, metrics, settings.understanding.clone());
        let cognition = Rc::new(cognition);
        let table: doors::Table = Rc::new(cognition.host());
        server.open(&table);
        let endpoint = endpoint.clone();
        move |config: &mut ServiceConfig| {
            config
                .app_data(Data::new(table))
                .configure(|config| endpoint.mount(config))
                .service(at("/", vec![(Method::GET, web::to(root))]))
                .configure(doors::configure);
        }
    };
    ground.serve(&settings.http, listener, reporter, routes, shutdown).await
}
