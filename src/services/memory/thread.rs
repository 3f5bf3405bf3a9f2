//! The writer's thread: gathers what waits, commits it as one transaction, publishes, answers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use diesel::{QueryResult, SqliteConnection};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    backplane::{
        database::Damage,
        fanout::Broadcast,
        keeper::{RESTART_WINDOW, RESTARTS_MAX, panic_text},
        metrics::Metrics,
        vitals::{House, Vitals},
    },
    contract::log::{Entry, Numbered},
    domain::{
        budget::RestartBudget,
        failure::{Failure, Kind},
    },
    services::memory::{
        announcer::Announcer,
        condition::Condition,
        entries,
        facts::{self, Noted},
        live,
        shelf::{Committed, Refused, Shelf},
        store::{self, Inserted, Updated},
        writer::{Job, Write, Written},
    },
};

/// Writes one commit carries at most.
const WRITES_PER_COMMIT_MAX: usize = 1024;
/// Writes of a failed group that fail alone in a row until the rest is not tried any more.
const SINGLES_FAILING_MAX: usize = 2;

type Reply = oneshot::Sender<Result<Written, Failure>>;

/// A write that waits for its commit.
struct Waiting {
    write: Write,
    asked: Instant,
    reply: Reply,
}

/// What a look into the queue gave.
#[derive(Default)]
struct Gathered {
    batch: Vec<Waiting>,
    look: bool,
    close: Option<oneshot::Sender<()>>,
}

pub(super) struct Thread {
    pub(super) shelf: Shelf,
    pub(super) damage: Damage,
    pub(super) jobs: mpsc::Receiver<Job>,
    /// Whether a look for what others stored is asked for.
    pub(super) looking: Arc<AtomicBool>,
    pub(super) announcer: Announcer,
    pub(super) metrics: Metrics,
    pub(super) condition: Condition,
    pub(super) house: House,
    pub(super) vitals: Arc<Vitals>,
}

impl Thread {
    pub(super) fn run(mut self) {
        let mut budget = RestartBudget::new(RESTARTS_MAX, RESTART_WINDOW);
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            let cause = format!("panicked: {}", panic_text(panic.as_ref()));
            self.shelf.distrust();
            if budget.take(Instant::now()).is_none() {
                self.house.give_up(&self.vitals, &cause);
                return;
            }
            self.vitals.fell(cause);
            self.vitals.restarted();
        }
    }

    /// Works until told to close, or until nobody is left to write.
    fn work(&mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let Gathered { batch, look, close } = self.gather(first);
            if !batch.is_empty() {
                self.commit(batch);
            } else if look {
                self.look();
            }
            if let Some(done) = close {
                self.shelf.leave();
                if done.send(()).is_err() {
                    log::debug!("nobody waited for the writer's end");
                }
                return;
            }
        }
        self.shelf.leave();
    }

    /// What has gathered, without what is too late.
    fn gather(&mut self, first: Job) -> Gathered {
        let now = Instant::now();
        let mut gathered = Gathered::default();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Close(done) => {
                    gathered.close = Some(done);
                    return gathered;
                }
                Job::Look => {
                    self.looking.store(false, Ordering::Release);
                    gathered.look = true;
                }
                Job::Write { write, asked, deadline, reply } if deadline > now => {
                    if !reply.is_closed() {
                        gathered.batch.push(Waiting { write, asked, reply });
                    }
                }
                Job::Write { reply, .. } => answer(
                    reply,
                    Err(Failure::new(Kind::Timeout, "the deadline passed before the write began")),
                ),
            }
            let more = gathered.batch.len() < WRITES_PER_COMMIT_MAX;
            next = if more { self.jobs.try_recv().ok() } else { None };
        }
        gathered
    }

    /// Publishes what other processes stored.
    fn look(&mut self) {
        if let Some(head) = self.shelf.look() {
            self.announcer.fill(self.shelf.connection(), head);
        }
    }

    /// Commits a batch as one transaction; if that fails because of one of them, each write alone,
    /// so that one bad write does not take the others with it.
    fn commit(&mut self, batch: Vec<Waiting>) {
        match self.transact(&batch) {
            Ok(committed) => {
                let mark = committed.mark.iter().filter_map(entries::broadcast);
                let events = mark.chain(events(&batch, &committed.result)).collect();
                self.announcer.committed(self.shelf.connection(), committed.heads, events);
                for (waiting, result) in batch.into_iter().zip(committed.result) {
                    answer(waiting.reply, Ok(result));
                }
            }
            Err(refused) if refused.all || batch.len() == 1 => {
                for waiting in batch {
                    answer(waiting.reply, Err(refused.failure.clone()));
                }
            }
            Err(_) => self.commit_each(batch),
        }
    }

    /// Each write alone, for as long as the store works at all.
    fn commit_each(&mut self, batch: Vec<Waiting>) {
        let mut failed_in_a_row = 0;
        for waiting in batch {
            if failed_in_a_row >= SINGLES_FAILING_MAX {
                let cause = self.condition.trouble().unwrap_or("the store failed".to_owned());
                answer(waiting.reply, Err(Failure::new(Kind::Storage, cause)));
            } else if !waiting.reply.is_closed() {
                self.commit(vec![waiting]);
                let failed = self.condition.trouble().is_some();
                failed_in_a_row = if failed { failed_in_a_row + 1 } else { 0 };
            }
        }
    }

    fn transact(&mut self, batch: &[Waiting]) -> Result<Committed<Vec<Written>>, Refused> {
        let begun = Instant::now();
        self.condition.begins();
        let oldest = batch.iter().map(|waiting| waiting.asked).min().unwrap_or(begun);
        let result = match self.damage.refuse() {
            Ok(()) => self.shelf.transact(oldest, |connection| {
                batch.iter().map(|waiting| apply(connection, &waiting.write)).collect()
            }),
            Err(failure) => Err(Refused { failure, all: true }),
        };
        self.metrics.db_operation("commit", "memory_items", begun.elapsed());
        self.metrics.queue_depth("writer", self.jobs.len());
        match &result {
            Ok(_) => {
                self.metrics.committed(batch.len());
                self.condition.committed(None);
            }
            Err(refused) => {
                self.damage.learn(&refused.failure);
                self.condition.committed(Some(refused.failure.to_string()));
            }
        }
        result
    }
}

