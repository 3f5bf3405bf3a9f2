//! The whole log, for services that keep something of their own from it: in pages, and as a live
//! stream from any number on, in which no change is ever missing.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use crate::{
    backplane::{
        fanout::{Broadcast, Faces, Subscribe},
        host::{Asked, Content, Host, LiveBody},
        stream::{self, Outlet},
    },
    contract::log::{Entry, Numbered},
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
        sse,
    },
    services::memory::{
        Memory,
        changes::{self, LogPage},
        live::{self, Trouble},
    },
};

/// The rendering of followers of items.
pub(super) const FACE_ITEMS: usize = 0;
/// The rendering of followers of the whole log.
const FACE_ENTRIES: usize = 1;
/// Entries read from the store at once while catching up.
const REPLAY_PAGE: i64 = 500;
/// Most entries of one page that is asked for.
const PAGE_ENTRIES_MAX: i64 = 1000;

/// An item that was stored, in both renderings.
#[derive(Debug)]
pub(super) struct Stored {
    /// The number it was stored under.
    pub(super) seq: i64,
    /// The item as JSON.
    pub(super) json: String,
}

impl Faces for Stored {
    fn render(&self, face: usize) -> Option<Bytes> {
        match face {
            FACE_ITEMS => Some(sse::render(Some(self.seq), &self.json).into()),
            FACE_ENTRIES => {
                Some(sse::render(Some(self.seq), &format!("{{\"stored\":{}}}", self.json)).into())
            }
            _ => None,
        }
    }
}

/// A change, which followers of items do not see.
#[derive(Debug)]
struct Changed {
    seq: i64,
    json: String,
}

impl Faces for Changed {
    fn render(&self, face: usize) -> Option<Bytes> {
        (face == FACE_ENTRIES).then(|| sse::render(Some(self.seq), &self.json).into())
    }
}

/// An entry as the event its followers get.
pub(super) fn broadcast(numbered: &Numbered) -> Option<Broadcast> {
    let Numbered { seq, entry } = numbered;
    if let Entry::Stored(item) = entry {
        return live::broadcast(item, *seq);
    }
    match serde_json::to_string(entry) {
        Ok(json) => Some(Broadcast {
            user: entry.user().unwrap_or_default().into(),
            conversation: None,
            seq: *seq,
            kind: "change",
            faces: Arc::new(Changed { seq: *seq, json }),
        }),
        Err(error) => {
            log::error!("change not announced seq={seq} cause={error}");
            None
        }
    }
}

/// Memory's table with these resources.
pub(super) fn rows(host: Host, memory: &Memory) -> Host {
    let (live, all, one) = (memory.clone(), memory.clone(), memory.clone());
    host.resource(
        "log/entries/stream",
        "Everything that is stored, changed, removed and forgotten, for services that follow it.",
        move |caller, asked| {
            let memory = live.clone();
            Box::pin(async move {
                for_services(&caller)?;
                let after = asked.integer("after")?.or(asked.last_event_id);
                Ok(Content::Live(memory.follow_all(after).await?))
            })
        },
    )
    .resource("log/entries", "The log in pages: after=SEQ and limit=N.", move |caller, asked| {
        let memory = all.clone();
        Box::pin(async move {
            for_services(&caller)?;
            entries(&memory, None, &asked).await
        })
    })
    .resource(
        "log/entries/{user_id}",
        "The log in pages, of one user.",
        move |caller, asked| {
            let memory = one.clone();
            Box::pin(async move {
                let user_id = asked.var("user_id").to_owned();
                caller.must_act_for(&user_id)?;
                entries(&memory, Some(user_id), &asked).await
            })
        },
    )
}

fn for_services(caller: &Principal) -> Result<(), Failure> {
    match caller.confined_to() {
        None => Ok(()),
        Some(_) => Err(Failure::new(Kind::PermissionDenied, "the whole log is for services")),
    }
}

