//! Cognition: what of a user's memory matters now, and what it says.
//!
//! It owns no data: items come over the network from memory, the rules of [`crate::domain`] judge
//! them, and while memory is away every answer is empty and says why.

mod arguments;
mod context;
mod insight;
mod memory;
mod resources;
mod tools;

#[cfg(test)]
mod tests;

use std::{future::Future, rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    backplane::{client::Clients, gate::Gate, host::Host, metrics::Metrics},
    contract::cognition::ContextReply,
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
};
use context::ContextAsked;
use memory::Memory;

/// Judgements one worker makes at once: they need the processor, not the network.
const JUDGEMENTS_AT_ONCE: usize = 2;
/// Time a judgement waits for its turn.
const JUDGEMENT_PATIENCE: Duration = Duration::from_secs(10);

/// Cognition as one worker runs it.
pub struct Cognition {
    memory: Memory,
    rules: Gate,
    metrics: Metrics,
}

impl Cognition {
    /// Cognition that reaches memory through this worker's `clients`.
    #[must_use]
    pub fn new(clients: Rc<Clients>, metrics: Metrics) -> Self {
        Cognition {
            memory: Memory::new(clients),
            rules: Gate::new("cognition", JUDGEMENTS_AT_ONCE, JUDGEMENT_PATIENCE),
            metrics,
        }
    }

    /// The table of its tools and resources.
    #[must_use]
    pub fn host(self: &Rc<Self>) -> Host {
        resources::add(tools::add(Host::new(), self), self)
    }

    /// Applies rules to what was fetched, away from the thread that serves connections.
    async fn judge<T: Send + 'static>(
        &self,
        rules: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.rules.run(move |_waited| rules()).await
    }

    /// Builds a context, for the tool and for the resource.
    async fn context(&self, asked: ContextAsked) -> Result<ContextReply, Failure> {
        let begun = Instant::now();
        let recalled = match &asked.conversation_id {
            None => self.memory.newest(&asked.user_id).await?,
            Some(conversation) => self.memory.both(&asked.user_id, conversation).await?,
        };
        let away = recalled.trouble.is_some();
        let (reply, bytes) = self
            .judge(move || {
                let reply = context::build(asked, recalled);
                let bytes = written_len(&reply);
                (reply, bytes)
            })
            .await?;
        if !away {
            self.metrics.context_built(begun.elapsed(), bytes);
        }
        Ok(reply)
    }
}

/// A handler for the table: each call gets its own handle on `cognition`.
fn bound<In, Out, Run, Answer>(
    cognition: &Rc<Cognition>,
    run: Run,
) -> impl Fn(Principal, In) -> LocalBoxFuture<'static, Result<Out, Failure>> + 'static
where
    Run: Fn(Rc<Cognition>, Principal, In) -> Answer + 'static,
    Answer: Future<Output = Result<Out, Failure>> + 'static,
{
    let cognition = Rc::clone(cognition);
    move |caller, asked| Box::pin(run(Rc::clone(&cognition), caller, asked))
}

/// A reply as JSON.
fn written(reply: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(reply)
        .map_err(|error| Failure::new(Kind::Internal, format!("reply not written: {error}")))
}

/// How many bytes a reply has as JSON.
fn written_len(reply: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(piece.len());
            Ok(piece.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, reply) {
        Ok(()) => count.0,
        Err(error) => {
            log::error!("reply not measured cause={error}");
            0
        }
    }
}
