//! Core as a process that can be killed at any moment: assembled as the product does it, asked
//! without sockets, and gone with everything it had under way.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

use actix_web::{
    App, HttpResponse,
    body::BoxBody,
    dev::{Service as _, ServiceResponse},
    middleware::from_fn,
    test::{TestRequest, init_service},
    web::Data,
};
use clap::Parser;
use cortex::{
    backplane::{
        client::Clients,
        database::{self, Store},
        drain::Trigger,
        fanout::BusActor,
        gate::Gate,
        metrics::Metrics,
        vitals::House,
    },
    http::{
        admission::Admissions,
        auth::Gatekeeper,
        body::BodyLimit,
        core::{self, Core},
        middleware::{Reception, admit, receive},
    },
    process::{Ground, core::Settings},
    services::conversation::{
        self, Conversations, DATABASE_FILE, MIGRATIONS,
        bond::Bond,
        follower::Follower,
        outbox::{Carrier, Outbox},
    },
};
use diesel::connection::SimpleConnection as _;
use futures_util::future::LocalBoxFuture;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, LocalSet},
};

use super::{Chance, World, network::wire};
use crate::harness::SECRET;

/// The users of every schedule; `u0` has a conversation `c0` besides the default one, and so on.
pub(crate) const USERS: [&str; 3] = ["u0", "u1", "u2"];
/// Time a request may take that sets no deadline itself.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

type Handler = dyn Fn(TestRequest) -> LocalBoxFuture<'static, ServiceResponse<BoxBody>>;

/// Core's actors and routes while it runs.
pub(crate) struct Node {
    handle: Box<Handler>,
    pub(crate) outbox: Outbox,
    pub(crate) house: House,
    trigger: Trigger,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
}

/// The product's settings, with shorter times and smaller queues, so that a minute shows them.
pub(crate) fn settings(folder: &Path, memory: &str, chance: &mut Chance) -> Settings {
    static PARSED: OnceLock<Settings> = OnceLock::new();
    let parsed = PARSED.get_or_init(|| Line::parse_from(["core"]).settings);
    let mut settings = parsed.clone();
    let seconds = Duration::from_secs;
    settings.calls.wire = wire();
    settings.calls.call_timeout = seconds(3);
    settings.calls.connection_timeout = seconds(1);
    settings.calls.circuit_breaker_reset_timeout = seconds(5);
    settings.services.health_check_timeout = seconds(1);
    settings.services.memory_service_url = memory.to_owned();
    settings.services.cognition_service_url = "http://cognition".to_owned();
    settings.identity.jwt_secret_key = Some(SECRET.to_owned());
    settings.data.data_dir = folder.to_owned();
    settings.data.db_pool_size = 1;
    settings.http.request_timeout = REQUEST_TIMEOUT;
    settings.streams.events_per_subscriber_max = *chance.of(&[4, 256]);
    settings.outbox.outbox_entries_max = *chance.of(&[0, 4, 100, 100]);
    settings.outbox.outbox_bytes_max = *chance.of(&[2_000, 1_000_000]);
    settings.outbox.outbox_batch_max = *chance.of(&[1, 3, 256]);
    settings
}

/// A folder with core's store as it is before the first start.
pub(crate) fn folder() -> TempDir {
    static TEMPLATE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let memory = Path::new("/dev/shm");
    let make = || if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
    let (_, template) = TEMPLATE.get_or_init(|| {
        let folder = make();
        let path = folder.path().join(DATABASE_FILE);
        let mut connection = database::connect(&path).unwrap();
        database::migrate(&mut connection, MIGRATIONS, Store::Core).unwrap();
        for (number, user) in USERS.iter().enumerate() {
            connection
                .batch_execute(&format!(
                    "INSERT INTO workspaces VALUES ('w{number}','','','{user}','{{}}',0,0);
                     INSERT INTO conversations VALUES ('c{number}','w{number}','','[]','{{}}',0,0);"
                ))
                .unwrap();
        }
        drop(connection);
        (folder, path)
    });
    let folder = make();
    std::fs::copy(template, folder.path().join(DATABASE_FILE)).unwrap();
    folder
}

impl Node {
    /// Starts core as `process::core` does, without a listener.
    async fn start(settings: Settings) -> Node {
        let needed = ["memory", "cognition"];
        let ground =
            Ground::lay("core", &needed, &settings.identity, &settings.calls, &settings.services)
                .await
                .unwrap();
        let Ground { house, metrics, tokens, trigger, drain, discovery, clients, .. } = ground;
        let path = settings.data.data_dir.join(DATABASE_FILE);
        let database = conversation::open(&path, &settings.data, &metrics).unwrap();
        let bus = BusActor::start(&house, &metrics, settings.streams.bounds());
        let control = Clients::new(clients.clone(), "control".to_owned());
        let memory = control.of("memory").unwrap();
        let bond =
            Bond::take_up(database.clone(), discovery.directory.clone(), None).await.unwrap();
        let (reach, _trouble) =
            Follower::start(&house, memory.clone(), bus.clone(), discovery.check.clone(), bond);
        let carrier = Carrier {
            memory,
            batch_bytes_max: settings.http.max_request_size,
            deadline: settings.calls.call_timeout,
        };
        let own = database.beside(2, settings.data.db_pool_timeout).unwrap();
        let outbox = Outbox::start(
            (own, database.clone()),
            carrier,
            reach.clone(),
            &settings.outbox,
            &house,
            &metrics,
        )
        .await
        .unwrap();
        let core = Core {
            conversations: std::rc::Rc::new(Conversations::new(
                database.clone(),
                Clients::new(clients, "worker-1".to_owned()),
                outbox.clone(),
                reach.clone(),
                settings.outbox.store_patience,
            )),
            database,
            dev_user: false,
            hashing: Gate::new("login", 1, REQUEST_TIMEOUT),
            tokens: tokens.clone(),
            token_life: settings.identity.token_life(),
            bus,
            reach,
            discovery,
            api_key: None,
            drain,
            heartbeat: settings.streams.heartbeat_interval,
            keep_alive: settings.streams.stream_keep_alive,
        };
        let gatekeeper = Gatekeeper { tokens, audience: "core" };
        let handle = handler(core, gatekeeper, &settings, &metrics).await;
        Node { handle, outbox, house, trigger }
    }

