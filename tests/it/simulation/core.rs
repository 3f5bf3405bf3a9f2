//! Core between its users and a memory that comes and goes: what was acknowledged is in the log
//! once and in order, and readers see all of it, once and in order.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use cortex::{
    contract::item::Item,
    services::conversation::{DATABASE_FILE, outbox::State},
};
use diesel::{QueryableByName, RunQueryDsl as _, sql_types};
use futures_util::future::{LocalBoxFuture, join_all};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    Chance, World,
    clients::{Reader, Told, Writer},
    memory::{Memory, Replica},
    network::{Answer, Host, MOODS, MUTE, Network, Peer, Request, WELL},
    node::{Machine, USERS},
    run,
};

/// Schedules of an ordinary run.
const SCHEDULES: u64 = 60;
const READERS: usize = 4;
/// The longest until everything is delivered once all is well: a call that hangs, a time in which
/// checks are not believed, a check, a pause between deliveries, and room for a few of these.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);
/// What an input that memory refuses, or that needs another id, may have more than was counted when
/// it was let in.
const ODD_BYTES: usize = 300;

/// A service that is well.
struct Idle;
impl Peer for Idle {
    fn answer(&self, _: &Request) -> Answer {
        Answer::Json(200, json!({ "status": "healthy" }))
    }
}

struct Rig {
    world: World,
    memory: Rc<Memory>,
    replicas: Vec<Rc<Host>>,
    machine: Rc<Machine>,
}

impl Rig {
    fn start(world: &World) -> Self {
        let network = Network::open(world);
        network.host("cognition", Rc::new(Idle));
        let memory = Memory::new(world);
        let count = world.chance().below(2) + 1;
        let replicas: Vec<_> = (0..count)
            .map(|number| network.host(&format!("m{number}"), Rc::new(Replica(Rc::clone(&memory)))))
            .collect();
        let urls: Vec<_> = replicas.iter().map(|host| format!("http://{}", host.name)).collect();
        let machine = Machine::new(world, &urls.join(","));
        machine.start();
        Rig { world: world.clone(), memory, replicas, machine }
    }

    /// Moods change, core is killed or leaves and starts again.
    async fn trouble(&self, mut chance: Chance, until: Instant) {
        while Instant::now() < until {
            sleep(chance.ms(100..4000)).await;
            match chance.below(10) {
                0..=6 => {
                    let mood = *chance.of(&MOODS);
                    chance.of(&self.replicas).feel(mood);
                }
                7..=8 => self.machine.kill().await,
                _ => self.machine.leave().await,
            }
            sleep(chance.ms(0..1500)).await;
            if !self.machine.runs() {
                self.machine.start();
            }
        }
        self.world.note("all is well");
        self.replicas.iter().for_each(|host| host.feel(("well", WELL)));
    }

    /// Other services say something now and then.
    async fn others(&self, mut chance: Chance, until: Instant) {
        let mut number = 0;
        while Instant::now() < until {
            sleep(chance.ms(100..3000)).await;
            number += 1;
            self.memory.say(USERS[chance.below(USERS.len())], &format!("reply {number}"));
        }
    }

    async fn state(&self) -> Option<State> {
        self.machine.with(|node| Box::pin(async move { node.outbox.state().await.unwrap() })).await
    }

    /// Looks at the outbox for as long as it is polled.
    ///
    /// What was refused waits again after a start, and what goes on under another id is longer:
    /// both were acknowledged, so they are kept even where they do not fit.
    async fn watch_limits(&self, told: &Told) {
        let limits = self.machine.settings().outbox.limits();
        loop {
            sleep(Duration::from_millis(333)).await;
            if let Some(State { load, .. }) = self.state().await {
                let odd = told.odd();
                let fits = load.entries <= limits.entries_max + odd
                    && load.bytes <= limits.bytes_max + odd * ODD_BYTES;
                self.world.must(fits, format!("the outbox holds {load:?} of {limits:?}"));
            }
        }
    }

