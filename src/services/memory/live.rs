//! Live streams of the log: from any sequence number, and then on as items are stored, without a
//! gap and without a repeat.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{
    backplane::{
        fanout::{Broadcast, Subscribe},
        host::LiveBody,
        stream::{self, Ended, Outlet},
    },
    contract::item::Item,
    domain::{failure::Failure, sse},
    services::memory::{
        Memory, entries,
        store::{Filter, Page},
    },
};

/// Items read from the store at once while catching up.
const REPLAY_PAGE: i64 = 500;

impl Memory {
    /// The items that fit `filter`, from `after` on (`None`: from now on), as server-sent events.
    ///
    /// The first thing sent is the sequence number the stream begins after, as an id without an
    /// event, so that a reader that breaks off before the first event knows where to resume.
    ///
    /// # Errors
    /// Why the store could not be read.
    pub(crate) async fn follow(
        &self,
        filter: Filter,
        after: Option<i64>,
    ) -> Result<LiveBody, Failure> {
        // A reader may know more than this store, which was set back: begin where the store is, and
        // the first line tells the reader so.
        let head = self.head().await?;
        let start = after.map_or(head, |seq| seq.clamp(0, head));
        let memory = self.clone();
        let body = stream::body(self.keep_alive, self.drain.clone(), move |mut out| async move {
            if let Err(Trouble::Failed(failure)) = memory.serve(&mut out, filter, start).await {
                log::warn!("live stream ended cause={failure}");
            }
        });
        Ok(Box::pin(body))
    }

    async fn serve(&self, out: &mut Outlet, filter: Filter, start: i64) -> Result<(), Trouble> {
        out.send(Bytes::from(format!("id: {start}\n\n"))).await?;
        // Catch up without a subscription first, so that its queue does not overflow meanwhile;
        // what is stored between the last page and the subscription is read once more.
        let seq = self.catch_up(out, &filter, start).await?;
        let subscribe = Subscribe {
            user: filter.user_id.clone(),
            conversation: filter.conversation_id.clone(),
            face: entries::FACE_ITEMS,
        };
        let events = self.bus.subscribe(subscribe).await?;
        let seq = self.catch_up(out, &filter, seq).await?;
        out.pump(events, seq, None).await?;
        Ok(())
    }

    /// Sends what is stored after `seq`; says up to where.
    async fn catch_up(
        &self,
        out: &mut Outlet,
        filter: &Filter,
        mut seq: i64,
    ) -> Result<i64, Trouble> {
        loop {
            let items = self.page(filter.clone(), Page::After(seq, REPLAY_PAGE)).await?;
            if let Some(last) = items.last() {
                seq = last.seq;
                out.send(render(&items)?).await?;
            }
            if items.is_empty() {
                return Ok(seq);
            }
        }
    }
}

/// Why a stream ended before its reader wanted.
pub(super) enum Trouble {
    Failed(Failure),
    Ended,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Failed(failure)
    }
}

impl From<Ended> for Trouble {
    fn from(_: Ended) -> Self {
        Trouble::Ended
    }
}

fn render(items: &[Item]) -> Result<Bytes, Failure> {
    let mut chunk = BytesMut::new();
    for item in items {
        let json = super::value(item)?.to_string();
        chunk.extend_from_slice(sse::render(Some(item.seq), &json).as_bytes());
    }
    Ok(chunk.freeze())
}

/// An item as JSON, under the number it has now.
fn numbered(item: &Item, seq: i64) -> serde_json::Result<String> {
    let json = serde_json::to_string(item)?;
    // The number comes first, and is 0 before it is given out.
    let unnumbered = format!("{{\"seq\":{},", item.seq);
    Ok(match json.strip_prefix(&unnumbered) {
        Some(rest) => format!("{{\"seq\":{seq},{rest}"),
        None => serde_json::to_string(&Item { seq, ..item.clone() })?,
    })
}

/// The item as the event its followers get.
pub(super) fn broadcast(item: &Item, seq: i64) -> Option<Broadcast> {
    match numbered(item, seq) {
        Ok(json) => Some(Broadcast {
            user: item.user_id.as_str().into(),
            conversation: item.conversation_id.as_deref().map(Into::into),
            seq,
            kind: "item",
            faces: Arc::new(entries::Stored { seq, json }),
        }),
        Err(error) => {
            log::error!("item not announced seq={seq} cause={error}");
            None
        }
    }
}