    pub(crate) async fn answer(&self, request: TestRequest) -> ServiceResponse<BoxBody> {
        (self.handle)(request).await
    }
}

async fn handler(
    core: Core,
    gatekeeper: Gatekeeper,
    settings: &Settings,
    metrics: &Metrics,
) -> Box<Handler> {
    let reception = Reception {
        request_timeout: settings.http.request_timeout,
        metrics: metrics.clone(),
        admissions: Admissions::new(&settings.http, metrics),
    };
    let app = App::new()
        .app_data(Data::new(reception))
        .app_data(Data::new(gatekeeper))
        .app_data(BodyLimit(settings.http.max_request_size))
        .app_data(Data::new(core))
        .wrap(from_fn(admit))
        .wrap(from_fn(receive))
        .configure(core::configure);
    let app = Rc::new(init_service(app).await);
    Box::new(move |request| {
        let app = Rc::clone(&app);
        Box::pin(async move {
            match app.call(request.to_request()).await {
                Ok(response) => response.map_into_boxed_body(),
                Err(error) => {
                    let request = TestRequest::default().to_http_request();
                    ServiceResponse::new(request, HttpResponse::from_error(error))
                }
            }
        })
    })
}

type Job = Box<dyn FnOnce(Rc<Node>) -> LocalBoxFuture<'static, ()>>;

struct Running {
    jobs: mpsc::UnboundedSender<Job>,
    kill: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

/// A machine that runs core, or not; its disk stays.
pub(crate) struct Machine {
    world: World,
    settings: Settings,
    running: RefCell<Option<Running>>,
    pub(crate) folder: Arc<TempDir>,
}

impl Machine {
    pub(crate) fn new(world: &World, memory: &str) -> Rc<Self> {
        let folder = folder();
        let settings = settings(folder.path(), memory, &mut world.chance());
        let (world, running) = (world.clone(), RefCell::default());
        Rc::new(Machine { world, settings, running, folder: Arc::new(folder) })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn runs(&self) -> bool {
        self.running.borrow().is_some()
    }

    pub(crate) fn start(&self) {
        self.world.note("core starts");
        let (jobs, mut asked) = mpsc::unbounded_channel::<Job>();
        let (kill, killed) = oneshot::channel();
        let settings = self.settings.clone();
        let ended = tokio::task::spawn_local(async move {
            let process = LocalSet::new();
            let running = process.run_until(async {
                let node = Rc::new(Node::start(settings).await);
                while let Some(job) = asked.recv().await {
                    tokio::task::spawn_local(job(Rc::clone(&node)));
                }
            });
            tokio::select! {
                biased;
                _ = killed => {}
                () = running => {}
            }
            drop(process);
            // What was on its way to the disk has reached it or not; nothing comes after.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        });
        self.running.replace(Some(Running { jobs, kill, ended }));
    }

    /// Ends the process at once, wherever it is.
    pub(crate) async fn kill(&self) {
        let Some(Running { kill, ended, .. }) = self.running.take() else { return };
        self.world.note("core is killed");
        kill.send(()).unwrap();
        ended.await.unwrap();
    }

    /// Lets the process leave in order.
    pub(crate) async fn leave(&self) {
        self.world.note("core leaves");
        let patience = self.settings.outbox.outbox_flush_timeout;
        let leaving = self.with(move |node| {
            Box::pin(async move {
                node.trigger.pull();
                node.outbox.flush(patience).await;
            })
        });
        leaving.await;
        self.kill().await;
    }

    /// Does something inside the process; `None` when it does not run or ends before.
    pub(crate) async fn with<T: 'static>(
        &self,
        work: impl FnOnce(Rc<Node>) -> LocalBoxFuture<'static, T> + 'static,
    ) -> Option<T> {
        let (mut reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |node| {
            Box::pin(async move {
                // A caller who has gone has hung up: what is done for them ends.
                tokio::select! {
                    biased;
                    () = reply.closed() => {}
                    done = work(node) => drop(reply.send(done)),
                }
            })
        });
        let jobs = self.running.borrow().as_ref()?.jobs.clone();
        jobs.send(job).ok()?;
        answer.await.ok()
    }
}
