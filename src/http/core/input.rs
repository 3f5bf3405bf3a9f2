//! `POST /input`: what a user says goes in.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::HeaderMap,
    web::{self, Data},
};
use serde_json::Value;

use crate::{
    contract::conversation::{Input, Received},
    domain::failure::{Failure, Kind},
    http::{
        body::Json,
        core::{Core, style::Style},
        problem::Problem,
    },
    services::conversation::{Caller, Fate},
};

/// Header with the caller's key for an input (draft-ietf-httpapi-idempotency-key-header).
const KEY_HEADER: &str = "idempotency-key";
/// Header of an answer that was given before.
const REPLAYED_HEADER: &str = "idempotency-replayed";
/// Longest key taken, in characters.
const KEY_CHARS_MAX: usize = 255;

/// `POST /input`: answered once the input is on disk, in memory or in the outbox.
pub(crate) async fn take(
    request: HttpRequest,
    caller: Caller,
    style: Style,
    input: Json<Input>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let key = key(request.headers())?;
    let named = input.0.request_id.clone();
    let taken = core.conversations.take(&caller, input.0, key.as_deref()).await?;
    let status = match taken.fate {
        Fate::Stored => "received",
        Fate::Pending => "received_storage_pending",
    };
    let mut response = style.with_data(status, value(&taken.received)?, named.as_deref());
    if taken.replayed {
        let name = actix_web::http::header::HeaderName::from_static(REPLAYED_HEADER);
        let yes = actix_web::http::header::HeaderValue::from_static("true");
        response.headers_mut().insert(name, yes);
    }
    Ok(response)
}

/// `POST /v1/conversation/{id}/messages`: the conversation from the path.
pub(crate) async fn to_conversation(
    request: HttpRequest,
    caller: Caller,
    style: Style,
    id: web::Path<String>,
    input: Json<Input>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let input = Input { conversation_id: Some(id.into_inner()), ..input.0 };
    take(request, caller, style, Json(input), core).await
}

/// The caller's key: 1 to 255 visible ASCII characters, with or without the quotes of the draft.
/// One: of two, either would be a guess.
fn key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let mut given = headers.get_all(KEY_HEADER);
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let fits = (1..=KEY_CHARS_MAX).contains(&bare.len())
        && bare.bytes().all(|byte| byte.is_ascii_graphic());
    if fits && given.next().is_none() {
        return Ok(Some(bare.to_owned()));
    }
    let text = format!(
        "Idempotency-Key must be one key of 1 to {KEY_CHARS_MAX} visible ASCII characters, without blanks"
    );
    Err(Failure::new(Kind::InvalidRequest, text))
}

fn value(received: &Received) -> Result<Value, Failure> {
    serde_json::to_value(received)
        .map_err(|error| Failure::new(Kind::Internal, format!("answer not written: {error}")))
}
