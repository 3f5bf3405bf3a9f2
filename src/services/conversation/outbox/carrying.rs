//! Carrying what waits to memory, oldest first, one batch at a time; what memory fails at is found
//! and passed over.

use actix::prelude::*;
use tokio::time::Instant;

use super::{
    actor::{Deliver, OutboxActor, Wake},
    store::{self, Note, Row},
};
use crate::{
    backplane::locks::lock,
    domain::{
        apart::{Held, Step},
        failure::Failure,
        outbox::{is_for_good, may_be_the_entry},
    },
    services::conversation::follower,
};

/// What is carried together: an entry under suspicion goes alone.
fn together(mut rows: Vec<Row>, suspects: &[i64]) -> Vec<Row> {
    let suspected = rows.iter().position(|row| suspects.contains(&row.place));
    if let Some(at) = suspected {
        rows.truncate(at.max(1));
    }
    rows
}

impl OutboxActor {
    /// Carries the next batch, unless one is under way.
    pub(super) fn deliver(&mut self, ctx: &mut Context<Self>) {
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

    pub(super) fn carry(&mut self, ctx: &mut Context<Self>) {
        let due = self.apart.due(Instant::now());
        self.take_turns_again(&due);
        let count = if self.one_by_one > 0 { 1 } else { i64::from(self.batch_max) };
        let (database, carrier, reach) =
            (self.database.clone(), self.carrier.clone(), self.reach.clone());
        let suspects = self.apart.suspects();
        let held = |held: &Held| (held.user.clone(), held.conversation.clone());
        let held: Vec<(String, String)> = self.apart.held().iter().map(held).collect();
        let carrying = async move {
            // What is stored before the log is followed would not be streamed.
            follower::begun(reach, carrier.deadline).await?;
            let bytes = carrier.batch_bytes_max;
            let read = move |connection: &mut _| store::oldest(connection, count, bytes, &held);
            let rows = together(database.run("select", "outbox", read).await?, &suspects);
            let notes = if rows.is_empty() { Ok(Vec::new()) } else { carrier.carry(&rows).await };
            Ok::<_, Failure>((rows, notes))
        };
        self.under_way = true;
        ctx.spawn(carrying.into_actor(self).map(|carried, actor, ctx| {
            actor.landed();
            match carried {
                Ok((rows, Ok(notes))) => actor.carried(rows, notes, ctx),
                Ok((rows, Err(failure))) => actor.failed(&failure, rows, ctx),
                Err(failure) => actor.failed(&failure, Vec::new(), ctx),
            }
        }));
    }

    fn carried(&mut self, rows: Vec<Row>, notes: Vec<Note>, ctx: &mut Context<Self>) {
        self.one_by_one = self.one_by_one.saturating_sub(rows.len());
        self.batch_failures = 0;
        if self.progress.borrow().trouble.is_some() {
            log::info!("memory takes inputs again");
            self.progress.send_modify(|progress| progress.trouble = None);
        }
        if rows.is_empty() {
            self.found_nothing(ctx);
            return;
        }
        log::debug!("inputs delivered from the outbox entries={}", rows.len());
        if !self.apart.is_idle() {
            for row in &rows {
                let chances = self.apart.delivered(row.place);
                self.take_turns_again(&chances);
            }
        }
        self.notes = rows.into_iter().zip(notes).collect();
        self.commit(ctx);
    }

    /// Nothing could be carried now: it is passed over, or a commit of it is still under way.
    fn found_nothing(&mut self, ctx: &mut Context<Self>) {
        self.delivering = false;
        let chances = self.apart.alone();
        if chances.is_empty() {
            self.setbacks = 0;
            self.wake_when_due(ctx);
        } else {
            self.take_turns_again(&chances);
            self.setbacks = self.setbacks.max(1);
            self.deliver(ctx);
        }
    }

    fn wake_when_due(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.apart.next_due() else { return };
        if self.waking.is_none_or(|at| at > due) {
            self.waking = Some(due);
            ctx.notify_later(Wake, due.saturating_duration_since(Instant::now()));
        }
    }

    fn failed(&mut self, failure: &Failure, rows: Vec<Row>, ctx: &mut Context<Self>) {
        self.delivering = false;
        let carried = rows.len();
        if is_for_good(failure.kind) && carried > 1 {
            self.one_by_one = carried;
        } else if is_for_good(failure.kind) && carried == 1 {
            // Set aside: memory will never take it.
            self.delivering = true;
            self.one_by_one = self.one_by_one.saturating_sub(1);
            let refused = |row| (row, Note::Refused(failure.to_string()));
            self.notes = rows.into_iter().map(refused).collect();
            self.commit(ctx);
            return;
        } else {
            self.setbacks = self.setbacks.saturating_add(1);
            if may_be_the_entry(failure.kind) {
                self.doubt(&rows, failure);
            }
        }
        self.trouble(failure);
        self.deliver(ctx);
    }

    /// Perhaps it is one of them that memory cannot bear.
    fn doubt(&mut self, rows: &[Row], failure: &Failure) {
        let [row] = rows else {
            self.batch_failures += 1;
            if self.batch_failures >= self.attempts_max {
                self.batch_failures = 0;
                self.one_by_one = rows.len();
            }
            return;
        };
        let Row { place, user_id, conversation_id, message_id, .. } = row;
        match self.apart.failed(*place, user_id, conversation_id, Instant::now()) {
            Step::Again => {}
            Step::PassOver { proven } => {
                self.setbacks = 0;
                self.one_by_one = self.one_by_one.saturating_sub(1);
                if proven {
                    log::error!(
                        "memory fails at an input and takes others, it is passed over \
                         message={message_id} cause={failure}"
                    );
                    let why = failure.to_string();
                    lock(&self.ledger).hold(user_id, conversation_id, why);
                }
            }
            Step::MemoryIsSick(held) => self.take_turns_again(&held),
        }
    }

    /// What was passed over is not any more.
    pub(super) fn take_turns_again(&mut self, held: &[Held]) {
        let mut ledger = lock(&self.ledger);
        for Held { user, conversation, .. } in held {
            ledger.unhold(user, conversation);
        }
    }

    /// Memory takes nothing: said once, and known to whoever waits, until it takes something.
    pub(super) fn trouble(&self, failure: &Failure) {
        let text = failure.to_string();
        self.progress.send_if_modified(|progress| {
            if progress.trouble.is_none() {
                log::warn!("memory takes no inputs, the outbox keeps them cause={failure}");
            }
            progress.trouble.replace(text).is_none()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_under_suspicion_goes_alone() {
        let row = |place| Row {
            place,
            message_id: String::new(),
            user_id: String::new(),
            conversation_id: String::new(),
            input: String::new(),
            created_at: 0,
        };
        let rows = || (1..=4).map(row).collect::<Vec<_>>();
        let places = |rows: Vec<Row>| rows.into_iter().map(|row| row.place).collect::<Vec<_>>();
        assert_eq!(places(together(rows(), &[])), [1, 2, 3, 4]);
        assert_eq!(places(together(rows(), &[3])), [1, 2]);
        assert_eq!(places(together(rows(), &[1, 3])), [1]);
    }
}
