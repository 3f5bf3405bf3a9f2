//! The harness is worth no more than what is shown of it here.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    Client, Cluster, User,
    process::RealProcess,
    proxy::{ChaosProxy, Mode},
    within,
};

/// Answers each connection's first bytes with the same bytes, ten times over.
async fn echo() -> SocketAddr {
    let listener = actix_rt::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    actix_rt::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut question = [0; 4];
            if socket.read_exact(&mut question).await.is_ok() {
                socket.write_all(&question.repeat(10)).await.unwrap_or_default();
            }
        }
    });
    address
}

/// What comes back through the proxy for four bytes.
async fn ask(proxy: &ChaosProxy) -> usize {
    let address = proxy.url().replace("http://", "");
    let mut socket = actix_rt::net::TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    if socket.write_all(b"ping").await.is_ok() {
        within("the answer", socket.read_to_end(&mut answer)).await.unwrap_or_default();
    }
    answer.len()
}

#[actix::test]
async fn the_proxy_passes_refuses_swallows_cuts_and_delays() {
    let proxy = ChaosProxy::start(echo().await).await;
    assert_eq!(ask(&proxy).await, 40);
    proxy.set(Mode::CutAfter(7));
    assert_eq!(ask(&proxy).await, 7);
    proxy.set(Mode::Refuse);
    assert_eq!(ask(&proxy).await, 0);
    proxy.set(Mode::Delay(Duration::from_millis(20)));
    assert_eq!(ask(&proxy).await, 40);
    proxy.set(Mode::BlackHole);
    let mut swallowed = std::pin::pin!(ask(&proxy));
    let waited = tokio::time::timeout(Duration::from_millis(50), &mut swallowed).await;
    assert!(waited.is_err(), "nothing comes back");
    proxy.set(Mode::Refuse);
    assert_eq!(swallowed.await, 0, "an open connection is cut too");
    assert_eq!(proxy.accepted(), 5);
}

#[actix::test]
async fn a_cluster_works_through_its_proxies_and_over_a_restart() {
    let builder = Cluster::builder().with_memory_proxy().with_cognition_proxy();
    let builder = builder.memory_args(&["--db-pool-size", "2"]).cognition_args(&["--workers", "1"]);
    let mut cluster = builder.core_args(&["--max-retries", "1"]).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    core.post("/input", json!({"content": "hello"})).await.ok();
    let found = core.post("/cognition/context", json!({})).await.ok();
    assert_eq!(found["data"]["count"], 1);
    for proxy in [&cluster.memory_proxy, &cluster.cognition_proxy] {
        assert!(proxy.as_ref().unwrap().accepted() > 0);
    }
    cluster.memory.stop().await;
    assert!(!cluster.memory.is_running());
    cluster.memory.start();
    let items = cluster.memory.of(&ann).resource(&format!("history/{}", ann.id)).await;
    assert_eq!(items[0]["content"], "hello");
    assert!(cluster.data().join("memory").is_dir());
    cluster.stop().await;
}

#[actix::test]
async fn a_real_process_listens_answers_and_leaves_when_told() {
    let data = tempfile::tempdir().unwrap();
    let mut memory = RealProcess::start_role("memory", data.path(), &[]);
    let client: Client = memory.client().await;
    client.get("/health/live").await.ok();
    assert_eq!(memory.terminate().await, Some(0));
    let mut wrong = RealProcess::start(&["memory", "--port", "none"]);
    assert_eq!(wrong.wait().await.code(), Some(78));
    assert!(wrong.stderr().contains("PORT"), "{}", wrong.stderr());
    RealProcess::start_with(&["memory"], &[("PORT", "0")]).kill().await;
}
