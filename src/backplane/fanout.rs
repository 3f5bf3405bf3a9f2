//! The event bus: an actor that hands each event to everyone who listens for its user.
//!
//! Events are rendered once, before they come here. Every subscriber has a bounded queue; one that
//! does not keep up is dropped, so that it slows nobody, and resumes by the id of what it saw last.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::prelude::*;
use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    answers_ping,
    backplane::{
        keeper,
        metrics::Metrics,
        port::Port,
        queue::{Delivery, Feeder, Subscription, Unqueued, queue},
        vitals::House,
    },
    domain::failure::{Failure, Kind},
};

const SUBSCRIBING_AT_ONCE: usize = 1024;
const SUBSCRIBING_DEADLINE: Duration = Duration::from_secs(5);
/// How much longer the queue of those who follow everyone is.
const EVERYONE_QUEUE_FACTOR: usize = 16;
/// How often subscriptions whose reader has gone are cleared away without an event.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What an event looks like; asked only if somebody listens, once for each vocabulary.
pub trait Faces: fmt::Debug + Send + Sync {
    /// The event as bytes in the vocabulary `face`, if there is such a one.
    fn render(&self, face: usize) -> Option<Bytes>;
}

/// Bytes that are rendered already, one for each vocabulary.
impl Faces for Vec<Bytes> {
    fn render(&self, face: usize) -> Option<Bytes> {
        self.get(face).cloned()
    }
}

/// One event, ready to send.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// Whose it is.
    pub user: Arc<str>,
    /// Which conversation it belongs to.
    pub conversation: Option<Arc<str>>,
    /// Its place in memory's log.
    pub seq: i64,
    /// Its kind, for counting.
    pub kind: &'static str,
    /// The event as bytes, one rendering per vocabulary.
    pub faces: Arc<dyn Faces>,
}

/// What a bus may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events that wait for one subscriber.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Subscribers at once.
    pub subscribers: usize,
}

/// Hands events, in order, to those who listen.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Publish {
    /// In the order of the log.
    pub events: Vec<Broadcast>,
    /// When they were handed over.
    pub at: Instant,
}

/// Listens from now on.
#[derive(Message)]
#[rtype(result = "Result<Subscription, Failure>")]
pub struct Subscribe {
    /// Whose events; `None` means everyone's.
    pub user: Option<String>,
    /// Only those of this conversation.
    pub conversation: Option<String>,
    /// Which rendering.
    pub face: usize,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Sweep;

/// The bus as others hold it. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    publish: Port<Publish>,
    subscribe: Port<Subscribe>,
    lost: Arc<AtomicBool>,
}

impl Bus {
    /// Hands events over without waiting. If the bus cannot take them, all its streams end, so
    /// that nobody misses an event unknowingly: they resume from what they saw last.
    pub fn publish(&self, events: Vec<Broadcast>) {
        if let Err(failure) = self.publish.tell(Publish { events, at: Instant::now() }) {
            log::error!("events not taken by the bus; ending its streams cause={failure}");
            self.end_streams();
        }
    }

    /// Ends all streams of the bus: their readers resume, each from what it saw last.
    pub fn end_streams(&self) {
        self.lost.store(true, Ordering::Release);
        if let Err(failure) = self.publish.tell(Publish { events: Vec::new(), at: Instant::now() })
        {
            log::debug!("streams end with the next event cause={failure}");
        }
    }

    /// Listens from now on; the receiver ends when the subscriber was too slow.
    ///
    /// # Errors
    /// `overloaded` when there are too many subscribers.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription, Failure> {
        self.subscribe.ask(subscribe).await
    }
}

struct Subscriber {
    conversation: Option<String>,
    face: usize,
    queue: Feeder,
}

/// Knows who listens.
pub struct BusActor {
    metrics: Metrics,
    bounds: Bounds,
    by_user: HashMap<String, Vec<Subscriber>>,
    everyone: Vec<Subscriber>,
    lost: Arc<AtomicBool>,
}

impl BusActor {
    /// Starts a bus on this arbiter.
    pub fn start(house: &House, metrics: &Metrics, bounds: Bounds) -> Bus {
        let lost = Arc::new(AtomicBool::new(false));
        let actor = BusActor {
            metrics: metrics.clone(),
            bounds,
            by_user: HashMap::new(),
            everyone: Vec::new(),
            lost: Arc::clone(&lost),
        };
        let address = keeper::start(house, "event bus", |_| actor);
        Bus {
            publish: Port::to("event bus", &address, SUBSCRIBING_AT_ONCE, SUBSCRIBING_DEADLINE),
            subscribe: Port::to("event bus", &address, SUBSCRIBING_AT_ONCE, SUBSCRIBING_DEADLINE),
            lost,
        }
    }

