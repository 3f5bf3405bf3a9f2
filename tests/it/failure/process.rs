//! Processes: an actor that falls too often ends its process, wrong settings end the start, and a
//! batch says of each call how it went.

use std::{net::TcpListener, time::Duration};

use actix::prelude::*;
use clap::Parser as _;
use cortex::{
    answers_ping,
    backplane::{
        client::{BatchCall, Clients},
        config::{Calls, Http, Identity, Services},
        keeper,
        port::Port,
    },
    domain::{
        backoff::Repeatable,
        failure::{Failure, Kind},
    },
    http::health::Reporter,
    process::Ground,
};
use serde_json::{Map, json};

use crate::harness::{Cluster, SECRET, User, process::RealProcess, within};

#[derive(clap::Parser)]
struct Settings {
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    calls: Calls,
    #[command(flatten)]
    services: Services,
}

async fn ground(memory_url: &str) -> (Settings, Ground) {
    let arguments =
        ["test", "--jwt-secret-key", SECRET, "--memory-service-url", memory_url, "--workers", "1"];
    let settings = Settings::parse_from(arguments);
    let ground =
        Ground::lay("core", &["memory"], &settings.identity, &settings.calls, &settings.services)
            .await
            .unwrap();
    (settings, ground)
}

/// Falls whenever it is asked to.
struct Fragile;
#[derive(Message)]
#[rtype(result = "Result<(), Failure>")]
struct Fall;
impl Actor for Fragile {
    type Context = Context<Self>;
}
impl Supervised for Fragile {}
answers_ping!(Fragile);
impl Handler<Fall> for Fragile {
    type Result = Result<(), Failure>;
    fn handle(&mut self, _: Fall, _: &mut Context<Self>) -> Self::Result {
        panic!("on purpose")
    }
}

#[actix::test]
async fn an_actor_that_falls_too_often_ends_the_process_with_a_code() {
    let (settings, ground) = ground("http://127.0.0.1:1").await;
    let address = keeper::start(&ground.house, "fragile", |_| Fragile);
    let port: Port<Fall> = Port::to("fragile", &address, 8, Duration::from_secs(10));
    let reporter = Reporter {
        service: "core",
        title: "Test",
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
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let routes = |_| |_: &mut actix_web::web::ServiceConfig| {};
    let serving =
        ground.serve(&settings.http, listener, reporter, routes, std::future::pending::<()>());
    let falling = async {
        while ground.house.stands() {
            port.ask(Fall).await.unwrap_err();
        }
    };
    let (ended, ()) =
        within("the process gives up", futures_util::future::join(serving, falling)).await;
    let exit = ended.unwrap_err();
    assert_eq!(exit.code(), 70);
    assert!(exit.to_string().contains("fragile fell too often"), "{exit}");
}

#[actix::test]
async fn a_batch_keeps_its_order_and_says_of_each_call_how_it_went() {
    let cluster = Cluster::start().await;
    let (_, ground) = ground(&cluster.memory.url()).await;
    let clients = Clients::new(ground.clients.clone(), "test".to_owned());
    let ann = User::new("ann");
    let call = |service: &str, tool: &str, text: &str| {
        let mut arguments = Map::new();
        arguments.insert("user_id".to_owned(), json!(ann.id));
        arguments.insert("input_data".to_owned(), json!({ "content": text, "id": text }));
        BatchCall {
            service: service.to_owned(),
            tool: tool.to_owned(),
            arguments,
            repeatable: Repeatable::Always,
        }
    };
    let answers = clients
        .call_batch(vec![
            call("memory", "store_input", "first"),
            call("memory", "no_such_tool", "x"),
            call("nowhere", "store_input", "x"),
            call("memory", "store_input", "last"),
        ])
        .await;
    let seen: Vec<Result<&str, Kind>> = answers
        .iter()
        .map(|answer| match answer {
            Ok(reply) => Ok(reply["item_id"].as_str().unwrap()),
            Err(failure) => Err(failure.kind),
        })
        .collect();
    assert_eq!(
        seen,
        [Ok("first"), Err(Kind::ToolNotFound), Err(Kind::ServiceNotFound), Ok("last")]
    );
    cluster.stop().await;
}

/// Starts the program with these arguments and this environment; it must end with 78 and one line
/// that names `culprit`.
async fn check_refused(arguments: &[&str], environment: &[(&str, &str)], culprit: &str) {
    let mut process = RealProcess::start_with(arguments, environment);
    let status = process.wait().await;
    let said = process.stderr();
    assert_eq!(status.code(), Some(78), "{said}");
    let complaints: Vec<&str> = said.lines().filter(|line| line.starts_with("cortex: ")).collect();
    assert_eq!(complaints.len(), 1, "{said}");
    assert!(complaints[0].contains(culprit), "{said}");
}

#[actix::test]
async fn a_wrong_setting_ends_the_start_and_is_named() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().display().to_string();
    let secret = ("JWT_SECRET_KEY", SECRET);
    check_refused(&["memory", "--port", "0", "--data-dir", &dir], &[], "JWT_SECRET_KEY").await;
    let short = [("JWT_SECRET_KEY", "short"), ("CORTEX_DATA_DIR", &dir), ("PORT", "0")];
    check_refused(&["core"], &short, "JWT_SECRET_KEY").await;
    for (name, value) in [
        ("CONNECTION_TIMEOUT", "soon"),
        ("MAX_RETRIES", "-1"),
        ("REQUEST_TIMEOUT", "0"),
        ("MAX_REQUEST_SIZE", "0"),
        ("STORE_PATIENCE", "0"),
        ("CALL_TIMEOUT", "0s"),
        ("CIRCUIT_BREAKER_THRESHOLD", "0"),
        ("PORT", "70000"),
        ("HOST", "nowhere"),
        ("MEMORY_SERVICE_URL", "memory:9000"),
        ("SERVICE_DISCOVERY_CONFIG", "/no/such/file.yaml"),
        ("DATABASE_URL", "mysql://x"),
    ] {
        let mut environment = vec![secret, ("CORTEX_DATA_DIR", &dir), (name, value)];
        if name != "PORT" {
            environment.push(("PORT", "0"));
        }
        check_refused(&["core"], &environment, name).await;
    }
    let open = ["core", "--host", "0.0.0.0", "--port", "0", "--data-dir", &dir];
    check_refused(&open, &[secret, ("CORTEX_DEV_USER", "true")], "CORTEX_DEV_USER").await;
}

