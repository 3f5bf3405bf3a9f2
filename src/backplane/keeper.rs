//! Our supervisor: an actor that panics or stops is started again in place, with a pause and a
//! budget, under the same address.
//!
//! actix's own supervisor does not survive a panic and restarts without limit or pause; this one
//! wraps the actor's future. Messages that wait in the mailbox stay there during the pause. Out of
//! budget means that the process gives up: see [`House::give_up`].

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use actix::{
    dev::{AsyncContextParts, ContextFut},
    prelude::*,
};
use tokio::time::{Instant, Sleep};

use crate::{
    backplane::vitals::{House, Ping, Vitals},
    domain::{backoff::Backoff, budget::RestartBudget},
};

/// Restarts allowed within [`RESTART_WINDOW`].
pub const RESTARTS_MAX: usize = 5;
/// The window of the restart budget.
pub const RESTART_WINDOW: Duration = Duration::from_secs(30);
/// The pause before a restart: 50 ms, doubling within the window.
pub const RESTART_PAUSE: Backoff =
    Backoff { initial: Duration::from_millis(50), factor: 2.0, cap: Duration::from_secs(2) };
/// Messages an actor's mailbox holds for [`crate::backplane::port::Port::tell`].
pub const MAILBOX_SLOTS: usize = 1024;

/// Starts an actor on this arbiter and keeps it running. `make` runs once; a restart keeps the
/// struct and calls [`Supervised::restarting`], which must put it back into a known state.
pub fn start<A>(house: &House, name: &str, make: impl FnOnce(&mut Context<A>) -> A) -> Addr<A>
where
    A: Actor<Context = Context<A>> + Supervised + Handler<Ping>,
{
    let mut context = Context::<A>::new();
    context.set_mailbox_capacity(MAILBOX_SLOTS);
    let address = context.address();
    let actor = make(&mut context);
    let vitals = house.enter(name, Some(address.downgrade().recipient()));
    actix_rt::spawn(Keeper {
        actor: context.into_future(actor),
        budget: RestartBudget::new(RESTARTS_MAX, RESTART_WINDOW),
        pause: None,
        vitals,
        house: house.clone(),
    });
    address
}

struct Keeper<A: Actor<Context = Context<A>>> {
    actor: ContextFut<A, Context<A>>,
    budget: RestartBudget,
    pause: Option<Pin<Box<Sleep>>>,
    vitals: Arc<Vitals>,
    house: House,
}

impl<A> Future for Keeper<A>
where
    A: Actor<Context = Context<A>> + Supervised,
    Context<A>: AsyncContextParts<A>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if let Some(pause) = &mut this.pause {
                task::ready!(pause.as_mut().poll(cx));
                this.pause = None;
                if !this.restart() {
                    return Poll::Ready(());
                }
            }
            let cause = match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.actor).poll(cx)))
            {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) if !this.actor.ctx().connected() => {
                    // Nobody holds an address any more: a normal end.
                    this.house.leave(&this.vitals);
                    return Poll::Ready(());
                }
                Ok(Poll::Ready(())) => "stopped itself".to_owned(),
                Err(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
            };
            if !this.fell(cause) {
                return Poll::Ready(());
            }
        }
    }
}

impl<A> Keeper<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    /// Plans the restart; false when there is none left.
    fn fell(&mut self, cause: String) -> bool {
        let Some(before) = self.budget.take(Instant::now()) else {
            self.house.give_up(&self.vitals, &cause);
            return false;
        };
        log::warn!("actor fell actor={} cause={cause}", self.vitals.name);
        self.vitals.fell(cause);
        self.pause = Some(Box::pin(tokio::time::sleep(RESTART_PAUSE.ceiling(before))));
        true
    }

    /// Restarts in place; false when nobody holds an address any more (a normal end).
    fn restart(&mut self) -> bool {
        match catch_unwind(AssertUnwindSafe(|| self.actor.restart())) {
            Ok(true) => {
                self.vitals.restarted();
                true
            }
            Ok(false) => {
                self.house.leave(&self.vitals);
                false
            }
            Err(panic) => {
                let cause = format!("panicked while restarting: {}", panic_text(panic.as_ref()));
                self.house.give_up(&self.vitals, &cause);
                false
            }
        }
    }
}

