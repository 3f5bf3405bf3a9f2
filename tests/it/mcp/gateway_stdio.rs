//! `cortex mcp --stdio`: a running core, or a backplane of its own, for clients that start a command.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::server::{LEGACY, MODERN};
use crate::harness::{Cluster, User, eventually, within};

/// The command, with its client's end of the pipes.
struct Piped {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Piped {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cortex"))
            .args(["mcp", "--stdio"])
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Piped { child, input, output }
    }

    async fn say(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.input.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        let line = within("a line", self.output.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Asks, and waits for the answer to it.
    async fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        loop {
            let heard = self.next().await;
            if heard["id"] == id {
                return heard;
            }
        }
    }

    async fn greet(&mut self) {
        let params = json!({"protocolVersion": LEGACY, "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"}});
        let greeted = self.ask(1, "initialize", params).await;
        assert_eq!(greeted["result"]["protocolVersion"], LEGACY, "{greeted}");
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    }
}

fn meta() -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {}})
}

fn has_tool(answer: &Value, name: &str) -> bool {
    let tools = answer["result"]["tools"].as_array();
    tools.unwrap_or_else(|| panic!("{answer}")).iter().any(|tool| tool["name"] == name)
}

#[actix_rt::test]
async fn a_running_core_is_spoken_to_in_both_eras_and_restarts_unnoticed() {
    let mut cluster = Cluster::start().await;
    let ann = User::new("ann");
    let url = cluster.core.url();
    let arguments = ["--url", &url, "--token", &ann.token];
    let mut modern = Piped::start(&arguments);
    let mut legacy = Piped::start(&arguments);
    legacy.greet().await;
    for round in 0..2 {
        let listed = modern.ask(10 + round, "tools/list", json!({"_meta": meta()})).await;
        assert!(has_tool(&listed, "core__send_input"), "{listed}");
        let stored = json!({"name": "memory__store_input", "arguments": {"input_data":
            {"id": format!("r{round}"), "content": "said", "conversation_id": "c"}}});
        let stored = legacy.ask(20 + round, "tools/call", stored).await;
        assert_eq!(stored["result"]["isError"], false, "{stored}");
        if round == 0 {
            // The session goes with the process; the client is not told.
            cluster.core.stop().await;
            cluster.core.start();
            cluster.until_followed().await;
        }
    }
    cluster.core.stop().await;
    cluster.core.start();
    let core = cluster.core.anonymous();
    eventually("core is back", || async {
        let ready = core.ask(actix_web::http::Method::GET, "/health/ready").try_send().await;
        ready.is_ok_and(|ready| ready.status == 200)
    })
    .await;
    // Many at once find the session lost.
    let many: Vec<Value> = (0..8)
        .map(|id| json!({"jsonrpc": "2.0", "id": 100 + id, "method": "tools/list", "params": {}}))
        .collect();
    for message in &many {
        legacy.say(message).await;
    }
    for _ in &many {
        let answer = legacy.next().await;
        assert!(has_tool(&answer, "core__send_input"), "{answer}");
    }
    for mut piped in [modern, legacy] {
        drop(piped.input.take());
        let status = within("it ends with its input", piped.child.wait()).await.unwrap();
        assert!(status.success(), "{status}");
    }
    cluster.stop().await;
}

/// The processes of this parent.
fn children_of(parent: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[actix_rt::test]
async fn a_backplane_of_its_own_ends_with_its_client_whatever_ends_it() {
    for killed in [false, true] {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().display().to_string();
        let mut piped = Piped::start(&["--own", "--data-dir", &folder]);
        piped.greet().await;
        let listed = piped.ask(2, "tools/list", json!({})).await;
        assert!(has_tool(&listed, "memory__store_input"), "{listed}");
        let children = children_of(piped.child.id().unwrap());
        assert_eq!(children.len(), 3, "core, memory, cognition");
        if killed {
            piped.child.start_kill().unwrap();
        } else {
            drop(piped.input.take());
        }
        let status = within("it ends", piped.child.wait()).await.unwrap();
        assert_eq!(status.success(), !killed, "{status}");
        eventually("its children are gone", || async {
            children.iter().all(|id| !std::path::Path::new(&format!("/proc/{id}/exe")).exists())
        })
        .await;
    }
}
