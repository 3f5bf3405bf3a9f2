//! The outbox's actor: commits what comes in in groups, and carries what waits to memory.
//!
//! One commit is under way at a time; what comes meanwhile gathers for the next, so that many
//! callers share one fsync. One batch is under way to memory at a time, oldest first, so that the
//! order is kept; an entry leaves the table only after memory has it.

use std::{mem, sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::sync::{Mutex, oneshot, watch};

use super::{
    Carrier, Entry, Progress, Put, Shared,
    group::{Group, Reply, answer, ledger_of, refused, settle, write},
    row,
    store::{self, Note, Row},
};
use crate::{
    answers_ping,
    backplane::{config, database::Database, locks::lock, metrics::Metrics},
    domain::{
        backoff::Backoff,
        failure::{Failure, Kind},
        outbox::{Limits, is_for_good},
    },
    services::conversation::follower::{self, Reach},
};

/// Entries one commit carries at most.
const ENTRIES_PER_COMMIT_MAX: usize = 1024;

/// Failed attempts in a row after which a batch is tried entry by entry.
const SETBACKS_OF_A_BATCH: u32 = 8;

/// Puts an input in; answered once it is on disk.
#[derive(Message)]
#[rtype(result = "Result<Put, Failure>")]
pub(super) struct Enqueue {
    /// The input.
    pub(super) entry: Entry,
    /// Why memory did not take it, if it was asked.
    pub(super) cause: Option<Failure>,
}

/// Time to try again; says which wait is over, since a fall leaves old ones behind.
#[derive(Message)]
#[rtype(result = "()")]
struct Deliver(u64);

/// Nothing is carried from now on; what is under way to the disk still gets there.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Close;

/// Guards the order in which inputs reach memory.
pub(super) struct OutboxActor {
    database: Database,
    carrier: Carrier,
    reach: watch::Receiver<Reach>,
    ledger: Shared,
    limits: Limits,
    batch_max: u16,
    backoff: Backoff,
    progress: watch::Sender<Progress>,
    metrics: Metrics,
    entering: Vec<(Row, Reply)>,
    notes: Vec<(Row, Note)>,
    committing: bool,
    /// From the reading of a batch until its fate is on disk.
    delivering: bool,
    setbacks: u32,
    /// Counts the waits between deliveries.
    turn: u64,
    /// Entries that are carried one by one, because memory refused a batch of them as a whole.
    one_by_one: usize,
    fell: bool,
    closed: bool,
    /// Held by the commit under way.
    writing: Arc<Mutex<()>>,
}

impl OutboxActor {
    pub(super) fn new(
        (database, carrier, reach): (Database, Carrier, watch::Receiver<Reach>),
        ledger: Shared,
        settings: &config::Outbox,
        progress: watch::Sender<Progress>,
        metrics: Metrics,
    ) -> Self {
        OutboxActor {
            database,
            carrier,
            reach,
            ledger,
            limits: settings.limits(),
            batch_max: settings.outbox_batch_max,
            backoff: settings.backoff(),
            progress,
            metrics,
            entering: Vec::new(),
            notes: Vec::new(),
            committing: false,
            delivering: false,
            setbacks: 0,
            turn: 0,
            one_by_one: 0,
            fell: false,
            closed: false,
            writing: Arc::default(),
        }
    }

    /// Commits what has gathered, unless a commit is under way.
    fn commit(&mut self, ctx: &mut Context<Self>) {
        if self.committing || (self.entering.is_empty() && self.notes.is_empty()) {
            return;
        }
        self.committing = true;
        let count = self.entering.len().min(ENTRIES_PER_COMMIT_MAX);
        let (entering, replies): (_, Vec<Reply>) = self.entering.drain(..count).unzip();
        let group = Arc::new(Group { entering, notes: mem::take(&mut self.notes) });
        let (database, written) = (self.database.clone(), Arc::clone(&group));
        let turn = Arc::clone(&self.writing);
        let writing = async move {
            let turn = turn.lock_owned().await;
            let write = move |connection: &mut _| {
                // Held to the end of the commit, also when the actor falls meanwhile.
                let _turn = turn;
                write(connection, &written)
            };
            database.run("commit", "outbox", write).await
        };
        ctx.spawn(writing.into_actor(self).map(move |results, actor, ctx| {
            actor.committing = false;
            actor.committed(&group, replies, results);
            actor.tell();
            actor.commit(ctx);
            actor.deliver(ctx);
        }));
    }

    fn committed(
        &mut self,
        group: &Group,
        replies: Vec<Reply>,
        results: Result<Vec<Put>, Failure>,
    ) {
        let mut ledger = lock(&self.ledger);
        match results {
            Ok(results) => {
                for ((row, reply), put) in group.entering.iter().zip(replies).zip(results) {
                    if put != Put::Waits {
                        ledger.remove(&row.user_id, &row.conversation_id, row.input.len());
                    }
                    answer(reply, Ok(put));
                }
                for (row, note) in &group.notes {
                    settle(&mut ledger, row, note);
                }
                if !group.notes.is_empty() {
                    self.setbacks = 0;
                }
            }
            Err(failure) => {
                for (row, reply) in group.entering.iter().zip(replies) {
                    ledger.remove(&row.user_id, &row.conversation_id, row.input.len());
                    answer(reply, Err(failure.clone()));
                }
                if !group.notes.is_empty() {
                    // Memory has them and the table still does: they are delivered once more,
                    // which their ids make harmless.
                    self.setbacks = self.setbacks.saturating_add(1);
                }
            }
        }
        drop(ledger);
        if !group.notes.is_empty() {
            self.delivering = false;
        }
    }

    /// Carries the next batch, unless one is under way.
    fn deliver(&mut self, ctx: &mut Context<Self>) {
        if self.closed || self.delivering || lock(&self.ledger).load().entries == 0 {
            return;
        }
        self.delivering = true;
        if self.setbacks > 0 {
            let wait = self.backoff.wait(self.setbacks - 1, fastrand::f64(), None);
            self.turn += 1;
            ctx.notify_later(Deliver(self.turn), wait);
            return;
        }
        self.carry(ctx);
    }

    fn carry(&mut self, ctx: &mut Context<Self>) {
        let count = if self.one_by_one > 0 { 1 } else { i64::from(self.batch_max) };
        let (database, carrier, reach) =
            (self.database.clone(), self.carrier.clone(), self.reach.clone());
        let carrying = async move {
            // What is stored before the log is followed would not be streamed.
            follower::begun(reach, carrier.deadline).await?;
            let bytes = carrier.batch_bytes_max;
            let rows = database
                .run("select", "outbox", move |connection| store::oldest(connection, count, bytes))
                .await?;
            let notes = if rows.is_empty() { Ok(Vec::new()) } else { carrier.carry(&rows).await };
            Ok::<_, Failure>((rows, notes))
        };
        ctx.spawn(carrying.into_actor(self).map(|carried, actor, ctx| match carried {
            Ok((rows, Ok(notes))) => actor.carried(rows, notes, ctx),
            Ok((rows, Err(failure))) => actor.failed(&failure, rows.len(), ctx),
            Err(failure) => actor.failed(&failure, 0, ctx),
        }));
    }

    fn carried(&mut self, rows: Vec<Row>, notes: Vec<Note>, ctx: &mut Context<Self>) {
        self.one_by_one = self.one_by_one.saturating_sub(rows.len());
        if self.progress.borrow().trouble.is_some() {
            log::info!("memory takes inputs again");
            self.progress.send_modify(|progress| progress.trouble = None);
        }
        if rows.is_empty() {
            // Counted, but not there: a commit of theirs is still under way.
            self.setbacks = 0;
            self.delivering = false;
            return;
        }
        log::debug!("inputs delivered from the outbox entries={}", rows.len());
        self.notes = rows.into_iter().zip(notes).collect();
        self.commit(ctx);
    }

    fn failed(&mut self, failure: &Failure, carried: usize, ctx: &mut Context<Self>) {
        self.delivering = false;
        if is_for_good(failure.kind) && carried > 1 {
            self.one_by_one = carried;
        } else if is_for_good(failure.kind) && carried == 1 {
            self.refuse(failure.to_string(), ctx);
            return;
        } else {
            self.setbacks = self.setbacks.saturating_add(1);
            if self.setbacks.is_multiple_of(SETBACKS_OF_A_BATCH) {
                // Perhaps it is one of them that memory cannot bear.
                self.one_by_one = carried;
            }
        }
        self.trouble(failure);
        self.deliver(ctx);
    }

    /// Sets the oldest entry aside: memory will never take it.
    fn refuse(&mut self, why: String, ctx: &mut Context<Self>) {
        self.delivering = true;
        let database = self.database.clone();
        let reading = async move {
            database.run("select", "outbox", |connection| store::oldest(connection, 1, 0)).await
        };
        ctx.spawn(reading.into_actor(self).map(move |rows, actor, ctx| {
            actor.one_by_one = actor.one_by_one.saturating_sub(1);
            match rows {
                Ok(rows) => {
                    actor.delivering = !rows.is_empty();
                    actor.notes =
                        rows.into_iter().map(|row| (row, Note::Refused(why.clone()))).collect();
                    actor.commit(ctx);
                }
                Err(failure) => actor.failed(&failure, 0, ctx),
            }
        }));
    }

    /// Memory takes nothing: said once, and known to whoever waits, until it takes something.
    fn trouble(&self, failure: &Failure) {
        let text = failure.to_string();
        self.progress.send_if_modified(|progress| {
            if progress.trouble.is_none() {
                log::warn!("memory takes no inputs, the outbox keeps them cause={failure}");
            }
            progress.trouble.replace(text).is_none()
        });
    }

    fn tell(&self) {
        let entries = lock(&self.ledger).load().entries;
        self.metrics.queue_depth("outbox", entries);
        // Also when the number is the same: others may wait now.
        self.progress.send_modify(|progress| {
            progress.entries = entries;
            if entries == 0 {
                progress.trouble = None;
            }
        });
    }

    /// Counts anew what is on disk, after a fall in the middle of something.
    fn recount(&mut self, ctx: &mut Context<Self>) {
        self.committing = true;
        let (database, limits) = (self.database.clone(), self.limits);
        let turn = Arc::clone(&self.writing);
        let counting = async move {
            // A commit that was under way at the fall is still to be waited for.
            let _turn = turn.lock_owned().await;
            database.run("select", "outbox", move |connection| ledger_of(connection, limits)).await
        };
        ctx.spawn(counting.into_actor(self).map(|counted, actor, ctx| match counted {
            Ok(mut ledger) => {
                for (row, _) in &actor.entering {
                    ledger.add(&row.user_id, &row.conversation_id, row.input.len());
                }
                *lock(&actor.ledger) = ledger;
                actor.committing = false;
                actor.fell = false;
                actor.tell();
                actor.commit(ctx);
                actor.deliver(ctx);
            }
            Err(failure) => {
                log::error!("the outbox cannot be counted cause={failure}");
                ctx.stop();
            }
        }));
    }
}

impl Actor for OutboxActor {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        if self.fell {
            self.recount(ctx);
        } else {
            self.tell();
            self.deliver(ctx);
        }
    }
}
impl Supervised for OutboxActor {
    // What was under way is lost; what is on disk is not. Waiting callers are told by their end of
    // the line.
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.fell = true;
        self.entering.clear();
        self.notes.clear();
        self.committing = false;
        self.delivering = false;
        self.turn += 1;
    }
}
answers_ping!(OutboxActor);

