//! The outbox's actor: commits what comes in in groups, and has what waits carried to memory.
//!
//! One commit is under way at a time; what comes meanwhile gathers for the next, so that many
//! callers share one fsync. One batch is under way to memory at a time, oldest first, so that the
//! order is kept; an entry leaves the table only after memory has it.

use std::{mem, sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::{
    sync::{Mutex, oneshot, watch},
    time::Instant,
};

use super::{
    Carrier, Entry, Progress, Put, Shared,
    care::Answer,
    group::{Done, Group, Order, Reply, answer, ledger_of, refused, settle, write},
    row,
    store::{Note, Row},
};
use crate::{
    answers_ping,
    backplane::{config, database::Database, locks::lock, metrics::Metrics},
    domain::{
        apart::Apart,
        backoff::Backoff,
        failure::{Failure, Kind},
        outbox::Limits,
    },
    services::conversation::follower::Reach,
};

/// Entries one commit carries at most.
const ENTRIES_PER_COMMIT_MAX: usize = 1024;

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
pub(super) struct Deliver(pub(super) u64);

/// Something that was passed over takes its turn again.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Wake;

/// Nothing is carried from now on; what is under way to the disk still gets there.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Close;

/// Guards the order in which inputs reach memory.
pub(super) struct OutboxActor {
    pub(super) database: Database,
    pub(super) carrier: Carrier,
    pub(super) reach: watch::Receiver<Reach>,
    pub(super) ledger: Shared,
    limits: Limits,
    pub(super) batch_max: u16,
    pub(super) attempts_max: u32,
    again_after: Duration,
    pub(super) backoff: Backoff,
    pub(super) progress: watch::Sender<Progress>,
    metrics: Metrics,
    entering: Vec<(Row, Reply)>,
    pub(super) notes: Vec<(Row, Note)>,
    pub(super) orders: Vec<(Order, Answer)>,
    committing: bool,
    /// From the reading of a batch until its fate is on disk.
    pub(super) delivering: bool,
    /// From the reading of a batch until memory has answered, or has not.
    pub(super) under_way: bool,
    /// Who waits until the batch under way has arrived: those whose entries it may have.
    pub(super) after_batch: Vec<(usize, Answer)>,
    pub(super) setbacks: u32,
    /// Failures in a row that a batch may be the cause of.
    pub(super) batch_failures: u32,
    /// Counts the waits between deliveries.
    pub(super) turn: u64,
    /// Entries that are carried one by one, because memory refused a batch of them as a whole.
    pub(super) one_by_one: usize,
    /// What is passed over for now.
    pub(super) apart: Apart,
    pub(super) waking: Option<Instant>,
    fell: bool,
    pub(super) closed: bool,
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
            attempts_max: settings.outbox_attempts_max,
            again_after: settings.outbox_apart_retry,
            backoff: settings.backoff(),
            progress,
            metrics,
            entering: Vec::new(),
            notes: Vec::new(),
            orders: Vec::new(),
            committing: false,
            delivering: false,
            under_way: false,
            after_batch: Vec::new(),
            setbacks: 0,
            batch_failures: 0,
            turn: 0,
            one_by_one: 0,
            apart: Apart::new(settings.outbox_attempts_max, settings.outbox_apart_retry),
            waking: None,
            fell: false,
            closed: false,
            writing: Arc::default(),
        }
    }

    /// Commits what has gathered, unless a commit is under way.
    pub(super) fn commit(&mut self, ctx: &mut Context<Self>) {
        let nothing = self.entering.is_empty() && self.notes.is_empty() && self.orders.is_empty();
        if self.committing || nothing {
            return;
        }
        self.committing = true;
        let count = self.entering.len().min(ENTRIES_PER_COMMIT_MAX);
        let (entering, replies): (_, Vec<Reply>) = self.entering.drain(..count).unzip();
        let (orders, answers) = self.orders.drain(..).unzip();
        let group = Arc::new(Group { entering, notes: mem::take(&mut self.notes), orders });
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
        ctx.spawn(writing.into_actor(self).map(move |done, actor, ctx| {
            actor.committing = false;
            actor.committed(&group, (replies, answers), done);
            actor.tell();
            actor.commit(ctx);
            actor.deliver(ctx);
        }));
    }

    fn committed(
        &mut self,
        group: &Group,
        (replies, answers): (Vec<Reply>, Vec<Answer>),
        done: Result<Done, Failure>,
    ) {
        let shared = Arc::clone(&self.ledger);
        let mut ledger = lock(&shared);
        match done {
            Ok(Done { puts, noted, orders }) => {
                for ((row, reply), put) in group.entering.iter().zip(replies).zip(puts) {
                    if put != Put::Waits {
                        ledger.remove(&row.user_id, &row.conversation_id, row.input.len());
                    }
                    answer(reply, Ok(put));
                }
                for ((row, note), there) in group.notes.iter().zip(noted) {
                    // One that was taken out meanwhile is not counted any more.
                    if there {
                        settle(&mut ledger, row, note);
                    }
                }
                self.obeyed(&mut ledger, &group.orders, answers, &orders);
                if !group.notes.is_empty() {
                    self.setbacks = 0;
                }
            }
            Err(failure) => {
                for (row, reply) in group.entering.iter().zip(replies) {
                    ledger.remove(&row.user_id, &row.conversation_id, row.input.len());
                    answer(reply, Err(failure.clone()));
                }
                Self::disobeyed(answers, &failure);
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

    fn tell(&self) {
        let entries = self.entries();
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
        self.orders.clear();
        self.after_batch.clear();
        self.committing = false;
        self.delivering = false;
        self.under_way = false;
        self.apart = Apart::new(self.attempts_max, self.again_after);
        self.waking = None;
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

impl Handler<Wake> for OutboxActor {
    type Result = ();
    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.waking = None;
        self.deliver(ctx);
    }
}
