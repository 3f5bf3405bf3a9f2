//! `POST /input`: what a user says goes in.

use actix_web::{
    HttpResponse,
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
    services::conversation::Caller,
};

/// `POST /input`: answered once the input is on disk in memory.
pub(crate) async fn take(
    caller: Caller,
    style: Style,
    input: Json<Input>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let received = core.conversations.take(&caller, input.0).await?;
    Ok(style.with_data("received", value(&received)?))
}

/// `POST /v1/conversation/{id}/messages`: the conversation from the path.
pub(crate) async fn to_conversation(
    caller: Caller,
    style: Style,
    id: web::Path<String>,
    input: Json<Input>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let input = Input { conversation_id: Some(id.into_inner()), ..input.0 };
    take(caller, style, Json(input), core).await
}

fn value(received: &Received) -> Result<Value, Failure> {
    serde_json::to_value(received)
        .map_err(|error| Failure::new(Kind::Internal, format!("answer not written: {error}")))
}
