//! The core process.

use std::{future::Future, net::TcpListener, rc::Rc, time::Duration};

use actix_web::web::{Data, ServiceConfig};
use clap::Args;
use tokio::sync::watch;

use crate::{
    backplane::{
        client::{Clients, ServicePort},
        config::{
            Calls, Data as DataSettings, Http, Identity, Logs, Outbox as OutboxSettings, Services,
            Streams,
        },
        database::{self, Database},
        fanout::{Bus, BusActor},
        gate::Gate,
    },
    domain::failure::Failure,
    http::{
        core::{self, Core},
        health::Reporter,
    },
    process::{Exit, Ground},
    services::conversation::{
        self, Conversations, DATABASE_FILE,
        follower::{Follower, Reach},
        login,
        outbox::{Carrier, Outbox},
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
    if settings.dev_user && !settings.http.host.is_loopback() {
        return Err(Exit::Setting(format!(
            "CORTEX_DEV_USER: its password is public; refused on {}, which is not loopback",
            settings.http.host
        )));
    }
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
    let reach = Follower::start(
        &ground.house,
        control.of("memory")?,
        bus.clone(),
        ground.discovery.check.clone(),
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
        index: None,
        metrics: ground.metrics.clone(),
        drain: ground.drain.clone(),
    };
    let hashing = Gate::with_threads("login", HASHING_AT_ONCE, HASHING_PATIENCE)?;
    login::prepare(&hashing).await?;
    let flush = (outbox.clone(), settings.outbox.outbox_flush_timeout);
    let make = maker(&settings, &ground, database, (bus, reach, outbox), hashing);
    let routes = move |clients: Rc<Clients>| {
        let core = make(clients);
        move |config: &mut ServiceConfig| {
            config.app_data(Data::new(core)).configure(core::configure);
        }
    };
    let served = ground.serve(&settings.http, listener, reporter, routes, shutdown).await;
    let (outbox, patience) = flush;
    outbox.flush(patience).await;
    served
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
        conversations: Conversations::new(
            database.clone(),
            clients,
            outbox.clone(),
            reach.clone(),
            store_patience,
        ),
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
