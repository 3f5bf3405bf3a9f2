//! The core process.

use std::{
    collections::BTreeMap, future::Future, net::TcpListener, path::Path, rc::Rc, sync::Arc,
    time::Duration,
};

use actix_web::web::{Data, ServiceConfig};
use clap::Args;
use tokio::sync::watch;

use crate::{
    backplane::{
        client::{Clients, ServicePort},
        config::{
            Calls, Data as DataSettings, Gateway as GatewaySettings, Http, Identity, Logs, Mcp,
            Outbox as OutboxSettings, Services, Streams, UpstreamSettings,
        },
        database::{self, Database},
        fanout::{Bus, BusActor},
        gate::Gate,
        mcp::Pages,
        upstream::{Surroundings, Upstreams},
    },
    domain::failure::Failure,
    http::{
        core::{self, Core},
        health::Reporter,
        mcp::Endpoint,
    },
    process::{
        Exit, Ground,
        memory::{access, check_open},
    },
    services::{
        conversation::{
            self, Conversations, DATABASE_FILE,
            bond::Bond,
            follower::{Follower, Reach},
            login,
            outbox::{Carrier, Outbox},
        },
        gateway::{
            Gateway,
            own::{Local, Own},
            passes::Passes,
            roster::Roster,
            server::GatewayServer,
        },
    },
};

/// The port core listens on unless told otherwise.
pub const PORT: u16 = 8000;
/// Passwords hashed at once; each takes a core for tens of milliseconds and 19 MiB.
const HASHING_AT_ONCE: usize = 2;
/// Connections of the outbox: one commits, one reads what is to be delivered.
const OUTBOX_CONNECTIONS: u16 = 2;
/// How long a login waits for its turn.
const HASHING_PATIENCE: Duration = Duration::from_secs(10);

/// Everything core can be told.
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
    /// Outbox.
    #[command(flatten)]
    pub outbox: OutboxSettings,
    /// Id of the store that memory has from now on, where it is not the one that was followed
    /// before: accepts another one (text).
    #[arg(long, env = "MEMORY_STORE_ID", help_heading = "Discovery")]
    pub memory_store_id: Option<String>,
    /// The Model Context Protocol.
    #[command(flatten)]
    pub mcp: Mcp,
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewaySettings,
    /// Upstreams.
    #[command(flatten)]
    pub upstreams: UpstreamSettings,
    /// The environment, for what the file of upstreams refers to.
    #[arg(skip)]
    pub variables: BTreeMap<String, String>,
    /// Make the development user (user@example.com); only on a loopback `HOST` (true or false).
    #[arg(long, env = "CORTEX_DEV_USER", default_value = "false", value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub dev_user: bool,
}

/// Runs core on `listener` until `shutdown`.
///
/// # Errors
/// [`Exit`] when it cannot start or had to give up.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Exit> {
    check_reach(&settings)?;
    // What may fail comes before any actor starts.
    settings.identity.secret().map_err(Exit::Setting)?;
    let path = settings.data.sqlite_path(DATABASE_FILE).map_err(Exit::Setting)?;
    let _held = database::hold(&path)?;
    drop(database::connect(&path)?);
    let ground = Ground::lay(
        "core",
        &["memory", "cognition"],
        &settings.identity,
        &settings.calls,
        &settings.services,
    )
    .await?;
    let database = conversation::open(&path, &settings.data, &ground.metrics)?;
    if settings.dev_user {
        login::make_development_user(&database).await?;
    }
    let bus = BusActor::start(&ground.house, &ground.metrics, settings.streams.bounds());
    let control = Clients::new(ground.clients.clone(), "control".to_owned());
    let directory = ground.discovery.directory.clone();
    let accepted = settings.memory_store_id.clone();
    let bond = Bond::take_up(database.clone(), directory, accepted).await?;
    let (reach, log) = Follower::start(
        &ground.house,
        control.of("memory")?,
        bus.clone(),
        ground.discovery.check.clone(),
        bond,
    );
    let outbox = open_outbox(&settings, &ground, &database, control.of("memory")?, &reach).await?;
    let reporter = Reporter {
        service: "core",
        title: "Cortex Core",
        house: ground.house.clone(),
        discovery: ground.discovery.clone(),
        database: Some(database.clone()),
        writer: None,
        outbox: Some(outbox.clone()),
        log: Some(log),
        index: None,
        metrics: ground.metrics.clone(),
        drain: ground.drain.clone(),
    };
    let hashing = Gate::with_threads("login", HASHING_AT_ONCE, HASHING_PATIENCE)?;
    login::prepare(&hashing).await?;
    let flush = (outbox.clone(), settings.outbox.outbox_flush_timeout);
    let make = maker(&settings, &ground, database, (bus, reach, outbox), hashing);
    let (gateway, roster) = open_gateway(&settings, &ground)?;
    let endpoint = serve_gateway(&settings, &ground, &gateway);
    let watched_max = usize::from(settings.calls.service_streams_max);
    let routes = move |clients: Rc<Clients>| {
        let core = make(Rc::clone(&clients));
        let table = Rc::new(conversation::table::host(&core.conversations));
        gateway.own.open(Local { clients, table }, watched_max);
        let (endpoint, roster) = (endpoint.clone(), roster.clone());
        move |config: &mut ServiceConfig| {
            config
                .app_data(Data::new(core))
                .app_data(Data::new(roster))
                .configure(core::configure)
                .configure(|config| endpoint.mount(config));
        }
    };
    let served = ground.serve(&settings.http, listener, reporter, routes, shutdown).await;
    let (outbox, patience) = flush;
    outbox.flush(patience).await;
    served
}

