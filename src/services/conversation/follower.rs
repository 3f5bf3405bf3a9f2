//! Follows memory's log and gives every new item to the event bus, in the log's order.
//!
//! Whoever stored it and through whichever process: what is in the log is streamed, once. When the
//! connection breaks the client resumes it from the last item seen.

use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    answers_ping,
    backplane::{
        client::{ServicePort, StreamItem, StreamReader},
        discovery::CheckNow,
        fanout::{Broadcast, Bus},
        keeper,
        port::Port,
        vitals::House,
    },
    contract::{
        event,
        item::{Item, ROLE_USER},
    },
    domain::sse,
};

/// The path of memory's log.
const LOG: &str = "log/stream";

/// Carries memory's log to the event bus.
pub struct Follower {
    memory: ServicePort,
    bus: Bus,
    /// The last item handed on, kept over a restart so that none is missed or repeated.
    seq: Option<i64>,
    beginning: Arc<Beginning>,
    check: Port<CheckNow>,
}

/// From where on the bus has everything: the sequence number the follower began after, once it has
/// reached memory.
///
/// An input may be acknowledged before the follower has begun. It must be streamed once all the
/// same: the follower begins before the first such input, and what is acknowledged afterwards,
/// though it was stored before, is handed to the bus by whoever acknowledged it.
#[derive(Debug)]
pub struct Beginning {
    known: watch::Sender<Option<i64>>,
    /// The first input acknowledged before the follower had begun.
    first: Mutex<i64>,
}

impl Default for Beginning {
    fn default() -> Self {
        Beginning { known: watch::Sender::new(None), first: Mutex::new(i64::MAX) }
    }
}

impl Beginning {
    /// An input was stored under `seq` and is acknowledged now; whether the follower will not
    /// bring it, so that it must be published otherwise.
    #[must_use]
    pub fn acknowledged(&self, seq: i64) -> bool {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = *self.known.borrow() {
            return seq <= since;
        }
        *first = seq.min(*first);
        false
    }

    /// The follower has reached memory, whose log has come to `position`: where it begins.
    fn begin(&self, position: i64) -> i64 {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = *self.known.borrow() {
            return since;
        }
        let since = position.min(*first - 1);
        self.known.send_replace(Some(since));
        since
    }

    /// Where the bus begins, once that is known.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<i64>> {
        self.known.subscribe()
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Seen(i64);

impl Follower {
    /// Starts following on this arbiter, from now on.
    pub fn start(
        house: &House,
        memory: ServicePort,
        bus: Bus,
        check: Port<CheckNow>,
    ) -> Arc<Beginning> {
        let beginning = Arc::new(Beginning::default());
        let kept = Arc::clone(&beginning);
        keeper::start(house, "follower", |_| Follower {
            memory,
            bus,
            seq: None,
            beginning: kept,
            check,
        });
        beginning
    }
}

impl Actor for Follower {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        let (memory, bus, seq) = (self.memory.clone(), self.bus.clone(), self.seq);
        let beginning = Arc::clone(&self.beginning);
        let check = self.check.clone();
        let seen =
            Port::<Seen>::to("follower", &ctx.address(), 1, std::time::Duration::from_secs(1));
        let following = async move {
            let mut after = seq;
            loop {
                let fresh = after.is_none().then_some(beginning.as_ref());
                after = match memory.open(LOG.to_owned(), after).await {
                    Ok(reader) => follow(reader, &bus, &seen, fresh, &check).await,
                    Err(failure) => {
                        log::error!("memory's log cannot be followed cause={failure}");
                        None
                    }
                };
                if after.is_none() {
                    return;
                }
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

/// Follows one stream to its end. `fresh` is where the bus will begin, before that is known; the
/// answer is where to begin instead, if not here.
async fn follow(
    mut reader: StreamReader,
    bus: &Bus,
    seen: &Port<Seen>,
    mut fresh: Option<&Beginning>,
    check: &Port<CheckNow>,
) -> Option<i64> {
    let mut last = i64::MIN;
    while let Some(item) = reader.next().await {
        match item {
            StreamItem::Connected => log::info!("following the log of memory"),
            StreamItem::Position(seq) => {
                if seq < last {
                    log::warn!("the log of memory was set back from={last} to={seq}");
                    bus.end_streams();
                }
                last = seq;
                if let Some(beginning) = fresh.take() {
                    let since = beginning.begin(seq);
                    if since < seq {
                        return Some(since);
                    }
                }
                remember(seen, seq);
            }
            StreamItem::Interrupted(failure) => {
                // The stream notices first that memory has gone; a check tells everyone.
                if let Err(failure) = check.tell(CheckNow { service: "memory" }) {
                    log::debug!("no check asked for cause={failure}");
                }
                log::warn!("the log of memory is interrupted cause={failure}");
            }
            StreamItem::Event { seq, data } => {
                let item: Item = match serde_json::from_value(data) {
                    Ok(item) => item,
                    Err(error) => {
                        log::error!("an entry of the log was not understood cause={error}");
                        continue;
                    }
                };
                bus.publish(vec![broadcast(&item)]);
                if let Some(seq) = seq {
                    last = seq;
                    remember(seen, seq);
                }
            }
        }
    }
    None
}

fn remember(seen: &Port<Seen>, seq: i64) {
    if let Err(failure) = seen.tell(Seen(seq)) {
        // The mailbox holds earlier marks; a later one follows.
        log::debug!("mark in the log not remembered seq={seq} cause={failure}");
    }
}

/// An item as the output stream's event, rendered once for each vocabulary.
#[must_use]
pub fn broadcast(item: &Item) -> Broadcast {
    let render =
        |event: serde_json::Value| Bytes::from(sse::render(Some(item.seq), &event.to_string()));
    Broadcast {
        user: item.user_id.as_str().into(),
        conversation: item.conversation_id.as_deref().map(Into::into),
        seq: item.seq,
        kind: if item.role == ROLE_USER { "input" } else { "output" },
        faces: vec![render(event::plain(item)), render(event::message(item))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_before_the_beginning_is_brought_by_the_follower() {
        let beginning = Beginning::default();
        assert!(!beginning.acknowledged(7));
        assert!(!beginning.acknowledged(5));
        assert_eq!(beginning.begin(10), 4, "before the first of them");
        assert!(!beginning.acknowledged(9), "stored before, acknowledged after: still brought");
        assert!(!beginning.acknowledged(11));
    }

    #[test]
    fn what_was_stored_before_the_beginning_and_acknowledged_after_is_not() {
        let beginning = Beginning::default();
        assert_eq!(beginning.begin(10), 10);
        assert!(beginning.acknowledged(10));
        assert!(!beginning.acknowledged(11));
        assert_eq!(beginning.begin(12), 10, "it begins once");
    }
}
