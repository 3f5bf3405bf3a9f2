//! The real thing: `cortex up`, what it prints, what dies and comes back, and how it leaves.

use std::{collections::BTreeSet, net::TcpStream};

use serde_json::json;

use crate::harness::{Client, eventually, process::RealProcess, within};

/// A backplane of real processes, and what it printed.
struct Up {
    process: RealProcess,
    core: String,
    memory: String,
    cognition: String,
    token: String,
    _data: tempfile::TempDir,
}

impl Up {
    async fn start() -> Up {
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().display().to_string();
        let mut process = RealProcess::start(&[
            "up",
            "--port",
            "0",
            "--memory-port",
            "0",
            "--cognition-port",
            "0",
            "--data-dir",
            &dir,
        ]);
        let mut value = async |name: &str| {
            let line = process.line_with(&format!("  {name} ")).await;
            line.split_whitespace().last().unwrap().to_owned()
        };
        let core = value("core").await;
        let memory = value("memory").await;
        let cognition = value("cognition").await;
        let token = value("token").await;
        Up { process, core, memory, cognition, token, _data: data }
    }

    /// The arguments of the printed command that asks `url`, as a shell would read them.
    async fn printed(&mut self, url: &str) -> Vec<String> {
        let line = self.process.line_with(&format!("{}{url}", self.core)).await;
        let mut arguments = vec![String::new()];
        let mut quoted = false;
        for letter in line.chars() {
            match letter {
                '\'' => quoted = !quoted,
                ' ' if !quoted => arguments.push(String::new()),
                other => arguments.last_mut().unwrap().push(other),
            }
        }
        arguments
    }
}

/// Makes the request a printed `curl` line makes.
fn request(arguments: &[String]) -> awc::SendClientRequest {
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)
    };
    let url = arguments.last().unwrap();
    let http = awc::Client::builder().disable_timeout().finish();
    let mut request = if value("-d").is_some() { http.post(url) } else { http.get(url) };
    for pair in arguments.windows(2).filter(|pair| pair[0] == "-H") {
        let (name, text) = pair[1].split_once(": ").unwrap();
        request = request.insert_header((name, text));
    }
    match value("-d") {
        Some(body) => request.send_body(body.clone()),
        None => request.send(),
    }
}

#[actix::test]
async fn the_printed_lines_work_and_ctrl_c_ends_everything() {
    let mut up = Up::start().await;
    let (stream, input, context) = (
        up.printed("/output/stream").await,
        up.printed("/input").await,
        up.printed("/cognition/context").await,
    );
    let mut watching = within("the stream", request(&stream)).await.unwrap();
    let answer: serde_json::Value =
        within("the input", request(&input)).await.unwrap().json().await.unwrap();
    assert_eq!(answer["status"], "received");
    let found: serde_json::Value =
        within("the context", request(&context)).await.unwrap().json().await.unwrap();
    assert_eq!(found["data"]["context"][0]["content"], answer["data"]["content"]);
    let mut events = String::new();
    let mut parsed = cortex::domain::sse::Parser::new();
    while !events.contains("\"type\":\"input\"") {
        use futures_util::StreamExt as _;
        let piece = within("an event", watching.next()).await.unwrap().unwrap();
        events.extend(parsed.feed(&piece).unwrap().into_iter().filter_map(|event| event.data));
    }
    up.process.signal("INT").await;
    let status = up.process.wait().await;
    assert_eq!(status.code(), Some(0), "{}", up.process.stderr());
    for url in [&up.core, &up.memory, &up.cognition] {
        let address = url.strip_prefix("http://").unwrap();
        assert!(TcpStream::connect(address).is_err(), "{url} still listens");
    }
}

#[actix::test]
async fn memory_killed_while_inputs_flow_comes_back_and_nothing_acknowledged_is_lost() {
    let up = Up::start().await;
    let core = Client::new(&up.core).with_token(&up.token);
    let memory = Client::new(&up.memory).with_token(&up.token);
    let first = memory.get("/health").await.json()["pid"].as_u64().unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut number = 0;
    let mut after = 0;
    while after < 200 {
        if number == 50 {
            kill(first).await;
        }
        let text = format!("input {number}");
        let answer = core.post("/input", json!({ "content": text })).await;
        match answer.ok()["status"].as_str().unwrap() {
            "received" | "received_storage_pending" => after += usize::from(number > 50),
            other => panic!("{other}"),
        }
        acknowledged.insert(text);
        number += 1;
    }
    eventually("memory is back and has everything", || async {
        let health = core.get("/health").await.json();
        health["dependent_services"]["memory"]["endpoints"][0]["restarts"] == 1
            && health["components"]["outbox"]["entries"] == 0
    })
    .await;
    let health = memory.get("/health").await.json();
    assert_ne!(health["pid"].as_u64().unwrap(), first, "another process");
    let mut seen = BTreeSet::new();
    let mut after = 0;
    loop {
        let path = format!("history/550e8400-e29b-41d4-a716-446655440000?after={after}&limit=1000");
        let items = memory.resource(&path).await;
        let Some(last) = items.as_array().unwrap().last() else { break };
        after = last["seq"].as_i64().unwrap();
        for item in items.as_array().unwrap() {
            let text = item["content"].as_str().unwrap().to_owned();
            assert!(seen.insert(text.clone()), "{text} twice");
        }
    }
    let lost: Vec<_> = acknowledged.difference(&seen).collect();
    assert!(lost.is_empty(), "{lost:?}");
    eventually("core's status shows the restart", || async {
        let endpoint = &core.get("/health").await.json()["dependent_services"]["memory"];
        endpoint["endpoints"][0]["restarts"] == 1 && endpoint["status"] == "healthy"
    })
    .await;
    assert_eq!(up.process.terminate().await, Some(0));
}

/// `kill -9`, by a shell, which every machine has.
async fn kill(pid: u64) {
    let mut shell = tokio::process::Command::new("sh");
    let status = shell.arg("-c").arg(format!("kill -9 {pid}")).status().await.unwrap();
    assert!(status.success());
}
