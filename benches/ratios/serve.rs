//! The servers of comparison: a typed echo, a bare hop to it, and the same hop through the client
//! actor with breaker, budget, deadline and balancing.

use std::rc::Rc;

use actix_web::{App, HttpResponse, HttpServer, http::header, web};
use clap::Parser;
use cortex::{
    backplane::{
        client::{Clients, http_client},
        config::{Calls, Identity, Services},
    },
    domain::backoff::Repeatable,
    process::Ground,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Threads that answer, as every process of the product has by default.
const WORKERS: usize = 2;

/// A body of about 400 bytes, typed.
#[derive(Debug, Serialize, Deserialize)]
struct Wrapped {
    arguments: Arguments,
}

#[derive(Debug, Serialize, Deserialize)]
struct Arguments {
    user_id: String,
    input_data: Input,
}

#[derive(Debug, Serialize, Deserialize)]
struct Input {
    content: String,
    conversation_id: Option<String>,
    timestamp: Option<String>,
    metadata: Option<Map<String, Value>>,
}

/// The settings of the product that a hop needs, as its command line reads them.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    calls: Calls,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    services: Services,
}

/// Serves until killed.
pub(crate) async fn run(what: &str, to: Option<&str>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let to = to.unwrap_or_default().to_owned();
    let words = ["hop", "--jwt-secret-key", "no secret at all but thirty-two bytes"];
    let settings = Settings::parse_from([&words[..], &["--memory-service-url", &to]].concat());
    match what {
        "echo" => {
            let app = || {
                App::new().route("/tool/{name}", web::post().to(echo)).route(
                    "/health",
                    web::get()
                        .to(|| async { HttpResponse::Ok().json(json!({"status": "healthy"})) }),
                )
            };
            println!("{url}");
            HttpServer::new(app).workers(WORKERS).listen(listener).unwrap().run().await.unwrap();
        }
        "bare" => {
            let app = move || {
                let client = http_client(
                    &settings.calls,
                    usize::from(settings.calls.max_connections_per_service),
                );
                let hop = web::Data::new((client, format!("{to}/tool/store_input")));
                App::new().app_data(hop).route("/tool/{name}", web::post().to(bare))
            };
            println!("{url}");
            HttpServer::new(app).workers(WORKERS).listen(listener).unwrap().run().await.unwrap();
        }
        "stack" => {
            let Settings { calls, identity, services } = settings;
            let ground = Ground::lay("core", &["memory"], &identity, &calls, &services).await;
            let shared = ground.unwrap().clients;
            let app = move || {
                let clients = Clients::new(shared.clone(), "bench".to_owned());
                let hop: web::Data<Rc<Clients>> = web::Data::new(clients);
                App::new().app_data(hop).route("/tool/{name}", web::post().to(stack))
            };
            println!("{url}");
            HttpServer::new(app).workers(WORKERS).listen(listener).unwrap().run().await.unwrap();
        }
        other => panic!("{other:?} is not served here"),
    }
}

async fn echo(body: web::Json<Wrapped>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "result": body.into_inner().arguments }))
}

/// The same work without the stack: a body written, sent, the answer read and parsed.
async fn bare(
    body: web::Json<Map<String, Value>>,
    hop: web::Data<(awc::Client, String)>,
) -> HttpResponse {
    let arguments = body.into_inner().remove("arguments").unwrap_or_default();
    let body = serde_json::to_vec(&json!({ "arguments": arguments })).unwrap();
    let request = hop
        .0
        .post(&hop.1)
        .insert_header((header::AUTHORIZATION, "Bearer a.token.of.the.usual.length"))
        .insert_header((header::ACCEPT, "application/json"))
        .insert_header((header::CONTENT_TYPE, "application/json"));
    let Ok(mut response) = request.send_body(body).await else {
        return HttpResponse::BadGateway().finish();
    };
    let Ok(body) = response.body().await else { return HttpResponse::BadGateway().finish() };
    let mut reply: Value = serde_json::from_slice(&body).unwrap_or_default();
    let result = reply.as_object_mut().and_then(|whole| whole.remove("result"));
    HttpResponse::Ok().json(json!({ "result": result }))
}

async fn stack(
    body: web::Json<Map<String, Value>>,
    clients: web::Data<Rc<Clients>>,
) -> HttpResponse {
    let arguments = match body.into_inner().remove("arguments") {
        Some(Value::Object(arguments)) => arguments,
        _ => Map::new(),
    };
    let port = clients.of("memory").unwrap();
    match port.call("store_input", arguments, Repeatable::Always).await {
        Ok(result) => HttpResponse::Ok().json(json!({ "result": result })),
        Err(failure) => HttpResponse::BadGateway().body(failure.to_string()),
    }
}
