//! Faults that were found and mended, each with the test that fails without its mend.

use std::os::unix::fs::PermissionsExt as _;

use futures_util::future::join_all;
use serde_json::json;

use super::{NO_OUTBOX, post, stored};
use crate::harness::{Cluster, User, assert_error, eventually, process::RealProcess, proxy::Mode};

#[actix::test]
async fn large_attachments_are_refused_and_cannot_lock_a_user_out_of_context() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    let large = json!({"content": "x", "metadata": {"a": vec![1; 150_000]}});
    assert_error(&core.post("/input", large).await, 422, "validation_error");
    for _ in 0..40 {
        let fits = json!({"content": "kite", "metadata": {"a": vec![1; 100_000]}});
        core.post("/input", fits).await.ok();
    }
    let found = core.post("/cognition/context", json!({"query": "kite"})).await.ok();
    assert_eq!(found["data"].get("error"), None, "{}", found["data"]["error"]);
    let mut replayed = core.events("/output/stream?after=0").await;
    for _ in 0..40 {
        replayed.next_of_type("input").await;
    }
    let update = json!({"user_id": ann.id, "item_id": "none", "data": {}});
    let answer = cluster.memory.of(&ann).post("/tool/update_item", update).await;
    assert_error(&answer, 404, "resource_not_found");
    cluster.stop().await;
}

#[actix::test]
async fn large_texts_make_a_shorter_context_and_a_long_query_is_refused() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    for number in 0..6 {
        post(&core, &format!("kite {number} {}", "wind ".repeat(180_000))).await.unwrap();
    }
    let found = core.post("/cognition/context", json!({"query": "kite"})).await.ok();
    let count = found["data"]["count"].as_u64().unwrap();
    assert!((1..6).contains(&count), "{count}");
    let long = json!({"query": "x".repeat(10_001)});
    assert_error(&core.post("/cognition/context", long).await, 422, "validation_error");
    cluster.stop().await;
}

#[actix::test]
async fn streams_go_on_after_a_store_that_was_set_back() {
    let args = ["--probe-interval", "0.05", "--retry-max-backoff", "0.1"];
    let mut cluster = Cluster::builder().core_args(&args).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    // The store as it is at its beginning, put back later: the same one, with less in it.
    let (folder, aside) = (cluster.data().join("memory"), cluster.data().join("aside"));
    cluster.memory.stop().await;
    std::fs::create_dir(&aside).unwrap();
    std::fs::copy(folder.join("memory.db"), aside.join("memory.db")).unwrap();
    cluster.memory.start();
    cluster.until_followed().await;
    for number in 0..5 {
        eventually("it is stored", || async { post(&core, &format!("{number}")).await.is_ok() })
            .await;
    }
    let mut plain = core.events("/output/stream").await;
    plain.next_event().await;
    cluster.memory.stop().await;
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    cluster.memory.start();
    // The reader is told to come back, and knows more than the store does.
    plain.rest().await;
    let mut resumed = core.events("/output/stream?after=5").await;
    resumed.next_event().await;
    eventually("inputs are taken", || async { post(&core, "new").await.is_ok() }).await;
    assert_eq!(resumed.next_of_type("input").await["data"]["content"], "new");
    cluster.stop().await;
}

#[actix::test]
async fn the_development_user_does_not_outlive_its_setting() {
    let mut cluster = Cluster::start().await;
    let login = json!({"email": "user@example.com", "password": "password123"});
    cluster.core.anonymous().post("/auth/login", login.clone()).await.ok();
    cluster.core.stop().await;
    cluster.core.start_with(&["--dev-user", "false"]);
    let answer = cluster.core.anonymous().post("/auth/login", login).await;
    assert_error(&answer, 401, "invalid_credentials");
    cluster.stop().await;
}

#[actix::test]
async fn a_service_that_refuses_our_token_is_not_the_users_fault() {
    let other = "another secret that has thirty-two bytes";
    let builder = Cluster::builder().memory_args(&["--jwt-secret-key", other]);
    let builder = builder.core_args(&NO_OUTBOX);
    let cluster = builder.start_without_follower().await;
    let core = cluster.core.of(&User::new("ann"));
    let refused = core.post("/input", json!({"content": "x"})).await;
    assert_error(&refused, 503, "service_unavailable");
    assert_eq!(refused.json()["error"]["details"]["service"], "memory");
    assert_eq!(refused.header("www-authenticate"), None);
    cluster.stop().await;
}

#[actix::test]
async fn callers_that_hang_up_end_the_work_done_for_them() {
    let args = ["--calls-in-flight-max", "4"];
    let cluster = Cluster::builder().with_memory_proxy().core_args(&args).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    cluster.memory_proxy.as_ref().unwrap().set(Mode::BlackHole);
    for _ in 0..20 {
        let asked = post(&core, "never answered");
        let gone = tokio::time::timeout(std::time::Duration::from_millis(20), asked).await;
        assert!(gone.is_err());
    }
    eventually("nothing is under way", || async {
        let metrics = core.get("/metrics").await.text();
        metrics.lines().any(|line| line == "mcp_active_requests 0")
            && metrics.lines().any(|line| line == "http_active_requests 1")
    })
    .await;
    cluster.stop().await;
}