#[actix::test]
async fn memory_lists_no_settings_that_have_no_effect_there() {
    let mut help = RealProcess::start(&["memory", "--help"]);
    assert_eq!(help.wait().await.code(), Some(0));
    let said = help.stdout();
    assert!(said.contains("STORE_POLL_INTERVAL"), "{said}");
    for variable in ["CALL_TIMEOUT", "CIRCUIT_BREAKER", "MEMORY_SERVICE_URL", "SERVICE_DISCOVERY"] {
        assert!(!said.contains(&format!("[env: {variable}")), "{variable}");
    }
    // What a compose file gives all services alike is no mistake there.
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().display().to_string();
    let environment = [("JWT_SECRET_KEY", SECRET), ("CALL_TIMEOUT", "5"), ("MAX_RETRIES", "x")];
    let arguments = ["memory", "--port", "0", "--data-dir", dir.as_str()];
    let mut memory = RealProcess::start_with(&arguments, &environment);
    memory.url().await;
    assert_eq!(memory.terminate().await, Some(0));
}

#[actix::test]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().display().to_string();
    let role = ["memory", "--port", &port, "--data-dir", &dir, "--jwt-secret-key", SECRET];
    check_refused(&role, &[], &port).await;
    let up = ["up", "--port", "0", "--memory-port", &port, "--cognition-port", "0"];
    let up: Vec<&str> = up.into_iter().chain(["--data-dir", &dir]).collect();
    check_refused(&up, &[], &port).await;
}

#[actix::test]
async fn json_log_lines_of_a_request_carry_its_id() {
    let (data, memorys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut memory = RealProcess::start_role("memory", memorys.path(), &[]);
    let url = memory.url().await;
    let further = ["--memory-service-url", &url, "--max-retries", "1"];
    let last = ["--outbox-entries-max", "0", "--log-format", "json"];
    let further: Vec<&str> = further.into_iter().chain(last).collect();
    let mut core = RealProcess::start_role("core", data.path(), &further);
    let ann = User::new("ann");
    let client = core.client().await.with_token(&ann.token);
    client.post("/input", json!({"content": "core follows memory"})).await.ok();
    memory.kill().await;
    let question = client.ask(actix_web::http::Method::POST, "/input");
    let question = question.header("x-request-id", "the-id-of-this-request");
    let answer = question.json(&json!({"content": "x"})).send().await;
    assert_eq!(
        (answer.status, answer.header("x-request-id")),
        (503, Some("the-id-of-this-request"))
    );
    core.signal("TERM").await;
    assert_eq!(core.wait().await.code(), Some(0));
    let lines: Vec<serde_json::Value> =
        core.stderr().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of_request: Vec<&str> = lines
        .iter()
        .filter(|line| line["request_id"] == "the-id-of-this-request")
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert!(of_request.iter().any(|message| message.starts_with("trying again")), "{lines:?}");
    assert!(of_request.iter().any(|message| message.starts_with("request failed")), "{lines:?}");
}
