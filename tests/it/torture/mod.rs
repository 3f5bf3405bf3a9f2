//! The torture run: a real backplane under load while its processes are killed, stopped and
//! restarted and its network breaks, by a plan drawn from a seed; then everything is counted.
//!
//! `TORTURE_SEED` and `TORTURE_SECONDS` overrule what a run in the suite uses: docs/torture.md.

mod plan;
mod readers;
mod stage;
mod tally;
mod verdict;
mod writers;

use std::{cell::Cell, future::Future, rc::Rc, time::Duration};

use actix_rt::task::JoinHandle;
use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, interval, timeout};

use self::{
    plan::{SEATS, Seat},
    readers::{Habit, Reader, Seen},
    stage::Stage,
    tally::{Tally, say},
    writers::{Said, Writer},
};
use crate::harness::{Client, User};

/// Seed of the run in the suite.
const SEED: u64 = 7;
/// Length of what is broken in the run in the suite, in seconds.
const SECONDS: u64 = 10;
/// Users; the first writes in one conversation, the second in two, the third in three, and so on.
const USERS: u64 = 3;
/// Readers of each user, and the conversation of those who want only one.
const READERS: [(Habit, Option<&str>); 4] = [
    (Habit::Steady, None),
    (Habit::Leaves, None),
    (Habit::Slow, None),
    (Habit::Leaves, Some("default")),
];
/// Longest time until all is well again after the last fault.
const HEAL_DEADLINE: Duration = Duration::from_secs(60);
/// Most that a process may have resident: several times what it has after minutes of load.
const RESIDENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

