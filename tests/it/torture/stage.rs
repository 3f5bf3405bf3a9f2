//! The backplane under torture: five real processes at addresses of their own, the proxies between
//! them, and whoever starts what has ended.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::Path,
    rc::Rc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::{
    plan::{Act, CLIENTS_TO_CORE, Fault, LINKS, Link, SEATS, Scene, Seat},
    tally::Tally,
};
use crate::harness::{
    Client, Door, SECRET,
    process::RealProcess,
    proxy::{ChaosProxy, Mode},
    users::service_token,
};

/// Time a process has to leave after SIGTERM.
const LEAVE_DEADLINE: Duration = Duration::from_secs(9);
/// Time between looks at the processes.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The processes and what is between them.
pub(crate) struct Stage {
    chairs: BTreeMap<Seat, Chair>,
    links: BTreeMap<Link, ChaosProxy>,
    data: tempfile::TempDir,
    tally: Tally,
}

struct Chair {
    seat: Seat,
    door: Door,
    arguments: Vec<String>,
    process: RefCell<Option<RealProcess>>,
    /// Moves with every start and every end: who sees it unmoved saw no end in between.
    generation: Cell<u64>,
}

impl Stage {
    /// Starts all five; they need not listen yet.
    pub(crate) async fn start(tally: &Tally) -> Rc<Self> {
        let data = tempfile::tempdir().unwrap();
        let doors: BTreeMap<Seat, Door> =
            SEATS.into_iter().map(|seat| (seat, Door::new())).collect();
        let mut links = BTreeMap::new();
        for link in LINKS {
            links.insert(link, ChaosProxy::start(doors[&link.to].address()).await);
        }
        let chairs = doors.into_iter().map(|(seat, door)| {
            let arguments = arguments(seat, &door, data.path(), &links);
            let (process, generation) = (RefCell::new(None), Cell::new(0));
            (seat, Chair { seat, door, arguments, process, generation })
        });
        let chairs: BTreeMap<Seat, Chair> = chairs.collect();
        chairs.values().for_each(Chair::open);
        Rc::new(Stage { chairs, links, data, tally: tally.clone() })
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// The address of a seat, past every proxy.
    pub(crate) fn url(&self, seat: Seat) -> String {
        format!("http://{}", self.chairs[&seat].door.address())
    }

    /// The way to core that may be broken.
    pub(crate) fn proxied_url(&self) -> String {
        self.links[&CLIENTS_TO_CORE].url()
    }

    /// A client of a seat with the token of a service.
    pub(crate) fn service(&self, seat: Seat) -> Client {
        Client::new(&self.url(seat)).with_token(&service_token("torture", &[seat.role()]))
    }

    /// Which process sits there; `None` while none listens.
    pub(crate) fn generation(&self, seat: Seat) -> Option<u64> {
        let chair = &self.chairs[&seat];
        let process = chair.process.borrow();
        let listens = process.as_ref()?.stdout().contains("listening on");
        listens.then(|| chair.generation.get())
    }

    /// Whether a process listens at every seat.
    pub(crate) fn all_listen(&self) -> bool {
        self.chairs.keys().all(|seat| self.generation(*seat).is_some())
    }

    /// Plays a scene to its end.
    pub(crate) async fn play(&self, scene: &Scene) {
        join_all(scene.acts.iter().map(|act| self.act(act))).await;
        sleep(scene.calm).await;
    }

    async fn act(&self, &Act { after, fault }: &Act) {
        sleep(after).await;
        match fault {
            Fault::Kill { seat, down } => self.kill(seat, down).await,
            Fault::Leave { seat, down } => {
                let chair = &self.chairs[&seat];
                let Some(process) = chair.take() else { return };
                self.tally.count(&format!("terminated: {}", seat.role()));
                self.leave(seat, process).await;
                sleep(down).await;
                chair.open();
            }
            Fault::Freeze { seat, during } => self.freeze(seat, during).await,
            Fault::Break { link, how, during } => {
                self.tally.count(&format!("proxy fault: {}", kind(how)));
                self.links[&link].set(how);
                sleep(during).await;
                self.links[&link].set(Mode::Pass);
            }
        }
    }

    async fn kill(&self, seat: Seat, down: Duration) {
        let chair = &self.chairs[&seat];
        let Some(mut process) = chair.take() else { return };
        self.tally.count(&format!("killed: {}", seat.role()));
        self.tally.killed(seat.role());
        process.start_kill();
        process.wait().await;
        self.read(seat, &process);
        sleep(down).await;
        chair.open();
    }

    async fn freeze(&self, seat: Seat, during: Duration) {
        let chair = &self.chairs[&seat];
        let Some(process) = chair.take() else { return };
        self.tally.count(&format!("stopped: {}", seat.role()));
        process.signal("STOP").await;
        sleep(during).await;
        process.signal("CONT").await;
        chair.put(process);
    }

    /// Ends a process in order: it must leave in time and, once it has listened, with code 0.
    async fn leave(&self, seat: Seat, mut process: RealProcess) {
        let listened = process.stdout().contains("listening on");
        process.signal("TERM").await;
        match timeout(LEAVE_DEADLINE, process.wait()).await {
            // One that is told so early that it does not hear signals yet ends by the signal.
            Ok(status) if status.code() == Some(0) || !listened => {}
            Ok(status) => self
                .tally
                .wrong(format!("{seat:?} left with {status}: {}", last_lines(&process.stderr()))),
            Err(_elapsed) => {
                self.tally.wrong(format!(
                    "{seat:?} did not leave within {LEAVE_DEADLINE:?}: {}",
                    last_lines(&process.stderr())
                ));
                process.start_kill();
                process.wait().await;
            }
        }
        self.read(seat, &process);
    }

    /// Looks at the processes until dropped: how large they are, and whether one ended by itself.
    pub(crate) async fn watch(&self) {
        let mut pause = tokio::time::interval(LOOK_INTERVAL);
        loop {
            pause.tick().await;
            for chair in self.chairs.values() {
                if let Some(status) = chair.ended() {
                    let Some(process) = chair.take() else { continue };
                    let said = last_lines(&process.stderr());
                    self.tally
                        .wrong(format!("{:?} ended by itself ({status}): {said}", chair.seat));
                    self.read(chair.seat, &process);
                    chair.open();
                }
                if let Some(bytes) = chair.resident() {
                    self.tally.resident(chair.seat.role(), bytes);
                }
            }
        }
    }

    /// Every proxy lets everything pass.
    pub(crate) fn heal(&self) {
        self.links.values().for_each(|link| link.set(Mode::Pass));
    }

    /// Ends all, those first who use the others.
    pub(crate) async fn leave_all(&self) {
        for seat in [Seat::Core, Seat::CognitionA, Seat::CognitionB, Seat::MemoryA, Seat::MemoryB] {
            match self.chairs[&seat].take() {
                Some(process) => self.leave(seat, process).await,
                None => self.tally.wrong(format!("nobody sits at {seat:?} in the end")),
            }
        }
    }

    /// What a process that has ended wrote: no panic, and no actor that fell.
    fn read(&self, seat: Seat, process: &RealProcess) {
        for line in process.stderr().lines() {
            if line.contains("panicked") {
                self.tally.wrong(format!("{seat:?} panicked: {line}"));
            } else if line.contains("actor fell") || line.contains("giving up actor") {
                self.tally.wrong(format!("an actor of {seat:?} fell: {line}"));
            } else if let Some(at) = line.find("ERROR") {
                let words: Vec<&str> = line[at..].split_whitespace().take(9).collect();
                let words = words.join(" ").chars().take(46).collect::<String>();
                self.tally.count(&format!("logged: {words}"));
            }
        }
    }
}

impl Chair {
    fn take(&self) -> Option<RealProcess> {
        let process = self.process.take()?;
        self.generation.set(self.generation.get() + 1);
        Some(process)
    }

