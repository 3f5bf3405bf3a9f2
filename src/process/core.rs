//! The core process.

use std::{future::Future, net::TcpListener, rc::Rc, sync::Arc, time::Duration};

use actix_web::web::{Data, ServiceConfig};
use clap::Args;

use crate::{
    backplane::{
        client::Clients,
        config::{Calls, Data as DataSettings, Http, Identity, Logs, Services, Streams},
        database::{self, Database},
        fanout::{Bus, BusActor},
        gate::Gate,
    },
    http::{
        core::{self, Core},
        health::Reporter,
    },
    process::{Exit, Ground},
    services::conversation::{
        self, Conversations, DATABASE_FILE,
        follower::{Beginning, Follower},
        login,
    },
};

/// The port core listens on unless told otherwise.
pub const PORT: u16 = 8000;
/// Passwords hashed at once; each takes a core for tens of milliseconds and 19 MiB.
const HASHING_AT_ONCE: usize = 2;
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
    let bus = BusActor::start(
        &ground.house,
        &ground.metrics,
        usize::from(settings.streams.events_per_subscriber_max),
        settings.streams.streams_max,
    );
    let control = Clients::new(ground.clients.clone(), "control".to_owned());
    let beginning = Follower::start(
        &ground.house,
        control.of("memory")?,
        bus.clone(),
        ground.discovery.check.clone(),
    );
    let reporter = Reporter {
        service: "core",
        title: "Cortex Core",
        house: ground.house.clone(),
        discovery: ground.discovery.clone(),
        database: Some(database.clone()),
        writer: None,
        metrics: ground.metrics.clone(),
        drain: ground.drain.clone(),
    };
    let hashing = Gate::new("login", HASHING_AT_ONCE, HASHING_PATIENCE);
    login::prepare(&hashing).await?;
    let make = maker(&settings, &ground, database, (bus, beginning), hashing);
    let routes = move |clients: Rc<Clients>| {
        let core = make(clients);
        move |config: &mut ServiceConfig| {
            config.app_data(Data::new(core)).configure(core::configure);
        }
    };
    ground.serve(&settings.http, listener, reporter, routes, shutdown).await
}

/// What makes core's state on a worker, from that worker's clients.
fn maker(
    settings: &Settings,
    ground: &Ground,
    database: Database,
    (bus, beginning): (Bus, Arc<Beginning>),
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
    move |clients| Core {
        conversations: Conversations::new(
            database.clone(),
            clients,
            bus.clone(),
            Arc::clone(&beginning),
        ),
        database: database.clone(),
        dev_user,
        hashing: hashing.clone(),
        tokens: tokens.clone(),
        token_life,
        bus: bus.clone(),
        since: beginning.watch(),
        discovery: discovery.clone(),
        api_key: api_key.clone(),
        drain: drain.clone(),
        heartbeat: streams.heartbeat_interval,
        keep_alive: streams.stream_keep_alive,
    }
}
