//! What every process does alike: bind, start the common actors, serve, leave in order.

use std::{
    any::Any,
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    middleware::{NormalizePath, TrailingSlash, from_fn},
    rt::net::TcpStream,
    web::{self, Data, ServiceConfig},
};

use socket2::SockRef;

use crate::{
    backplane::{
        client::{Clients, ClientsShared},
        config::{Calls, Http, Identity, Services},
        discovery::{self, Discovery, DiscoveryActor},
        drain::{self, Drain, Trigger},
        metrics::Metrics,
        token::Tokens,
        vitals::House,
    },
    domain::failure::Failure,
    http::{
        admission::Admissions,
        auth::Gatekeeper,
        body::BodyLimit,
        health::{self, Reporter},
        middleware::{Reception, admit, cors, receive},
        routes,
    },
};

/// Longest wait for the HTTP server to end beyond its own grace.
const SERVER_END_SLACK: Duration = Duration::from_secs(5);

/// How a process ends.
#[derive(Debug, thiserror::Error)]
pub enum Exit {
    /// A setting is wrong or missing; the text begins with its name. Exit code 78.
    #[error("{0}")]
    Setting(String),
    /// It could not start or had to give up. Exit code 70.
    #[error("{0}")]
    Failed(String),
}

impl Exit {
    /// The exit code (sysexits.h: `EX_CONFIG` 78, `EX_SOFTWARE` 70).
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Exit::Setting(_) => 78,
            Exit::Failed(_) => 70,
        }
    }
}

impl From<Failure> for Exit {
    fn from(failure: Failure) -> Self {
        Exit::Failed(failure.to_string())
    }
}

/// Takes the address a process listens on.
///
/// # Errors
/// [`Exit::Setting`] naming the address, for instance when it is taken.
pub fn bind(http: &Http, default_port: u16) -> Result<TcpListener, Exit> {
    let address = SocketAddr::new(http.host, http.port.unwrap_or(default_port));
    TcpListener::bind(address).map_err(|error| {
        let why = if error.kind() == io::ErrorKind::AddrInUse {
            "is taken by another process; choose another".to_owned()
        } else {
            error.to_string()
        };
        Exit::Setting(format!("PORT: {address} {why}"))
    })
}

/// Has the kernel cut a connection whose other side reads nothing for `after`. The server itself has
/// no time-out for writing, and a full socket would be held for ever.
fn cut_when_stalled(connection: &dyn Any, after: Duration) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(after)) {
        log::warn!("stalled connections are not cut cause={error}");
    }
}

/// The ground a process stands on: its common actors and their book.
pub struct Ground {
    /// The role.
    pub role: &'static str,
    /// The book of actors.
    pub house: House,
    /// What is counted.
    pub metrics: Metrics,
    /// Makes and reads tokens.
    pub tokens: Tokens,
    /// Says "leave".
    pub trigger: Trigger,
    /// Hears "leave".
    pub drain: Drain,
    /// The services it uses.
    pub discovery: Discovery,
    /// What the clients of all workers share.
    pub clients: ClientsShared,
}

impl Ground {
    /// Starts the common actors of `role`, which needs the services `needed`, on this arbiter.
    ///
    /// # Errors
    /// [`Exit::Setting`] for a wrong secret or service.
    pub async fn lay(
        role: &'static str,
        needed: &[&str],
        identity: &Identity,
        calls: &Calls,
        services: &Services,
    ) -> Result<Self, Exit> {
        let tokens = Tokens::new(&identity.secret().map_err(Exit::Setting)?);
        let configured = discovery::configured(services, needed).map_err(Exit::Setting)?;
        let house = House::new();
        let metrics = Metrics::new(role);
        let (trigger, drain) = drain::pair();
        let settings = Arc::new(calls.clone());
        let discovery = DiscoveryActor::start(&house, &metrics, &settings, services);
        for register in configured {
            discovery.register.ask(register).await?;
        }
        actix_rt::spawn(house.clone().watch_over());
        let clients = ClientsShared {
            house: house.clone(),
            directory: discovery.directory.clone(),
            settings,
            metrics: metrics.clone(),
            tokens: tokens.clone(),
            own_name: role,
        };
        Ok(Ground { role, house, metrics, tokens, trigger, drain, discovery, clients })
    }

