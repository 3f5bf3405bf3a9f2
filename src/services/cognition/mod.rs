//! Cognition: what of a user's memory matters now, and what it says.
//!
//! It owns no data but an index of memory's log, which it follows and can make again. The rules of
//! [`crate::domain`] judge; while memory is away, what the index has is judged, and the answer says
//! so.

mod arguments;
mod context;
mod digest;
pub mod index;
mod insight;
mod memory;
mod prompts;
mod resources;
mod shapes;
mod tools;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, future::Future, rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    backplane::{
        client::Clients, clock, config::Understanding, context::current_or, gate::Gate, host::Host,
        metrics::Metrics,
    },
    contract::cognition::{ContextReply, SearchReply, Trouble},
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
};
use context::{Candidate, ContextAsked, SearchAsked};
use index::{Asked, Conditions, Fresh, History, Index, Reach};
use memory::{CONVERSATION_ITEMS_MAX, HISTORY_ITEMS_MAX, Recollection, remembered, united};

/// Judgements one worker makes at once: they need the processor, not the network.
const JUDGEMENTS_AT_ONCE: usize = 2;
/// Time a judgement waits for its turn.
const JUDGEMENT_PATIENCE: Duration = Duration::from_secs(10);

/// Items that are ranked beyond those that are told, to say how many were left out and to have
/// others where some say the same (count).
const SPARE_ITEMS: usize = 200;

/// Cognition as one worker runs it.
pub struct Cognition {
    clients: Rc<Clients>,
    index: Index,
    rules: Gate,
    metrics: Metrics,
    understanding: Understanding,
}

impl Cognition {
    /// Cognition that reaches memory through this worker's `clients`.
    #[must_use]
    pub fn new(
        clients: Rc<Clients>,
        index: Index,
        metrics: Metrics,
        understanding: Understanding,
    ) -> Self {
        Cognition {
            clients,
            index,
            rules: Gate::new("cognition", JUDGEMENTS_AT_ONCE, JUDGEMENT_PATIENCE),
            metrics,
            understanding,
        }
    }

    /// The table of its tools and resources.
    #[must_use]
    pub fn host(self: &Rc<Self>) -> Host {
        let host = resources::add(tools::add(Host::new(), self), self);
        shapes::shaped(prompts::add(host, self))
    }

