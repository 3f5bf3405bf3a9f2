//! Calls to endpoints that fall ill and recover: deadlines hold, retries stay within their budget,
//! breakers close after healing.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::Parser;
use cortex::{
    backplane::{
        client::{Clients, ClientsShared},
        config::{Calls, Services},
        context::RequestContext,
        discovery::{Directory, Discovery, DiscoveryActor, Register, Source},
        metrics::Metrics,
        token::Tokens,
        vitals::House,
    },
    domain::{
        backoff::Repeatable,
        breaker::State,
        failure::{Failure, Kind},
    },
};
use futures_util::future::{LocalBoxFuture, join_all};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Chance, World,
    network::{Answer, DOWN, Host, MOODS, Network, Peer, Request, WELL, wire},
    run,
};
use crate::harness::SECRET;

/// Schedules of an ordinary run.
const SCHEDULES: u64 = 100;
const CALLERS: usize = 6;
/// How much later than its deadline a call may be answered.
const SLACK: Duration = Duration::from_millis(20);
/// The longest a breaker may take to close once its endpoint is well: a lost probe's lease, then a
/// time in which checks are not believed, then a check and a call.
const CLOSED_WITHIN: Duration = Duration::from_secs(4 + 5 + 2 + 1);

#[derive(Parser, Clone)]
struct Settings {
    #[command(flatten)]
    calls: Calls,
    #[command(flatten)]
    services: Services,
}

/// The product's settings, with shorter times and a smaller budget, so that a minute shows them.
fn settings(chance: &mut Chance) -> Settings {
    static PARSED: OnceLock<Settings> = OnceLock::new();
    let mut settings = PARSED.get_or_init(|| Settings::parse_from(["simulation"])).clone();
    let seconds = Duration::from_secs;
    let calls = &mut settings.calls;
    calls.wire = wire();
    calls.call_timeout = seconds(3);
    calls.connection_timeout = seconds(1);
    calls.circuit_breaker_reset_timeout = seconds(5);
    // So small that a bad minute spends it, also where no breaker cuts the minute short.
    calls.retry_budget_floor = 0.2;
    calls.circuit_breaker_threshold = *chance.of(&[5, 100]);
    calls.circuit_breaker_failure_rate = *chance.of(&[0.0, 0.5]);
    calls.max_connections_per_service = 11;
    settings.services.health_check_timeout = seconds(1);
    settings
}

/// Gives back what it is told, and remembers which attempts of which call it did.
#[derive(Default)]
struct Echo(RefCell<BTreeMap<String, BTreeSet<u32>>>);

impl Peer for Echo {
    fn answer(&self, request: &Request) -> Answer {
        if request.path == "/health" {
            return Answer::Json(200, json!({ "status": "healthy" }));
        }
        let number = request.body["arguments"]["number"].clone();
        let attempt = request.attempt.expect("calls carry their attempt");
        self.0.borrow_mut().entry(number.to_string()).or_default().insert(attempt);
        Answer::Json(200, json!({ "result": { "number": number } }))
    }
}

/// One process that calls one service.
struct Rig {
    world: World,
    settings: Settings,
    house: House,
    discovery: Discovery,
    clients: Rc<Clients>,
    hosts: Vec<Rc<Host>>,
    echo: Rc<Echo>,
    calls: Cell<usize>,
    /// Calls that were refused before anything was sent.
    refused: Cell<usize>,
    begun: Instant,
}

impl Rig {
    async fn start(world: World) -> Rc<Rig> {
        let mut chance = world.chance();
        let network = Network::open(&world);
        let echo = Rc::new(Echo::default());
        let hosts: Vec<_> = (0..chance.below(3) + 1)
            .map(|number| network.host(&format!("m{number}"), Rc::<Echo>::clone(&echo)))
            .collect();
        let settings = settings(&mut chance);
        let (house, metrics) = (House::new(), Metrics::new("simulation"));
        let calls = Arc::new(settings.calls.clone());
        let discovery = DiscoveryActor::start(&house, &metrics, &calls, &settings.services);
        let urls = hosts.iter().map(|host| format!("http://{}", host.name)).collect();
        let register = Register { service: "memory".to_owned(), urls, source: Source::Environment };
        discovery.register.ask(register).await.unwrap();
        let shared = ClientsShared {
            house: house.clone(),
            directory: discovery.directory.clone(),
            settings: calls,
            metrics,
            tokens: Tokens::new(SECRET),
            own_name: "core",
        };
        let clients = Clients::new(shared, "simulation".to_owned());
        let (calls, refused, begun) = (Cell::new(0), Cell::new(0), Instant::now());
        Rc::new(Rig {
            world,
            settings,
            house,
            discovery,
            clients,
            hosts,
            echo,
            calls,
            refused,
            begun,
        })
    }

    fn directory(&self) -> &Directory {
        &self.discovery.directory
    }

