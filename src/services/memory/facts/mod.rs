//! Facts: what is to be known of a user for longer than it was talked of. Superseded, not overwritten;
//! in the log like items, so that whoever follows it has them.

mod export;
mod intake;
mod store;

pub(super) use store::{FactRow, NewFact, Noted, remember, remove, remove_all};

/// What comes after everything that begins with a text.
fn end_of(beginning: &str) -> String {
    format!("{beginning}{}", char::MAX)
}

#[cfg(test)]
pub(super) use store::tests::{a_fact, all_of};

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    backplane::{
        arguments::{read, required, required_subject},
        clock,
        host::{Asked, Content, Host, Typed},
    },
    contract::fact::{
        FACTS_DEFAULT, FACTS_MAX, Fact, FactForgotten, ForgetFact, Recall, RecallReply, Recalled,
        Remember, Remembered,
    },
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
        retrieval::{Index, Question, Weights},
    },
    services::memory::{
        Memory, value,
        writer::{Write, Written},
    },
};
use store::{Order, Which};

/// Facts of a user that are ranked for one query: the newest (count).
const RANKED_MAX: i64 = 10_000;
/// What a value that is typed may become: at most so many are named (count).
const COMPLETIONS_MAX: i64 = 100;

/// Memory's table with what it has of facts.
pub(super) fn rows(host: Host, memory: &Memory) -> Host {
    resources(export::row(tools(host, memory), memory), memory)
}

fn tools(host: Host, memory: &Memory) -> Host {
    let (one, two, three) = (memory.clone(), memory.clone(), memory.clone());
    host.tool(
        "remember",
        "Keeps a fact about something; of one subject and key one fact holds at a time.",
        &[
            "user_id",
            "subject",
            "key",
            "text",
            "valid_from",
            "valid_to",
            "source_item_id",
            "id",
            "supersedes",
        ],
        move |caller, arguments| {
            let memory = one.clone();
            Box::pin(async move { memory.remember(&caller, read(arguments)?).await })
        },
    )
    .tool(
        "recall",
        "Answers the facts that hold now, or held at a moment: all, of a subject, or for a query.",
        &["user_id", "subject", "key", "query", "at", "include_superseded", "limit"],
        move |caller, arguments| {
            let memory = two.clone();
            Box::pin(async move { memory.recall(&caller, read(arguments)?).await })
        },
    )
    .tool(
        "forget",
        "Removes one of the user's facts for ever.",
        &["user_id", "fact_id", "id"],
        move |caller, arguments: Map<String, Value>| {
            let memory = three.clone();
            Box::pin(async move { memory.forget(&caller, read(arguments)?).await })
        },
    )
}

fn resources(host: Host, memory: &Memory) -> Host {
    let (all, one, typed) = (memory.clone(), memory.clone(), memory.clone());
    host.resource(
        "facts/{user_id}",
        "The facts of a user that hold now, oldest first; at=TIME, include_superseded=true, after=SEQ.",
        move |caller, asked| {
            let memory = all.clone();
            Box::pin(async move { memory.list(&caller, &asked).await })
        },
    )
    .resource(
        "facts/{user_id}/subject/{subject}",
        "The facts of a user about one subject.",
        move |caller, asked| {
            let memory = one.clone();
            Box::pin(async move { memory.list(&caller, &asked).await })
        },
    )
    .completing(move |caller, asked| {
        let memory = typed.clone();
        Box::pin(async move { memory.complete(&caller, asked).await })
    })
}

/// How many facts are told, of a wish.
fn bounded(limit: Option<i64>, most: i64) -> i64 {
    limit.unwrap_or(FACTS_DEFAULT.min(most)).clamp(1, most)
}

impl Memory {
    async fn remember(&self, caller: &Principal, asked: Remember) -> Result<Value, Failure> {
        let user_id = required_subject(caller, asked.user_id.clone())?;
        let named = asked.supersedes.clone().unwrap_or_default();
        let new = intake::fact(user_id.clone(), asked, clock::now_micros())?;
        let told = |status: &str, fact: Fact, superseded, same_body| Remembered {
            status: status.to_owned(),
            user_id: user_id.clone(),
            fact_id: fact.id.clone(),
            seq: fact.seq,
            fact,
            superseded,
            same_body,
        };
        match self.write(Write::Remember(Box::new(new))).await? {
            Written::Remembered(Noted::Now { fact, superseded, .. }) => {
                value(&told("remembered", *fact, superseded, None))
            }
            Written::Remembered(Noted::Before { fact, same_body }) => {
                value(&told("already_exists", *fact, Vec::new(), Some(same_body)))
            }
            Written::Remembered(Noted::Unknown) => Err(Failure::not_found("fact", named)),
            Written::Remembered(Noted::Taken { by }) => {
                let message = format!("was superseded already, by {by}");
                Err(Failure::invalid_field("supersedes", message, "value_error"))
            }
            Written::Stored { .. }
            | Written::Known { .. }
            | Written::StoredAll(_)
            | Written::Changed(_)
            | Written::Removed(_) => Err(super::wrong_answer()),
        }
    }

