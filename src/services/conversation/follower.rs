//! Follows memory's log and gives every new item to the event bus, in the log's order.
//!
//! Whoever stored it and through whichever process: what is in the log is streamed, once. When the
//! connection breaks the client resumes it from the last item seen.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    answers_ping,
    backplane::{
        client::{ServicePort, StreamItem, StreamReader},
        discovery::CheckNow,
        fanout::{Broadcast, Bus, Faces},
        keeper,
        port::Port,
        vitals::House,
    },
    contract::{
        event,
        item::{Heading, Item, ROLE_USER},
    },
    domain::{
        failure::{Failure, Kind},
        sse,
    },
    services::conversation::bond::Bond,
};

/// The path of memory's log.
const LOG: &str = "log/stream";

/// Pause until it is tried again to keep which store is followed.
const MEETING_PAUSE: Duration = Duration::from_secs(1);
/// Events given to the bus in one message, at most.
const EVENTS_AT_ONCE: usize = 64;

/// Carries memory's log to the event bus.
pub struct Follower {
    memory: ServicePort,
    bus: Bus,
    /// The last item handed on, kept over a restart so that none is missed or repeated.
    seq: Option<i64>,
    reach: watch::Sender<Reach>,
    trouble: watch::Sender<Option<String>>,
    check: Port<CheckNow>,
    bond: Bond,
}

/// Whether memory's log is followed yet.
///
/// What is stored before that would not be streamed. So nothing is stored through this process
/// before the follower has begun; inputs wait in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The first connection is being made.
    Trying,
    /// The first connection was not to be had; it is tried again.
    Away,
    /// Everything after this sequence number comes over the bus.
    From(i64),
}

impl Reach {
    /// The sequence number after which the bus has everything.
    #[must_use]
    pub fn since(self) -> Option<i64> {
        match self {
            Reach::From(seq) => Some(seq),
            Reach::Trying | Reach::Away => None,
        }
    }
}

/// Waits until the log is followed, at most `patience`.
///
/// # Errors
/// `service_unavailable` when it is not by then.
pub async fn begun(mut reach: watch::Receiver<Reach>, patience: Duration) -> Result<i64, Failure> {
    let following = reach.wait_for(|reach| reach.since().is_some());
    let followed = tokio::time::timeout(patience, following).await;
    followed.ok().and_then(Result::ok).and_then(|reach| reach.since()).ok_or_else(|| {
        Failure::new(Kind::Unavailable, "the log of memory is not followed yet")
            .of_service("memory")
            .retry_after(Duration::from_secs(1))
    })
}

/// Why the log is not followed at the moment, if so.
pub type Trouble = watch::Receiver<Option<String>>;

#[derive(Message)]
#[rtype(result = "()")]
struct Seen(i64);

/// Whom the one who follows tells what.
struct Listeners {
    bus: Bus,
    seen: Port<Seen>,
    reach: watch::Sender<Reach>,
    trouble: watch::Sender<Option<String>>,
    check: Port<CheckNow>,
    bond: Bond,
}

impl Follower {
    /// Starts following on this arbiter, from now on; tells how far it is, and why it does not
    /// follow at the moment, if so.
    pub fn start(
        house: &House,
        memory: ServicePort,
        bus: Bus,
        check: Port<CheckNow>,
        bond: Bond,
    ) -> (watch::Receiver<Reach>, Trouble) {
        let (reach, watched) = watch::channel(Reach::Trying);
        let (trouble, told) = watch::channel(None);
        keeper::start(house, "follower", |_| Follower {
            memory,
            bus,
            seq: None,
            reach,
            trouble,
            check,
            bond,
        });
        (watched, told)
    }
}

