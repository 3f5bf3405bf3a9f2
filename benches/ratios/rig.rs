//! What the measurements stand on: backplanes, servers of comparison, and loads as `cortex bench`
//! makes them.

use std::{ffi::OsString, path::Path, process::Stdio};

use cortex::cli::bench::own::{Backplane, Process, Scratch, Start};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::Terms;

/// A backplane with the settings of the product, in a directory of its own.
pub(crate) struct Rig {
    pub(crate) backplane: Backplane,
    pub(crate) scratch: Scratch,
}

impl Rig {
    pub(crate) async fn start(terms: &Terms) -> Self {
        Rig::start_pinned(terms, None).await
    }

    /// The same on one processor, so that the load has another.
    pub(crate) async fn start_pinned(terms: &Terms, processor: Option<u32>) -> Self {
        let scratch = Scratch::below(&terms.dir).unwrap();
        let before: Vec<OsString> = match processor {
            Some(number) => {
                ["taskset", "-c", &number.to_string()].iter().map(OsString::from).collect()
            }
            None => Vec::new(),
        };
        let started =
            Backplane::start(&terms.program, scratch.path(), |_| (before.clone(), Vec::new()));
        Rig { backplane: started.await.unwrap(), scratch }
    }

    pub(crate) async fn stop(self) {
        self.backplane.stop().await;
    }

    /// `--pid` for all three.
    pub(crate) fn pids(&self) -> String {
        let Backplane { core, memory, cognition } = &self.backplane;
        format!("core={},memory={},cognition={}", core.pid, memory.pid, cognition.pid)
    }

    /// Runs a load against core.
    pub(crate) async fn bench(&self, terms: &Terms, words: &[&str]) -> Value {
        let url = self.backplane.core.url.clone();
        self.bench_at(terms, &url, words).await
    }

    /// Runs a load against a process that has this backplane's secret.
    pub(crate) async fn bench_at(&self, terms: &Terms, url: &str, words: &[&str]) -> Value {
        let data = self.scratch.path().display().to_string();
        let pids = self.pids();
        let further = ["--url", url, "--data-dir", &data, "--pid", &pids];
        bench(terms, &[words, &further].concat()).await
    }
}

/// Starts a role by itself with the secret in `data`.
pub(crate) async fn role(
    terms: &Terms,
    role: &'static str,
    data: &Path,
    arguments: &[&str],
) -> Process {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let (program, data_dir) = (terms.program.clone(), data.to_owned());
    Start { program, before: Vec::new(), role, data_dir, arguments }.listening().await.unwrap()
}

/// Runs `cortex bench` and gives what it prints; nothing having succeeded is a result, too.
pub(crate) async fn bench(terms: &Terms, words: &[&str]) -> Value {
    let seconds = format!("{}s", terms.seconds);
    let mut command = Command::new(&terms.program);
    command.arg("bench").args(words).arg("--json").stdin(Stdio::null());
    if !words.contains(&"--duration") {
        command.args(["--duration", &seconds]);
    }
    if !words.contains(&"--warm-up") {
        command.args(["--warm-up", "1s"]);
    }
    let output = command.kill_on_drop(true).output().await.unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// A server of comparison: this program as a child. Dropping it kills it.
pub(crate) struct Side {
    pub(crate) url: String,
    pub(crate) pid: u32,
    _child: Child,
}

impl Side {
    pub(crate) async fn start(what: &str, to: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--serve", what]).stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(to) = to {
            command.args(["--to", to]);
        }
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.next_line().await.unwrap().expect("it says where it listens");
        Side { url, pid: child.id().unwrap(), _child: child }
    }

    /// Runs a load of stores against it; gives its processor time for each answer (µs).
    pub(crate) async fn cpu_each(&self, terms: &Terms) -> f64 {
        let pid = format!("side={}", self.pid);
        let words =
            ["store", "--url", &self.url, "--token", "T", "--pid", &pid, "--payload", "250"];
        let report = bench(terms, &words).await;
        assert_eq!(number(&report, "/refusals/count"), 0.0, "{report}");
        number(&report, "/servers/0/cpu_us_per_answer")
    }
}

/// A number of a report; NaN where there is none.
pub(crate) fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// What answers came, and how many of each.
pub(crate) fn kinds(report: &Value) -> String {
    let answers = report["answers"].as_array().cloned().unwrap_or_default();
    let kind = |answer: &Value| {
        let word = answer["word"].as_str().unwrap_or_default();
        let p99 = number(answer, "/latency_ms/p99");
        format!("{} {word} x{} p99 {p99:.2} ms", answer["status"], answer["count"])
    };
    answers.iter().map(kind).collect::<Vec<_>>().join("; ")
}
