//! The first two doors of a service: `POST /tool/{name}` and `GET /resource/{path}`.

use std::{rc::Rc, sync::Arc};

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    dev::Payload,
    http::{Method, header},
    web::{self, Data, ServiceConfig},
};
use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};

use crate::{
    backplane::{
        context::STORE_HEADER,
        host::{Asked, Content, Host},
        mcp::offers,
        stream,
        token::Identity,
    },
    domain::failure::{Failure, Kind},
    http::{
        auth::{self, Anyone},
        body::{self, Query},
        middleware::{self, Reception},
        problem::Problem,
        routes,
    },
};

/// A service's table, as application data of one worker.
pub type Table = Rc<Host>;

/// Which store this service has, as application data of one that has any.
#[derive(Clone, Debug)]
pub struct Serves(pub Arc<str>);

/// Refuses what its caller meant for another store, before anything is done.
fn must_be_meant(request: &HttpRequest) -> Result<(), Failure> {
    let Some(meant) = request.headers().get(STORE_HEADER) else { return Ok(()) };
    match request.app_data::<Serves>() {
        Some(Serves(own)) if own.as_bytes() != meant.as_bytes() => {
            let text = format!("this was meant for another store; here is {own}");
            Err(Failure::new(Kind::WrongStore, text))
        }
        Some(_) | None => Ok(()),
    }
}

/// The routes of both doors.
pub fn configure(config: &mut ServiceConfig) {
    config
        .service(routes::at("/tool/{name}", vec![(Method::POST, web::to(call))]))
        .service(routes::at("/tools", vec![(Method::GET, web::to(list))]))
        .service(routes::at("/prompt/{name}", vec![(Method::POST, web::to(fill_in))]))
        .service(routes::at("/resource/{path:.*}", vec![(Method::GET, web::to(read))]));
}

/// `POST /tool/{name}`: bare arguments, or `{"arguments": {…}}`; the answer mirrors the form.
async fn call(
    request: HttpRequest,
    caller: Anyone,
    name: web::Path<String>,
    payload: web::Payload,
    table: Data<Table>,
) -> Result<HttpResponse, Problem> {
    must_be_meant(&request)?;
    let bytes = body::read(&request, into_inner(payload)).await?;
    let mut arguments = parse_arguments(&bytes)?;
    let wrapped = table.is_wrapped(&name, &arguments);
    if wrapped && let Some(Value::Object(inner)) = arguments.remove("arguments") {
        arguments = inner;
    }
    let result = table.call(&name, caller.0, arguments).await?;
    Ok(HttpResponse::Ok().json(if wrapped { json!({ "result": result }) } else { result }))
}

fn into_inner(payload: web::Payload) -> Payload {
    payload.into_inner()
}

/// A tool's body must be an object; none at all means no arguments.
fn parse_arguments(bytes: &Bytes) -> Result<Map<String, Value>, Failure> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::new(Kind::InvalidRequest, format!("the body must be a JSON object: {error}"))
    })
}

/// `GET /tools`: what there is to call, to read and to fill in.
async fn list(_: Anyone, table: Data<Table>) -> HttpResponse {
    HttpResponse::Ok().json(offers::all(&table))
}

/// `POST /prompt/{name}`: a prompt filled in, as the protocol has it; the arguments come bare or
/// wrapped, as with a tool.
async fn fill_in(
    request: HttpRequest,
    caller: Anyone,
    name: web::Path<String>,
    payload: web::Payload,
    table: Data<Table>,
) -> Result<HttpResponse, Problem> {
    let bytes = body::read(&request, into_inner(payload)).await?;
    let mut arguments = parse_arguments(&bytes)?;
    if let Some(Value::Object(inner)) = arguments.remove("arguments") {
        arguments = inner;
    }
    let filled = table.fill_in(&name, caller.0, offers::texts(arguments)).await?;
    Ok(HttpResponse::Ok().json(filled))
}

/// `GET /resource/{path}`: a JSON array for those who accept JSON, else server-sent events with an
/// end mark; a path that ends in `/stream` is live where the table has it live.
async fn read(
    request: HttpRequest,
    table: Data<Table>,
    reception: Data<Reception>,
) -> Result<HttpResponse, Problem> {
    let caller = auth::principal(&request)?;
    must_be_meant(&request)?;
    let raw = request.uri().path();
    let path = raw.strip_prefix("/resource/").unwrap_or_default();
    // Let in without a place, by its ending alone.
    let _place = match path.ends_with("/stream") && !table.is_stream(path) {
        true => Some(reception.admissions.enter_others(user_of_request(&request))?),
        false => None,
    };
    let asked = Asked {
        query: Query::of(&request)?.0,
        last_event_id: last_event_id(&request)?,
        ..Asked::default()
    };
    let first = table.read(path, caller.clone(), asked.clone()).await;
    // `…/stream` of what is not live is the plain resource, as server-sent events.
    let content = match (first, path.strip_suffix("/stream")) {
        (Err(failure), Some(plain)) if is_unknown_path(&failure) => {
            table.read(plain, caller, asked).await?
        }
        (result, _) => result?,
    };
    Ok(match content {
        Content::Live(body) => {
            let mut response = event_stream();
            if let Some(Serves(own)) = request.app_data() {
                response.insert_header((STORE_HEADER, own.as_ref()));
            }
            response.streaming(body)
        }
        Content::Items(items) if wants_json(&request) => HttpResponse::Ok().json(items),
        Content::Items(items) => event_stream().body(as_events(&items)),
    })
}

fn user_of_request(request: &HttpRequest) -> Option<Arc<str>> {
    middleware::user_of(request.extensions().get::<Identity>())
}

fn is_unknown_path(failure: &Failure) -> bool {
    failure.entity.as_deref().is_some_and(|(entity, _)| *entity == "resource")
}

/// The answer's head of every event stream.
#[must_use]
pub fn event_stream() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header(("x-accel-buffering", "no"));
    response
}

fn as_events(items: &[Value]) -> Bytes {
    let mut text = BytesMut::new();
    for item in items {
        text.extend_from_slice(&stream::event(None, item));
    }
    text.extend_from_slice(&stream::event(None, &json!({ "end": true })));
    text.freeze()
}

fn wants_json(request: &HttpRequest) -> bool {
    request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"))
}

/// The last event a reader saw.
///
/// # Errors
/// `invalid_parameter` when it is none of ours.
pub fn last_event_id(request: &HttpRequest) -> Result<Option<i64>, Failure> {
    let Some(value) = request.headers().get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or("?");
    crate::backplane::host::integer("Last-Event-ID", text).map(Some)
}
