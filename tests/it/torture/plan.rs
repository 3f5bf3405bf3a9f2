//! What is broken, when and how: drawn from a seed before anything starts, the same for the same
//! seed.

use std::{fmt, time::Duration};

use fastrand::Rng;

use crate::harness::proxy::Mode;

/// Where a process sits: its address and its data stay when the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seat {
    Core,
    MemoryA,
    MemoryB,
    CognitionA,
    CognitionB,
}

pub(crate) const SEATS: [Seat; 5] =
    [Seat::Core, Seat::MemoryA, Seat::MemoryB, Seat::CognitionA, Seat::CognitionB];

impl Seat {
    /// The role of who sits there.
    pub(crate) fn role(self) -> &'static str {
        match self {
            Seat::Core => "core",
            Seat::MemoryA | Seat::MemoryB => "memory",
            Seat::CognitionA | Seat::CognitionB => "cognition",
        }
    }
}

/// A proxied way from someone to a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) from: &'static str,
    pub(crate) to: Seat,
}

/// Some clients reach core through a proxy, too; the others directly.
pub(crate) const CLIENTS_TO_CORE: Link = Link { from: "clients", to: Seat::Core };

pub(crate) const LINKS: [Link; 7] = [
    CLIENTS_TO_CORE,
    Link { from: "core", to: Seat::MemoryA },
    Link { from: "core", to: Seat::MemoryB },
    Link { from: "core", to: Seat::CognitionA },
    Link { from: "core", to: Seat::CognitionB },
    Link { from: "cognition", to: Seat::MemoryA },
    Link { from: "cognition", to: Seat::MemoryB },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`, and a new process after a pause.
    Kill { seat: Seat, down: Duration },
    /// SIGTERM, and a new process a pause after the old one has left.
    Leave { seat: Seat, down: Duration },
    /// SIGSTOP, and SIGCONT later.
    Freeze { seat: Seat, during: Duration },
    /// A proxy does its worst for a while.
    Break { link: Link, how: Mode, during: Duration },
}

/// A fault that begins so much later than its scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) after: Duration,
    pub(crate) fault: Fault,
}

/// Faults that belong together, and the calm after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) acts: Vec<Act>,
    pub(crate) calm: Duration,
}

impl Act {
    fn now(fault: Fault) -> Self {
        Act { after: Duration::ZERO, fault }
    }

    fn length(self) -> Duration {
        let own = match self.fault {
            Fault::Kill { down, .. } | Fault::Leave { down, .. } => down,
            Fault::Freeze { during, .. } | Fault::Break { during, .. } => during,
        };
        self.after + own
    }
}

impl Scene {
    fn length(&self) -> Duration {
        let acts = self.acts.iter().map(|act| act.length()).max().unwrap_or_default();
        acts + self.calm
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        for Act { after, fault } in &self.acts {
            write!(f, " +{} ms ", after.as_millis())?;
            match fault {
                Fault::Kill { seat, down } => write!(f, "kill {seat:?} for {down:?};")?,
                Fault::Leave { seat, down } => write!(f, "terminate {seat:?} for {down:?};")?,
                Fault::Freeze { seat, during } => write!(f, "stop {seat:?} for {during:?};")?,
                Fault::Break { link: Link { from, to }, how, during } => {
                    write!(f, "{from} to {to:?} {how:?} for {during:?};")?;
                }
            }
        }
        write!(f, " calm {:?}", self.calm)
    }
}

/// Scenes that last about `seconds` together.
pub(crate) fn draw(seed: u64, seconds: u64) -> Vec<Scene> {
    let mut rng = Rng::with_seed(seed);
    let (mut scenes, mut length) = (Vec::new(), Duration::ZERO);
    while length < Duration::from_secs(seconds) {
        // Every kind comes once before any comes by chance: a short run has them, too.
        let kind = if scenes.len() < KINDS { scenes.len() } else { rng.usize(..2 * KINDS) };
        let scene = scene(&mut rng, kind);
        length += scene.length();
        scenes.push(scene);
    }
    scenes
}

/// Kinds of scenes; what is drawn above is a mix of random faults.
const KINDS: usize = 6;

fn scene(rng: &mut Rng, kind: usize) -> Scene {
    let (name, acts) = match kind {
        0 => ("both memories die, and core while inputs wait", outbox(rng)),
        1 => ("a kill in the middle of a start", twice(rng)),
        2 => ("memory is cut off", partition(rng)),
        3 => ("one memory hangs, the other dies", hang(rng)),
        4 => ("all die at once", all(rng)),
        5 => ("core leaves while memory is broken", leave(rng)),
        _ => ("a mix", mix(rng)),
    };
    Scene { name, acts, calm: millis(rng, 200, 1400) }
}

fn millis(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.u64(least..=most))
}

fn kill(rng: &mut Rng, seat: Seat) -> Fault {
    Fault::Kill { seat, down: millis(rng, 0, 600) }
}

fn outbox(rng: &mut Rng) -> Vec<Act> {
    let away = millis(rng, 1500, 3000);
    let mut acts = vec![
        Act::now(Fault::Kill { seat: Seat::MemoryA, down: away }),
        Act::now(Fault::Kill { seat: Seat::MemoryB, down: away + millis(rng, 0, 300) }),
    ];
    // Core dies while inputs wait, and memory comes back about when core does.
    let down = millis(rng, 100, 500);
    let after = away.saturating_sub(down / 2).saturating_sub(millis(rng, 0, 600));
    acts.push(Act { after, fault: Fault::Kill { seat: Seat::Core, down } });
    acts
}

fn twice(rng: &mut Rng) -> Vec<Act> {
    let seat = SEATS[rng.usize(..3)];
    // A process takes some tens of milliseconds to listen.
    let again = millis(rng, 5, 250);
    vec![
        Act::now(Fault::Kill { seat, down: Duration::ZERO }),
        Act { after: again, fault: kill(rng, seat) },
        Act { after: again + Duration::from_millis(900), fault: kill(rng, seat) },
    ]
}

fn partition(rng: &mut Rng) -> Vec<Act> {
    let during = millis(rng, 500, 2500);
    let how = if rng.bool() { Mode::BlackHole } else { Mode::Refuse };
    let to_memory = LINKS.into_iter().filter(|link| link.to.role() == "memory");
    let mut acts: Vec<Act> =
        to_memory.map(|link| Act::now(Fault::Break { link, how, during })).collect();
    if rng.bool() {
        let victim = SEATS[rng.usize(..3)];
        acts.push(Act { after: millis(rng, 100, 800), fault: kill(rng, victim) });
    }
    acts
}

fn hang(rng: &mut Rng) -> Vec<Act> {
    let (one, other) = either(rng, Seat::MemoryA, Seat::MemoryB);
    vec![
        Act::now(Fault::Freeze { seat: one, during: millis(rng, 200, 3000) }),
        Act { after: millis(rng, 50, 500), fault: kill(rng, other) },
    ]
}

fn all(rng: &mut Rng) -> Vec<Act> {
    SEATS.into_iter().map(|seat| Act::now(kill(rng, seat))).collect()
}

fn leave(rng: &mut Rng) -> Vec<Act> {
    let link = LINKS[1 + rng.usize(..2)];
    let how = worst(rng);
    let down = millis(rng, 0, 400);
    let victim = either(rng, Seat::MemoryA, Seat::MemoryB).0;
    vec![
        Act::now(Fault::Break { link, how, during: millis(rng, 500, 2000) }),
        Act { after: millis(rng, 100, 500), fault: Fault::Leave { seat: Seat::Core, down } },
        Act { after: millis(rng, 0, 900), fault: kill(rng, victim) },
    ]
}

/// One to three faults on different seats and links.
fn mix(rng: &mut Rng) -> Vec<Act> {
    let mut seats = SEATS;
    rng.shuffle(&mut seats);
    let mut links = LINKS;
    rng.shuffle(&mut links);
    let mut acts = Vec::new();
    for turn in 0..rng.usize(1..=3) {
        let (seat, link) = (seats[turn], links[turn]);
        let fault = match rng.u8(..10) {
            0..=4 => kill(rng, seat),
            5 => Fault::Leave { seat, down: millis(rng, 0, 400) },
            6 => Fault::Freeze { seat, during: millis(rng, 200, 3000) },
            _ => Fault::Break { link, how: worst(rng), during: millis(rng, 200, 2000) },
        };
        acts.push(Act { after: millis(rng, 0, 300), fault });
    }
    acts
}

fn worst(rng: &mut Rng) -> Mode {
    match rng.u8(..4) {
        0 => Mode::Refuse,
        1 => Mode::BlackHole,
        2 => Mode::CutAfter(rng.usize(1..2000)),
        _ => Mode::Delay(millis(rng, 5, 400)),
    }
}

fn either(rng: &mut Rng, one: Seat, other: Seat) -> (Seat, Seat) {
    if rng.bool() { (one, other) } else { (other, one) }
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_one_another() {
    let plan = draw(7, 60);
    assert_eq!(plan, draw(7, 60));
    assert_ne!(plan, draw(8, 60));
    let length: Duration = plan.iter().map(Scene::length).sum();
    assert!((60..70).contains(&length.as_secs()), "{length:?}");
    let names: std::collections::BTreeSet<&str> = plan.iter().map(|scene| scene.name).collect();
    assert!(names.len() > KINDS / 2, "{names:?}");
}