    fn put(&self, process: RealProcess) {
        self.process.replace(Some(process));
    }

    fn open(&self) {
        self.generation.set(self.generation.get() + 1);
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.put(RealProcess::start(&arguments));
    }

    fn ended(&self) -> Option<std::process::ExitStatus> {
        self.process.borrow_mut().as_mut()?.ended()
    }

    /// Bytes in memory: `VmRSS` of proc(5).
    fn resident(&self) -> Option<u64> {
        let process = self.process.borrow();
        let path = format!("/proc/{}/status", process.as_ref()?.running()?);
        let status = std::fs::read_to_string(path).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kibi| kibi * 1024)
    }
}

fn kind(how: Mode) -> &'static str {
    match how {
        Mode::Pass => "pass",
        Mode::Refuse => "refuse",
        Mode::BlackHole => "black hole",
        Mode::CutAfter(_) => "cut",
        Mode::Delay(_) => "latency",
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(4).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// The command line of a seat: the product's own settings, but for where everything is, and how
/// long leaving and silence may take.
fn arguments(
    seat: Seat,
    door: &Door,
    data: &Path,
    links: &BTreeMap<Link, ChaosProxy>,
) -> Vec<String> {
    let to = |from: &str, role: &str| {
        let urls = links.iter().filter(|(link, _)| link.from == from && link.to.role() == role);
        urls.map(|(_, proxy)| proxy.url()).collect::<Vec<_>>().join(",")
    };
    let port = door.address().port().to_string();
    let mut arguments = vec![seat.role(), "--port", &port, "--workers", "2"];
    arguments.extend(["--jwt-secret-key", SECRET, "--shutdown-grace", "2"]);
    let directory = data.join(seat.role()).display().to_string();
    let (memory, cognition) = match seat {
        Seat::Core => (to("core", "memory"), to("core", "cognition")),
        Seat::CognitionA | Seat::CognitionB => (to("cognition", "memory"), String::new()),
        Seat::MemoryA | Seat::MemoryB => (String::new(), String::new()),
    };
    arguments.extend(["--data-dir", &directory]);
    if seat.role() != "cognition" {
        arguments.extend(["--stream-keep-alive", "1"]);
    }
    if seat.role() != "memory" {
        arguments.extend(["--memory-service-url", &memory]);
    }
    if seat == Seat::Core {
        arguments.extend(["--cognition-service-url", &cognition]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}
