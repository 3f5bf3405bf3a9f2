//! `/upstreams`: other people's MCP servers behind the gateway, and changing them while the process
//! runs.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data},
};
use serde_json::{Value, json};

use crate::{
    backplane::upstream::{Call, Kind, Upstream},
    contract::upstream::Transport,
    domain::failure::Failure,
    http::{
        body,
        core::{Core, services::must_administer},
        problem::Problem,
    },
    services::gateway::roster::Roster,
};

/// `GET /upstreams`: all of them, without their secrets.
pub(crate) async fn list(
    request: HttpRequest,
    core: Data<Core>,
    roster: Data<Roster>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    let all: Vec<Value> = roster.upstreams().values().map(shown).collect();
    Ok(HttpResponse::Ok().json(json!({ "upstreams": all })))
}

/// `POST /upstreams`: a document as other programs keep it, under `mcpServers` or `upstreams`; each
/// is added, or put in the place of the one of its name.
pub(crate) async fn add(
    request: HttpRequest,
    payload: web::Payload,
    core: Data<Core>,
    roster: Data<Roster>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    let bytes = body::read(&request, payload.into_inner()).await?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_not_utf8| Failure::invalid_field("upstreams", "is not UTF-8", "value_error"))?;
    let added = roster.add(text)?;
    Ok(HttpResponse::Ok().json(json!({ "status": "added", "upstreams": added })))
}

/// `DELETE /upstreams/{name}`.
pub(crate) async fn remove(
    request: HttpRequest,
    name: web::Path<String>,
    core: Data<Core>,
    roster: Data<Roster>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    roster.remove(&name)?;
    Ok(HttpResponse::Ok().json(json!({ "status": "removed", "upstream": *name })))
}

/// `POST /upstreams/{name}/test`: meets it and lists what it offers.
pub(crate) async fn test(
    request: HttpRequest,
    name: web::Path<String>,
    core: Data<Core>,
    roster: Data<Roster>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    let upstream = roster
        .upstreams()
        .get(name.as_str())
        .cloned()
        .ok_or_else(|| Failure::not_found("upstream", name.as_str()))?;
    let call = Call::within(upstream.spec().limits.call_timeout);
    let failed =
        |trouble: crate::backplane::upstream::Trouble| trouble.into_failure(upstream.name());
    let begun = tokio::time::Instant::now();
    let peer = upstream.meet(&call).await.map_err(failed)?;
    let met = begun.elapsed();
    let mut offers = serde_json::Map::new();
    for (name, kind) in
        [("tools", Kind::Tools), ("resources", Kind::Resources), ("prompts", Kind::Prompts)]
    {
        let listing = upstream.list(kind, &call).await.map_err(failed)?;
        offers.insert(name.to_owned(), listing.items.len().into());
    }
    Ok(HttpResponse::Ok().json(json!({
        "upstream": upstream.name(),
        "version": peer.version,
        "server": peer.info,
        "met_in_ms": met.as_secs_f64() * 1000.0,
        "offers": offers,
    })))
}

fn shown(upstream: &Upstream) -> Value {
    let (spec, status) = (upstream.spec(), upstream.status());
    let (transport, at) = match &spec.transport {
        Transport::Http(remote) => ("http", remote.url.clone()),
        Transport::Sse(remote) => ("sse", remote.url.clone()),
        Transport::Stdio(program) => ("stdio", program.command.clone()),
    };
    let (failed_at, failure) = status.failed.unzip();
    json!({
        "name": spec.name,
        "transport": transport,
        "at": at,
        "prefix": spec.prefix,
        "version": status.version,
        "lines": status.lines,
        "in_flight": status.in_flight,
        "breaker": status.breaker.state.as_str(),
        "answered_at": status.answered_at,
        "failed_at": failed_at,
        "failure": failure,
        "retry_after_seconds": status.retry_after.map(|wait| wait.as_secs_f64().ceil()),
    })
}