    async fn recall(&self, caller: &Principal, asked: Recall) -> Result<Value, Failure> {
        let user_id = required_subject(caller, asked.user_id.clone())?;
        let limit = bounded(asked.limit, FACTS_MAX);
        let (which, query) = intake::which(user_id.clone(), asked, clock::now_micros())?;
        let (facts, more) = match query {
            None => self.newest(which, limit).await?,
            Some(query) => self.ranked(which, query, limit).await?,
        };
        value(&RecallReply { user_id, count: facts.len(), facts, more })
    }

    async fn newest(&self, which: Which, limit: i64) -> Result<(Vec<Recalled>, bool), Failure> {
        let read = move |connection: &mut _| store::page(connection, &which, Order::Newest(limit));
        let (rows, more) = self.reads.run("select", "memory_facts", read).await?;
        let recalled = |row: FactRow| Recalled { fact: row.into(), relevance_score: None };
        Ok((rows.into_iter().map(recalled).collect(), more))
    }

    /// The facts that have to do with a query, by the rules that rank items. There is no index for
    /// it: facts are few, and what is read of them is bounded.
    async fn ranked(
        &self,
        which: Which,
        query: String,
        limit: i64,
    ) -> Result<(Vec<Recalled>, bool), Failure> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let rank = move |connection: &mut _| {
            let (rows, cut) = store::page(connection, &which, Order::Newest(RANKED_MAX))?;
            let index = Index::of(rows.iter().map(FactRow::prepared));
            let wanted = limit.saturating_add(1);
            let question = Question { text: &query, limit: wanted, ..Question::default() };
            let found = index.search(&question, &Weights::default());
            let more = cut || found.len() > limit;
            let mut rows: BTreeMap<i64, FactRow> =
                rows.into_iter().map(|row| (row.seq, row)).collect();
            let recalled = found.into_iter().take(limit).filter_map(|found| {
                let relevance_score = Some(found.score);
                Some(Recalled { fact: rows.remove(&found.seq)?.into(), relevance_score })
            });
            Ok((recalled.collect(), more))
        };
        self.reads.run("select", "memory_facts", rank).await
    }

    async fn forget(&self, caller: &Principal, asked: ForgetFact) -> Result<Value, Failure> {
        let user_id = required_subject(caller, asked.user_id)?;
        let id = required("fact_id", asked.fact_id)?;
        let forget = Write::Forget { user_id: user_id.clone(), id: id.clone() };
        match self.write(forget).await? {
            Written::Removed(removed) if removed.facts > 0 => {
                value(&FactForgotten { status: "forgotten".to_owned(), user_id, fact_id: id })
            }
            Written::Removed(_) => Err(Failure::not_found("fact", id)),
            Written::Stored { .. }
            | Written::Known { .. }
            | Written::StoredAll(_)
            | Written::Changed(_)
            | Written::Remembered(_) => Err(super::wrong_answer()),
        }
    }

    async fn list(&self, caller: &Principal, asked: &Asked) -> Result<Content, Failure> {
        let user_id = asked.var("user_id").to_owned();
        caller.must_act_for(&user_id)?;
        let text = |name: &str| asked.query.get(name).cloned();
        let limit = asked.integer("limit")?;
        if limit.is_some_and(|limit| limit < 1) {
            return Err(Failure::new(Kind::InvalidParameter, "limit must be at least 1"));
        }
        let order = Order::After(
            asked.integer("after")?.unwrap_or(0),
            limit.unwrap_or(FACTS_MAX).min(FACTS_MAX),
        );
        let recall = Recall {
            subject: asked.vars.get("subject").cloned().or_else(|| text("subject")),
            key: text("key"),
            at: text("at"),
            include_superseded: text("include_superseded").map(|text| text == "true"),
            ..Recall::default()
        };
        let (which, _) = intake::which(user_id, recall, clock::now_micros())?;
        let read = move |connection: &mut _| store::page(connection, &which, order);
        let (rows, _) = self.reads.run("select", "memory_facts", read).await?;
        let facts = rows.into_iter().map(|row| value(&Fact::from(row)));
        Ok(Content::Items(facts.collect::<Result<_, _>>()?))
    }

    /// What an id or a subject that is being typed may become: of the caller's own, so that a service,
    /// which acts for anybody, is told nothing.
    async fn complete(&self, caller: &Principal, typed: Typed) -> Result<Vec<String>, Failure> {
        let Some(user_id) = caller.confined_to().map(str::to_owned) else { return Ok(Vec::new()) };
        let Typed { argument, beginning } = typed;
        match argument.as_str() {
            "user_id" if user_id.starts_with(&beginning) => Ok(vec![user_id]),
            "conversation_id" => {
                let read = move |connection: &mut _| {
                    store::conversations(connection, &user_id, &beginning, COMPLETIONS_MAX)
                };
                self.reads.run("select", "memory_items", read).await
            }
            "subject" => {
                let read = move |connection: &mut _| {
                    store::subjects(connection, &user_id, &beginning, COMPLETIONS_MAX)
                };
                self.reads.run("select", "memory_facts", read).await
            }
            _ => Ok(Vec::new()),
        }
    }
}