    /// Makes one call, which must be answered by its deadline.
    async fn call(&self, patience: Duration, repeatable: Repeatable) -> Result<Value, Failure> {
        let number = self.calls.get();
        self.calls.set(number + 1);
        let begun = Instant::now();
        let mut arguments = Map::new();
        arguments.insert("number".to_owned(), number.into());
        let port = self.clients.of("memory").unwrap();
        let asking = async { port.call("echo", arguments, repeatable).await };
        let answer = RequestContext::fresh(patience).scope(asking).await;
        let (took, most) = (begun.elapsed(), patience + SLACK);
        let world = &self.world;
        world.must(took <= most, format!("call {number} took {took:?} of {patience:?}"));
        match &answer {
            Ok(value) => world.must(
                value["number"] == number,
                format!("call {number} got the answer of another: {value}"),
            ),
            Err(failure) => {
                let unsent = failure.kind == Kind::CircuitOpen;
                self.refused.set(self.refused.get() + usize::from(unsent));
                world.note(format!("call {number} failed: {failure}"));
            }
        }
        let done = self.echo.0.borrow().get(&number.to_string()).map_or(0, BTreeSet::len);
        let once = repeatable == Repeatable::IfNeverSent;
        world.must(!once || done <= 1, format!("call {number} was sent {done} times"));
        answer
    }

    async fn be_a_caller(&self, mut chance: Chance, until: Instant) {
        while Instant::now() < until {
            sleep(chance.ms(0..600)).await;
            let patience = chance.ms(20..5000);
            let repeatable =
                *chance.of(&[Repeatable::Always, Repeatable::Always, Repeatable::IfNeverSent]);
            let calling = self.call(patience, repeatable);
            if chance.percent(10) {
                // A caller who goes away in the middle of it.
                let _gone = timeout(chance.ms(0..500), calling).await;
            } else {
                let _answer = calling.await;
            }
        }
    }

    async fn change_moods(&self, mut chance: Chance, until: Instant) {
        while Instant::now() < until {
            sleep(chance.ms(200..6000)).await;
            let host = chance.of(&self.hosts).clone();
            host.feel(*chance.of(&MOODS));
        }
        self.hosts.iter().for_each(|host| host.feel(("well", WELL)));
    }

    /// Calls sent are first attempts and what the budget has: its share of them, its trickle, and
    /// what it held at the beginning.
    fn must_have_kept_its_budget(&self) {
        let attempts: usize = self.hosts.iter().map(|host| host.attempts.get()).sum();
        let calls = self.calls.get() - self.refused.get();
        let settings = &self.settings.calls;
        let float = |count: usize| f64::from(u32::try_from(count).unwrap());
        let floor = settings.retry_budget_floor;
        let most = float(calls) * (1.0 + settings.retry_budget_ratio)
            + floor * self.begun.elapsed().as_secs_f64()
            + (floor * 10.0).max(1.0);
        let text = format!("{attempts} attempts for {calls} calls; {most:.1} are allowed");
        self.world.must(float(attempts) <= most, &text);
        self.world.note(text);
    }

    async fn must_recover(&self) {
        let healed = Instant::now();
        let endpoints = self.directory().endpoints("memory");
        let well =
            || endpoints.iter().all(|endpoint| endpoint.breaker().view().state == State::Closed);
        while !well() {
            let _answer = self.call(Duration::from_secs(2), Repeatable::Always).await;
            sleep(Duration::from_millis(250)).await;
            if healed.elapsed() > CLOSED_WITHIN {
                let views: Vec<_> =
                    endpoints.iter().map(|endpoint| endpoint.breaker().view()).collect();
                self.world.wrong(format!("not closed after {:?}: {views:?}", healed.elapsed()));
                return;
            }
        }
        self.world.note(format!("closed {:?} after healing", healed.elapsed()));
        // Connections that hung are still there; the calls on them end by themselves.
        sleep(self.settings.calls.call_timeout).await;
        for _ in 0..10 {
            let answer = self.call(Duration::from_secs(2), Repeatable::Always).await;
            self.world.must(answer.is_ok(), format!("not well after healing: {answer:?}"));
        }
        for endpoint in endpoints.iter() {
            let open = endpoint.outstanding();
            self.world.must(open == 0, format!("{open} calls are counted for ever"));
        }
    }
}

fn schedule(world: World) -> LocalBoxFuture<'static, ()> {
    Box::pin(async move {
        let mut chance = world.chance();
        let rig = Rig::start(world.clone()).await;
        let until = Instant::now() + chance.ms(4_000..20_000);
        let callers = (0..CALLERS).map(|_| rig.be_a_caller(world.chance(), until));
        tokio::join!(join_all(callers), rig.change_moods(world.chance(), until));
        rig.must_have_kept_its_budget();
        rig.must_recover().await;
        rig.must_have_kept_its_budget();
        for signs in rig.house.signs() {
            world.must(signs.restarts == 0, format!("an actor fell: {signs:?}"));
        }
    })
}

#[test]
fn calls_keep_deadline_budget_and_breakers_promises() {
    run("calls", SCHEDULES, schedule);
}

#[test]
fn a_schedule_without_a_network_finds_nobody() {
    fn nowhere(world: World) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let rig = Rig::start(world).await;
            rig.hosts.iter().for_each(|host| host.feel(DOWN));
            let failure = rig.call(Duration::from_secs(2), Repeatable::Always).await.unwrap_err();
            assert_eq!(failure.kind, Kind::Connection);
        })
    }
    run("calls", 1, nowhere);
}
