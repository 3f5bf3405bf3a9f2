//! The queue of one subscriber: bounded by events and by bytes, so that a reader that does not read
//! costs no more than that.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::mpsc;

/// What a subscriber's queue holds; one is shared by all whom it concerns, and the queue of an idle
/// one is small.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its place in memory's log.
    pub seq: i64,
    /// The event in the subscriber's vocabulary.
    pub bytes: Bytes,
}

/// Why a delivery was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unqueued {
    /// The reader does not keep up.
    Full,
    /// The reader has gone.
    Gone,
}

/// The end that fills a queue.
#[derive(Debug)]
pub struct Feeder {
    events: mpsc::Sender<Arc<Delivery>>,
    queued: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The end that empties it.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::Receiver<Arc<Delivery>>,
    queued: Arc<AtomicUsize>,
}

/// A queue of at most `events_max` events, which takes more as long as those that wait have less
/// than `bytes_max`: what comes at once is not refused for its size.
#[must_use]
pub fn queue(events_max: usize, bytes_max: usize) -> (Feeder, Subscription) {
    let (sender, receiver) = mpsc::channel(events_max);
    let queued = Arc::new(AtomicUsize::new(0));
    (
        Feeder { events: sender, queued: Arc::clone(&queued), bytes_max },
        Subscription { events: receiver, queued },
    )
}

impl Feeder {
    /// Queues a delivery, without waiting.
    ///
    /// # Errors
    /// [`Unqueued`] when it is not queued.
    pub fn offer(&self, delivery: Arc<Delivery>) -> Result<(), Unqueued> {
        let bytes = delivery.bytes.len();
        let before = self.queued.fetch_add(bytes, Ordering::AcqRel);
        let offered = if before >= self.bytes_max {
            Err(Unqueued::Full)
        } else {
            self.events.try_send(delivery).map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => Unqueued::Full,
                mpsc::error::TrySendError::Closed(_) => Unqueued::Gone,
            })
        };
        if offered.is_err() {
            self.queued.fetch_sub(bytes, Ordering::AcqRel);
        }
        offered
    }

    /// Whether the reader has gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.max_capacity() - self.events.capacity()
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Subscription {
    /// The next delivery; `None` when the feeder has gone, which means that the reader was dropped.
    pub async fn recv(&mut self) -> Option<Arc<Delivery>> {
        let delivery = self.events.recv().await;
        self.taken(delivery)
    }

    /// The next delivery, if one waits.
    pub fn ready(&mut self) -> Option<Arc<Delivery>> {
        let delivery = self.events.try_recv().ok();
        self.taken(delivery)
    }

    /// Whether nothing new will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    fn taken(&self, delivery: Option<Arc<Delivery>>) -> Option<Arc<Delivery>> {
        if let Some(delivery) = &delivery {
            self.queued.fetch_sub(delivery.bytes.len(), Ordering::AcqRel);
        }
        delivery
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(bytes: usize) -> Arc<Delivery> {
        Arc::new(Delivery { seq: 1, bytes: Bytes::from(vec![b'x'; bytes]) })
    }

    #[test]
    fn a_queue_is_full_by_events_or_by_bytes() {
        let (feeder, mut subscription) = queue(2, 100);
        assert_eq!(feeder.offer(delivery(60)), Ok(()));
        assert_eq!(feeder.offer(delivery(20)), Ok(()));
        assert_eq!(feeder.offer(delivery(0)), Err(Unqueued::Full), "two events");
        assert_eq!(feeder.len(), 2);
        assert!(subscription.ready().is_some() && subscription.ready().is_some());
        assert!(subscription.ready().is_none() && feeder.is_empty());
        assert_eq!(feeder.offer(delivery(100)), Ok(()), "what was taken counts no more");
    }

    #[test]
    fn one_event_may_be_larger_than_the_bound() {
        let (feeder, subscription) = queue(2, 100);
        assert_eq!(feeder.offer(delivery(1000)), Ok(()));
        assert_eq!(feeder.offer(delivery(1)), Err(Unqueued::Full));
        drop(subscription);
        assert_eq!(feeder.offer(delivery(0)), Err(Unqueued::Full), "it still counts");
        assert!(feeder.is_closed());
    }
}
