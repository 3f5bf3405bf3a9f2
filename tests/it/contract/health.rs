//! What a process says about itself: root, health, readiness, metrics.

use serde_json::{Value, json};

use crate::harness::{Answer, Cluster, Node, User, assert_has, assert_json, eventually};

fn endpoint(url: &str, status: &str) -> Value {
    json!({
        "status": status,
        "endpoints": [{
            "url": url, "source": "environment", "status": status, "reason": "<any>",
            "since": "<time>", "last_success": "<any>", "latency_ms": "<any>",
            "outstanding": "<int>", "restarts": "<int>",
            "breaker": {
                "state": "closed", "since": "<time>", "failures": "<int>",
                "next_probe_seconds": null, "transitions": [],
                "window_calls": "<int>", "window_bad": "<int>",
            },
        }],
    })
}

fn health(service: &str, dependent: Value) -> Value {
    json!({
        "status": "healthy", "service": service, "version": "<text>", "timestamp": "<time>",
        "uptime_seconds": "<number>", "pid": "<int>", "reasons": [], "dependent_services": dependent,
        "components": "<any>", "actors": "<any>",
    })
}

/// The health of a process, once it gives this reason.
async fn health_once(node: &Node, reason: &str) -> Answer {
    let client = node.anonymous();
    let says_so = async || client.get("/health").await.json()["reasons"] == json!([reason]);
    eventually(reason, says_so).await;
    client.get("/health").await
}

/// The health of a process, once it has found the services it uses to be well.
async fn settled(node: &Node) -> Value {
    let client = node.anonymous();
    eventually("every service was checked", async || {
        let health = client.get("/health").await.json();
        let services = health["dependent_services"].as_object().unwrap();
        services.values().all(|service| service["status"] == "healthy")
    })
    .await;
    client.get("/health").await.ok()
}

