//! A server that has everything the protocol's conformance suite asks for, on the layer our services
//! stand on: `cargo run --example mcp_fixture -- --port 8102`.

#![expect(deprecated, reason = "clients before 2026-07-28 use what later ones have no more")]

mod fixture;

use std::{process::ExitCode, sync::Arc};

use actix_web::web::ServiceConfig;
use clap::Parser;
use cortex::{
    backplane::{
        config::{Calls, Http, Identity, Logs, Mcp, Services},
        logging,
        mcp::Pages,
    },
    cli,
    http::{
        health::Reporter,
        mcp::{Access, Endpoint},
    },
    process::{Exit, Ground, bind},
};
use tokio::signal::unix::{SignalKind, signal};

use fixture::Everything;

/// The port it listens on unless told otherwise.
const PORT: u16 = 8102;
/// Where it says that it listens.
const LISTENING: &str = "listening on ";

/// A server with everything the conformance suite asks for. Nobody needs a token.
#[derive(Parser)]
#[command(name = "mcp_fixture", max_term_width = 100)]
struct Settings {
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    logs: Logs,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    calls: Calls,
    #[command(flatten)]
    services: Services,
    #[command(flatten)]
    mcp: Mcp,
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    logging::start(settings.logs.log_format, &settings.logs.log, "fixture");
    match actix::System::new().block_on(run(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            cli::complain(&exit.to_string());
            ExitCode::from(exit.code())
        }
    }
}

async fn run(mut settings: Settings) -> Result<(), Exit> {
    // Its own tokens are good for nothing, but a process has some.
    let secret = || format!("{}{}", uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    settings.identity.jwt_secret_key.get_or_insert_with(secret);
    let Settings { http, identity, calls, services, mcp, .. } = settings;
    let listener = bind(&http, PORT)?;
    let address = listener.local_addr().map_err(|error| Exit::Failed(error.to_string()))?;
    let ground = Ground::lay("fixture", &[], &identity, &calls, &services).await?;
    let reporter = Reporter {
        service: "fixture",
        title: "Cortex conformance fixture",
        house: ground.house.clone(),
        discovery: ground.discovery.clone(),
        database: None,
        writer: None,
        outbox: None,
        log: None,
        index: None,
        metrics: ground.metrics.clone(),
        drain: ground.drain.clone(),
    };
    let handler =
        Everything::new(Pages { entries_max: mcp.page_entries() }).map_err(Exit::Failed)?;
    let endpoint =
        Endpoint::new("fixture", Arc::new(handler), &mcp, Access::Open, ground.drain.clone());
    let routes = move |_clients| {
        let endpoint = endpoint.clone();
        move |config: &mut ServiceConfig| endpoint.mount(config)
    };
    cli::announce(&format!("mcp_fixture {LISTENING}http://{address}"));
    ground.serve(&http, listener, reporter, routes, signalled()).await
}

async fn signalled() {
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        log::error!("signals cannot be heard");
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}