#[actix::test]
async fn changes_at_once_are_all_kept() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    let made = core.post("/config/workspace", json!({"name": "n", "description": "d"})).await.ok();
    let path = format!("/config/workspace/{}", made["workspace"]["id"].as_str().unwrap());
    let changes = (0..20).map(|number| json!({"metadata": {format!("k{number}"): number}}));
    let answers = join_all(changes.map(|change| core.put(&path, change))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let found = core.get(&path).await.ok();
    assert_eq!(found["workspace"]["metadata"].as_object().unwrap().len(), 20);
    cluster.stop().await;
}

#[actix::test]
async fn strangers_cannot_push_a_conversations_messages_out_of_sight() {
    let cluster = Cluster::start().await;
    let (ann, eve) = (User::new("ann"), User::new("eve"));
    let core = cluster.core.of(&ann);
    let made = core.post("/config/workspace", json!({"name": "n", "description": "d"})).await.ok();
    let new = json!({"workspace_id": made["workspace"]["id"], "topic": "t"});
    let made = core.post("/config/conversation", new).await.ok();
    let id = made["conversation"]["id"].as_str().unwrap();
    core.post("/input", json!({"content": "ann's", "conversation_id": id})).await.ok();
    let memory = cluster.memory.of(&eve);
    for _ in 0..101 {
        let input = json!({"content": "eve's", "conversation_id": id});
        memory.tool("store_input", json!({"user_id": eve.id, "input_data": input})).await;
    }
    let found = core.get(&format!("/config/conversation/{id}")).await.ok();
    let messages = found["conversation"]["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["content"], "ann's");
    cluster.stop().await;
}

#[actix::test]
async fn two_services_cannot_be_given_one_file_and_files_are_the_owners_alone() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("store").join("one.db");
    let url = format!("sqlite://{}", path.display());
    let further = ["--database-url", url.as_str()];
    let mut memory = RealProcess::start_role("memory", data.path(), &further);
    memory.url().await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path) & 0o777, 0o600);
    assert_eq!(mode(path.parent().unwrap()) & 0o777, 0o700);
    assert_eq!(memory.terminate().await, Some(0));
    let mut core = RealProcess::start_role("core", data.path(), &further);
    assert_eq!(core.wait().await.code(), Some(70));
    assert!(core.stderr().contains("belongs to another service"), "{}", core.stderr());
    assert!(!core.stdout().contains("listening"), "a failed start has not announced itself");
}

#[actix::test]
async fn cores_store_has_one_process_and_a_killed_one_lets_go() {
    let data = tempfile::tempdir().unwrap();
    let mut first = RealProcess::start_role("core", data.path(), &[]);
    first.url().await;
    let mut second = RealProcess::start_role("core", data.path(), &[]);
    assert_eq!(second.wait().await.code(), Some(70));
    assert!(second.stderr().contains("in use by another process"), "{}", second.stderr());
    first.kill().await;
    let mut third = RealProcess::start_role("core", data.path(), &[]);
    third.url().await;
    assert_eq!(third.terminate().await, Some(0));
}

#[actix::test]
async fn an_empty_api_key_opens_nothing() {
    let builder = Cluster::builder().core_args(&["--service-discovery-api-key", ""]);
    let cluster = builder.start().await;
    let question = cluster
        .core
        .anonymous()
        .ask(actix_web::http::Method::POST, "/services/evil?endpoint=http://127.0.0.1:9");
    assert_error(&question.header("x-api-key", "").send().await, 403, "permission_denied");
    cluster.stop().await;
}

#[actix::test]
async fn health_recovers_without_traffic() {
    let args = ["--max-retries", "0", "--probe-interval", "0.05", "--health-check-interval", "0.2"];
    let builder = Cluster::builder().with_memory_proxy().core_args(&args);
    let cluster = builder.core_args(&NO_OUTBOX).start().await;
    let core = cluster.core.of(&User::new("ann"));
    let proxy = cluster.memory_proxy.as_ref().unwrap();
    proxy.set(Mode::Refuse);
    eventually("the breaker opens", || async {
        post(&core, "x").await.unwrap_err().json()["error"]["code"] == "circuit_open"
    })
    .await;
    proxy.set(Mode::Pass);
    eventually("healthy again", || async {
        core.get("/health").await.json()["status"] == "healthy"
    })
    .await;
    assert!(stored(&cluster, &User::new("bob")).await.is_empty());
    cluster.stop().await;
}

#[actix::test]
async fn a_store_whose_file_is_gone_acknowledges_nothing() {
    let args = ["--max-retries", "0", "--outbox-entries-max", "0"];
    let cluster = Cluster::builder().core_args(&args).start().await;
    let core = cluster.core.of(&User::new("ann"));
    post(&core, "kept").await.unwrap();
    let folder = cluster.data().join("memory");
    let aside = cluster.data().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    let refused = post(&core, "nowhere").await.unwrap_err();
    assert_error(&refused, 500, "database_error");
    assert_eq!(cluster.memory.anonymous().get("/health").await.status, 503);
    std::fs::rename(&aside, &folder).unwrap();
    assert_eq!(cluster.memory.anonymous().get("/health").await.status, 200, "it sees by itself");
    post(&core, "kept too").await.unwrap();
    cluster.stop().await;
}

#[actix::test]
async fn a_file_that_is_no_database_ends_the_start_with_one_line() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("memory.db"), vec![7; 20_000]).unwrap();
    let mut memory = RealProcess::start_role("memory", data.path(), &[]);
    assert_eq!(memory.wait().await.code(), Some(70));
    assert!(memory.stderr().contains("not a database"), "{}", memory.stderr());
    assert!(!memory.stderr().contains("panic"), "{}", memory.stderr());
}
