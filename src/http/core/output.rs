//! `GET /output/stream`: what happens comes out, from any event on.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data},
};
use bytes::{Bytes, BytesMut};

use crate::{
    backplane::{
        clock,
        context::{self, RequestContext},
        fanout::Subscribe,
        host::integer,
        stream::{self, Ended, Outlet},
    },
    contract::event,
    domain::failure::Kind,
    http::{
        auth,
        body::Query,
        core::{Core, style::Style},
        doors::{event_stream, last_event_id},
        problem::Problem,
    },
    services::conversation::{Caller, follower},
};

/// The pause before memory is asked again for what a reader missed.
const REPLAY_PAUSE: Duration = Duration::from_secs(1);

/// `GET /output/stream`: all of the caller's events, or those of one conversation. It resumes after
/// `Last-Event-ID` or `?after=`.
pub(crate) async fn stream(
    request: HttpRequest,
    style: Style,
    query: Query,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let conversation = query.get("conversation_id").map(str::to_owned);
    open(&request, style, &query, conversation, core).await
}

/// `GET /v1/conversation/{id}/messages/stream`: the conversation from the path.
pub(crate) async fn of_conversation(
    request: HttpRequest,
    style: Style,
    query: Query,
    id: web::Path<String>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    open(&request, style, &query, Some(id.into_inner()), core).await
}

/// Whose events, which, and in which words.
struct Wish {
    caller: Caller,
    conversation: Option<String>,
    face: usize,
}

async fn open(
    request: &HttpRequest,
    style: Style,
    query: &Query,
    conversation: Option<String>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let (caller, until) = auth::stream_caller(request)?;
    let after = match query.get("after") {
        Some(text) => Some(integer("after", text)?),
        None => last_event_id(request)?,
    };
    if let Some(id) = &conversation {
        core.conversations.must_take_part(&caller, id).await?;
    }
    let face = match style {
        Style::Plain => event::FACE_PLAIN,
        Style::V1 => event::FACE_MESSAGE,
    };
    let first = event::connected(&caller.id, conversation.as_deref(), &clock::now_rfc3339());
    let first = stream::event(None, &first);
    // Subscribed before anything is sent or read: what is stored from now on is not missed.
    let user = Some(caller.id.clone());
    let subscribe = Subscribe { user, conversation: conversation.clone(), face };
    let events = core.bus.subscribe(subscribe).await?;
    let wish = Wish { caller, conversation, face };
    let (keep_alive, drain) = (core.keep_alive, core.drain.clone());
    let context = context::current_or(core.heartbeat);
    let context = RequestContext { authorized_until: Some(until), ..context };
    let pump = move |mut out: Outlet| async move {
        let served = async {
            out.send(first).await?;
            let seq = match after {
                // Boxed: once it is done, an idle stream does not keep its room.
                Some(seq) => Box::pin(replay(&mut out, &core, &wish, seq)).await?,
                None => i64::MIN,
            };
            let beat: Option<(_, fn() -> Bytes)> = Some((core.heartbeat, render_heartbeat));
            out.pump(events, seq, beat).await
        };
        if served.await.is_ok() {
            log::info!("an output stream ended: its reader was too slow");
        }
    };
    let body = context.scope_sync(|| stream::body(keep_alive, drain, pump));
    Ok(event_stream().streaming(body))
}

/// Sends what was stored after `seq` and says up to where; from there on the subscription has
/// everything. While memory is away it waits: the reader is kept, and told by comments.
async fn replay(out: &mut Outlet, core: &Core, wish: &Wish, mut seq: i64) -> Result<i64, Ended> {
    // Before the follower has begun, the bus may miss what memory has.
    while follower::begun(core.reach.clone(), REPLAY_PAUSE).await.is_err() {
        out.send(Bytes::from_static(b": waiting for memory\n\n")).await?;
    }
    loop {
        let conversation = wish.conversation.as_deref();
        match core.conversations.said_after(&wish.caller, conversation, seq).await {
            Ok(items) => {
                let Some(last) = items.last() else {
                    // A reader may know more than a store that was set back: go on from there.
                    match core.conversations.log_head().await {
                        Ok(head) => return Ok(seq.min(head)),
                        Err(failure) => {
                            log::warn!("the end of the log is not known yet cause={failure}");
                            out.send(Bytes::from_static(b": waiting for memory\n\n")).await?;
                            tokio::time::sleep(REPLAY_PAUSE).await;
                            continue;
                        }
                    }
                };
                seq = last.seq;
                let mut chunk = BytesMut::new();
                for item in &items {
                    let event = event::face(item, wish.face);
                    chunk.extend_from_slice(&stream::event(Some(item.seq), &event));
                }
                drop(items);
                out.send(chunk.freeze()).await?;
            }
            Err(failure) if !may_pass(failure.kind) => {
                let event = event::failed(&failure.message, &clock::now_rfc3339());
                out.send(stream::event(None, &event)).await?;
                return Err(Ended);
            }
            Err(failure) => {
                log::warn!("missed events not read yet cause={failure}");
                out.send(Bytes::from_static(b": waiting for memory\n\n")).await?;
                tokio::time::sleep(REPLAY_PAUSE).await;
            }
        }
    }
}

/// Whether what failed may be well again without anybody's doing.
fn may_pass(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Unavailable
            | Kind::CircuitOpen
            | Kind::Connection
            | Kind::Timeout
            | Kind::Overloaded
            | Kind::Storage
    )
}

fn render_heartbeat() -> Bytes {
    stream::event(None, &event::heartbeat(&clock::now_rfc3339()))
}