    fn count(&self) -> usize {
        self.everyone.len() + self.by_user.values().map(Vec::len).sum::<usize>()
    }

    fn hand_out(&mut self, event: &Broadcast, at: Instant) {
        let metrics = &self.metrics;
        let mut rendered = Vec::new();
        let mut reached = hand_to(&mut self.everyone, event, &mut rendered, metrics);
        if let Some(subscribers) = self.by_user.get_mut(event.user.as_ref()) {
            reached += hand_to(subscribers, event, &mut rendered, metrics);
            if subscribers.is_empty() {
                self.by_user.remove(event.user.as_ref());
            }
        }
        metrics.published(event.kind, reached, at.elapsed());
    }

    fn sweep(&mut self) {
        if self.lost.swap(false, Ordering::AcqRel) {
            self.everyone.clear();
            self.by_user.clear();
        }
        self.everyone.retain(|subscriber| !subscriber.queue.is_closed());
        self.by_user.retain(|_, subscribers| {
            subscribers.retain(|subscriber| !subscriber.queue.is_closed());
            !subscribers.is_empty()
        });
        self.measure();
    }

    fn measure(&self) {
        let all = self.by_user.values().flatten().chain(&self.everyone);
        let queued = all.map(|s| s.queue.len()).sum();
        self.metrics.subscribers(self.count(), queued);
    }
}

/// Queues an event with those it concerns; drops those who have gone or do not keep up.
fn hand_to(
    subscribers: &mut Vec<Subscriber>,
    event: &Broadcast,
    rendered: &mut Rendered,
    metrics: &Metrics,
) -> usize {
    let mut reached = 0;
    subscribers.retain(|subscriber| {
        let concerned = subscriber
            .conversation
            .as_deref()
            .is_none_or(|wanted| event.conversation.as_deref() == Some(wanted));
        if !concerned {
            return true;
        }
        let Some(delivery) = face(event, subscriber.face, rendered) else { return true };
        match subscriber.queue.offer(delivery) {
            Ok(()) => {
                reached += 1;
                true
            }
            Err(Unqueued::Full) => {
                log::warn!("subscriber dropped: too slow user={}", event.user);
                metrics.dropped("slow");
                false
            }
            Err(Unqueued::Gone) => false,
        }
    });
    reached
}

/// An event in the vocabularies it was needed in so far.
type Rendered = Vec<(usize, Option<Arc<Delivery>>)>;

/// An event in one vocabulary, rendered when it is first needed.
fn face(event: &Broadcast, face: usize, rendered: &mut Rendered) -> Option<Arc<Delivery>> {
    if let Some((_, delivery)) = rendered.iter().find(|(known, _)| *known == face) {
        return delivery.clone();
    }
    let bytes = event.faces.render(face);
    let delivery = bytes.map(|bytes| Arc::new(Delivery { seq: event.seq, bytes }));
    rendered.push((face, delivery.clone()));
    delivery
}

impl Actor for BusActor {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.notify_later(Sweep, SWEEP_INTERVAL);
    }
}
impl Supervised for BusActor {
    // What was under way when it fell may be half done: let everyone resume.
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.by_user.clear();
        self.everyone.clear();
    }
}
answers_ping!(BusActor);

impl Handler<Publish> for BusActor {
    type Result = ();
    fn handle(&mut self, Publish { events, at }: Publish, _: &mut Context<Self>) {
        if self.lost.load(Ordering::Acquire) {
            self.sweep();
        }
        for event in &events {
            self.hand_out(event, at);
        }
    }
}