/// One page, and behind it `{"upto": SEQ, "more": BOOL}`: how far the log was read.
async fn entries(
    memory: &Memory,
    user_id: Option<String>,
    asked: &Asked,
) -> Result<Content, Failure> {
    let after = asked.integer("after")?.unwrap_or(0);
    let limit = asked.integer("limit")?.unwrap_or(PAGE_ENTRIES_MAX).clamp(1, PAGE_ENTRIES_MAX);
    let page = memory.log_page(user_id, after, limit).await?;
    let mut values = Vec::with_capacity(page.entries.len() + 1);
    for entry in &page.entries {
        values.push(serde_json::to_value(entry).map_err(|error| unwritten(&error))?);
    }
    let end: Value = json!({"upto": page.upto, "more": page.more});
    values.push(end);
    Ok(Content::Items(values))
}

impl Memory {
    async fn log_page(
        &self,
        user_id: Option<String>,
        after: i64,
        limit: i64,
    ) -> Result<LogPage, Failure> {
        self.reads
            .run("select", "memory_changes", move |connection| {
                changes::page(connection, user_id.as_deref(), after, limit)
            })
            .await
    }

    /// The whole log from `after` on (`None`: from now on), as server-sent events. The first thing
    /// sent is what the part of the log is called that the beginning lies in, then the number it
    /// begins after.
    ///
    /// # Errors
    /// Why the store could not be read.
    async fn follow_all(&self, after: Option<i64>) -> Result<LiveBody, Failure> {
        let head = self.head().await?;
        // A reader may know more than this store, which was set back: the first line tells it so.
        let start = after.map_or(head, |seq| seq.clamp(0, head));
        let epoch = self
            .reads
            .run("select", "memory_changes", move |connection| changes::epoch_at(connection, start))
            .await?;
        let memory = self.clone();
        let body = stream::body(self.keep_alive, self.drain.clone(), move |mut out| async move {
            let served = memory.serve_all(&mut out, start, Entry::Within { epoch, head }).await;
            if let Err(Trouble::Failed(failure)) = served {
                log::warn!("the stream of the log ended cause={failure}");
            }
        });
        Ok(Box::pin(body))
    }

    async fn serve_all(&self, out: &mut Outlet, start: i64, within: Entry) -> Result<(), Trouble> {
        let within = serde_json::to_string(&within).map_err(|error| unwritten(&error))?;
        // First of all, before any id: an event has the last id before it, and would be taken for one
        // that the reader has.
        out.send(Bytes::from(format!("data: {within}\n\nid: {start}\n\n"))).await?;
        // As for items: caught up without a subscription first, so that its queue does not overflow.
        let seq = self.catch_up_all(out, start).await?;
        let events =
            self.bus.subscribe(Subscribe { user: None, conversation: None, face: FACE_ENTRIES });
        let events = events.await?;
        let seq = self.catch_up_all(out, seq).await?;
        out.pump(events, seq, None).await?;
        Ok(())
    }

    /// Sends what is in the log after `seq`; says up to where, and tells the reader, who waits for
    /// a number that may be nobody's.
    async fn catch_up_all(&self, out: &mut Outlet, mut seq: i64) -> Result<i64, Trouble> {
        loop {
            let page = self.log_page(None, seq, REPLAY_PAGE).await?;
            let mut chunk = BytesMut::new();
            for Numbered { seq, entry } in &page.entries {
                let json = serde_json::to_string(entry).map_err(|error| unwritten(&error))?;
                chunk.extend_from_slice(sse::render(Some(*seq), &json).as_bytes());
            }
            if page.entries.last().map_or(seq, |last| last.seq) < page.upto {
                chunk.extend_from_slice(format!("id: {}\n\n", page.upto).as_bytes());
            }
            seq = page.upto;
            if !chunk.is_empty() {
                out.send(chunk.freeze()).await?;
            }
            if !page.more {
                return Ok(seq);
            }
        }
    }
}

fn unwritten(error: &serde_json::Error) -> Failure {
    Failure::new(Kind::Internal, format!("entry not written: {error}"))
}