impl Handler<Enqueue> for OutboxActor {
    type Result = ResponseFuture<Result<Put, Failure>>;
    fn handle(
        &mut self,
        Enqueue { entry, cause }: Enqueue,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        let row = row(entry);
        let mut ledger = lock(&self.ledger);
        if let Err(full) = ledger.fits(&row.user_id, row.input.len()) {
            self.metrics.shed("outbox");
            let failure = refused(full, &ledger, self.limits);
            return Box::pin(std::future::ready(Err(failure)));
        }
        ledger.add(&row.user_id, &row.conversation_id, row.input.len());
        drop(ledger);
        if let Some(cause) = cause {
            self.trouble(&cause);
        }
        let (reply, answer) = oneshot::channel();
        self.entering.push((row, reply));
        self.commit(ctx);
        Box::pin(async move {
            answer.await.unwrap_or_else(|_fell| {
                Err(Failure::new(Kind::Storage, "the outbox fell during this write")
                    .retry_after(Duration::from_secs(1)))
            })
        })
    }
}

impl Handler<Close> for OutboxActor {
    type Result = ();
    fn handle(&mut self, _: Close, _: &mut Context<Self>) {
        self.closed = true;
    }
}

impl Handler<Deliver> for OutboxActor {
    type Result = ();
    fn handle(&mut self, Deliver(turn): Deliver, ctx: &mut Context<Self>) {
        if turn == self.turn && self.delivering && !self.closed {
            self.carry(ctx);
        }
    }
}
