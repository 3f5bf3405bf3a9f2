//! Many readers of the output stream: what reaches them, how late, and what they cost the server.
//!
//! The bytes are searched as they are on the wire, without taking the chunks apart: a frame between
//! chunks has no empty line, so events are counted right, and at some hundred thousand events per
//! second that is all a generator can afford beside the server.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_rt::Arbiter;
use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::Instant,
};

use super::{
    asking::{Request, STAMP_DIGITS},
    load::Load,
    schedule::Schedule,
    stage::{Host, Somebody},
    tally::Times,
    vitals::Used,
    wire::Wire,
};
use crate::cli::trouble::{Outcome, Trouble};

/// What stands before the time stamp in an input.
const MARK: &str = "bench@";
/// Streams that are being opened at once, for each thread.
const OPENING_AT_ONCE: usize = 64;
/// Time for one stream to open.
const OPEN_DEADLINE: Duration = Duration::from_secs(15);
/// Time for the last deliveries after the last input.
const LAST_DELIVERIES: Duration = Duration::from_secs(3);
/// Time between two looks at how many there are.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of an event that did not end yet; more are no event of ours.
const PART_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the readers saw.
pub(super) struct Readers {
    /// Readers that were open at the end, or at least once.
    pub(super) open: u32,
    /// Further ones that never read.
    pub(super) stuck: u32,
    /// Deliveries of inputs that were due within the window.
    pub(super) delivered: u64,
    /// Deliveries that came within the window: what the rate is made of.
    pub(super) in_window: u64,
    /// How many there should be.
    pub(super) expected: u64,
    /// Streams that the server ended.
    pub(super) ended: u32,
    /// From when an input was due to its delivery.
    pub(super) times: Times,
    /// What the servers used while the readers were opened.
    pub(super) held: Vec<Used>,
}

/// What one thread's readers saw.
#[derive(Default)]
struct Seen {
    delivered: u64,
    in_window: u64,
    ended: u32,
    times: Option<Times>,
}

/// Readers that are open.
pub(super) struct Audience {
    stop: watch::Sender<bool>,
    /// The times of the load; `None` while there is none.
    load: watch::Sender<Option<Schedule>>,
    results: mpsc::Receiver<Seen>,
    counts: Arc<std::sync::atomic::AtomicU64>,
    threads: usize,
    open: u32,
}

/// What all readers have in common.
#[derive(Clone)]
struct Hall {
    address: SocketAddr,
    load: watch::Receiver<Option<Schedule>>,
    stop: watch::Receiver<bool>,
    counts: Arc<std::sync::atomic::AtomicU64>,
}

/// The request that opens a stream.
pub(super) fn opening(host: &Host, reader: &Somebody) -> Bytes {
    host.request("/output/stream", "text/event-stream", &reader.token, None)
}

/// The inputs of each writer, with the place of their time stamps.
pub(super) fn inputs(host: &Host, writers: &[Somebody], load: &Load) -> Vec<Request> {
    let content = load.text(&format!("{MARK}{:0width$} ", 0, width = STAMP_DIGITS));
    let body = serde_json::json!({ "content": content });
    let input = |writer: &Somebody| {
        let bytes = host.request("/input", "application/json", &writer.token, Some(&body));
        let at = memchr::memmem::rfind(&bytes, MARK.as_bytes());
        Request { stamp_at: at.map(|at| at + MARK.len()), bytes }
    };
    writers.iter().map(input).collect()
}

impl Audience {
    /// Opens so many streams for each of `openings`, in turn; returns once all are open.
    ///
    /// # Errors
    /// Why one of them was not opened.
    pub(super) async fn gather(
        address: SocketAddr,
        openings: &[Bytes],
        (readers, threads): (u32, u16),
    ) -> Outcome<Self> {
        let threads = usize::from(threads);
        let (stop, stopped) = watch::channel(false);
        let (load, loads) = watch::channel(None);
        let counts = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (done, results) = mpsc::channel(threads);
        let (opened, mut opens) = mpsc::channel(1024);
        let all: Vec<Bytes> =
            openings.iter().cloned().cycle().take(usize::try_from(readers).unwrap_or(0)).collect();
        for number in 0..threads {
            let own: Vec<Bytes> = all.iter().skip(number).step_by(threads).cloned().collect();
            let hall = Hall {
                address,
                load: loads.clone(),
                stop: stopped.clone(),
                counts: Arc::clone(&counts),
            };
            let (done, opened) = (done.clone(), opened.clone());
            let spawned = Arbiter::new().spawn_fn(move || {
                actix_rt::spawn(async move {
                    if done.send(hall.seat(own, opened).await).await.is_err() {
                        log::debug!("nobody waits for the readers any more");
                    }
                    Arbiter::current().stop();
                });
            });
            if !spawned {
                return Err(Trouble::plain("a thread of the readers was not started"));
            }
        }
        drop(opened);
        for _ in 0..readers {
            match opens.recv().await {
                Some(Ok(())) => {}
                Some(Err(why)) => return Err(Trouble::Plain(why)),
                None => return Err(Trouble::plain("a thread of the readers fell")),
            }
        }
        Ok(Audience { stop, load, results, counts, threads, open: readers })
    }

    /// A load starts; deliveries of what is sent after its warm-up count.
    pub(super) fn begin(&self, schedule: Schedule) {
        self.load.send_replace(Some(schedule));
    }