    /// Applies rules to what was fetched, away from the thread that serves connections.
    async fn judge<T: Send + 'static>(
        &self,
        rules: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.rules.run(move |_waited| rules()).await
    }

    /// Has what memory has in the index, for a question about this user.
    async fn freshen(&self, user_id: &str, min_seq: Option<i64>) -> Result<Fresh, Failure> {
        self.index.freshen(&self.clients.of("memory")?, user_id, min_seq).await
    }

    /// A user's whole history, or that of one conversation, as far as it is read; and why it may be
    /// less than memory has.
    async fn history(
        &self,
        user_id: &str,
        conversation_id: Option<&str>,
    ) -> Result<(History, Option<Trouble>), Failure> {
        let fresh = self.freshen(user_id, None).await?;
        let patience = self.understanding.understanding_time_max;
        let items = self.understanding.understanding_items_max;
        // Half of what is left of the request's time is for what is made of it.
        let time = patience.min(current_or(patience * 2).remaining() / 2);
        let reach = Reach {
            items: usize::try_from(items).unwrap_or(usize::MAX),
            until: Instant::now() + time,
        };
        let conditions = Conditions::of_conversation(conversation_id);
        Ok((self.index.history(user_id, conditions, reach).await?, fresh.trouble))
    }

    /// The newest items of a user, or those of one conversation.
    async fn recall(
        &self,
        user_id: &str,
        conversation_id: Option<&str>,
    ) -> Result<Recollection, Failure> {
        let fresh = self.freshen(user_id, None).await?;
        let conditions = Conditions::of_conversation(conversation_id);
        let most = conversation_id.map_or(HISTORY_ITEMS_MAX, |_| CONVERSATION_ITEMS_MAX);
        let items = self.index.newest(user_id, conditions, most).await?;
        Ok(Recollection { items: remembered(items), trouble: fresh.trouble })
    }

    /// Builds a context, for the tool and for the resource.
    async fn context(&self, asked: ContextAsked) -> Result<ContextReply, Failure> {
        let begun = Instant::now();
        let fresh = self.freshen(&asked.user_id, asked.min_seq).await?;
        let away = fresh.trouble.is_some();
        let found = match &asked.query {
            Some(text) => self.found(&asked, text).await?,
            None => Vec::new(),
        };
        let newest = self.newest_for(&asked, found.len()).await?;
        let (reply, bytes) = self
            .judge(move || {
                let reply = context::build(asked, fresh, found, newest);
                let bytes = written_len(&reply);
                (reply, bytes)
            })
            .await?;
        if !away {
            self.metrics.context_built(begun.elapsed(), bytes);
        }
        Ok(reply)
    }

    /// What answers a text, best first.
    async fn found(&self, asked: &ContextAsked, text: &str) -> Result<Vec<Candidate>, Failure> {
        let question = Asked {
            text: text.to_owned(),
            limit: asked.limit.saturating_add(SPARE_ITEMS),
            conditions: asked.conditions.clone(),
            preferred: asked.conversation_id.clone(),
            recency_weight: asked.recency_weight,
            facts_at: asked.include_facts.then(clock::now_micros),
        };
        let mut answer = self.index.search(&asked.user_id, question).await?;
        let found = &mut answer.found;
        // However recent, what has nothing of the question does not stand above what has.
        if asked.recency_weight.is_some_and(|weight| weight > 0.0) {
            found.sort_by_key(|found| found.reasons.terms.is_empty());
        }
        // More texts than are told are read only where a budget may leave some out.
        let read = if asked.max_tokens.is_some() { found.len() } else { asked.limit };
        let seqs = found.iter().take(read).map(|found| found.seq).collect();
        let items = self.index.items(&asked.user_id, seqs).await?;
        Ok(context::candidates(answer, items, read))
    }

    /// The newest items, where a question has found less than was asked for; a budget is for what
    /// answers alone.
    async fn newest_for(
        &self,
        asked: &ContextAsked,
        found: usize,
    ) -> Result<Recollection, Failure> {
        let enough = found >= asked.limit || (found > 0 && asked.max_tokens.is_some());
        if enough {
            return Ok(Recollection::default());
        }
        let user_id = &asked.user_id;
        let newest =
            self.index.newest(user_id, asked.conditions.clone(), HISTORY_ITEMS_MAX).await?;
        let preferred = asked.conversation_id.as_deref();
        let items = match preferred.filter(|_| asked.conditions.conversation.is_none()) {
            None => newest,
            Some(id) => {
                let conversation = Some(id.to_owned());
                let conditions = Conditions { conversation, ..asked.conditions.clone() };
                let most = CONVERSATION_ITEMS_MAX;
                united(newest, self.index.newest(user_id, conditions, most).await?)
            }
        };
        Ok(Recollection { items: remembered(items), trouble: None })
    }

    /// Searches a user's items.
    async fn search(&self, asked: SearchAsked) -> Result<SearchReply, Failure> {
        let fresh = self.freshen(&asked.user_id, asked.min_seq).await?;
        let question = Asked {
            text: asked.query.clone(),
            limit: asked.limit.saturating_add(SPARE_ITEMS),
            conditions: asked.conditions.clone(),
            preferred: asked.conversation_id.clone(),
            recency_weight: None,
            facts_at: None,
        };
        let mut answer = self.index.search(&asked.user_id, question).await?;
        let found = &mut answer.found;
        // Who searches for words wants items that have one, not their neighbours.
        found.retain(|found| !found.reasons.terms.is_empty());
        found.truncate(asked.limit);
        let seqs = found.iter().map(|found| found.seq).collect();
        let items = self.index.items(&asked.user_id, seqs).await?;
        let candidates = context::candidates(answer, items, asked.limit);
        let mut about = std::collections::BTreeMap::new();
        if asked.include_conversations {
            let named: BTreeSet<String> = candidates
                .iter()
                .filter_map(|candidate| candidate.remembered()?.item.conversation_id.clone())
                .collect();
            about = self.index.about(&asked.user_id, named.into_iter().collect()).await?;
        }
        self.judge(move || insight::found(asked, fresh, candidates, about)).await
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
