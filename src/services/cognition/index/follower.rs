//! Follows memory's log into the index, entry by entry, from where it was left.
//!
//! How far it came is written with what it read, so that a process that is killed goes on where the
//! index is. A log that was set back, or is another one than before, is read anew from its beginning.

use std::{sync::Arc, time::Duration};

use crate::{
    answers_ping,
    backplane::{
        client::{ServicePort, StreamItem, StreamReader},
        keeper,
        vitals::House,
    },
    contract::log::{ENTRIES_STREAM, Entry, Numbered},
    domain::{
        backoff::Backoff,
        failure::{Failure, Kind},
    },
    services::cognition::index::Index,
};
use actix::prelude::*;

/// What the entries of one commit have together before no more are taken in, in bytes as JSON.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Items prepared anew in one transaction, after the rules have changed (count).
const RENEWED_AT_ONCE: i64 = 500;
/// Entries between two lines in the log while much is read.
const TOLD_EVERY: i64 = 100_000;
/// The first pause after the index was not written.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// Carries memory's log into the index.
pub(super) struct Follower {
    memory: ServicePort,
    index: Index,
}

impl Follower {
    /// Starts following on this arbiter.
    pub(super) fn start(house: &House, memory: ServicePort, index: Index) {
        keeper::start(house, "index follower", |_| Follower { memory, index });
    }
}

