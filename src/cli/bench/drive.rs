//! Sends a load and counts what comes back: in a closed loop, or by a schedule that waits for nobody.
//!
//! In a closed loop every connection sends its next request when the one before was answered. By a
//! schedule a request is due at its moment whatever the server does, and its latency counts from
//! that moment, not from when a connection was free to send it: else a server that stalls would be
//! asked less while it stalls, and look better than it is ("coordinated omission": G. Tene, "How
//! NOT to Measure Latency"; the method is that of wrk2).

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_rt::{Arbiter, task::JoinHandle};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::Instant,
};

use super::{
    Interrupt,
    asking::{Request, word},
    schedule::Schedule,
    show::Show,
    tally::{Lost, Tally},
    vitals::{Reading, Server, Used},
    wire::Reply,
};
use crate::cli::trouble::{Outcome, Trouble};

/// Time for what is under way when a run ends.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Wait after a connection that was not made.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait that `Retry-After` is obeyed for.
const OBEYED_MAX: Duration = Duration::from_secs(60);
/// Time between two looks at how far a run is.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// A load.
pub(super) struct Plan {
    /// Where it goes.
    pub(super) address: SocketAddr,
    /// What is sent, in turn.
    pub(super) requests: Vec<Request>,
    /// Connections open at once.
    pub(super) connections: usize,
    /// Threads that send.
    pub(super) threads: usize,
    /// Requests per second by schedule; `None` is a closed loop.
    pub(super) rate: Option<u32>,
    /// Time before the measuring begins.
    pub(super) warm_up: Duration,
    /// Time of the measuring.
    pub(super) duration: Duration,
    /// Time for one answer.
    pub(super) timeout: Duration,
    /// Whether a refused connection waits as it is told.
    pub(super) obey_retry_after: bool,
    /// Whether successes are told apart by the `status` in their bodies.
    pub(super) tell_status: bool,
    /// When it starts, warming up; stamps count from here.
    pub(super) start: Instant,
}

/// What came of a load.
pub(super) struct Run {
    /// Answers to what was due within the window.
    pub(super) tally: Tally,
    /// How long it was.
    pub(super) window: Duration,
    /// Requests that came due in the whole run, by schedule.
    pub(super) scheduled: Option<u64>,
    /// Of those, how many were never sent.
    pub(super) unsent: u64,
    /// Answers that came within the window, whenever they were due.
    pub(super) answered: u64,
    /// Those of them that were successes: the goodput.
    pub(super) succeeded: u64,
    /// What the servers used within the window.
    pub(super) used: Vec<Used>,
    /// Whether it was ended before its time.
    pub(super) interrupted: bool,
}

/// Answers so far, of all threads.
#[derive(Default)]
struct Meter {
    answered: AtomicU64,
    succeeded: AtomicU64,
}

impl Meter {
    fn read(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.succeeded.load(Ordering::Relaxed))
    }
}

/// One thread's part.
struct Crew {
    plan: Arc<Plan>,
    number: usize,
    gate: Option<Arc<Semaphore>>,
    schedule: Schedule,
    /// Requests of the schedule taken up so far.
    taken: Cell<u64>,
    /// Requests begun so far.
    begun: Cell<u64>,
    stopped: Cell<bool>,
    meter: Arc<Meter>,
    tally: RefCell<Tally>,
    /// For each connection, when what it has under way was due.
    under_way: RefCell<Vec<Option<Instant>>>,
}

/// Runs a load to its end, or until `interrupted`.
///
/// # Errors
/// When it was interrupted before the measuring began, or a thread fell.
pub(super) async fn drive(
    plan: Plan,
    servers: &[Server],
    show: &Show,
    mut interrupted: Interrupt<'_>,
) -> Outcome<Run> {
    let plan = Arc::new(plan);
    let schedule = Schedule::new(plan.start, plan.warm_up, plan.duration, plan.rate);
    let meter = Arc::new(Meter::default());
    let (stop, stopped) = watch::channel(false);
    let gates: Vec<_> = (0..plan.threads).map(|_| Arc::new(Semaphore::new(0))).collect();
    let mut results = Vec::new();
    for (number, gate) in gates.iter().enumerate() {
        let gate = plan.rate.map(|_| Arc::clone(gate));
        let (plan, meter) = (Arc::clone(&plan), Arc::clone(&meter));
        let (done, result) = oneshot::channel();
        let stopped = stopped.clone();
        let spawned = Arbiter::new().spawn_fn(move || {
            actix_rt::spawn(async move {
                let worked = work(plan, number, gate, schedule, meter, stopped).await;
                if done.send(worked).is_err() {
                    log::debug!("nobody waits for the tally any more");
                }
                Arbiter::current().stop();
            });
        });
        if !spawned {
            return Err(Trouble::plain("a thread of the load was not started"));
        }
        results.push(result);
    }
    let pacer = schedule.pace(gates, stopped.clone());
    let mut run = watch_over(schedule, &meter, servers, show, &mut interrupted).await?;
    stop.send_replace(true);
    if pacer.is_some_and(|pacer| pacer.join().is_err()) {
        return Err(Trouble::plain("the thread of the schedule fell"));
    }
    let mut begun = 0;
    for result in results {
        let (tally, count) =
            result.await.map_err(|_gone| Trouble::plain("a thread of the load fell"))?;
        run.tally.merge(&tally);
        begun += count;
    }
    run.unsent = run.scheduled.unwrap_or_default().saturating_sub(begun);
    Ok(run)
}

