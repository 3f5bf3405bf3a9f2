//! Tending the outbox: what an operator, or a user who wants to be forgotten, may have done with
//! what waits.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{
    actor::OutboxActor,
    group::{Order, follow},
    store::Outline,
};
use crate::{
    backplane::locks::lock,
    domain::{
        failure::{Failure, Kind},
        outbox::Ledger,
    },
};

/// Where the answer to an order goes: how many entries it was about.
pub(super) type Answer = oneshot::Sender<Result<usize, Failure>>;

/// Has something done with entries; answered once it is on disk. After a user was forgotten, nothing
/// of theirs is on its way to memory any more either.
#[derive(Message)]
#[rtype(result = "Result<usize, Failure>")]
pub(super) struct Tend(pub(super) Order);

impl Handler<Tend> for OutboxActor {
    type Result = ResponseFuture<Result<usize, Failure>>;
    fn handle(&mut self, Tend(order): Tend, ctx: &mut Context<Self>) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        self.orders.push((order, reply));
        self.commit(ctx);
        Box::pin(async move {
            answer.await.unwrap_or_else(|_fell| {
                Err(Failure::new(Kind::Storage, "the outbox fell during this order"))
            })
        })
    }
}

impl OutboxActor {
    /// Orders are on disk.
    pub(super) fn obeyed(
        &mut self,
        ledger: &mut Ledger,
        orders: &[Order],
        answers: Vec<Answer>,
        done: &[Vec<Outline>],
    ) {
        for ((order, reply), entries) in orders.iter().zip(answers).zip(done) {
            follow(ledger, order, entries);
            for entry in entries {
                if let Some(held) = self.apart.release(entry.place) {
                    ledger.unhold(&held.user, &held.conversation);
                }
            }
            // The batch under way was read before, and may have some of them.
            if matches!(order, Order::Forget(_)) && self.under_way {
                self.after_batch.push((entries.len(), reply));
            } else {
                tell(reply, Ok(entries.len()));
            }
        }
    }

    /// The batch under way has arrived, or has not.
    pub(super) fn landed(&mut self) {
        self.under_way = false;
        for (count, reply) in std::mem::take(&mut self.after_batch) {
            tell(reply, Ok(count));
        }
    }

    /// Orders that are not on disk were not carried out.
    pub(super) fn disobeyed(answers: Vec<Answer>, failure: &Failure) {
        for reply in answers {
            tell(reply, Err(failure.clone()));
        }
    }

    /// What waits at this moment.
    pub(super) fn entries(&self) -> usize {
        lock(&self.ledger).load().entries
    }
}

fn tell(reply: Answer, result: Result<usize, Failure>) {
    if reply.send(result).is_err() {
        log::debug!("an order was carried out after its giver had gone");
    }
}
