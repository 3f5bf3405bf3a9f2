//! `cortex status`: how everything is, as core sees it and as each process says of itself.

use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    fetch::{Web, base_url},
    out::{self, Listing, flat},
    place::CORE_URL,
    render::{age, span},
    table::Table,
    trouble::{Outcome, Trouble},
};
use crate::{
    backplane::clock,
    contract::health::{ActorHealth, Component, EndpointHealth, Health},
};

/// Time for one process to say how it is.
const HEALTH_DEADLINE: Duration = Duration::from_secs(5);
/// Processes asked at once.
const ASKED_AT_ONCE: usize = 8;
/// What stands where there is nothing.
const NONE: &str = "-";

/// What `cortex status` takes.
#[derive(Args)]
pub struct StatusArgs {
    /// URL of core.
    #[arg(long, default_value = CORE_URL, value_parser = base_url)]
    url: String,
    /// Tables, or one JSON object.
    #[arg(short, long, default_value = "table")]
    output: Listing,
}

/// What one process says of itself.
struct Said {
    service: String,
    url: String,
    health: Result<Health, String>,
}

/// Prints how everything is; fails when core is unhealthy.
pub(super) async fn run(args: StatusArgs) -> Outcome {
    let web = Web::new();
    let core = ask(&web, &args.url).await?;
    let endpoints = core.dependent_services.iter().flat_map(|(service, of)| {
        of.endpoints.iter().map(|endpoint| (service.clone(), endpoint.url.clone()))
    });
    let asking = endpoints.map(|(service, url)| async {
        let health = ask(&web, &url).await.map_err(|trouble| trouble.cause());
        Said { service, url, health }
    });
    let said: Vec<Said> = stream::iter(asking).buffered(ASKED_AT_ONCE).collect().await;
    out::print(&match args.output {
        Listing::Table => tables(&core, &said, clock::now_micros()),
        Listing::Json => format!("{}\n", out::indented(&object(&core, &said))),
    })?;
    if core.status == "unhealthy" {
        return Err(Trouble::plain(format!("{} is unhealthy", core.service)));
    }
    Ok(())
}

/// A process's health; 503 brings the same body.
async fn ask(web: &Web, base: &str) -> Outcome<Health> {
    let url = format!("{base}/health");
    let answer = web.get(&url, None, HEALTH_DEADLINE).await?;
    if answer.status != 503 {
        answer.success()?;
    }
    serde_json::from_value(answer.json()?).map_err(|error| {
        Trouble::plain(format!("{url} answered what is no health of Cortex: {error}"))
    })
}

fn object(core: &Health, said: &[Said]) -> Value {
    let processes: Vec<Value> = said
        .iter()
        .map(|Said { service, url, health }| match health {
            Ok(health) => json!({ "service": service, "url": url, "health": health }),
            Err(error) => json!({ "service": service, "url": url, "error": error }),
        })
        .collect();
    json!({ "status": core.status, "reasons": core.reasons, "core": core, "processes": processes })
}

fn tables(core: &Health, said: &[Said], now: i64) -> String {
    let mut text = headline(core);
    if let Some(outbox) = core.components.get("outbox") {
        text.push_str(&outbox_line(outbox));
    }
    if !core.dependent_services.is_empty() {
        text.push_str(&format!("\nSERVICES\n{}", services(core, now)));
        text.push_str(&format!("\nBREAKERS\n{}", breakers(core, now)));
    }
    text.push_str(&format!("\nACTORS\n{}", actors(core, said)));
    text
}

fn headline(core: &Health) -> String {
    let Health { service, status, version, pid, uptime_seconds, reasons, .. } = core;
    let why = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
    let up = span(
        Duration::try_from_secs_f64(*uptime_seconds)
            .map_or(0, |up| i64::try_from(up.as_secs()).unwrap_or(i64::MAX)),
    );
    let line = format!("{service} is {status}{why} (version {version}, pid {pid}, up {up})");
    format!("{}\n", flat(&line))
}

/// What waits for memory in core's outbox.
fn outbox_line(outbox: &Component) -> String {
    let mut parts = match outbox.entries {
        None | Some(0) => vec!["empty".to_owned()],
        Some(entries) => {
            let oldest = Duration::try_from_secs_f64(outbox.oldest_seconds.unwrap_or_default());
            let oldest = oldest.map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            vec![format!("{entries} inputs wait, the oldest for {}", span(oldest))]
        }
    };
    if let Some(refused) = outbox.refused.filter(|refused| *refused > 0) {
        parts.push(format!("{refused} refused by memory for good"));
    }
    let cause = outbox.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    format!("{}\n", flat(&format!("outbox: {}{cause}", parts.join(", "))))
}

fn endpoints(core: &Health) -> impl Iterator<Item = (&String, &EndpointHealth)> {
    let services = core.dependent_services.iter();
    services.flat_map(|(name, service)| service.endpoints.iter().map(move |e| (name, e)))
}

fn services(core: &Health, now: i64) -> String {
    let header = ["SERVICE", "ENDPOINT", "STATUS", "SINCE", "LATENCY", "RESTARTS", "REASON"];
    let mut table = Table::new(header);
    for (service, endpoint) in endpoints(core) {
        table.row([
            service.clone(),
            endpoint.url.clone(),
            endpoint.status.clone(),
            age(&endpoint.since, now),
            milliseconds(endpoint.latency_ms),
            endpoint.restarts.to_string(),
            or_none(&endpoint.reason),
        ]);
    }
    table.take()
}