    /// Waits for the last deliveries, and gives what the readers saw.
    ///
    /// # Errors
    /// When a thread fell.
    pub(super) async fn leave(mut self, expected: u64, stuck: u32) -> Outcome<Readers> {
        let until = Instant::now() + LAST_DELIVERIES;
        while self.counts.load(std::sync::atomic::Ordering::Relaxed) < expected
            && Instant::now() < until
        {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        self.stop.send_replace(true);
        let open = self.open;
        let mut all = Readers {
            open,
            stuck,
            delivered: 0,
            in_window: 0,
            expected,
            ended: 0,
            times: Times::new(),
            held: Vec::new(),
        };
        for _ in 0..self.threads {
            let seen = self.results.recv().await;
            let seen = seen.ok_or_else(|| Trouble::plain("a thread of the readers fell"))?;
            all.delivered += seen.delivered;
            all.in_window += seen.in_window;
            all.ended += seen.ended;
            if let Some(times) = &seen.times {
                all.times.merge(times);
            }
        }
        Ok(all)
    }
}

impl Hall {
    /// One thread's readers, until the end.
    async fn seat(
        mut self,
        openings: Vec<Bytes>,
        opened: mpsc::Sender<Result<(), String>>,
    ) -> Seen {
        let seen = Rc::new(RefCell::new(Seen::default()));
        let doors = Rc::new(Semaphore::new(OPENING_AT_ONCE));
        let mut readers = Vec::new();
        for opening in openings {
            let (hall, seen, doors) = (self.clone(), Rc::clone(&seen), Rc::clone(&doors));
            let opened = opened.clone();
            readers.push(actix_rt::spawn(async move {
                let entering = async {
                    let _turn = doors.acquire().await;
                    enter(hall.address, &opening).await
                };
                match entering.await {
                    Ok(wire) => {
                        if opened.send(Ok(())).await.is_ok() {
                            hall.listen(wire, &seen).await;
                        }
                    }
                    Err(why) => {
                        if opened.send(Err(why)).await.is_err() {
                            log::debug!("another reader was not let in either");
                        }
                    }
                }
            }));
        }
        drop(opened);
        if self.stop.wait_for(|stopped| *stopped).await.is_err() {
            log::debug!("the run was given up");
        }
        for reader in &readers {
            reader.abort();
        }
        seen.take()
    }

    /// Reads a stream until the server ends it.
    async fn listen(&self, mut wire: Wire, seen: &RefCell<Seen>) {
        let mut part = BytesMut::new();
        let (ends, mark) = (Finder::new("\n\n"), Finder::new(MARK));
        while let Ok(Some(piece)) = wire.piece().await {
            let load = *self.load.borrow();
            let now = Instant::now();
            let within = load.is_some_and(|load| (load.begin..load.end).contains(&now));
            if part.is_empty() {
                part = piece;
            } else {
                part.extend_from_slice(&piece);
            }
            let mut at = 0;
            let (mut found, mut came) = (0, 0);
            while let Some(end) = ends.find(part.get(at..).unwrap_or_default()) {
                let event = part.get(at..at + end).unwrap_or_default();
                at += end + 2;
                let sent = mark.find(event).and_then(|from| stamp(event.get(from + MARK.len()..)?));
                let Some((sent, load)) = sent.zip(load) else { continue };
                came += u64::from(within);
                let due = load.start + sent;
                // A stamp has whole microseconds.
                if due + Duration::from_micros(1) > load.begin {
                    found += 1;
                    let mut seen = seen.borrow_mut();
                    let times = seen.times.get_or_insert_with(Times::new);
                    times.add(now.saturating_duration_since(due));
                }
            }
            seen.borrow_mut().delivered += found;
            seen.borrow_mut().in_window += came;
            self.counts.fetch_add(found, std::sync::atomic::Ordering::Relaxed);
            if at >= part.len() || part.len() - at > PART_BYTES_MAX {
                part = BytesMut::new();
            } else {
                part = part.split_off(at);
            }
        }
        seen.borrow_mut().ended += 1;
    }
}

/// Opens one stream.
async fn enter(address: SocketAddr, opening: &[u8]) -> Result<Wire, String> {
    let entering = async {
        let mut wire = Wire::connect(address).await.map_err(|error| error.to_string())?;
        match wire.open(opening).await {
            // The first event says that it is subscribed.
            Ok(200) => match wire.piece().await {
                Ok(Some(_)) => Ok(wire),
                Ok(None) => Err("it ended at once".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Ok(status) => Err(format!("answered {status}")),
            Err(error) => Err(error.to_string()),
        }
    };
    let entered = tokio::time::timeout(OPEN_DEADLINE, entering).await;
    let entered = entered.unwrap_or_else(|_elapsed| Err("it did not open in time".to_owned()));
    entered.map_err(|why| format!("a stream was not opened: {why}"))
}

/// Opens streams that are never read from then on; they last as long as what is returned.
pub(super) async fn stuck(address: SocketAddr, opening: &Bytes, count: u32) -> Outcome<Vec<Wire>> {
    let mut wires = Vec::new();
    for _ in 0..count {
        let wire = enter(address, opening).await.map_err(Trouble::Plain)?;
        wire.take_little();
        wires.push(wire);
    }
    Ok(wires)
}

/// The time stamp at the beginning of `text`.
fn stamp(text: &[u8]) -> Option<Duration> {
    let digits = std::str::from_utf8(text.get(..STAMP_DIGITS)?).ok()?;
    digits.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_sixteen_digits_or_none() {
        assert_eq!(stamp(b"0000000000000042 x"), Some(Duration::from_micros(42)));
        for bad in [
            &b"42"[..],
            b"00000000000000x2",
            b"",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(stamp(bad), None, "{bad:?}");
        }
    }
}