    fn reception(&self, http: &Http) -> Reception {
        Reception {
            request_timeout: http.request_timeout,
            metrics: self.metrics.clone(),
            admissions: Admissions::new(http, &self.metrics),
        }
    }

    /// Serves until `shutdown`, or until an actor gives up; then leaves in order: streams end,
    /// nothing new is accepted, what is in flight finishes. `routes` runs once per worker and gives
    /// its routes, over that worker's own clients.
    ///
    /// # Errors
    /// [`Exit::Failed`] when the server cannot start or the process had to give up.
    pub async fn serve<R, C>(
        &self,
        http: &Http,
        listener: TcpListener,
        reporter: Reporter,
        routes: R,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Exit>
    where
        R: Fn(std::rc::Rc<Clients>) -> C + Clone + Send + 'static,
        C: FnOnce(&mut ServiceConfig) + 'static,
    {
        let reception = self.reception(http);
        let gatekeeper = Gatekeeper { tokens: self.tokens.clone(), audience: self.role };
        // What core takes must still fit when it is passed on: wrapped, and with numbers written
        // out. Only core's own limit is what clients meet.
        let limit = if self.role == "core" {
            http.max_request_size
        } else {
            http.max_request_size.saturating_add(http.max_request_size / 2).saturating_add(65_536)
        };
        let limit = BodyLimit(limit);
        let origins = http.allow_origins.clone();
        let shared = self.clients.clone();
        let workers = Arc::new(std::sync::atomic::AtomicUsize::new(1));
        let stalled = http.stalled_connection_timeout;
        let trims = self.role == "core";
        let factory = move || {
            let number = workers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let clients = Clients::new(shared.clone(), format!("worker-{number}"));
            let trailing = if trims {
                NormalizePath::trim()
            } else {
                NormalizePath::new(TrailingSlash::MergeOnly)
            };
            App::new()
                .app_data(Data::new(reception.clone()))
                .app_data(Data::new(gatekeeper.clone()))
                .app_data(Data::new(reporter.clone()))
                .app_data(limit)
                .wrap(from_fn(admit))
                .wrap(trailing)
                .wrap(cors(&origins))
                .wrap(actix_web_lab::middleware::CatchPanic::default())
                .wrap(from_fn(receive))
                .configure(health::configure)
                .configure(routes(clients))
                .default_service(web::to(routes::not_found))
        };
        let server = HttpServer::new(factory)
            .workers(usize::from(http.workers))
            .max_connections(http.max_connections)
            .keep_alive(http.http_keep_alive)
            .h1_allow_half_closed(false)
            // Small events must not wait for the acknowledgement of those before them.
            .tcp_nodelay(true)
            .shutdown_timeout(http.shutdown_grace.as_secs().max(1))
            .on_connect(move |connection, _| cut_when_stalled(connection, stalled))
            .disable_signals()
            .listen(listener)
            .map_err(|error| Exit::Failed(format!("server not started: {error}")))?
            .run();
        let handle = server.handle();
        let mut serving = actix_rt::spawn(server);
        let mut doom = self.house.doom();
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            _ = doom.wait_for(Option::is_some) => Err(()),
            result = &mut serving => {
                return Err(Exit::Failed(format!("the server ended by itself: {result:?}")));
            }
        };
        log::info!("leaving");
        self.trigger.pull();
        let patience = http.shutdown_grace + SERVER_END_SLACK;
        if tokio::time::timeout(patience, handle.stop(true)).await.is_err() {
            log::error!("the server did not end within {} s", patience.as_secs());
        }
        ended.map_err(|()| {
            let reason = self.house.doom().borrow().clone().unwrap_or_default();
            Exit::Failed(reason)
        })
    }
}