    /// Waits until the outbox is empty and the readers have seen everything.
    async fn must_settle(&self, readers: &[Rc<Reader>]) {
        let healed = Instant::now();
        readers.iter().for_each(|reader| reader.hurries.set(true));
        loop {
            let waiting = self.state().await.map_or(usize::MAX, |state| state.load.entries);
            let log = self.memory.log();
            let behind: Vec<String> =
                readers.iter().filter_map(|reader| reader.verdict(&log).err()).collect();
            if waiting == 0 && behind.is_empty() {
                self.world.note(format!("settled {:?} after healing", healed.elapsed()));
                return;
            }
            if healed.elapsed() > SETTLED_WITHIN {
                self.world.must(waiting == 0, format!("{waiting} still wait in the outbox"));
                behind.iter().for_each(|behind| self.world.wrong(behind));
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Everything that was acknowledged is in the log once, in the order of its writer, or was set
    /// aside because memory refuses it for good.
    fn must_have_kept_its_word(&self, told: &Told) {
        let (log, aside) = (self.memory.log(), self.set_aside());
        let mut places: BTreeMap<(&str, &str), Vec<&Item>> = BTreeMap::new();
        for item in &log {
            places.entry((&item.user_id, &item.content)).or_default().push(item);
        }
        for ((user, content), items) in &places {
            let once = items.len() == 1;
            self.world.must(once, format!("{content} of {user} is in the log {}×", items.len()));
        }
        let mut last: BTreeMap<usize, i64> = BTreeMap::new();
        for said in told.all() {
            let item =
                places.get(&(said.user, said.content.as_str())).and_then(|items| items.first());
            let Some(item) = item else {
                let kept = aside.contains(&(said.user.to_owned(), said.content.clone()));
                self.world.must(kept, format!("lost: {said:?}"));
                continue;
            };
            let right = item.conversation_id.as_ref() == Some(&said.conversation);
            self.world.must(right, format!("{said:?} was stored elsewhere: {item:?}"));
            // What needed another id, because its key was taken, follows the batch it was in.
            if said.reused {
                continue;
            }
            if let Some(before) = last.insert(said.writer, item.seq) {
                self.world.must(before < item.seq, format!("out of order: {said:?}"));
            }
        }
    }

    /// What is left in the outbox's table: user and content. All of it must have been refused.
    fn set_aside(&self) -> Vec<(String, String)> {
        #[derive(QueryableByName)]
        struct Left {
            #[diesel(sql_type = sql_types::Text)]
            user_id: String,
            #[diesel(sql_type = sql_types::Text)]
            input: String,
            #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
            refusal: Option<String>,
        }
        let path = self.machine.folder.path().join(DATABASE_FILE);
        let mut connection = cortex::backplane::database::connect(&path).unwrap();
        let left: Vec<Left> = diesel::sql_query("SELECT user_id, input, refusal FROM outbox")
            .load(&mut connection)
            .unwrap();
        left.into_iter()
            .map(|left| {
                let input: serde_json::Value = serde_json::from_str(&left.input).unwrap();
                let content = input["content"].as_str().unwrap().to_owned();
                self.world.must(
                    left.refusal.is_some(),
                    format!("{content} waits in the table, uncounted"),
                );
                (left.user_id, content)
            })
            .collect()
    }

    async fn nobody_fell(&self) {
        let signs =
            self.machine.with(|node| Box::pin(async move { node.house.signs() })).await.unwrap();
        // The follower ends with a stream that cannot be opened, and is started again.
        for signs in signs {
            self.world.must(signs.restarts == 0, format!("an actor fell: {signs:?}"));
        }
    }
}

fn schedule(world: World) -> LocalBoxFuture<'static, ()> {
    Box::pin(async move {
        let rig = Rig::start(&world);
        let mut chance = world.chance();
        let told = Rc::new(Told::default());
        let readers: Vec<_> =
            (0..READERS).map(|number| Reader::new(number, &world, &rig.machine)).collect();
        let reading: Vec<_> = readers
            .iter()
            .map(|reader| tokio::task::spawn_local(Rc::clone(reader).read()))
            .collect();
        let writers =
            (0..chance.below(4) + 2).map(|number| Writer::new(number, &world, &rig.machine, &told));
        let count = chance.below(12) + 2;
        let until = Instant::now() + chance.ms(3_000..20_000);
        let living = async {
            tokio::join!(
                join_all(writers.map(|writer| writer.write(count))),
                rig.trouble(world.chance(), until),
                rig.others(world.chance(), until),
            );
            rig.must_settle(&readers).await;
        };
        tokio::select! {
            () = living => {}
            () = rig.watch_limits(&told) => {}
        }
        rig.must_have_kept_its_word(&told);
        rig.nobody_fell().await;
        for task in reading {
            // A reader that ended has met what no stream may hold.
            world.must(!task.is_finished(), "a reader fell");
            task.abort();
        }
        rig.machine.kill().await;
    })
}

#[test]
fn what_was_acknowledged_is_stored_once_in_order_and_seen_by_every_reader() {
    run("core", SCHEDULES, schedule);
}

#[test]
fn an_input_is_answered_in_time_while_the_log_is_not_followed_yet() {
    fn mute_from_the_start(world: World) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let rig = Rig::start(&world);
            rig.replicas.iter().for_each(|host| host.feel(MUTE));
            let told = Rc::new(Told::default());
            let writers =
                (0..USERS.len()).map(|number| Writer::new(number, &world, &rig.machine, &told));
            join_all(writers.map(|writer| writer.write(2))).await;
            rig.machine.kill().await;
        })
    }
    run("core", 20, mute_from_the_start);
}
