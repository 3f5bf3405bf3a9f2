//! The only way to ask an actor: bounded in number and in time.

use std::{sync::Arc, time::Duration};

use actix::{
    dev::{MessageResponse, SendError, ToEnvelope},
    prelude::*,
};
use tokio::sync::Semaphore;

use crate::{
    backplane::context,
    domain::failure::{Failure, Kind},
};

/// A bounded, timed way to one kind of message of one actor. Cheap to clone; clones share the bound.
pub struct Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    name: &'static str,
    to: Arc<Recipient<M>>,
    slots: Arc<Semaphore>,
    patience: Duration,
}

impl<M> Clone for Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Port {
            name: self.name,
            to: Arc::clone(&self.to),
            slots: Arc::clone(&self.slots),
            patience: self.patience,
        }
    }
}

impl<M> std::fmt::Debug for Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Port({})", self.name)
    }
}

impl<M> Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    /// A port to `to`: at most `slots` questions at once, each answered within `patience` (or the
    /// request's own deadline, whichever is sooner).
    pub fn new(name: &'static str, to: Recipient<M>, slots: usize, patience: Duration) -> Self {
        Port { name, to: Arc::new(to), slots: Arc::new(Semaphore::new(slots)), patience }
    }

    /// A port to an actor that handles `M`.
    pub fn to<A>(name: &'static str, actor: &Addr<A>, slots: usize, patience: Duration) -> Self
    where
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: 'static,
        M::Result: MessageResponse<A, M>,
    {
        Port::new(name, actor.clone().recipient(), slots, patience)
    }

    /// Leaves a message without waiting for an answer. The mailbox's capacity bounds it.
    ///
    /// # Errors
    /// `overloaded` when the mailbox is full, `service_unavailable` when the actor is gone.
    pub fn tell(&self, message: M) -> Result<(), Failure> {
        self.to.try_send(message).map_err(|refused| match refused {
            SendError::Full(_) => self.full(),
            SendError::Closed(_) => self.gone(),
        })
    }

    fn full(&self) -> Failure {
        Failure::new(Kind::Overloaded, format!("{} has too much to do", self.name))
            .retry_after(Duration::from_secs(1))
    }

    fn gone(&self) -> Failure {
        Failure::new(Kind::Unavailable, format!("{} is not running", self.name))
            .retry_after(Duration::from_secs(1))
    }
}

impl<M, T> Port<M>
where
    M: Message<Result = Result<T, Failure>> + Send,
    T: Send + 'static,
{
    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// What the actor answers; `overloaded` when all slots are taken; `timeout` when there is no
    /// answer in time; `service_unavailable` when the actor fell while it worked on it.
    #[expect(clippy::disallowed_methods, reason = "this is the bounded, timed wrapper round it")]
    pub async fn ask(&self, message: M) -> Result<T, Failure> {
        let _slot = self.slots.try_acquire().map_err(|_none_left| self.full())?;
        let patience = context::current()
            .map_or(self.patience, |context| context.remaining().min(self.patience));
        match self.to.send(message).timeout(patience).await {
            Ok(answer) => answer,
            Err(MailboxError::Closed) => Err(self.gone()),
            Err(MailboxError::Timeout) => Err(Failure::new(
                Kind::Timeout,
                format!("{} did not answer within {} ms", self.name, patience.as_millis()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers after the time it is told.
    struct Slow;
    #[derive(Message)]
    #[rtype(result = "Result<u64, Failure>")]
    struct After(u64);
    impl Actor for Slow {
        type Context = Context<Self>;
    }
    impl Handler<After> for Slow {
        type Result = ResponseFuture<Result<u64, Failure>>;
        fn handle(&mut self, After(seconds): After, _: &mut Context<Self>) -> Self::Result {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(seconds)
            })
        }
    }

    fn port(slots: usize) -> Port<After> {
        tokio::time::pause();
        Port::to("slow", &Slow.start(), slots, Duration::from_secs(5))
    }

    #[actix::test]
    async fn an_answer_in_time_is_passed_on_a_late_one_is_a_timeout() {
        let port = port(4);
        assert_eq!(port.ask(After(4)).await, Ok(4));
        assert_eq!(port.ask(After(6)).await.unwrap_err().kind, Kind::Timeout);
    }

    #[actix::test]
    async fn the_requests_own_deadline_comes_first() {
        let port = port(4);
        let context = context::RequestContext::fresh(Duration::from_secs(1));
        let answer = context.scope(async { port.ask(After(2)).await }).await;
        assert_eq!(answer.unwrap_err().kind, Kind::Timeout);
    }

    #[actix::test]
    async fn more_questions_than_slots_are_refused_at_once() {
        let port = port(2);
        let answers = futures_util::future::join_all((0..5).map(|_| port.ask(After(1)))).await;
        let refused =
            answers.iter().filter(|a| matches!(a, Err(f) if f.kind == Kind::Overloaded)).count();
        assert_eq!(refused, 3);
        assert_eq!(port.ask(After(1)).await, Ok(1), "slots come back");
    }
}
