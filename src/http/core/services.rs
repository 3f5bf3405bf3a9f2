//! `/services`: what discovery knows, and changing it while the process runs.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data},
};
use serde_json::{Map, Value, json};

use crate::{
    backplane::discovery::{Deregister, ForceBreakers, List, Register, Source},
    domain::{breaker::Forced, failure::Failure, principal::Principal, roster::Status},
    http::{
        auth::{self, Anyone},
        body::{self, Query},
        core::Core,
        problem::Problem,
    },
};

/// Longest name of a service, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Who may change what is registered: a service, or the holder of the key.
pub(super) fn must_administer(request: &HttpRequest, core: &Core) -> Result<(), Failure> {
    if let Some(given) = request.headers().get("x-api-key") {
        let known = core.api_key.as_ref().is_some_and(|key| same(key.as_bytes(), given.as_bytes()));
        return if known { Ok(()) } else { Err(Failure::denied("the API key is not valid")) };
    }
    match auth::principal(request)? {
        Principal::Service { .. } => Ok(()),
        Principal::User { .. } => Err(Failure::denied("this needs a service's token")),
    }
}

/// Whether two keys are equal, in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

/// `GET /services`.
pub(crate) async fn list(_: Anyone, core: Data<Core>) -> Result<HttpResponse, Problem> {
    let mut services: BTreeMap<String, Value> = BTreeMap::new();
    for view in core.discovery.list.ask(List).await? {
        // One that has another store is not used.
        let status = if view.foreign { Status::Unhealthy } else { view.status }.as_str();
        let endpoint = json!({
            "url": view.url,
            "status": status,
            "reason": view.reason,
            "source": view.source.as_str(),
            "breaker": view.breaker.state.as_str(),
        });
        let healthy = status == "healthy";
        let service = services
            .entry(view.service)
            .or_insert_with(|| json!({ "endpoint": view.url, "healthy": false, "endpoints": [] }));
        if healthy && service["healthy"] == false {
            service["healthy"] = true.into();
            service["endpoint"] = view.url.into();
        }
        if let Some(endpoints) = service["endpoints"].as_array_mut() {
            endpoints.push(endpoint);
        }
    }
    Ok(HttpResponse::Ok().json(json!({ "services": services })))
}

/// `POST /services/{name}`: the endpoint in the query or in a JSON body (`endpoint` or
/// `endpoints`). It is checked at once.
pub(crate) async fn register(
    request: HttpRequest,
    name: web::Path<String>,
    payload: web::Payload,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    let service = check_name(name.into_inner())?;
    let body = read_object(&request, payload).await?;
    let query = Query::of(&request)?;
    let mut urls: Vec<String> = query.get("endpoint").map(str::to_owned).into_iter().collect();
    urls.extend(body.get("endpoint").and_then(Value::as_str).map(str::to_owned));
    let many = body.get("endpoints").and_then(Value::as_array).cloned().unwrap_or_default();
    urls.extend(many.iter().filter_map(Value::as_str).map(str::to_owned));
    if urls.is_empty() {
        return Err(Failure::invalid_field("endpoint", "field required", "missing").into());
    }
    let register = Register { service: service.clone(), urls, source: Source::Runtime };
    core.discovery.register.ask(register).await?;
    Ok(HttpResponse::Ok().json(json!({ "status": "registered", "service": service })))
}

/// `DELETE /services/{name}[?endpoint=…]`.
pub(crate) async fn deregister(
    request: HttpRequest,
    name: web::Path<String>,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    let service = name.into_inner();
    let url = Query::of(&request)?.get("endpoint").map(|url| url.trim_end_matches('/').to_owned());
    core.discovery.deregister.ask(Deregister { service: service.clone(), url }).await?;
    Ok(HttpResponse::Ok().json(json!({ "status": "deregistered", "service": service })))
}

/// `POST /services/{name}/breaker` `{state: "open" | "closed" | "auto", endpoint?}`.
pub(crate) async fn force(
    request: HttpRequest,
    name: web::Path<String>,
    payload: web::Payload,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    must_administer(&request, &core)?;
    let body = read_object(&request, payload).await?;
    let forced = match body.get("state").and_then(Value::as_str) {
        Some("open") => Some(Forced::Open),
        Some("closed") => Some(Forced::Closed),
        Some("auto") => None,
        Some(_) | None => {
            let message = "must be \"open\", \"closed\" or \"auto\"";
            return Err(Failure::invalid_field("state", message, "value_error").into());
        }
    };
    let url = body.get("endpoint").and_then(Value::as_str).map(str::to_owned);
    let order = ForceBreakers { service: name.into_inner(), url, forced };
    let breakers = core.discovery.force.ask(order).await?;
    Ok(HttpResponse::Ok().json(json!({ "status": "ordered", "breakers": breakers })))
}

fn check_name(name: String) -> Result<String, Failure> {
    let fits = (1..=NAME_CHARS_MAX).contains(&name.chars().count())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if fits {
        Ok(name)
    } else {
        let message = "must be 1 to 64 letters, digits, - or _";
        Err(Failure::invalid_field("name", message, "value_error"))
    }
}

/// A JSON object, or nothing.
async fn read_object(
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<Map<String, Value>, Failure> {
    let bytes = body::read(request, payload.into_inner()).await?;
    if bytes.is_empty() { Ok(Map::new()) } else { body::parse(&bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Kind;

    #[test]
    fn names_are_short_and_plain() {
        assert!(check_name("billing-2".into()).is_ok());
        for bad in ["", "a b", "a/b", "é", &"x".repeat(65)] {
            assert_eq!(check_name(bad.into()).unwrap_err().kind, Kind::Validation, "{bad:?}");
        }
    }
}