#[actix::test]
async fn kills_stops_and_a_broken_network_lose_double_and_disorder_nothing() {
    let seed = setting("TORTURE_SEED").unwrap_or(SEED);
    let seconds = setting("TORTURE_SECONDS").unwrap_or(SECONDS);
    let begun = Instant::now();
    let tally = Tally::default();
    let plan = plan::draw(seed, seconds);
    say(&format!("torture: seed {seed}, {seconds} s, {} scenes", plan.len()));
    let stage = Stage::start(&tally).await;
    let watching = {
        let stage = Rc::clone(&stage);
        actix_rt::spawn(async move { stage.watch().await })
    };
    let load = Load::start(&stage, &tally, seed).await;
    for (number, scene) in plan.iter().enumerate() {
        let at = begun.elapsed().as_secs_f64();
        say(&format!("torture: {at:6.1} s, scene {number}, {scene}"));
        stage.play(scene).await;
    }
    stage.heal();
    let (said, seen) = load.end(&stage, &tally).await;
    watching.abort();
    stage.leave_all().await;
    verdict::on_stores(&stage, &tally).await;
    for (role, bytes) in tally.most_resident() {
        if bytes > RESIDENT_BYTES_MAX {
            tally.wrong(format!("{role} had {bytes} bytes resident"));
        }
    }
    // A run in which nothing was said or broken would show nothing.
    for what in ["inputs acknowledged", "events read", "context: found", "killed: core"] {
        assert!(tally.counted(what) > 0, "none: {what}");
    }
    assert!(said.iter().all(|said| !said.inputs.is_empty()) && !seen.is_empty());
    say(&tally.summary(seed, begun.elapsed()));
    let wrongs = tally.wrongs();
    assert!(wrongs.is_empty(), "seed {seed}: {} wrongs: {wrongs:#?}", wrongs.len());
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line of its own")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Whether `holds` becomes true before [`HEAL_DEADLINE`]; if not, that is a wrong.
async fn heals<F: Future<Output = bool>>(tally: &Tally, what: &str, mut holds: impl FnMut() -> F) {
    let asking = async {
        let mut pause = interval(Duration::from_millis(100));
        while !holds().await {
            pause.tick().await;
        }
    };
    if timeout(HEAL_DEADLINE, asking).await.is_err() {
        tally.wrong(format!("{what}: not within {HEAL_DEADLINE:?}"));
    }
}

/// The number of the last event a reader is to see, once that is known.
type Goal = Rc<Cell<Option<i64>>>;

/// A reader at work.
struct Reading {
    goal: Goal,
    user: User,
    conversation: Option<&'static str>,
    reading: JoinHandle<Seen>,
}

/// Everyone who uses the backplane.
struct Load {
    users: Vec<User>,
    ending: Rc<Cell<bool>>,
    writers: Vec<JoinHandle<Said>>,
    readers: Vec<Reading>,
    callers: Vec<JoinHandle<()>>,
    idle: JoinHandle<()>,
}

impl Load {
    async fn start(stage: &Rc<Stage>, tally: &Tally, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let ending = Rc::new(Cell::new(false));
        let users: Vec<User> = (0..USERS).map(|number| User::new(&format!("u{number}"))).collect();
        let mut load = Load {
            users: users.clone(),
            ending: Rc::clone(&ending),
            writers: Vec::new(),
            readers: Vec::new(),
            callers: Vec::new(),
            idle: {
                let (stage, user) = (Rc::clone(stage), users[0].clone());
                actix_rt::spawn(async move { readers::never_read(&stage, &user).await })
            },
        };
        heals(tally, "all start", || async { all_healthy(stage).await }).await;
        // Half of them come through the proxy.
        let bases = [stage.url(Seat::Core), stage.proxied_url()];
        for (number, user) in users.iter().enumerate() {
            let conversations = conversations(&Client::new(&bases[0]), user, number).await;
            for (at, conversation) in conversations.into_iter().enumerate() {
                let writer = Writer {
                    name: format!("{} in {at}", user.name),
                    user: user.clone(),
                    conversation,
                    base: bases[(number + at) % 2].clone(),
                    rng: rng.fork(),
                    tally: tally.clone(),
                    ending: Rc::clone(&ending),
                };
                load.writers.push(actix_rt::spawn(writer.run()));
            }
            for (at, (habit, conversation)) in READERS.into_iter().enumerate() {
                let goal = Rc::new(Cell::new(None));
                let reader = Reader {
                    user: user.clone(),
                    base: bases[(number + at) % 2].clone(),
                    habit,
                    conversation,
                    from_start: habit != Habit::Leaves,
                    rng: rng.fork(),
                    tally: tally.clone(),
                    goal: Rc::clone(&goal),
                };
                let (user, reading) = (user.clone(), actix_rt::spawn(reader.run()));
                load.readers.push(Reading { goal, user, conversation, reading });
            }
            let (stage, ending, tally) = (Rc::clone(stage), Rc::clone(&ending), tally.clone());
            let (user, rng) = (user.clone(), rng.fork());
            load.callers.push(actix_rt::spawn(async move {
                readers::ask_for_context(&stage, &user, rng, &ending, &tally).await;
            }));
        }
        load
    }

    /// Lets everyone finish, now that nothing is broken, and compares what they saw with the log.
    async fn end(self, stage: &Stage, tally: &Tally) -> (Vec<Said>, Vec<Seen>) {
        self.ending.set(true);
        heals(tally, "all listen", || async { stage.all_listen() }).await;
        let all = join_all(self.writers);
        let said: Vec<Said> = match timeout(2 * HEAL_DEADLINE, all).await {
            Ok(said) => said.into_iter().map(Result::unwrap).collect(),
            Err(_elapsed) => panic!("the writers do not end: {:#?}", tally.wrongs()),
        };
        join_all(self.callers).await;
        let core = stage.service(Seat::Core);
        heals(tally, "the outbox is empty", || async {
            let health = core.get("/health").await.json();
            let outbox = &health["components"]["outbox"];
            outbox["entries"] == 0 && outbox["refused"] == 0
        })
        .await;
        let mut logs = Vec::new();
        for user in &self.users {
            logs.push(verdict::log_of(&stage.service(Seat::MemoryA), user).await);
        }
        verdict::on_inputs(&self.users, &logs, &said, tally);
        for Reading { goal, user, conversation, .. } in &self.readers {
            let at = self.users.iter().position(|one| one.id == user.id).unwrap();
            let last = logs[at].iter().rfind(|entry| entry.is_of(*conversation));
            goal.set(Some(last.map_or(0, |entry| entry.seq)));
        }
        let mut seen = Vec::new();
        for Reading { user, reading, .. } in self.readers {
            match timeout(HEAL_DEADLINE, reading).await {
                Ok(one) => seen.push(one.unwrap()),
                Err(_elapsed) => tally.wrong(format!("a reader of {} did not catch up", user.name)),
            }
        }
        verdict::on_readers(&self.users, &logs, &seen, tally);
        self.idle.abort();
        heals(tally, "all are healthy", || async { all_healthy(stage).await }).await;
        verdict::on_actors(stage, tally).await;
        (said, seen)
    }
}

/// Whether all five say that they and what they use are well.
async fn all_healthy(stage: &Stage) -> bool {
    for seat in SEATS {
        let asked = stage.service(seat).ask(actix_web::http::Method::GET, "/health");
        match asked.try_send().await {
            Ok(answer) if answer.json()["status"] == "healthy" => {}
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

/// Conversations of a user: the default one, and so many more.
async fn conversations(core: &Client, user: &User, more: usize) -> Vec<Option<String>> {
    let core = core.with_token(&user.token);
    let workspace = json!({"name": "torture", "description": "what is said under it"});
    let workspace = core.post("/config/workspace", workspace).await.ok();
    let mut conversations = vec![None];
    for number in 0..more {
        let wanted = json!({
            "workspace_id": workspace["workspace"]["id"], "topic": format!("topic {number}"),
        });
        let made = core.post("/config/conversation", wanted).await.ok();
        conversations.push(made["conversation"]["id"].as_str().map(str::to_owned));
    }
    conversations
}