/// That what needs no secret is out of others' reach.
fn check_reach(settings: &Settings) -> Result<(), Exit> {
    if settings.dev_user && !settings.http.host.is_loopback() {
        return Err(Exit::Setting(format!(
            "CORTEX_DEV_USER: its password is public; refused on {}, which is not loopback",
            settings.http.host
        )));
    }
    check_open(&settings.mcp, &settings.http)
}

/// The gateway to our own services and to the upstreams that are configured.
fn open_gateway(settings: &Settings, ground: &Ground) -> Result<(Gateway, Roster), Exit> {
    let passes = Passes::new(ground.tokens.clone());
    let own = Own::new(ground.discovery.directory.clone(), passes);
    let surroundings = Surroundings {
        variables: Arc::new(settings.variables.clone()),
        helper: std::env::current_exe().ok(),
    };
    let upstreams = Upstreams::start(surroundings)
        .map_err(|error| Exit::Failed(format!("no thread for upstreams: {error}")))?;
    let pages = Pages { entries_max: settings.mcp.page_entries() };
    let secret = settings.identity.secret().map_err(Exit::Setting)?;
    let gateway = Gateway::new(own, upstreams, &settings.gateway, pages, &secret)?;
    let path = settings.data.sqlite_path(DATABASE_FILE).map_err(Exit::Setting)?;
    let data_dir = path.parent().unwrap_or(Path::new("."));
    let variables = settings.variables.clone();
    let roster = Roster::new(gateway.clone(), &settings.upstreams, variables, data_dir);
    roster.read().map_err(Exit::Setting)?;
    actix_rt::spawn(gateway.clone().keep_up());
    actix_rt::spawn(roster.clone().follow(settings.gateway.upstreams_look_interval));
    Ok((gateway, roster))
}

/// Where the gateway is served.
fn serve_gateway(settings: &Settings, ground: &Ground, gateway: &Gateway) -> Endpoint {
    let gateway = gateway.clone();
    let make = move || GatewayServer::new(gateway.clone());
    Endpoint::over("core", make, &settings.mcp, access(&settings.mcp), ground.drain.clone())
}

/// The outbox in core's store, with connections of its own: inputs must not wait behind lists.
async fn open_outbox(
    settings: &Settings,
    ground: &Ground,
    database: &Database,
    memory: ServicePort,
    reach: &watch::Receiver<Reach>,
) -> Result<Outbox, Failure> {
    let patience = settings.data.db_pool_timeout;
    let own = database.beside(OUTBOX_CONNECTIONS, patience)?;
    let carrier = Carrier {
        memory,
        // One body of the largest size, or many smaller ones.
        batch_bytes_max: settings.http.max_request_size,
        deadline: settings.calls.call_timeout,
    };
    let (house, metrics) = (&ground.house, &ground.metrics);
    let databases = (own, database.clone());
    Outbox::start(databases, carrier, reach.clone(), &settings.outbox, house, metrics).await
}

/// What makes core's state on a worker, from that worker's clients.
fn maker(
    settings: &Settings,
    ground: &Ground,
    database: Database,
    (bus, reach, outbox): (Bus, watch::Receiver<Reach>, Outbox),
    hashing: Gate,
) -> impl Fn(Rc<Clients>) -> Core + Clone + Send + 'static {
    let api_key = settings.services.service_discovery_api_key.clone();
    // Set but empty, as compose files do, is not set.
    let api_key = api_key.filter(|key| !key.is_empty()).map(Into::into);
    let (tokens, discovery, drain) =
        (ground.tokens.clone(), ground.discovery.clone(), ground.drain.clone());
    let token_life = settings.identity.token_life();
    let streams = settings.streams.clone();
    let dev_user = settings.dev_user;
    let store_patience = settings.outbox.store_patience;
    move |clients| Core {
        conversations: Rc::new(Conversations::new(
            database.clone(),
            clients,
            outbox.clone(),
            reach.clone(),
            store_patience,
        )),
        database: database.clone(),
        dev_user,
        hashing: hashing.clone(),
        tokens: tokens.clone(),
        token_life,
        bus: bus.clone(),
        reach: reach.clone(),
        discovery: discovery.clone(),
        api_key: api_key.clone(),
        drain: drain.clone(),
        heartbeat: streams.heartbeat_interval,
        keep_alive: streams.stream_keep_alive,
    }
}
