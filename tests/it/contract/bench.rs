//! `cortex bench` as people and programs use it: against a backplane that runs, and with its own.

use serde_json::Value;

use crate::harness::{Cluster, SECRET, User, eventually, process::RealProcess, within};

/// A short run over a few connections, printed as JSON.
const SHORT: [&str; 7] =
    ["--duration", "400ms", "--warm-up", "100ms", "--json", "--jwt-secret-key", SECRET];

/// Runs `cortex bench` to its end; gives its exit code and what it printed.
async fn bench(arguments: &[&str]) -> (Option<i32>, String, String) {
    let words: Vec<&str> = ["bench"].iter().chain(arguments).copied().collect();
    let mut process = RealProcess::start_with(&words, &[]);
    let code = process.wait().await.code();
    (code, process.stdout(), process.stderr())
}

/// A run that must end well, as JSON.
async fn measured(arguments: &[&str]) -> Value {
    let words: Vec<&str> = arguments.iter().chain(&SHORT).copied().collect();
    let (code, stdout, stderr) = bench(&words).await;
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

fn count(value: &Value) -> u64 {
    value["count"].as_u64().unwrap_or_else(|| panic!("no count: {value}"))
}

#[actix::test]
async fn every_subject_is_answered_and_counted() {
    let cluster = Cluster::start().await;
    let (core, memory) = (cluster.core.url(), cluster.memory.url());
    for (words, url) in [
        (&["input", "--users", "3"][..], &core),
        (&["store", "--payload", "500"], &memory),
        (&["history", "--items", "3"], &memory),
        (&["history", "--at", "core", "--items", "2"], &core),
        (&["context", "--items", "2"], &core),
    ] {
        let words: Vec<&str> = words.iter().copied().chain(["--url", url]).collect();
        let words = [&words[..], &["--connections", "4"]].concat();
        let report = measured(&words).await;
        assert!(count(&report["successes"]) > 0, "{words:?}: {report}");
        assert_eq!(count(&report["refusals"]) + count(&report["lost"]), 0, "{words:?}: {report}");
        let latency = &report["successes"]["latency_ms"];
        let (p50, p99) = (latency["p50"].as_f64().unwrap(), latency["p99"].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99, "{words:?}: {report}");
    }
    cluster.stop().await;
}

#[actix::test]
async fn what_is_counted_is_what_memory_has() {
    let cluster = Cluster::start().await;
    let user = User::new("ann");
    let url = cluster.core.url();
    let words = ["bench", "input", "--url", &url, "--token", &user.token, "--connections", "2"];
    let words = [&words[..], &["--duration", "300ms", "--warm-up", "0", "--json"]].concat();
    let mut process = RealProcess::start_with(&words, &[]);
    assert_eq!(process.wait().await.code(), Some(0), "{}", process.stderr());
    let report: Value = serde_json::from_str(&process.stdout()).unwrap();
    assert_eq!(report["answers"][0]["word"], "received");
    let path = format!("history/{}?limit=1000", user.id);
    let mut stored = 0;
    let memory = cluster.memory.of(&user);
    let mut page = memory.resource(&format!("{path}&after=0")).await;
    while let Some(last) = page.as_array().and_then(|page| page.last()) {
        stored += page.as_array().map_or(0, Vec::len);
        page = memory.resource(&format!("{path}&after={}", last["seq"])).await;
    }
    // One more was sent to see whether somebody is there.
    assert_eq!(u64::try_from(stored).unwrap(), count(&report["successes"]) + 1);
    cluster.stop().await;
}

#[actix::test]
async fn a_schedule_is_kept_and_says_when_it_was_not() {
    let cluster = Cluster::start().await;
    let url = cluster.core.url();
    let slow = measured(&["input", "--url", &url, "--rate", "40/s"]).await;
    assert_eq!(slow["schedule"]["kept"], true, "{slow}");
    assert_eq!(slow["schedule"]["due"], 20, "{slow}");
    // One connection waits for a disk each time: it cannot send a million in a second.
    let words = ["bench", "input", "--url", &url, "--rate", "1000000", "--connections", "1"];
    let further = ["--duration", "500ms", "--warm-up", "0", "--json", "--jwt-secret-key", SECRET];
    let mut process = RealProcess::start_with(&[&words[..], &further].concat(), &[]);
    assert_eq!(process.wait().await.code(), Some(0), "{}", process.stderr());
    let fast: Value = serde_json::from_str(&process.stdout()).unwrap();
    assert_eq!(fast["schedule"]["kept"], false, "{fast}");
    assert!(fast["schedule"]["unsent"].as_u64().unwrap() > 400_000, "{fast}");
    // Those that were sent late count from when they were due.
    let due = fast["successes"]["latency_ms"]["p50"].as_f64().unwrap();
    let sent = fast["successes_from_sending"]["latency_ms"]["p50"].as_f64().unwrap();
    assert!(due > sent, "{fast}");
    cluster.stop().await;
}

#[actix::test]
async fn every_reader_gets_every_input() {
    let cluster = Cluster::start().await;
    let url = cluster.core.url();
    let words = ["fan-out", "--url", &url, "--readers", "12", "--users", "2", "--rate", "50"];
    let report = measured(&[&words[..], &["--stuck", "1", "--threads", "2"]].concat()).await;
    let readers = &report["readers"];
    assert_eq!((&readers["open"], &readers["stuck"]), (&12.into(), &1.into()), "{report}");
    assert_eq!(readers["expected"], count(&report["successes"]) * 6, "{report}");
    assert_eq!((&readers["missing"], &readers["ended"]), (&0.into(), &0.into()), "{report}");
    let idle = measured(&["fan-out", "--url", &url, "--readers", "5", "--idle"]).await;
    assert_eq!((&idle["readers"]["open"], &idle["readers"]["ended"]), (&5.into(), &0.into()));
    cluster.stop().await;
}

#[actix::test]
async fn refusals_are_told_apart_by_their_codes() {
    let args = ["--max-retries", "0", "--outbox-entries-max", "0"];
    let mut cluster = Cluster::builder().core_args(&args).start().await;
    cluster.memory.stop().await;
    let url = cluster.core.url();
    let words = [&["history", "--at", "core", "--url", &url, "--items", "1"][..], &SHORT].concat();
    let (code, _, stderr) = bench(&words).await;
    // Core answers without what memory would add: that is a success, and the run goes on.
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("nothing can be stored beforehand"), "{stderr}");
    let words = ["fan-out", "--url", &url, "--readers", "1", "--payload", "1"];
    let (code, stdout, stderr) = bench(&[&words[..], &SHORT].concat()).await;
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, count(&report["successes"])), (Some(1), 0), "{stderr}");
    let answers = report["answers"].as_array().unwrap();
    assert!(!answers.is_empty(), "{report}");
    for answer in answers {
        let word = answer["word"].as_str().unwrap();
        assert!(["connection", "circuit_open"].contains(&word), "{report}");
    }
    cluster.stop().await;
}