fn breakers(core: &Health, now: i64) -> String {
    let header = ["SERVICE", "ENDPOINT", "STATE", "SINCE", "FAILURES", "NEXT PROBE"];
    let mut table = Table::new(header);
    for (service, endpoint) in endpoints(core) {
        let breaker = &endpoint.breaker;
        let probe = breaker.next_probe_seconds.map(|seconds| format!("in {seconds:.0}s"));
        table.row([
            service.clone(),
            endpoint.url.clone(),
            breaker.state.clone(),
            age(&breaker.since, now),
            breaker.failures.to_string(),
            probe.unwrap_or_else(|| NONE.to_owned()),
        ]);
    }
    table.take()
}

fn actors(core: &Health, said: &[Said]) -> String {
    let header = ["PROCESS", "ACTOR", "STATE", "RESTARTS", "MAILBOX", "LAST CAUSE"];
    let mut table = Table::new(header);
    for actor in &core.actors {
        table.row(actor_row(&core.service, actor));
    }
    for Said { service, url, health } in said {
        let one_of_many = said.iter().filter(|other| other.service == *service).count() > 1;
        let process = if one_of_many { format!("{service} {url}") } else { service.clone() };
        match health {
            Ok(health) => {
                for actor in &health.actors {
                    table.row(actor_row(&process, actor));
                }
            }
            Err(why) => {
                let none = || NONE.to_owned();
                table.row([process, none(), "not asked".to_owned(), none(), none(), why.clone()]);
            }
        }
    }
    table.take()
}

fn actor_row(process: &str, actor: &ActorHealth) -> [String; 6] {
    let state = match actor.unanswered_pings {
        0 => actor.state.clone(),
        pings => format!("{} ({pings} pings unanswered)", actor.state),
    };
    [
        process.to_owned(),
        actor.name.clone(),
        state,
        actor.restarts.to_string(),
        milliseconds(actor.mailbox_latency_ms),
        or_none(actor.last_cause.as_deref().unwrap_or_default()),
    ]
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.1} ms"))
}

fn or_none(text: &str) -> String {
    if text.is_empty() { NONE.to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(service: &str, dependent: Value) -> Health {
        serde_json::from_value(json!({
            "status": "degraded", "service": service, "version": "1.0", "pid": 7,
            "timestamp": "t", "uptime_seconds": 61.5, "reasons": ["memory is suspect"],
            "components": {}, "dependent_services": dependent,
            "actors": [{"name": "bus", "state": "running", "restarts": 1, "last_cause": null,
                        "mailbox_latency_ms": 0.25, "unanswered_pings": 0}],
        }))
        .unwrap()
    }

    fn core() -> Health {
        health(
            "core",
            json!({"memory": {"status": "suspect", "endpoints": [{
                "url": "http://m:1", "source": "environment", "status": "suspect",
                "reason": "slow", "since": "2026-11-20T10:00:00Z", "last_success": null,
                "latency_ms": 3.21, "outstanding": 0, "restarts": 2,
                "breaker": {"state": "open", "since": "2026-11-20T10:00:00Z", "failures": 5,
                            "next_probe_seconds": 12.4}}]}}),
        )
    }

    fn said(health: Result<Health, String>) -> Said {
        Said { service: "memory".into(), url: "http://m:1".into(), health }
    }

    #[test]
    fn everything_is_in_three_tables_below_one_line() {
        let now = clock::parse("2026-11-20T10:00:42Z").unwrap();
        let text = tables(&core(), &[said(Ok(health("memory", json!({}))))], now);
        let expected = "\
core is degraded: memory is suspect (version 1.0, pid 7, up 61s)

SERVICES
SERVICE  ENDPOINT    STATUS   SINCE  LATENCY  RESTARTS  REASON
memory   http://m:1  suspect  42s    3.2 ms   2         slow

BREAKERS
SERVICE  ENDPOINT    STATE  SINCE  FAILURES  NEXT PROBE
memory   http://m:1  open   42s    5         in 12s

ACTORS
PROCESS  ACTOR  STATE    RESTARTS  MAILBOX  LAST CAUSE
core     bus    running  1         0.2 ms   -
memory   bus    running  1         0.2 ms   -
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_process_that_does_not_answer_has_a_row_that_says_why() {
        let two = [said(Err("refused".into())), said(Err("refused".into()))];
        let text = actors(&core(), &two);
        assert!(text.contains("memory http://m:1  -      not asked  -         -        refused"));
    }

    #[test]
    fn the_outbox_has_a_line_of_its_own() {
        let line = |value: Value| outbox_line(&serde_json::from_value(value).unwrap());
        let empty = json!({"status": "healthy", "entries": 0, "refused": 0});
        assert_eq!(line(empty), "outbox: empty\n");
        let busy = json!({"status": "healthy", "entries": 20, "oldest_seconds": 12.7, "refused": 1,
                          "error": "memory is not available"});
        let expected = "outbox: 20 inputs wait, the oldest for 12s, 1 refused by memory for good: \
                        memory is not available\n";
        assert_eq!(line(busy), expected);
    }

    #[test]
    fn programs_get_what_people_get() {
        let object = object(&core(), &[said(Err("refused".into()))]);
        assert_eq!(object["status"], "degraded");
        assert_eq!(object["core"]["dependent_services"]["memory"]["status"], "suspect");
        assert_eq!(object["processes"][0]["error"], "refused");
    }
}
