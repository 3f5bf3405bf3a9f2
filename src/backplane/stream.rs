//! Server-sent event answers: a task pumps events into a small queue that the connection drains.
//!
//! The queue is short, so a reader that stops reading stops the pump, its bus queue fills, the bus
//! drops it, and the pump ends. A vanished reader closes the queue and the pump ends too.

use std::{convert::Infallible, future::Future, pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    backplane::{
        context,
        drain::Drain,
        queue::{Delivery, Subscription},
    },
    domain::sse,
};

/// Chunks that wait for the connection.
const CHUNKS_WAITING_MAX: usize = 2;
/// Queued events are joined into chunks of about this size: one write for many events.
const CHUNK_BYTES: usize = 65_536;

const TOO_SLOW: &[u8] = b": this reader is too slow; resume after the last event seen\n\n";
const EXPIRED: &[u8] = b": the token has expired\n\n";

/// The reader has gone, or the process is leaving: the pump should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

/// Boxed: the channel keeps room for 32 of them, also for a reader to whom nothing is sent.
type Chunk = Box<Bytes>;

/// The pump's end of an answer.
pub struct Outlet {
    chunks: mpsc::Sender<Chunk>,
    drain: Drain,
    keep_alive: Duration,
    until: Option<Instant>,
}

/// When an idle stream has something to do.
struct Times {
    /// A comment is due, unless something is sent before.
    quiet: Instant,
    /// A heartbeat is due.
    beat: Option<Instant>,
    /// The reader's token ends.
    end: Option<Instant>,
}

impl Times {
    fn next(&self) -> Instant {
        [self.beat, self.end].into_iter().flatten().fold(self.quiet, Instant::min)
    }
}