#[actix::test]
async fn every_root_says_what_it_is() {
    let cluster = Cluster::start().await;
    let root = async |node: &Node| node.anonymous().get("/").await.ok();
    let golden = json!({"status": "online", "service": "Cortex Core"});
    assert_json(&root(&cluster.core).await, golden);
    for (node, title) in
        [(&cluster.memory, "Memory Service"), (&cluster.cognition, "Cognition Service")]
    {
        let golden = json!({"service": title, "version": "<text>", "status": "running"});
        assert_json(&root(node).await, golden);
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_healthy_process_says_so_in_full() {
    let cluster = Cluster::start().await;
    let mut memory = endpoint(&cluster.memory.url(), "healthy");
    memory["endpoints"][0]["store_id"] = "<text>".into();
    let cognition = endpoint(&cluster.cognition.url(), "healthy");
    let database = json!({"database": {"status": "healthy", "size_bytes": "<int>"}});
    let told = settled(&cluster.core).await;
    assert_json(&told, health("core", json!({"memory": memory, "cognition": cognition})));
    let mut own = database.clone();
    own["outbox"] = json!({
        "status": "healthy", "size_bytes": 0, "entries": 0, "refused": 0,
    });
    assert_json(&told["components"], own);
    let actor = json!({
        "name": "<text>", "state": "running", "restarts": 0, "last_cause": null,
        "mailbox_latency_ms": "<any>", "unanswered_pings": 0,
    });
    assert_json(&told["actors"][0], actor);
    let told = settled(&cluster.memory).await;
    assert_json(&told, health("memory", json!({})));
    let mut own = database;
    own["writer"] = json!({"status": "healthy"});
    own["database"]["store_id"] = "<text>".into();
    assert_json(&told["components"], own);
    let told = settled(&cluster.cognition).await;
    assert_json(&told, health("cognition", json!({"memory": memory})));
    for path in ["/v1/health", "/v1/health/details"] {
        let told = cluster.core.anonymous().get(path).await.ok();
        assert_has(&told, json!({"status": "healthy", "service": "core", "version": "<text>"}));
    }
    for node in [&cluster.core, &cluster.memory, &cluster.cognition] {
        let client = node.anonymous();
        let live = client.get("/health/live").await.ok();
        assert_json(&live, json!({"status": "alive"}));
        assert_json(&client.get("/health/ready").await.ok(), json!({"status": "ready"}));
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_process_whose_service_is_down_is_degraded_and_still_200() {
    let every = ["--health-check-interval", "50ms", "--probe-interval", "50ms"];
    let builder = Cluster::builder().core_args(&every).cognition_args(&every);
    let mut cluster = builder.start().await;
    cluster.memory.stop().await;
    for node in [&cluster.core, &cluster.cognition] {
        let answer = health_once(node, "memory is unavailable").await;
        assert_eq!(answer.status, 200);
        let told = answer.json();
        assert_eq!(told["status"], "degraded", "{told}");
        assert_eq!(told["dependent_services"]["memory"]["status"], "unavailable", "{told}");
    }
    cluster.memory.start();
    for node in [&cluster.core, &cluster.cognition] {
        let client = node.anonymous();
        // Core follows memory's log again a moment later.
        eventually("it is healthy", async || {
            client.get("/health").await.json()["status"] == "healthy"
        })
        .await;
    }
    cluster.stop().await;
}

#[actix::test]
async fn metrics_have_the_documented_names() {
    let mut cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    let _events = core.events("/output/stream").await;
    core.post("/input", json!({"content": "hello"})).await.ok();
    core.post("/cognition/context", json!({})).await.ok();
    let http = ["http_requests", "http_request_duration_seconds", "http_active_requests"];
    let calls = [
        "mcp_requests",
        "mcp_request_duration_seconds",
        "mcp_active_requests",
        "mcp_circuit_state",
    ];
    // Further names appear with the first failure or the first dropped subscriber.
    let bus = ["event_publish", "event_delivery", "event_subscribers"];
    let store = [
        "db_operations",
        "db_operation_duration_seconds",
        "db_size_bytes",
        "db_connections",
        "db_connection_wait_seconds",
    ];
    let context = [
        "context_generation",
        "context_generation_duration_seconds",
        "context_size_bytes",
        "memory_service_calls",
        "memory_service_duration_seconds",
    ];
    for (node, families) in [
        (&cluster.core, [&http[..], &calls, &bus, &store].concat()),
        (&cluster.memory, [&http[..], &bus, &store].concat()),
        (&cluster.cognition, [&http[..], &calls, &context].concat()),
    ] {
        let answer = node.anonymous().get("/metrics").await;
        assert_eq!(answer.status, 200);
        let text = answer.text();
        for family in families {
            assert!(text.contains(&format!("# TYPE {family} ")), "{family} in\n{text}");
        }
    }
    for (node, sample) in [
        (&cluster.core, r#"http_requests_total{method="POST",endpoint="/input",status="200"} 1"#),
        (&cluster.core, r#"mcp_requests_total{service="memory",tool="store_input"} 1"#),
        (&cluster.core, r#"event_publish_total{event_type="input"} 1"#),
        (&cluster.core, "event_subscribers 1"),
        (&cluster.memory, r#"db_operations_total{operation="commit",table="memory_items"} 1"#),
        (&cluster.cognition, "context_generation_total 1"),
        (&cluster.cognition, r#"memory_service_calls_total{status="success"} 1"#),
    ] {
        let client = node.anonymous();
        let counted = async || client.get("/metrics").await.text().lines().any(|l| l == sample);
        eventually(sample, counted).await;
    }
    cluster.memory.stop().await;
    core.post("/input", json!({"content": "pending"})).await.ok();
    let text = cluster.core.anonymous().get("/metrics").await.text();
    for start in [
        r#"mcp_errors_total{service="memory",tool="store_input",error_type=""#,
        r#"mcp_retries_total{service="memory"} "#,
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start} in\n{text}");
    }
    cluster.stop().await;
}