impl Actor for Follower {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        let (memory, seq) = (self.memory.clone(), self.seq);
        let told = Listeners {
            bus: self.bus.clone(),
            seen: Port::to("follower", &ctx.address(), 1, Duration::from_secs(1)),
            reach: self.reach.clone(),
            trouble: self.trouble.clone(),
            check: self.check.clone(),
            bond: self.bond.clone(),
        };
        let following = async move {
            match memory.open(LOG.to_owned(), seq).await {
                Ok(reader) => follow(reader, &told).await,
                Err(failure) => log::error!("memory's log cannot be followed cause={failure}"),
            }
        };
        // When following ends the actor stops, and the keeper starts it again.
        ctx.spawn(following.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}
impl Supervised for Follower {}
answers_ping!(Follower);

impl Handler<Seen> for Follower {
    type Result = ();
    fn handle(&mut self, Seen(seq): Seen, _: &mut Context<Self>) {
        self.seq = Some(seq);
    }
}

/// Follows one stream to its end.
async fn follow(mut reader: StreamReader, told: &Listeners) {
    let Listeners { bus, seen, reach, check, .. } = told;
    let mut last = i64::MIN;
    // The first failure is told, too.
    let mut connected = true;
    // A stream ends now and then, with its token; that is no news.
    let mut quiet = false;
    let mut waiting = None;
    loop {
        let next = match waiting.take() {
            Some(item) => Some(item),
            None => reader.next().await,
        };
        let Some(item) = next else { return };
        match item {
            StreamItem::Connected { store } => {
                connected = true;
                told.meet(store.as_deref()).await;
                if std::mem::replace(&mut quiet, true) {
                    log::debug!("following the log of memory on another connection");
                } else {
                    log::info!("following the log of memory");
                }
            }
            StreamItem::Position(seq) => {
                if seq < last {
                    log::warn!("the log of memory was set back from={last} to={seq}");
                    bus.end_streams();
                }
                last = seq;
                told.trouble.send_replace(None);
                remember(seen, seq);
                reach.send_if_modified(|reach| {
                    let begins = reach.since().is_none();
                    if begins {
                        *reach = Reach::From(seq);
                    }
                    begins
                });
            }
            StreamItem::Interrupted(failure) => {
                reach.send_if_modified(|reach| {
                    std::mem::replace(reach, away(*reach)) == Reach::Trying
                });
                told.trouble.send_replace(Some(failure.to_string()));
                // The stream notices first that memory has gone; a check tells everyone.
                if let Err(failure) = check.tell(CheckNow { service: "memory" }) {
                    log::debug!("no check asked for cause={failure}");
                }
                if std::mem::replace(&mut connected, false) {
                    quiet = false;
                    log::warn!("the log of memory is interrupted cause={failure}");
                } else {
                    log::debug!("the log of memory is still away cause={failure}");
                }
            }
            StreamItem::Event { seq, data } => {
                let events = gather(&mut reader, (seq, data), &mut last, &mut waiting);
                bus.publish(events);
                if last > i64::MIN {
                    remember(seen, last);
                }
            }
        }
    }
}

impl Listeners {
    /// Waits until it is kept which store is followed: nothing is followed before.
    async fn meet(&self, store: Option<&str>) {
        let Some(store) = store else { return };
        while let Err(failure) = self.bond.meet(store).await {
            log::error!("memory's log is not followed store={store} cause={failure}");
            self.trouble.send_replace(Some(failure.to_string()));
            tokio::time::sleep(MEETING_PAUSE).await;
        }
    }
}

/// An entry with those that have come meanwhile: one message for many events. `last` becomes the
/// number of the last of them, `waiting` what came after them and is something else.
fn gather(
    reader: &mut StreamReader,
    (seq, data): (Option<i64>, String),
    last: &mut i64,
    waiting: &mut Option<StreamItem>,
) -> Vec<Broadcast> {
    let mut events: Vec<Broadcast> = broadcast(data).into_iter().collect();
    *last = seq.unwrap_or(*last);
    while events.len() < EVENTS_AT_ONCE {
        match reader.ready() {
            Some(StreamItem::Event { seq, data }) => {
                events.extend(broadcast(data));
                *last = seq.unwrap_or(*last);
            }
            other => {
                *waiting = other;
                break;
            }
        }
    }
    events
}

/// A connection was not to be had, or broke; what was begun goes on from where it was.
fn away(reach: Reach) -> Reach {
    match reach {
        Reach::Trying | Reach::Away => Reach::Away,
        Reach::From(seq) => Reach::From(seq),
    }
}

fn remember(seen: &Port<Seen>, seq: i64) {
    if let Err(failure) = seen.tell(Seen(seq)) {
        // The mailbox holds earlier marks; a later one follows.
        log::debug!("mark in the log not remembered seq={seq} cause={failure}");
    }
}

/// An entry of the log as the output stream's event, read whole and rendered only for those who
/// listen.
fn broadcast(json: String) -> Option<Broadcast> {
    match serde_json::from_str::<Heading<'_>>(&json) {
        Ok(heading) => Some(Broadcast {
            user: heading.user_id.as_ref().into(),
            conversation: heading.conversation_id.map(Into::into),
            seq: heading.seq,
            kind: if heading.role == ROLE_USER { "input" } else { "output" },
            faces: Arc::new(Said(json)),
        }),
        Err(error) => {
            log::error!("an entry of the log was not understood cause={error}");
            None
        }
    }
}

/// An item as memory wrote it.
#[derive(Debug)]
struct Said(String);

impl Faces for Said {
    fn render(&self, face: usize) -> Option<Bytes> {
        match serde_json::from_str::<Item>(&self.0) {
            Ok(item) => {
                let event = event::face(&item, face);
                Some(Bytes::from(sse::render(Some(item.seq), &event.to_string())))
            }
            Err(error) => {
                log::error!("an entry of the log was not understood cause={error}");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_beginning_and_no_longer_than_told() {
        let (reach, watched) = watch::channel(Reach::Trying);
        let patience = Duration::from_secs(1);
        assert_eq!(begun(watched.clone(), patience).await.unwrap_err().kind, Kind::Unavailable);
        let (waited, ()) = tokio::join!(begun(watched, patience), async {
            reach.send_replace(away(Reach::Trying));
            reach.send_replace(Reach::From(7));
        });
        assert_eq!(waited, Ok(7));
    }

    #[test]
    fn an_entry_is_handed_on_by_its_heading_and_read_when_somebody_listens() {
        let said = broadcast(
            r#"{"seq":7,"id":"m","user_id":"u","conversation_id":"c","role":"user",
                "content":"hi","timestamp":"t"}"#
                .to_owned(),
        )
        .unwrap();
        assert_eq!((said.user.as_ref(), said.seq, said.kind), ("u", 7, "input"));
        let event = said.faces.render(event::FACE_PLAIN).unwrap();
        assert!(event.starts_with(b"id: 7\n"), "{event:?}");
        for garbled in ["", "{}", r#"{"seq":"x","user_id":"u"}"#] {
            assert!(broadcast(garbled.to_owned()).is_none(), "{garbled}");
        }
        let half = broadcast(r#"{"seq":7,"user_id":"u"}"#.to_owned()).unwrap();
        assert_eq!(half.faces.render(event::FACE_PLAIN), None);
    }

    #[test]
    fn an_interruption_does_not_move_the_beginning() {
        assert_eq!(away(Reach::Trying), Reach::Away);
        assert_eq!(away(Reach::From(7)), Reach::From(7));
    }
}
