//! Follows memory's log and gives every new item to the event bus, in the log's order.
//!
//! Whoever stored it and through whichever process: what is in the log is streamed, once. When the
//! connection breaks the client resumes it from the last item seen.

use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    answers_ping,
    backplane::{
        client::{ServicePort, StreamItem, StreamReader},
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
    since: Arc<watch::Sender<Option<i64>>>,
}

/// From where on the bus has everything: the sequence number the follower began after, once it has
/// reached memory. What was stored up to it is in memory only.
pub type Since = watch::Receiver<Option<i64>>;

#[derive(Message)]
#[rtype(result = "()")]
struct Seen(i64);

impl Follower {
    /// Starts following on this arbiter, from now on.
    pub fn start(house: &House, memory: ServicePort, bus: Bus) -> Since {
        let (since, begun) = watch::channel(None);
        let since = Arc::new(since);
        keeper::start(house, "follower", |_| Follower { memory, bus, seq: None, since });
        begun
    }
}

impl Actor for Follower {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        let (memory, bus, seq) = (self.memory.clone(), self.bus.clone(), self.seq);
        let since = Arc::clone(&self.since);
        let seen =
            Port::<Seen>::to("follower", &ctx.address(), 1, std::time::Duration::from_secs(1));
        let following = async move {
            match memory.open(LOG.to_owned(), seq).await {
                Ok(reader) => follow(reader, &bus, &seen, &since).await,
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
        self.seq = self.seq.max(Some(seq));
    }
}

async fn follow(
    mut reader: StreamReader,
    bus: &Bus,
    seen: &Port<Seen>,
    since: &watch::Sender<Option<i64>>,
) {
    while let Some(item) = reader.next().await {
        match item {
            StreamItem::Connected => log::info!("following the log of memory"),
            StreamItem::Position(seq) => {
                since.send_if_modified(|since| since.is_none() && since.insert(seq) == &seq);
                remember(seen, seq);
            }
            StreamItem::Interrupted(failure) => {
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
                    remember(seen, seq);
                }
            }
        }
    }
}

fn remember(seen: &Port<Seen>, seq: i64) {
    if let Err(failure) = seen.tell(Seen(seq)) {
        // The mailbox holds earlier marks; a later one follows.
        log::debug!("mark in the log not remembered seq={seq} cause={failure}");
    }
}

/// An item as the output stream's event, rendered once for each vocabulary.
fn broadcast(item: &Item) -> Broadcast {
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
