//! `/cognition/{context,analyze,search}`: cognition's tools in the caller's name.

use actix_web::{HttpResponse, web::Data};
use serde_json::{Map, Value, json};

use crate::{
    contract::cognition::{LIMIT_DEFAULT, LIMIT_MAX},
    domain::failure::{Failure, FieldProblem},
    http::{
        body::Json,
        core::{Core, style::Style},
        problem::Problem,
    },
    services::conversation::Caller,
};

type Arguments = Json<Map<String, Value>>;

/// `POST …/context` `{query?, limit?, conversation_id?, recency_weight?}`.
pub(crate) async fn context(
    caller: Caller,
    style: Style,
    body: Arguments,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let mut arguments = body.0;
    check_text(&arguments, "query", false)?;
    check_text(&arguments, "conversation_id", false)?;
    check_limit(&mut arguments)?;
    ask(&core, &caller, style, "get_context", arguments).await
}

/// `POST …/analyze` `{conversation_id, analysis_type?}`.
pub(crate) async fn analyze(
    caller: Caller,
    style: Style,
    body: Arguments,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    check_text(&body.0, "conversation_id", true)?;
    check_text(&body.0, "analysis_type", false)?;
    ask(&core, &caller, style, "analyze_conversation", body.0).await
}

/// `POST …/search` `{query, limit?, include_conversations?}`.
pub(crate) async fn search(
    caller: Caller,
    style: Style,
    body: Arguments,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let mut arguments = body.0;
    check_text(&arguments, "query", true)?;
    check_limit(&mut arguments)?;
    ask(&core, &caller, style, "search_history", arguments).await
}

async fn ask(
    core: &Core,
    caller: &Caller,
    style: Style,
    tool: &str,
    arguments: Map<String, Value>,
) -> Result<HttpResponse, Problem> {
    let query = arguments.get("query").cloned().unwrap_or_default();
    let data = match core.conversations.ask_cognition(caller, tool, arguments).await {
        Err(failure) if failure.is_ours() => {
            log::warn!("cognition did not answer tool={tool} cause={failure}");
            fallback(caller, query, &failure)
        }
        answer => answer?,
    };
    Ok(style.with_data("success", data, None))
}

/// What is answered while cognition is away: nothing found, and why, so that an app goes on without
/// context instead of failing.
fn fallback(caller: &Caller, query: Value, failure: &Failure) -> Value {
    json!({
        "context": [],
        "relevant_items": [],
        "results": [],
        "entities": {},
        "count": 0,
        "query": query,
        "user_id": caller.id,
        "error": "cognition_service_unavailable",
        "error_detail": failure.message,
        "fallback": true,
    })
}

fn problem(field: &str, message: String, kind: &'static str) -> Failure {
    Failure::invalid(vec![FieldProblem {
        at: vec!["body".to_owned(), field.to_owned()],
        message,
        kind,
    }])
}

fn check_text(arguments: &Map<String, Value>, field: &str, needed: bool) -> Result<(), Failure> {
    match arguments.get(field) {
        None | Some(Value::Null) if needed => {
            Err(problem(field, "field required".to_owned(), "missing"))
        }
        Some(Value::String(text)) if needed && text.is_empty() => {
            Err(problem(field, "must have at least 1 character".to_owned(), "value_error"))
        }
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(_) => Err(problem(field, "must be a string".to_owned(), "type_error")),
    }
}

fn check_limit(arguments: &mut Map<String, Value>) -> Result<(), Failure> {
    let limit = match arguments.get("limit") {
        None | Some(Value::Null) => Some(LIMIT_DEFAULT),
        Some(given) => given
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=LIMIT_MAX).contains(limit)),
    };
    let message = format!("must be an integer from 1 to {LIMIT_MAX}");
    let limit = limit.ok_or_else(|| problem("limit", message, "value_error"))?;
    arguments.insert("limit".to_owned(), limit.into());
    Ok(())
}