/// Ends when the reader's token does.
async fn token_ends(until: Option<Instant>) {
    match until {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl Outlet {
    /// Sends bytes; waits while the reader is slow.
    ///
    /// # Errors
    /// [`Ended`] when the reader has gone or the process is leaving.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), Ended> {
        tokio::select! {
            sent = self.chunks.send(Box::new(bytes)) => sent.map_err(|_gone| Ended),
            () = token_ends(self.until) => {
                self.say(EXPIRED);
                Err(Ended)
            }
            () = self.drain.leaving() => {
                self.say_goodbye();
                Err(Ended)
            }
        }
    }

    /// Pumps a subscription until it or the reader ends. Deliveries up to `after` are left out.
    /// `heartbeat`, if any, makes an event every so often; a comment goes out in any silence.
    ///
    /// # Errors
    /// [`Ended`] when the reader has gone or the process is leaving; `Ok` when the subscription
    /// ended, which means that the reader was too slow.
    pub async fn pump(
        &mut self,
        mut events: Subscription,
        after: i64,
        heartbeat: Option<(Duration, fn() -> Bytes)>,
    ) -> Result<(), Ended> {
        let now = Instant::now();
        let mut times = Times {
            quiet: now + self.keep_alive,
            beat: heartbeat.map(|(period, _)| now + period),
            end: self.until,
        };
        // One timer for all of them, set anew only when it rings: an idle stream is small, and an
        // event costs no timer.
        let mut alarm = pin!(tokio::time::sleep_until(times.next()));
        let closed = self.chunks.clone();
        loop {
            let chunk = tokio::select! {
                () = self.drain.leaving() => {
                    self.say_goodbye();
                    return Err(Ended);
                }
                () = closed.closed() => return Err(Ended),
                first = events.recv() => match first {
                    Some(first) => {
                        times.quiet = Instant::now() + self.keep_alive;
                        gather(&first, &mut events, after)
                    }
                    None => {
                        // It may have to read a little before there is room to tell it.
                        let told = self.chunks.send(Box::new(Bytes::from_static(TOO_SLOW)));
                        if tokio::time::timeout(self.keep_alive, told).await.is_err() {
                            log::debug!("a slow reader was not told why its stream ends");
                        }
                        return Ok(());
                    }
                },
                () = alarm.as_mut() => {
                    let now = Instant::now();
                    if times.end.is_some_and(|end| end <= now) {
                        self.say(EXPIRED);
                        return Err(Ended);
                    }
                    let chunk = match heartbeat {
                        Some((period, render)) if times.beat.is_some_and(|beat| beat <= now) => {
                            times.beat = Some(now + period);
                            times.quiet = now + self.keep_alive;
                            render()
                        }
                        Some(_) | None if times.quiet <= now => {
                            times.quiet = now + self.keep_alive;
                            Bytes::from_static(b": keep-alive\n\n")
                        }
                        Some(_) | None => Bytes::new(),
                    };
                    alarm.as_mut().reset(times.next());
                    chunk
                }
            };
            if !chunk.is_empty() {
                self.send_or_be_dropped(chunk, &events).await?;
            }
        }
    }

    /// Sends while watching the subscription: a reader so slow that the bus dropped it would
    /// otherwise keep this task for ever.
    async fn send_or_be_dropped(
        &mut self,
        chunk: Bytes,
        events: &Subscription,
    ) -> Result<(), Ended> {
        let patience = self.keep_alive;
        loop {
            match tokio::time::timeout(patience, self.chunks.reserve()).await {
                Ok(Ok(place)) => {
                    place.send(Box::new(chunk));
                    return Ok(());
                }
                Ok(Err(_gone)) => return Err(Ended),
                Err(_still_slow) if events.is_closed() => return Err(Ended),
                Err(_still_slow) if self.drain.is_leaving() => return Err(Ended),
                Err(_still_slow) => {}
            }
        }
    }

    /// Says why the stream ends, if the reader still takes anything.
    fn say(&self, why: &'static [u8]) {
        if self.chunks.try_send(Box::new(Bytes::from_static(why))).is_err() {
            log::debug!("a stream ended without a word");
        }
    }

    /// Tells the reader when to come back: in 1 to 5 s, spread so that not all come at once.
    fn say_goodbye(&self) {
        let wait = fastrand::u32(1000..5000);
        let goodbye = Bytes::from(format!("retry: {wait}\n\n"));
        if self.chunks.try_send(Box::new(goodbye)).is_err() {
            log::debug!("a stream ended without its retry hint");
        }
    }
}

/// Joins what is queued into one chunk.
fn gather(first: &Delivery, events: &mut Subscription, after: i64) -> Bytes {
    let fresh = |delivery: &Delivery| delivery.seq > after;
    let mut next = events.ready();
    if next.is_none() {
        return if fresh(first) { first.bytes.clone() } else { Bytes::new() };
    }
    let mut chunk = BytesMut::new();
    if fresh(first) {
        chunk.extend_from_slice(&first.bytes);
    }
    while let Some(delivery) = next {
        if fresh(&delivery) {
            chunk.extend_from_slice(&delivery.bytes);
        }
        next = if chunk.len() < CHUNK_BYTES { events.ready() } else { None };
    }
    chunk.freeze()
}

/// Starts `pump` on this arbiter and gives the body it fills. The pump's task ends with it, and at
/// the end of the token that the context was given.
pub fn body<F, Fut>(
    keep_alive: Duration,
    drain: Drain,
    pump: F,
) -> impl Stream<Item = Result<Bytes, Infallible>> + use<F, Fut>
where
    F: FnOnce(Outlet) -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    let (chunks, queue) = mpsc::channel(CHUNKS_WAITING_MAX);
    let context = context::current();
    let until = context.as_ref().and_then(|context| context.authorized_until);
    let pumping = pump(Outlet { chunks, drain, keep_alive, until });
    match context {
        Some(context) => actix_rt::spawn(context.without_deadline().scope(pumping)),
        None => actix_rt::spawn(pumping),
    };
    futures_util::stream::unfold(queue, |mut queue| async move {
        queue.recv().await.map(|bytes| (Ok(*bytes), queue))
    })
}

