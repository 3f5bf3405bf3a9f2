//! `GET /output/stream`: what happens comes out.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data},
};
use bytes::Bytes;

use crate::{
    backplane::{clock, fanout::Subscribe, stream},
    contract::event,
    http::{
        auth,
        body::Query,
        core::{Core, style::Style},
        doors::event_stream,
        problem::Problem,
    },
    services::conversation::Caller,
};

/// `GET /output/stream`: all of the caller's events, or those of one conversation.
pub(crate) async fn stream(
    request: HttpRequest,
    style: Style,
    query: Query,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let caller = auth::stream_caller(&request)?;
    let conversation = query.get("conversation_id").map(str::to_owned);
    open(caller, style, conversation, &core).await
}

/// `GET /v1/conversation/{id}/messages/stream`: the conversation from the path.
pub(crate) async fn of_conversation(
    request: HttpRequest,
    style: Style,
    id: web::Path<String>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let caller = auth::stream_caller(&request)?;
    open(caller, style, Some(id.into_inner()), &core).await
}

async fn open(
    caller: Caller,
    style: Style,
    conversation: Option<String>,
    core: &Core,
) -> Result<HttpResponse, Problem> {
    if let Some(id) = &conversation {
        core.conversations.must_take_part(&caller, id).await?;
    }
    let face = match style {
        Style::Plain => event::FACE_PLAIN,
        Style::V1 => event::FACE_MESSAGE,
    };
    let first = event::connected(&caller.id, conversation.as_deref(), &clock::now_rfc3339());
    let subscribe = Subscribe { user: Some(caller.id), conversation, face };
    // Subscribed before the first event goes out: what is stored after it is not missed.
    let events = core.bus.subscribe(subscribe).await?;
    let heartbeat = core.heartbeat;
    let body = stream::body(core.keep_alive, core.drain.clone(), move |mut out| async move {
        if out.send(stream::event(None, &first)).await.is_err() {
            return;
        }
        let beat: Option<(_, fn() -> Bytes)> = Some((heartbeat, render_heartbeat));
        if out.pump(events, i64::MIN, beat).await.is_ok() {
            log::info!("an output stream ended: its reader was too slow");
        }
    });
    Ok(event_stream().streaming(body))
}

fn render_heartbeat() -> Bytes {
    stream::event(None, &event::heartbeat(&clock::now_rfc3339()))
}
