//! Seeing what was stored before the question: waits until the index has it, or reads the rest from
//! memory.

use std::sync::{Arc, atomic::Ordering};

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    backplane::{
        client::{ServicePort, segment},
        context::{self, RequestContext},
    },
    contract::{
        cognition::{INDEX_BEHIND, Trouble},
        item::Item,
        log::{ENTRIES, Entry, HEAD, Numbered},
    },
    domain::failure::{Failure, Kind},
    services::cognition::{
        index::{
            Index,
            facts::Known,
            store::{Change, Effect, prepare},
        },
        memory::trouble,
    },
};

/// Entries asked for at once.
const PAGE_ENTRIES: usize = 1000;

/// Up to where an answer sees memory's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::services::cognition) struct Fresh {
    /// Everything of the user up to this number is seen.
    pub(in crate::services::cognition) seq: i64,
    /// Entries that were read from memory for it, because the index was behind (count).
    pub(in crate::services::cognition) tail: usize,
    /// Why it is not what was asked for.
    pub(in crate::services::cognition) trouble: Option<Trouble>,
}

impl Index {
    /// Has everything of a user up to `min_seq` in the index, or up to what memory has now; for at
    /// most `INDEX_WAIT_MAX`, and then as far as memory gives the rest.
    ///
    /// # Errors
    /// What the caller did wrong; that memory is away is told in the answer.
    pub(in crate::services::cognition) async fn freshen(
        &self,
        memory: &ServicePort,
        user_id: &str,
        min_seq: Option<i64>,
    ) -> Result<Fresh, Failure> {
        let known = self.shared.settings.index_wait_max;
        let context = context::current_or(known);
        let deadline = context.deadline.min(Instant::now() + known);
        let target = match min_seq {
            Some(seq) => seq,
            None => {
                match (RequestContext { deadline, ..context.clone() }).scope(head_of(memory)).await
                {
                    Ok(head) => head,
                    Err(failure) => {
                        let trouble = Some(trouble(failure)?);
                        return Ok(Fresh { seq: self.position(), tail: 0, trouble });
                    }
                }
            }
        };
        if min_seq.is_none() {
            self.shared.head.fetch_max(target, Ordering::Relaxed);
        }
        let mut position = self.shared.position.subscribe();
        let there = position.wait_for(|position| *position >= target);
        if let Ok(Ok(position)) = tokio::time::timeout_at(deadline, there).await {
            return Ok(Fresh { seq: *position, ..Fresh::default() });
        }
        match self.read_tail(memory, user_id).await {
            Ok(fresh) if fresh.seq < target && fresh.trouble.is_none() => {
                let trouble = Some(behind(format!("memory has not come to {target} yet")));
                Ok(Fresh { trouble, ..fresh })
            }
            Ok(fresh) => Ok(fresh),
            Err(failure) => {
                let trouble = Some(trouble(failure)?);
                Ok(Fresh { seq: self.position(), tail: 0, trouble })
            }
        }
    }

    /// Reads what memory has of a user and the index has not, and takes it into the index in memory.
    async fn read_tail(&self, memory: &ServicePort, user_id: &str) -> Result<Fresh, Failure> {
        let user = self.user(user_id).await?;
        let most = usize::try_from(self.shared.settings.index_tail_max).unwrap_or(usize::MAX);
        let (mut after, mut tail, ahead) = {
            let state = user.read();
            (state.upto().max(self.position()), 0, state.all_ahead().len())
        };
        if ahead > most {
            let text = format!("the index is {} entries behind", self.behind());
            return Ok(Fresh { seq: after, tail, trouble: Some(behind(text)) });
        }
        let head = loop {
            let limit = PAGE_ENTRIES.min(most - tail);
            let path = format!("{ENTRIES}/{}?after={after}&limit={limit}", segment(user_id));
            let (entries, upto, more) = page_of(memory.read(path).await?)?;
            tail += entries.len();
            after = upto;
            let user = Arc::clone(&user);
            let run_ahead = move |_waited| {
                user.write().run_ahead(entries.into_iter().filter_map(change).collect());
            };
            self.shared.searches.run(run_ahead).await?;
            if !more {
                break upto;
            }
            if tail >= most {
                let text = format!("the index is {} entries behind", self.behind());
                return Ok(Fresh { seq: upto, tail, trouble: Some(behind(text)) });
            }
        };
        log::debug!("read from memory what the index has not entries={tail}");
        Ok(Fresh { seq: head, tail, trouble: None })
    }
}

fn behind(detail: String) -> Trouble {
    Trouble { error: INDEX_BEHIND.to_owned(), error_detail: Some(detail) }
}

/// The newest number of memory's log.
async fn head_of(memory: &ServicePort) -> Result<i64, Failure> {
    let answer = memory.read(HEAD.to_owned()).await?;
    answer
        .first()
        .and_then(|head| head.get("seq")?.as_i64())
        .ok_or_else(|| bad_reply("memory did not say how far its log is"))
}

fn bad_reply(text: &str) -> Failure {
    Failure::new(Kind::BadReply, text).of_service("memory")
}

/// The entries of a page, how far it was read, and whether there are more.
pub(super) fn page_of(mut values: Vec<Value>) -> Result<(Vec<Numbered>, i64, bool), Failure> {
    let end = values.pop().unwrap_or_default();
    let upto = end.get("upto").and_then(Value::as_i64);
    let more = end.get("more").and_then(Value::as_bool);
    let (Some(upto), Some(more)) = (upto, more) else {
        return Err(bad_reply("a page of memory's log has no end"));
    };
    let read = |value| {
        serde_json::from_value(value)
            .map_err(|error| bad_reply(&format!("an entry was not understood: {error}")))
    };
    Ok((values.into_iter().map(read).collect::<Result<_, _>>()?, upto, more))
}

/// An entry as a change of its user's index, with the item it is about.
pub(super) fn change(Numbered { seq, entry }: Numbered) -> Option<(Change, Option<Item>)> {
    let (user_id, effect, item) = match entry {
        Entry::Stored(item) | Entry::Changed(item) => {
            (item.user_id.clone(), Effect::Put(Box::new(prepare(&item))), Some(*item))
        }
        Entry::Fact(fact) => {
            let (user_id, seq) = (fact.user_id.clone(), fact.seq);
            let kept = Known::of(*fact).map(|known| Effect::Keep(Box::new(known)));
            (user_id, kept.unwrap_or(Effect::Drop(seq)), None)
        }
        Entry::Removed { user_id, item_seq, .. } => (user_id, Effect::Drop(item_seq), None),
        Entry::Forgotten { user_id } => (user_id, Effect::Forget(seq), None),
        Entry::Began { .. } | Entry::Within { .. } => return None,
    };
    Some((Change { user_id, seq, effect }, item))
}