/// The events of what was stored, changed and removed now, in the log's order.
fn events(batch: &[Waiting], results: &[Written]) -> Vec<Broadcast> {
    let mut events = Vec::with_capacity(batch.len());
    for (waiting, written) in batch.iter().zip(results) {
        match (&waiting.write, written) {
            (Write::Store(new), Written::Stored { seq }) => {
                events.extend(live::broadcast(&new.item, *seq));
            }
            (Write::StoreAll(new), Written::StoredAll(inserted)) => {
                for (new, inserted) in new.iter().zip(inserted) {
                    if let Inserted::Now(seq) = inserted {
                        events.extend(live::broadcast(&new.item, *seq));
                    }
                }
            }
            (_, Written::Changed(Updated::Now(item, seq))) => {
                let entry = Entry::Changed(item.clone());
                events.extend(entries::broadcast(&Numbered { seq: *seq, entry }));
            }
            (_, Written::Remembered(Noted::Now { entries, .. })) => {
                events.extend(entries.iter().filter_map(entries::broadcast));
            }
            (_, Written::Removed(removed)) => {
                events.extend(removed.entry.iter().filter_map(entries::broadcast));
            }
            _ => {}
        }
    }
    events
}

fn apply(connection: &mut SqliteConnection, write: &Write) -> QueryResult<Written> {
    Ok(match write {
        Write::Store(new) => match store::insert(connection, new)? {
            Inserted::Now(seq) => Written::Stored { seq },
            Inserted::Before { item, same_body } => Written::Known { item, same_body },
        },
        Write::StoreAll(new) => Written::StoredAll(
            new.iter().map(|new| store::insert(connection, new)).collect::<QueryResult<_>>()?,
        ),
        Write::Update { user_id, id, changes } => {
            Written::Changed(store::update(connection, user_id, id, changes)?)
        }
        Write::Remember(new) => Written::Remembered(facts::remember(connection, new)?),
        Write::Forget { user_id, id } => Written::Removed(facts::remove(connection, user_id, id)?),
        Write::Probe => {
            store::touch(connection)?;
            Written::Removed(store::Removed::default())
        }
        Write::Remove { user_id, id } => {
            Written::Removed(store::remove(connection, user_id, id.as_deref())?)
        }
    })
}

fn answer(reply: Reply, result: Result<Written, Failure>) {
    if reply.send(result).is_err() {
        log::debug!("a writer's answer found nobody waiting");
    }
}