impl Handler<Subscribe> for BusActor {
    type Result = Result<Subscription, Failure>;
    fn handle(&mut self, wish: Subscribe, _: &mut Context<Self>) -> Self::Result {
        self.sweep();
        if self.count() >= self.bounds.subscribers {
            return Err(Failure::new(Kind::Overloaded, "too many open streams")
                .retry_after(Duration::from_secs(5)));
        }
        let own = wish.user.as_ref().and_then(|user| self.by_user.get(user)).map_or(0, Vec::len);
        if own >= self.bounds.subscribers.div_ceil(2) {
            return Err(Failure::new(Kind::Overloaded, "too many open streams of this user")
                .retry_after(Duration::from_secs(5)));
        }
        // Who follows everyone gets whole commits at once, many times what a user says.
        let share = if wish.user.is_none() { EVERYONE_QUEUE_FACTOR } else { 1 };
        let (queue, receiver) = queue(self.bounds.events * share, self.bounds.bytes * share);
        let subscriber = Subscriber { conversation: wish.conversation, face: wish.face, queue };
        match wish.user {
            Some(user) => self.by_user.entry(user).or_default().push(subscriber),
            None => self.everyone.push(subscriber),
        }
        self.measure();
        Ok(receiver)
    }
}

impl Handler<Sweep> for BusActor {
    type Result = ();
    fn handle(&mut self, _: Sweep, ctx: &mut Context<Self>) {
        self.sweep();
        ctx.notify_later(Sweep, SWEEP_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user: &str, conversation: &str, seq: i64) -> Broadcast {
        Broadcast {
            user: user.into(),
            conversation: Some(conversation.into()),
            seq,
            kind: "input",
            faces: Arc::new(vec![Bytes::from(format!("{seq}"))]),
        }
    }

    fn bus(queue_max: usize) -> Bus {
        tokio::time::pause();
        let bounds = Bounds { events: queue_max, bytes: 1_000_000, subscribers: 100 };
        BusActor::start(&House::new(), &Metrics::new("test"), bounds)
    }

    async fn listen(bus: &Bus, user: Option<&str>, conversation: Option<&str>) -> Subscription {
        let subscribe = Subscribe {
            user: user.map(str::to_owned),
            conversation: conversation.map(str::to_owned),
            face: 0,
        };
        bus.subscribe(subscribe).await.unwrap()
    }

    async fn seqs(receiver: &mut Subscription, count: usize) -> Vec<i64> {
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.push(receiver.recv().await.expect("an event").seq);
        }
        seen
    }

    #[actix::test]
    async fn two_streams_of_one_user_both_get_every_event_others_none() {
        let bus = bus(16);
        let mut first = listen(&bus, Some("u"), None).await;
        let mut second = listen(&bus, Some("u"), None).await;
        let mut stranger = listen(&bus, Some("v"), None).await;
        let mut all = listen(&bus, None, None).await;
        bus.publish((1..=3).map(|seq| event("u", "c", seq)).collect());
        assert_eq!(seqs(&mut first, 3).await, [1, 2, 3]);
        assert_eq!(seqs(&mut second, 3).await, [1, 2, 3]);
        assert_eq!(seqs(&mut all, 3).await, [1, 2, 3]);
        assert!(stranger.ready().is_none());
    }

    #[actix::test]
    async fn a_conversation_filter_lets_only_its_events_through() {
        let bus = bus(16);
        let mut filtered = listen(&bus, Some("u"), Some("b")).await;
        bus.publish(vec![event("u", "a", 1), event("u", "b", 2), event("u", "a", 3)]);
        bus.publish(vec![event("u", "b", 4)]);
        assert_eq!(seqs(&mut filtered, 2).await, [2, 4]);
    }

    #[actix::test]
    async fn a_reader_that_does_not_keep_up_is_dropped_without_touching_the_others() {
        let bus = bus(4);
        let mut slow = listen(&bus, Some("u"), None).await;
        let mut quick = listen(&bus, Some("u"), None).await;
        for seq in 1..=9 {
            bus.publish(vec![event("u", "c", seq)]);
            assert_eq!(seqs(&mut quick, 1).await, [seq]);
        }
        assert_eq!(seqs(&mut slow, 4).await, [1, 2, 3, 4], "what was queued is still good");
        assert!(slow.recv().await.is_none(), "and then the stream ends");
    }

    #[actix::test]
    async fn subscribers_are_bounded_and_leaving_makes_room() {
        tokio::time::pause();
        let bounds = Bounds { events: 4, bytes: 1000, subscribers: 1 };
        let bus = BusActor::start(&House::new(), &Metrics::new("test"), bounds);
        let first = listen(&bus, Some("u"), None).await;
        let again = || Subscribe { user: None, conversation: None, face: 0 };
        assert_eq!(bus.subscribe(again()).await.unwrap_err().kind, Kind::Overloaded);
        drop(first);
        assert!(bus.subscribe(again()).await.is_ok());
    }
}
