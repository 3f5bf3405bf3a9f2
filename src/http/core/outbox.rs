//! `/outbox`: what waits for memory, for operators; and `/forget`, which reaches it too.

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{self, Data},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::services::must_administer;
use crate::{
    domain::failure::{Failure, FieldProblem, Kind},
    http::{
        auth::Anyone,
        body::{Json, Query},
        core::{Core, style::Style},
        problem::Problem,
    },
};

/// Entries of a list when its reader names no limit.
const PAGE_DEFAULT: i64 = 100;
/// Most entries of a list.
const PAGE_MAX: i64 = 1000;

/// `GET /outbox?state=refused&after=PLACE&limit=N`: without their bodies, oldest first.
pub(crate) async fn list(
    request: HttpRequest,
    query: Query,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    let refused = match query.get("state") {
        None | Some("all") => false,
        Some("refused") => true,
        Some(_) => {
            return Err(Failure::invalid(vec![FieldProblem {
                at: vec!["query".to_owned(), "state".to_owned()],
                message: "must be all or refused".to_owned(),
                kind: "value_error",
            }])
            .into());
        }
    };
    let after = query.integer("after", 0, 0, i64::MAX)?;
    let limit = query.integer("limit", PAGE_DEFAULT, 1, PAGE_MAX)?;
    let entries = core.conversations.outbox().page(refused, after, limit).await?;
    Ok(HttpResponse::Ok().json(json!({ "entries": entries })))
}

/// `GET /outbox/{message_id}`: one entry, with its body.
pub(crate) async fn show(
    request: HttpRequest,
    id: web::Path<String>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    Ok(HttpResponse::Ok().json(core.conversations.outbox().find(&id).await?))
}

/// `POST /outbox/{message_id}/retry`: it waits again, or takes its turn.
pub(crate) async fn retry(
    request: HttpRequest,
    id: web::Path<String>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    core.conversations.outbox().retry(&id).await?;
    Ok(HttpResponse::Ok().json(json!({ "status": "waiting", "message_id": id.as_str() })))
}

/// `DELETE /outbox/{message_id}`: it is given up, though it was acknowledged.
pub(crate) async fn drop_one(
    request: HttpRequest,
    id: web::Path<String>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    core.conversations.outbox().drop_one(&id).await?;
    Ok(HttpResponse::Ok().json(json!({ "status": "dropped", "message_id": id.as_str() })))
}

/// Whom to forget.
#[derive(Debug, Deserialize)]
pub(crate) struct Forget {
    user_id: Option<String>,
}

/// `POST /forget` `{user_id}`: named, never guessed, since it cannot be taken back.
pub(crate) async fn forget(
    caller: Anyone,
    style: Style,
    body: Json<Forget>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let user_id = body.0.user_id.filter(|id| !id.is_empty());
    let user_id =
        user_id.ok_or_else(|| Failure::invalid_field("user_id", "field required", "missing"))?;
    let forgotten = core.conversations.forget(&caller.0, &user_id).await?;
    let fields: Map<String, Value> = match serde_json::to_value(forgotten) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => {
            return Err(Failure::new(Kind::Internal, "answer not written").into());
        }
    };
    Ok(style.answer(StatusCode::OK, Some("forgotten"), fields))
}
