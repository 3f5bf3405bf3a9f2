//! A way for work that may run on any thread to what belongs to one thread: questions are brought
//! there, answered there, and dropped when whoever asked has gone.

use std::{
    rc::Rc,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread::ThreadId,
};

use futures_util::future::LocalBoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    backplane::context,
    domain::failure::{Failure, Kind},
};

type Question<L> = Box<dyn FnOnce(Rc<L>) + Send>;

/// A way to `L`, which lives on another thread or on this one. Cheap to clone.
pub struct Desk<L> {
    questions: mpsc::UnboundedSender<Question<L>>,
    /// Bounds the channel as well: whoever asks holds a place until the answer.
    places: Arc<Semaphore>,
}

impl<L> Clone for Desk<L> {
    fn clone(&self) -> Self {
        Desk { questions: self.questions.clone(), places: Arc::clone(&self.places) }
    }
}

impl<L> std::fmt::Debug for Desk<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Desk({} free)", self.places.available_permits())
    }
}

impl<L: 'static> Desk<L> {
    /// Opens a desk on this thread, at which `places` questions may wait or be worked on at once.
    /// It closes when the last handle on it is dropped.
    #[must_use]
    pub fn open(local: Rc<L>, places: usize) -> Self {
        let (questions, mut coming) = mpsc::unbounded_channel::<Question<L>>();
        actix_rt::spawn(async move {
            while let Some(question) = coming.recv().await {
                question(Rc::clone(&local));
            }
        });
        Desk { questions, places: Arc::new(Semaphore::new(places)) }
    }

    /// Asks, and waits for the answer. The work runs in the request context of whoever asks, and
    /// ends with them: when this future is dropped, and at the request's deadline.
    ///
    /// # Errors
    /// The answer's own failure; `overloaded` when all places are taken, `timeout` at the deadline,
    /// `service_unavailable` when the thread has ended or the work panicked.
    pub async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(Rc<L>) -> LocalBoxFuture<'static, Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let gone = || Failure::new(Kind::Unavailable, "the service is leaving");
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Failure::new(Kind::Overloaded, "too much to do at this moment")
                .retry_after(std::time::Duration::from_secs(1)));
        };
        let (mut reply, answer) = oneshot::channel();
        let context = context::current();
        let deadline = context.as_ref().map(|context| context.deadline);
        let question: Question<L> = Box::new(move |local| {
            let work = work(local);
            actix_rt::spawn(async move {
                let work = async {
                    match context {
                        Some(context) => context.scope(work).await,
                        None => work.await,
                    }
                };
                tokio::select! {
                    answer = work => drop(reply.send(answer)),
                    () = reply.closed() => {}
                }
            });
        });
        self.questions.send(question).map_err(|_closed| gone())?;
        let answer = async { answer.await.map_err(|_dropped| gone())? };
        match deadline {
            None => answer.await,
            Some(deadline) => tokio::time::timeout_at(deadline, answer)
                .await
                .unwrap_or_else(|_late| Err(Failure::new(Kind::Timeout, "the time was up"))),
        }
    }
}

/// Desks, each with the thread it is on.
type Row<L> = Vec<(ThreadId, Desk<L>)>;

/// The desks of all threads that have one. Cheap to clone; clones are the same desks.
pub struct Desks<L> {
    all: Arc<RwLock<Row<L>>>,
    turn: Arc<AtomicUsize>,
}

impl<L> Clone for Desks<L> {
    fn clone(&self) -> Self {
        Desks { all: Arc::clone(&self.all), turn: Arc::clone(&self.turn) }
    }
}

impl<L> Default for Desks<L> {
    fn default() -> Self {
        Desks { all: Arc::default(), turn: Arc::default() }
    }
}

impl<L: 'static> Desks<L> {
    /// Opens a desk on this thread, as [`Desk::open`].
    pub fn open(&self, local: Rc<L>, places: usize) {
        let desk = Desk::open(local, places);
        let here = std::thread::current().id();
        self.all.write().unwrap_or_else(PoisonError::into_inner).push((here, desk));
    }

    /// This thread's desk, else the others' in turn.
    ///
    /// # Errors
    /// `service_unavailable` when there is none yet.
    pub fn nearest(&self) -> Result<Desk<L>, Failure> {
        let here = std::thread::current().id();
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let own = all.iter().find(|(thread, _)| *thread == here);
        own.or_else(|| all.get(turn.checked_rem(all.len())?))
            .map(|(_, desk)| desk.clone())
            .ok_or_else(|| Failure::new(Kind::Unavailable, "the service has not begun yet"))
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;
    use crate::backplane::context::RequestContext;

    fn assert_send<T: Send>(value: T) -> T {
        value
    }

    #[actix::test]
    async fn what_belongs_to_one_thread_is_asked_from_another() {
        let desk = Desk::open(Rc::new(Cell::new(41)), 4);
        let asking = assert_send(async move {
            desk.ask(|cell: Rc<Cell<i32>>| {
                Box::pin(async move {
                    cell.set(cell.get() + 1);
                    Ok(cell.get())
                })
            })
            .await
        });
        let elsewhere = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(asking)
        });
        while !elsewhere.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(elsewhere.join().unwrap(), Ok(42));
    }

    #[actix::test]
    async fn work_ends_with_whoever_asked_and_at_the_deadline() {
        tokio::time::pause();
        let (held, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let desk = Desk::open(Rc::new(()), 1);
        let work = move |held: mpsc::Sender<()>| {
            move |_: Rc<()>| -> LocalBoxFuture<'static, Result<(), Failure>> {
                Box::pin(async move {
                    held.closed().await;
                    Ok(())
                })
            }
        };
        let context = RequestContext::fresh(Duration::from_secs(5));
        let late = context.scope(desk.ask(work(held.clone()))).await.unwrap_err();
        assert_eq!(late.kind, Kind::Timeout);
        let waiting = desk.ask(work(held));
        assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
        assert_eq!(ended.recv().await, None, "both works were dropped");
    }

    #[actix::test]
    async fn a_full_desk_refuses_and_a_panic_is_a_failure() {
        let desk = Desk::open(Rc::new(()), 1);
        let busy = desk.ask::<()>(|_| Box::pin(std::future::pending()));
        tokio::pin!(busy);
        assert!(futures_util::poll!(&mut busy).is_pending());
        let refused = desk.ask::<()>(|_| Box::pin(async { Ok(()) })).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Overloaded);
        let desk = Desk::open(Rc::new(()), 1);
        let failed = desk.ask::<()>(|_| Box::pin(async { panic!("on purpose") })).await;
        assert_eq!(failed.unwrap_err().kind, Kind::Unavailable);
    }
}