/// Waits for the window's beginning and end, and reads the servers at both.
async fn watch_over(
    schedule: Schedule,
    meter: &Meter,
    servers: &[Server],
    show: &Show,
    interrupted: &mut Interrupt<'_>,
) -> Outcome<Run> {
    let early = tokio::select! {
        () = tokio::time::sleep_until(schedule.begin) => false,
        () = interrupted.as_mut() => true,
    };
    if early {
        return Err(Trouble::plain("interrupted before the measuring began"));
    }
    let (before, (answered_before, succeeded_before)) = (Reading::of(servers), meter.read());
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    let interrupted = loop {
        tokio::select! {
            _ = looks.tick() => {
                show.progress(schedule.begin.elapsed(), meter.read().0 - answered_before);
            }
            () = tokio::time::sleep_until(schedule.end) => break false,
            () = interrupted.as_mut() => break true,
        }
    };
    let end = Instant::now();
    let (answered, succeeded) = meter.read();
    let (answered, succeeded) = (answered - answered_before, succeeded - succeeded_before);
    let used = Reading::of(servers).since(before);
    show.clear();
    let window = end.min(schedule.end) - schedule.begin;
    let scheduled = schedule.due_by(end.min(schedule.end));
    let tally = Tally::default();
    Ok(Run { tally, window, scheduled, unsent: 0, answered, succeeded, used, interrupted })
}

/// One thread: its connections, until the end, and a little longer for the last answers.
async fn work(
    plan: Arc<Plan>,
    number: usize,
    gate: Option<Arc<Semaphore>>,
    schedule: Schedule,
    meter: Arc<Meter>,
    mut stopped: watch::Receiver<bool>,
) -> (Tally, u64) {
    let own = (number..plan.connections).step_by(plan.threads).count();
    let crew = Rc::new(Crew {
        plan,
        number,
        gate,
        schedule,
        taken: Cell::new(0),
        begun: Cell::new(0),
        stopped: Cell::new(false),
        meter,
        tally: RefCell::default(),
        under_way: RefCell::new(vec![None; own]),
    });
    let connections: Vec<JoinHandle<()>> =
        (0..own).map(|place| actix_rt::spawn(Rc::clone(&crew).connection(place))).collect();
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        log::debug!("the run was given up");
    }
    crew.stopped.set(true);
    if let Some(gate) = &crew.gate {
        gate.close();
    }
    let last = Instant::now() + LAST_ANSWERS.min(crew.plan.timeout);
    for connection in connections {
        let abort = connection.abort_handle();
        if tokio::time::timeout_at(last, connection).await.is_err() {
            abort.abort();
        }
    }
    // However early they were due: they were under way all through the window.
    for due in crew.under_way.take().into_iter().flatten() {
        crew.tally.borrow_mut().lost(Lost::Unfinished, due.elapsed());
    }
    (crew.tally.take(), crew.begun.get())
}

impl Crew {
    /// One connection: sends, reads, counts, until the end.
    async fn connection(self: Rc<Self>, place: usize) {
        let mut wire = None;
        let mut text = Vec::new();
        let requests = self.plan.requests.len().max(1);
        let mut turn = place * self.plan.threads + self.number;
        while let Some(due) = self.next().await {
            let number = turn % requests;
            turn = turn.wrapping_add(self.plan.connections);
            let Some(request) = self.plan.requests.get(number) else { return };
            self.under_way(place, Some(due));
            self.begun.set(self.begun.get() + 1);
            let sent = Instant::now();
            let since_start = due.saturating_duration_since(self.plan.start);
            let asking = request.ask(&mut wire, self.plan.address, since_start, &mut text);
            let result = tokio::time::timeout(self.plan.timeout, asking).await;
            self.under_way(place, None);
            self.meter.answered.fetch_add(1, Ordering::Relaxed);
            let pause = match result {
                Ok(Ok(reply)) => {
                    if reply.closes {
                        wire = None;
                    }
                    if reply.status < 400 {
                        self.meter.succeeded.fetch_add(1, Ordering::Relaxed);
                    }
                    self.count(number, &reply, due, sent);
                    self.pause_after(&reply)
                }
                Ok(Err(why)) => {
                    wire = None;
                    self.lose(why, due);
                    (why == Lost::Connect).then_some(RECONNECT_PAUSE)
                }
                Err(_elapsed) => {
                    wire = None;
                    self.lose(Lost::Timeout, due);
                    None
                }
            };
            if let Some(pause) = pause {
                let until = (Instant::now() + pause).min(self.schedule.end);
                tokio::time::sleep_until(until).await;
            }
        }
    }

    /// When the next request is due; `None` at the end.
    async fn next(&self) -> Option<Instant> {
        let due = match &self.gate {
            None => Instant::now(),
            Some(gate) => {
                gate.acquire().await.ok()?.forget();
                let turn = self.taken.replace(self.taken.get() + 1);
                self.schedule.due(turn, self.number, self.plan.threads)
            }
        };
        let over = self.stopped.get() || Instant::now() >= self.schedule.end;
        (!over).then_some(due)
    }

    fn count(&self, number: usize, reply: &Reply, due: Instant, sent: Instant) {
        if due < self.schedule.begin {
            return;
        }
        let word = word(reply.status, &reply.body, self.plan.tell_status);
        let answer = (reply.status, word);
        self.tally.borrow_mut().answered(number, answer, due.elapsed(), sent.elapsed());
    }

    fn lose(&self, why: Lost, due: Instant) {
        if due >= self.schedule.begin {
            self.tally.borrow_mut().lost(why, due.elapsed());
        }
    }

    fn pause_after(&self, reply: &Reply) -> Option<Duration> {
        let told = reply.retry_after.filter(|_| self.plan.obey_retry_after)?;
        Some(Duration::from_secs(told).min(OBEYED_MAX))
    }

    fn under_way(&self, place: usize, due: Option<Instant>) {
        if let Some(slot) = self.under_way.borrow_mut().get_mut(place) {
            *slot = due;
        }
    }
}