#[actix::test]
async fn its_own_backplane_is_measured_and_leaves_nothing_behind() {
    let parent = tempfile::tempdir().unwrap();
    let below = parent.path().display().to_string();
    let words = ["bench", "input", "--own", "--own-dir", &below, "--connections", "4"];
    let words = [&words[..], &["--duration", "400ms", "--warm-up", "100ms"]].concat();
    let mut process = RealProcess::start_with(&words, &[]);
    let code = process.wait().await.code();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    assert_eq!(code, Some(0), "{stderr}");
    for start in ["POST /input at http://127.0.0.1:", "200 received", "core ", "memory "] {
        assert!(stdout.lines().any(|line| line.starts_with(start)), "{start}: {stdout}");
    }
    assert!(stdout.contains(" µs") && stdout.contains("MiB"), "{stdout}");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0, "the data is gone");
}

#[actix::test]
async fn an_interrupted_run_prints_what_there_is() {
    let cluster = Cluster::start().await;
    let user = User::new("ann");
    let url = cluster.core.url();
    let words = ["bench", "input", "--url", &url, "--token", &user.token, "--connections", "1"];
    let words = [&words[..], &["--duration", "600", "--warm-up", "0"]].concat();
    let mut process = RealProcess::start_with(&words, &[]);
    let memory = cluster.memory.of(&user);
    let path = format!("history/{}?limit=5", user.id);
    eventually("some inputs are stored", || async {
        memory.resource(&path).await.as_array().is_some_and(|items| items.len() == 5)
    })
    .await;
    process.signal("INT").await;
    let status = within("the run ends", process.wait()).await;
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    let stdout = process.stdout();
    assert!(stdout.contains("(interrupted)") && stdout.contains("200 received"), "{stdout}");
    cluster.stop().await;
}

#[actix::test]
async fn what_cannot_be_measured_is_said() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let (code, _, stderr) = bench(&["input", "--url", &url, "--token", "T"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cannot be reached") && stderr.contains("--own"), "{stderr}");
    let cluster = Cluster::start().await;
    let url = cluster.core.url();
    let (code, _, stderr) = bench(&["input", "--url", &url, "--token", "T"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("auth_error"), "{stderr}");
    cluster.stop().await;
    for (words, name) in [
        (["input", "--duration", "0"], "--duration"),
        (["input", "--rate", "0"], "--rate"),
        (["store", "--connections", "99999999"], "--connections"),
        (["fan-out", "--readers", "0"], "--readers"),
        (["history", "--pid", "core"], "--pid"),
    ] {
        let (code, _, stderr) = bench(&words).await;
        assert_eq!(code, Some(78), "{words:?}: {stderr}");
        assert!(stderr.contains(name), "{words:?}: {stderr}");
    }
}
