//! Cognition's index against memory: it follows through every fault, and a question sees what was
//! stored before it.

mod faults;
mod pairs;

use std::{cell::Cell, path::Path, rc::Rc};

use serde_json::{Value, json};

use crate::harness::{
    Client, Door, SECRET, User, eventually, process::RealProcess, users::service_token,
};

/// Memory and cognition as real processes, each with an address that stays its own.
pub(crate) struct Stage {
    pub(crate) data: tempfile::TempDir,
    memory_door: Door,
    cognition_door: Door,
    pub(crate) memory: Option<RealProcess>,
    pub(crate) cognition: Option<RealProcess>,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (memory_door, cognition_door) = (Door::new(), Door::new());
        let (memory, cognition) = (None, None);
        let mut stage = Stage { data, memory_door, cognition_door, memory, cognition };
        stage.start_memory().await;
        stage.start_cognition().await;
        stage
    }

    pub(crate) async fn start_memory(&mut self) {
        let mut process = self.run("memory", &self.memory_door, &[]);
        process.url().await;
        self.memory = Some(process);
    }

    /// Small commits, so that a kill finds it between two of them.
    pub(crate) async fn start_cognition(&mut self) {
        let url = self.memory_url();
        let further = ["--memory-service-url", &url, "--index-batch-max", "50"];
        let mut process = self.run("cognition", &self.cognition_door, &further);
        process.url().await;
        self.cognition = Some(process);
    }

    fn run(&self, role: &str, door: &Door, further: &[&str]) -> RealProcess {
        let port = door.address().port().to_string();
        let data = self.data.path().display().to_string();
        let mut arguments = vec![role, "--port", &port, "--workers", "2", "--data-dir", &data];
        arguments.extend(["--jwt-secret-key", SECRET]);
        arguments.extend(further);
        RealProcess::start(&arguments)
    }

    pub(crate) fn memory_url(&self) -> String {
        format!("http://{}", self.memory_door.address())
    }

    /// Memory as a service reaches it.
    pub(crate) fn of_memory(&self) -> Client {
        Client::new(&self.memory_url()).with_token(&service_token("tester", &["memory"]))
    }

    /// Cognition as a service reaches it.
    pub(crate) fn of_cognition(&self) -> Client {
        let url = format!("http://{}", self.cognition_door.address());
        Client::new(&url).with_token(&service_token("tester", &["cognition"]))
    }

    /// Returns when the index has all that memory has.
    pub(crate) async fn until_indexed(&self) {
        let (memory, cognition) = (self.of_memory(), self.of_cognition());
        eventually("the index has what memory has", || async {
            let head = memory.resource("log/head").await[0]["seq"].as_i64().unwrap();
            position(&cognition).await >= head
        })
        .await;
    }

    /// The index on disk is one that is made anew, row by row.
    pub(crate) async fn assert_alike(&self) {
        self.until_indexed().await;
        compare(self.data.path(), "cognition.db", &self.memory_url()).await;
    }

    pub(crate) async fn end(mut self) {
        if let Some(cognition) = self.cognition.take() {
            assert_eq!(cognition.terminate().await, Some(0));
        }
        if let Some(memory) = self.memory.take() {
            assert_eq!(memory.terminate().await, Some(0));
        }
    }
}

/// What `cortex reindex --check` says of an index.
pub(crate) async fn compare(data: &Path, file: &str, memory: &str) {
    let (folder, file) = (data.display().to_string(), data.join(file).display().to_string());
    let mut check = RealProcess::start(&[
        "reindex",
        "--check",
        "--index",
        &file,
        "--url",
        memory,
        "--data-dir",
        &folder,
        "--jwt-secret-key",
        SECRET,
    ]);
    let status = check.wait().await;
    assert!(status.success(), "{}\n{}", check.stdout(), check.stderr());
    assert!(check.stdout().contains("is what memory has"), "{}", check.stdout());
}

/// Up to where a cognition says its index is.
pub(crate) async fn position(cognition: &Client) -> i64 {
    let health = cognition.get("/health").await.json();
    health["components"]["index"]["position"].as_i64().unwrap()
}

/// Stores, changes and removes as `user` until told to end, through faults; a new item for every
/// change of an old one.
pub(crate) fn keep_changing(
    memory: &Client,
    user: &User,
    seed: u64,
    ended: &Rc<Cell<bool>>,
) -> actix_rt::task::JoinHandle<usize> {
    let (memory, user) = (memory.with_token(&user.token), user.clone());
    let (ended, mut random) = (Rc::clone(ended), fastrand::Rng::with_seed(seed));
    actix_rt::spawn(async move {
        let mut number = 0;
        while !ended.get() {
            let old = random.usize(0..=number).to_string();
            let text = format!("{} talks of the {}", user.name, ["kite", "boat"][number % 2]);
            let id = number.to_string();
            let (tool, arguments) = match random.u8(0..10) {
                0..6 => ("store_input", json!({"input_data": {"id": id, "content": text}})),
                6..8 => {
                    let updates =
                        json!({"content": format!("{text} again"), "metadata": {"n": number}});
                    ("update_message", json!({"message_id": old, "updates": updates}))
                }
                _ => ("delete_message", json!({"message_id": old})),
            };
            let arguments = with_user(arguments, &user);
            let body = json!({ "arguments": arguments }).to_string();
            let question = memory.ask(actix_web::http::Method::POST, &format!("/tool/{tool}"));
            // Refused and unheard is part of it: what counts is what memory has in the end.
            let _told = question.body("application/json", body).try_send().await;
            number += 1;
            tokio::task::yield_now().await;
        }
        number
    })
}

fn with_user(mut arguments: Value, user: &User) -> Value {
    arguments["user_id"] = json!(user.id);
    arguments
}

/// Stores so many items of a user at once.
pub(crate) async fn store_many(memory: &Client, user: &User, count: usize) {
    let numbers: Vec<usize> = (0..count).collect();
    for numbers in numbers.chunks(500) {
        let inputs: Vec<Value> = numbers
            .iter()
            .map(|n| {
                let content = format!("message {n} of {} about the kite and number {}", user.name, n % 7);
                json!({"user_id": user.id, "input_data": {"id": format!("many-{n}"), "content": content}})
            })
            .collect();
        memory.tool("store_inputs", json!({ "inputs": inputs })).await;
    }
}