impl Actor for Follower {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        let (memory, index) = (self.memory.clone(), self.index.clone());
        let mut work = Work { memory, index, connected: true, told: 0 };
        let following = async move {
            if let Err(failure) = work.run().await {
                log::error!("the index does not follow memory's log cause={failure}");
            }
        };
        // When following ends the actor stops, and the keeper starts it again.
        ctx.spawn(following.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}
impl Supervised for Follower {}
answers_ping!(Follower);

/// One life of the follower.
struct Work {
    memory: ServicePort,
    index: Index,
    /// Whether the last connection was to be had: the first failure is told.
    connected: bool,
    told: i64,
}

/// How one stream ended.
enum Ended {
    /// It is to be opened again, from where the index is.
    Again,
    /// Nobody feeds it any more.
    Gone,
}

impl Work {
    async fn run(&mut self) -> Result<(), Failure> {
        self.renew().await?;
        loop {
            let reader =
                self.memory.open(ENTRIES_STREAM.to_owned(), Some(self.index.position())).await?;
            match self.follow(reader).await {
                Ok(Ended::Again) => {}
                Ok(Ended::Gone) => {
                    return Err(Failure::new(Kind::Unavailable, "the client of memory ended"));
                }
                // Memory may be of a newer version than this process, or of an older one for a while.
                Err(failure) if failure.kind == Kind::BadReply => {
                    log::error!("memory's log is not understood cause={failure}");
                    self.index.trouble(Some(failure.to_string()));
                    tokio::time::sleep(self.index.retry_max()).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Prepares anew what other rules prepared. Meanwhile it is prepared when it is asked for.
    async fn renew(&self) -> Result<(), Failure> {
        let mut renewed = 0;
        loop {
            let count = self.patiently(|| self.index.renew(RENEWED_AT_ONCE)).await?;
            renewed += count;
            if count == 0 {
                break;
            }
        }
        if renewed > 0 {
            log::info!("the index was prepared by new rules items={renewed}");
        }
        Ok(())
    }

    /// Follows one stream.
    async fn follow(&mut self, mut reader: StreamReader) -> Result<Ended, Failure> {
        let mut waiting = None;
        loop {
            let next = match waiting.take() {
                Some(item) => Some(item),
                None => tokio::select! {
                    next = reader.next() => next,
                    () = self.index.anew() => {
                        self.begin_anew("it was asked for").await?;
                        return Ok(Ended::Again);
                    }
                },
            };
            let Some(item) = next else { return Ok(Ended::Gone) };
            match item {
                StreamItem::Connected { store: _ } => {
                    if !std::mem::replace(&mut self.connected, true) {
                        log::info!("the index follows memory's log again");
                    }
                }
                StreamItem::Interrupted(failure) => self.interrupted(&failure),
                StreamItem::Position(seq) => {
                    if seq < self.index.position() {
                        self.begin_anew("the log was set back").await?;
                        return Ok(Ended::Again);
                    }
                    self.apply(Vec::new(), seq).await?;
                }
                StreamItem::Event { seq: None, data } => {
                    if self.is_another(&data).await? {
                        self.begin_anew("the log is another one").await?;
                        return Ok(Ended::Again);
                    }
                }
                StreamItem::Event { seq: Some(seq), data } => {
                    let most = self.index.batch_max();
                    let batch = gather(&mut reader, (seq, data), most, &mut waiting);
                    let upto = batch.last().map_or(seq, |(seq, _)| *seq);
                    self.apply(batch, upto).await?;
                }
            }
        }
    }

    fn interrupted(&mut self, failure: &Failure) {
        if std::mem::replace(&mut self.connected, false) {
            log::warn!("the index follows memory's log no more, and tries again cause={failure}");
        } else {
            log::debug!("memory's log is still away cause={failure}");
        }
    }

    /// Whether the part of the log that the stream begins in is called otherwise than the index
    /// knows it.
    async fn is_another(&self, data: &str) -> Result<bool, Failure> {
        let Ok(Entry::Within { epoch, head }) = serde_json::from_str(data) else {
            let text = "memory's log does not say what it is called";
            return Err(Failure::new(Kind::BadReply, text).of_service("memory"));
        };
        self.index.heard_of(head);
        let cursor = self.index.cursor().await?;
        if cursor.seq == 0 && cursor.epoch.as_deref() != Some(&epoch) {
            self.patiently(|| self.index.begin(epoch.clone())).await?;
            return Ok(false);
        }
        Ok(cursor.epoch.as_deref() != Some(&epoch))
    }

    async fn begin_anew(&mut self, why: &str) -> Result<(), Failure> {
        log::warn!("the index is made anew from memory cause={why}");
        self.told = 0;
        self.patiently(|| self.index.clear()).await
    }

    async fn apply(&mut self, batch: Vec<(i64, String)>, upto: i64) -> Result<(), Failure> {
        if batch.is_empty() && upto <= self.index.position() {
            return Ok(());
        }
        let entries = Arc::new(batch);
        self.patiently(|| self.index.apply_written(Arc::clone(&entries), upto)).await?;
        if upto / TOLD_EVERY > self.told / TOLD_EVERY {
            self.told = upto;
            log::info!("the index has memory's log seq={upto} behind={}", self.index.behind());
        }
        Ok(())
    }

    /// Tries until the index takes it. What cannot become right by waiting is an error.
    async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        work: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let pause = Backoff { initial: RETRY_FIRST, factor: 2.0, cap: self.index.retry_max() };
        let mut tries = 0;
        loop {
            let failure = match work().await {
                Ok(done) => {
                    self.index.trouble(None);
                    return Ok(done);
                }
                Err(failure) => failure,
            };
            if self.index.is_lost() || failure.kind == Kind::BadReply {
                return Err(failure);
            }
            if tries == 0 {
                log::error!("the index was not written, and is tried again cause={failure}");
            }
            self.index.trouble(Some(failure.to_string()));
            tokio::time::sleep(pause.ceiling(tries)).await;
            tries = tries.saturating_add(1);
        }
    }
}

/// An entry with those that have come meanwhile; `waiting` is what came after them and is something
/// else.
fn gather(
    reader: &mut StreamReader,
    (seq, data): (i64, String),
    most: usize,
    waiting: &mut Option<StreamItem>,
) -> Vec<(i64, String)> {
    let mut bytes = data.len();
    let mut batch = vec![(seq, data)];
    while batch.len() < most && bytes < BATCH_BYTES {
        match reader.ready() {
            Some(StreamItem::Event { seq: Some(seq), data }) => {
                bytes += data.len();
                batch.push((seq, data));
            }
            other => {
                *waiting = other;
                break;
            }
        }
    }
    batch
}

/// Entries as memory wrote them.
///
/// # Errors
/// `bad_reply` when one is not understood: to leave it out would be to miss it for ever.
pub(super) fn understood(batch: &[(i64, String)]) -> Result<Vec<Numbered>, Failure> {
    let read = |(seq, data): &(i64, String)| match serde_json::from_str(data) {
        Ok(entry) => Ok(Numbered { seq: *seq, entry }),
        Err(error) => {
            let text = format!("entry {seq} of memory's log was not understood: {error}");
            Err(Failure::new(Kind::BadReply, text).of_service("memory"))
        }
    };
    batch.iter().map(read).collect()
}