/// The text a panic carried.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        answers_ping,
        backplane::{port::Port, vitals::Life},
        domain::failure::{Failure, Kind},
    };

    /// Counts what it is told, forgets it at a restart, and falls when asked to.
    struct Fragile {
        count: u32,
    }

    #[derive(Message)]
    #[rtype(result = "Result<u32, Failure>")]
    enum Do {
        Count,
        Panic,
        Stop,
    }

    impl Actor for Fragile {
        type Context = Context<Self>;
    }
    impl Supervised for Fragile {
        fn restarting(&mut self, _: &mut Context<Self>) {
            self.count = 0;
        }
    }
    answers_ping!(Fragile);
    impl Handler<Do> for Fragile {
        type Result = Result<u32, Failure>;
        fn handle(&mut self, what: Do, ctx: &mut Context<Self>) -> Self::Result {
            match what {
                Do::Count => self.count += 1,
                Do::Panic => panic!("on purpose"),
                Do::Stop => ctx.stop(),
            }
            Ok(self.count)
        }
    }

    fn fragile() -> (House, Port<Do>) {
        tokio::time::pause();
        let house = House::new();
        let address = start(&house, "fragile", |_| Fragile { count: 0 });
        (house, Port::new("fragile", address.recipient(), 8, Duration::from_secs(60)))
    }

    #[actix::test]
    async fn survives_a_panic_under_the_same_address_with_fresh_state() {
        let (house, port) = fragile();
        assert_eq!(port.ask(Do::Count).await, Ok(1));
        assert_eq!(port.ask(Do::Panic).await.unwrap_err().kind, Kind::Unavailable);
        assert_eq!(port.ask(Do::Count).await, Ok(1));
        let signs = house.signs().remove(0);
        assert_eq!((signs.life, signs.restarts), (Life::Running, 1));
        assert_eq!(signs.last_cause.as_deref(), Some("panicked: on purpose"));
    }

    #[actix::test]
    async fn an_actor_that_stops_itself_is_started_again() {
        let (house, port) = fragile();
        port.ask(Do::Stop).await.unwrap();
        assert_eq!(port.ask(Do::Count).await, Ok(1));
        assert_eq!(house.signs()[0].last_cause.as_deref(), Some("stopped itself"));
    }

    #[actix::test]
    async fn messages_behind_a_panic_are_kept_through_the_pause() {
        let (_house, port) = fragile();
        let (fell, counted) = tokio::join!(port.ask(Do::Panic), port.ask(Do::Count));
        assert!(fell.is_err());
        assert_eq!(counted, Ok(1));
    }

    #[actix::test]
    async fn gives_up_when_the_budget_is_spent_and_says_why() {
        let (house, port) = fragile();
        let mut doom = house.doom();
        for _ in 0..=RESTARTS_MAX {
            assert!(house.stands());
            assert!(port.ask(Do::Panic).await.is_err());
        }
        doom.changed().await.unwrap();
        assert!(!house.stands());
        assert!(doom.borrow().as_ref().unwrap().contains("fragile fell too often"));
        assert_eq!(house.signs()[0].life, Life::Failed);
        assert_eq!(port.ask(Do::Count).await.unwrap_err().kind, Kind::Unavailable);
    }

    #[actix::test]
    async fn a_rare_fall_is_forgiven() {
        let (house, port) = fragile();
        for _ in 0..3 * RESTARTS_MAX {
            assert!(port.ask(Do::Panic).await.is_err());
            tokio::time::advance(RESTART_WINDOW).await;
        }
        assert!(house.stands());
        assert_eq!(port.ask(Do::Count).await, Ok(1));
    }

    #[actix::test]
    async fn pulses_measure_the_mailbox() {
        let (house, port) = fragile();
        assert_eq!(house.signs()[0].mailbox_latency, None);
        actix_rt::spawn(house.clone().watch_over());
        port.ask(Do::Count).await.unwrap();
        tokio::time::advance(PING_WAIT).await;
        port.ask(Do::Count).await.unwrap();
        assert!(house.signs()[0].mailbox_latency.is_some());
    }

    const PING_WAIT: Duration = Duration::from_secs(6);
}
