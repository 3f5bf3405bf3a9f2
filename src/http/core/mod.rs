//! Core's routes, plain and under `/v1`.

mod account;
mod cognition;
mod input;
mod outbox;
mod output;
mod services;
mod spaces;
mod style;
mod upstreams;

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::Method,
    web::{self, Data, ServiceConfig},
};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    backplane::{
        database::Database, discovery::Discovery, drain::Drain, fanout::Bus, gate::Gate,
        token::Tokens,
    },
    http::{health, routes::at},
    services::conversation::{Conversations, follower::Reach},
};
use style::Style;

/// What core's handlers work with, on one worker.
#[derive(Clone)]
pub struct Core {
    /// Users, workspaces, conversations, inputs.
    pub conversations: std::rc::Rc<Conversations>,
    /// Core's store, for logins.
    pub database: Database,
    /// Whether the development user may log in.
    pub dev_user: bool,
    /// Bounds password hashing.
    pub hashing: Gate,
    /// Makes tokens.
    pub tokens: Tokens,
    /// Life of a user's token.
    pub token_life: Duration,
    /// The event bus.
    pub bus: Bus,
    /// From where on the bus has everything.
    pub reach: watch::Receiver<Reach>,
    /// Services and their endpoints.
    pub discovery: Discovery,
    /// Lets `X-API-Key` register services.
    pub api_key: Option<Arc<str>>,
    /// The signal to leave.
    pub drain: Drain,
    /// Time between heartbeat events.
    pub heartbeat: Duration,
    /// Silence after which a comment is sent.
    pub keep_alive: Duration,
}

/// Core's routes.
pub fn configure(config: &mut ServiceConfig) {
    config
        .service(at("/", vec![(Method::GET, web::to(root))]))
        .service(
            web::scope("/v1")
                .app_data(Style::V1)
                .service(at("/health", vec![(Method::GET, web::to(health::health))]))
                .service(at("/health/details", vec![(Method::GET, web::to(health::health))]))
                .service(at("/context", vec![(Method::POST, web::to(cognition::context))]))
                .service(at("/analyze", vec![(Method::POST, web::to(cognition::analyze))]))
                .service(at("/search", vec![(Method::POST, web::to(cognition::search))]))
                .service(at(
                    "/conversation/{id}/messages",
                    vec![(Method::POST, web::to(input::to_conversation))],
                ))
                .service(at(
                    "/conversation/{id}/messages/stream",
                    vec![(Method::GET, web::to(output::of_conversation))],
                ))
                .configure(|config| spaces_at(config, ""))
                .configure(shared),
        )
        .configure(shared)
        .service(at("/outbox", vec![(Method::GET, web::to(outbox::list))]))
        .service(at("/outbox/{id}/retry", vec![(Method::POST, web::to(outbox::retry))]))
        .service(at(
            "/outbox/{id}",
            vec![(Method::GET, web::to(outbox::show)), (Method::DELETE, web::to(outbox::drop_one))],
        ))
        .service(at("/services", vec![(Method::GET, web::to(services::list))]))
        .service(at(
            "/services/{name}",
            vec![
                (Method::POST, web::to(services::register)),
                (Method::DELETE, web::to(services::deregister)),
            ],
        ))
        .service(at("/services/{name}/breaker", vec![(Method::POST, web::to(services::force))]))
        .service(at(
            "/upstreams",
            vec![(Method::GET, web::to(upstreams::list)), (Method::POST, web::to(upstreams::add))],
        ))
        .service(at("/upstreams/{name}", vec![(Method::DELETE, web::to(upstreams::remove))]))
        .service(at("/upstreams/{name}/test", vec![(Method::POST, web::to(upstreams::test))]));
}

/// What answers at the top and under `/v1`, each in its own style.
fn shared(config: &mut ServiceConfig) {
    config
        .service(at("/auth/login", vec![(Method::POST, web::to(account::log_in))]))
        .service(at("/auth/verify", vec![(Method::GET, web::to(account::verify))]))
        .service(at("/input", vec![(Method::POST, web::to(input::take))]))
        .service(at("/forget", vec![(Method::POST, web::to(outbox::forget))]))
        .service(at("/output/stream", vec![(Method::GET, web::to(output::stream))]))
        .service(at("/cognition/context", vec![(Method::POST, web::to(cognition::context))]))
        .service(at("/cognition/analyze", vec![(Method::POST, web::to(cognition::analyze))]))
        .service(at("/cognition/search", vec![(Method::POST, web::to(cognition::search))]));
    spaces_at(config, "/config");
}

fn spaces_at(config: &mut ServiceConfig, prefix: &str) {
    config
        .service(at(
            &format!("{prefix}/workspace"),
            vec![
                (Method::GET, web::to(spaces::workspaces)),
                (Method::POST, web::to(spaces::add_workspace)),
            ],
        ))
        .service(at(
            &format!("{prefix}/workspace/{{id}}"),
            vec![
                (Method::GET, web::to(spaces::workspace)),
                (Method::PUT, web::to(spaces::change_workspace)),
                (Method::DELETE, web::to(spaces::remove_workspace)),
            ],
        ))
        .service(at(
            &format!("{prefix}/conversation"),
            vec![
                (Method::GET, web::to(spaces::conversations)),
                (Method::POST, web::to(spaces::add_conversation)),
            ],
        ))
        .service(at(
            &format!("{prefix}/conversation/{{id}}"),
            vec![
                (Method::GET, web::to(spaces::conversation)),
                (Method::PUT, web::to(spaces::change_conversation)),
                (Method::DELETE, web::to(spaces::remove_conversation)),
            ],
        ));
}

async fn root(_: Data<Core>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "online", "service": "Cortex Core" }))
}