/// Renders a value as one event.
#[must_use]
pub fn event(id: Option<i64>, value: &serde_json::Value) -> Bytes {
    Bytes::from(sse::render(id, &value.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt as _;

    use super::*;
    use crate::backplane::{drain, queue::queue};

    fn beat() -> Bytes {
        Bytes::from("beat")
    }

    fn delivery(seq: i64) -> Arc<Delivery> {
        Arc::new(Delivery { seq, bytes: Bytes::from(format!("{seq};")) })
    }

    #[actix::test]
    async fn queued_events_are_joined_and_old_ones_left_out() {
        tokio::time::pause();
        let (_trigger, drain) = drain::pair();
        let (feeder, events) = queue(8, 1000);
        for seq in 1..=4 {
            assert_eq!(feeder.offer(delivery(seq)), Ok(()));
        }
        let body = body(Duration::from_secs(15), drain, |mut out| async move {
            assert_eq!(out.pump(events, 2, None).await, Ok(()));
        });
        drop(feeder);
        let chunks: Vec<_> = body.map(Result::unwrap).collect().await;
        assert_eq!(chunks, [&b"3;4;"[..], TOO_SLOW]);
    }

    #[actix::test]
    async fn silence_is_filled_and_leaving_ends_the_stream_with_a_hint() {
        tokio::time::pause();
        let (trigger, drain) = drain::pair();
        let (_feeder, events) = queue(8, 1000);
        let body = body(Duration::from_secs(15), drain, |mut out| async move {
            let every: Option<(Duration, fn() -> Bytes)> = Some((Duration::from_secs(20), beat));
            assert_eq!(out.pump(events, 0, every).await, Err(Ended));
        });
        let mut body = Box::pin(body);
        assert_eq!(body.next().await, Some(Ok(Bytes::from(": keep-alive\n\n"))));
        assert_eq!(body.next().await, Some(Ok(Bytes::from("beat"))));
        trigger.pull();
        let hint = body.next().await.unwrap().unwrap();
        assert!(hint.starts_with(b"retry: "));
        assert_eq!(body.next().await, None);
    }

    #[actix::test]
    async fn a_stream_ends_with_the_token_it_was_opened_with() {
        tokio::time::pause();
        let (_trigger, drain) = drain::pair();
        let (_feeder, events) = queue(8, 1000);
        let context = context::RequestContext {
            authorized_until: Some(Instant::now() + Duration::from_secs(20)),
            ..context::RequestContext::fresh(Duration::from_secs(1))
        };
        let body = context.scope_sync(|| {
            body(Duration::from_secs(15), drain, |mut out| async move {
                assert_eq!(out.pump(events, 0, None).await, Err(Ended));
            })
        });
        let chunks: Vec<_> = body.map(Result::unwrap).collect().await;
        assert_eq!(chunks, [&b": keep-alive\n\n"[..], EXPIRED]);
    }

    #[actix::test]
    async fn a_vanished_reader_ends_the_pump() {
        tokio::time::pause();
        let (_trigger, drain) = drain::pair();
        let (feeder, events) = queue(8, 1000);
        let (done, ended) = tokio::sync::oneshot::channel();
        let body = body(Duration::from_secs(15), drain, |mut out| async move {
            let _ended = out.pump(events, 0, None).await;
            done.send(()).unwrap();
        });
        drop(body);
        ended.await.unwrap();
        assert!(feeder.is_closed());
    }

    #[actix::test]
    async fn a_reader_that_stops_reading_and_was_dropped_frees_its_pump() {
        tokio::time::pause();
        let (_trigger, drain) = drain::pair();
        let (feeder, events) = queue(1, 1000);
        let (done, ended) = tokio::sync::oneshot::channel();
        let _unread = body(Duration::from_secs(15), drain, |mut out| async move {
            let _ended = out.pump(events, 0, None).await;
            done.send(()).unwrap();
        });
        // Each second the pump takes what it can.
        let mut full = 0;
        for seq in 0..100 {
            full += usize::from(feeder.offer(delivery(seq)).is_err());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(full > 0, "nobody reads: the queue must fill");
        drop(feeder);
        ended.await.unwrap();
    }
}
