//! The product on one thread, with a paused clock and with faults that come from a seed: thousands
//! of schedules, and whatever happens in whatever order, what is promised holds.
//!
//! Everything above the connections is the product itself; beneath them is a network of our own
//! (`network`), and where memory would be, a log with memory's words (`memory`).
//! A seed decides every fault, every wait and the product's jitter. Two things it does not decide:
//! which of two branches of a `select!` goes first when both are ready, and when exactly the disk's
//! thread is done. A schedule of `calls` or `core` may therefore differ in such a tie the next time.
//!
//! `SIMULATION_SEEDS` says how many schedules a test runs, `SIMULATION_SEED` the first one's seed.

mod breaker;
mod calls;
mod clients;
mod core;
mod far_end;
mod memory;
mod network;
mod node;

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use tokio::{
    task::LocalSet,
    time::{Instant, timeout},
};

/// Time a schedule may take on its own clock.
const SCHEDULE_MAX: Duration = Duration::from_secs(3600);
/// Lines of a trace that are shown.
const LINES_SHOWN: usize = 400;

/// One schedule: its clock, its chances, what happened and what went wrong.
#[derive(Clone)]
pub(crate) struct World(Rc<Inside>);

struct Inside {
    begun: Instant,
    chance: RefCell<fastrand::Rng>,
    lines: RefCell<Vec<String>>,
    wrong: Cell<bool>,
}

impl World {
    fn new(seed: u64) -> Self {
        World(Rc::new(Inside {
            begun: Instant::now(),
            chance: RefCell::new(fastrand::Rng::with_seed(seed)),
            lines: RefCell::default(),
            wrong: Cell::new(false),
        }))
    }

    /// Chances of one's own: what others draw does not change them.
    pub(crate) fn chance(&self) -> Chance {
        Chance(self.0.chance.borrow_mut().fork())
    }

    /// Notes what happened.
    pub(crate) fn note(&self, what: impl Display) {
        let line = format!("{:>9.3} {what}", self.0.begun.elapsed().as_secs_f64());
        self.0.lines.borrow_mut().push(line);
    }

    /// Something that must hold does not.
    pub(crate) fn wrong(&self, what: impl Display) {
        self.note(format!("WRONG: {what}"));
        self.0.wrong.set(true);
    }

    /// Notes what went wrong unless it `holds`.
    pub(crate) fn must(&self, holds: bool, what: impl Display) {
        if !holds {
            self.wrong(what);
        }
    }
}

/// Numbers drawn from the seed.
pub(crate) struct Chance(fastrand::Rng);

impl Chance {
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0.usize(..most)
    }

    /// True that often in a hundred.
    pub(crate) fn percent(&mut self, percent: u8) -> bool {
        self.0.u8(..100) < percent
    }

    pub(crate) fn ms(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.0.u64(range))
    }

    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var_os(variable)?;
    Some(text.to_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        panic!("{variable} is no number: {}", text.display());
    }))
}

/// Runs one schedule; what happened, and whether all was well.
fn one(
    seed: u64,
    schedule: fn(World) -> LocalBoxFuture<'static, ()>,
) -> (Vec<String>, Result<(), String>) {
    // The product's own jitter comes from here.
    fastrand::seed(seed);
    // No sockets: without IO enabled the product cannot reach past the simulated network. One
    // blocking thread: work on the disk is done in the order it was asked for.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let world = runtime.block_on(async { World::new(seed) });
    let local = LocalSet::new();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(
            local.run_until(async { timeout(SCHEDULE_MAX, schedule(world.clone())).await }),
        )
    }));
    let verdict = match ended {
        Ok(Ok(())) if !world.0.wrong.get() => Ok(()),
        Ok(Ok(())) => Err("something that must hold did not".to_owned()),
        Ok(Err(_elapsed)) => Err("the schedule did not end".to_owned()),
        Err(panic) => Err(format!("panicked: {}", panic_text(panic.as_ref()))),
    };
    drop(local);
    drop(runtime);
    let lines = world.0.lines.borrow().clone();
    (lines, verdict)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    cortex::backplane::keeper::panic_text(panic)
}

/// Runs `count` schedules, or as many as the environment asks for; shows the first that fails.
pub(crate) fn run(
    test: &str,
    count: u64,
    schedule: fn(World) -> LocalBoxFuture<'static, ()>,
) -> u64 {
    let first = number("SIMULATION_SEED").unwrap_or(1);
    let count = number("SIMULATION_SEEDS").unwrap_or(count);
    for seed in first..first.saturating_add(count) {
        let (lines, verdict) = one(seed, schedule);
        if let Err(why) = verdict {
            let shown = lines.len().saturating_sub(LINES_SHOWN);
            panic!(
                "seed {seed}: {why}\n{}\nreplay: SIMULATION_SEED={seed} SIMULATION_SEEDS=1 \
                 cargo test --test it simulation::{test}",
                lines[shown..].join("\n")
            );
        }
    }
    count
}

#[test]
fn a_seed_brings_the_same_schedule_again() {
    for seed in 1..=10 {
        let (first, again) = (one(seed, breaker::schedule).0, one(seed, breaker::schedule).0);
        assert!(!first.is_empty());
        assert_eq!(first, again, "seed {seed}");
    }
}
