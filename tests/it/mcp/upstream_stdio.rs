//! Upstreams that are child processes: started, asked, ended whole, never left behind.

use std::{fs, path::Path, time::Duration};

use cortex::{
    backplane::upstream::{Call, Kind, Upstream},
    contract::upstream::{Limits, Program, Share},
    domain::failure::Kind as FailureKind,
};
use futures_util::future::join_all;

use super::upstream_peer::{
    bound_upstreams, call, child, old_server, program, quick, says, shell, tool, upstreams,
};
use crate::harness::{eventually, within};

/// Start and kill cycles in the suite; `UPSTREAM_CYCLES` asks for more.
const CYCLES: usize = 1000;

/// The pids that a marker file collected.
fn pids(marker: &Path) -> Vec<String> {
    let text = fs::read_to_string(marker).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Neither running nor a zombie.
fn is_gone(pid: &str) -> bool {
    !Path::new("/proc").join(pid).exists()
}

/// The pipes this process has open.
fn pipes() -> usize {
    let is_pipe = |entry: std::io::Result<fs::DirEntry>| {
        let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
        target.to_string_lossy().starts_with("pipe:")
    };
    fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| is_pipe(entry).then_some(())).count()
}

async fn all_gone(what: &str, marker: &Path) {
    eventually(what, || async {
        !pids(marker).is_empty() && pids(marker).iter().all(|pid| is_gone(pid))
    })
    .await;
}

fn noting(marker: &Path, then: &Program) -> Program {
    let script = &then.args[1];
    program(&format!("echo $$ >> {}\n{script}", marker.display()))
}

fn content(raw: &serde_json::value::RawValue) -> String {
    let value: serde_json::Value = serde_json::from_str(raw.get()).unwrap();
    value["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_old_server_is_met_asked_and_shared() {
    let all = upstreams();
    let upstream = child(&all, old_server(&says("pid $$")), quick());
    assert_eq!(upstream.list(Kind::Tools, &call()).await.unwrap().items.len(), 1);
    assert_eq!(upstream.peer().unwrap().version, "2025-06-18");
    let at_once = call();
    let calls = (0..50).map(|_| upstream.call_tool(tool("t"), &at_once));
    let mut texts: Vec<String> =
        join_all(calls).await.into_iter().map(|raw| content(&raw.unwrap())).collect();
    texts.dedup();
    assert_eq!(texts.len(), 1, "one child for all: {texts:?}");
}

#[tokio::test]
async fn a_modern_server_needs_no_handshake() {
    let all = upstreams();
    let script = r#"case $line in
        *'"server/discover"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}\n' "$id";;
        *'io.modelcontextprotocol/protocolVersion'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[{"text":"modern"}]}}\n' "$id";;
        esac"#;
    let upstream = child(&all, shell(script), quick());
    let raw = upstream.call_tool(tool("t"), &call()).await.unwrap();
    assert_eq!(content(&raw), "modern");
}

#[tokio::test]
async fn each_principal_has_its_own_child_and_there_are_only_so_many() {
    let all = upstreams();
    let own = Program { share: Share::Principal, children_max: 2, ..old_server(&says("pid $$")) };
    let upstream = child(&all, own, quick());
    let of = |who: &str| Call { principal: Some(who.into()), ..call() };
    let text = |who: &'static str| {
        let upstream = upstream.clone();
        async move { content(&upstream.call_tool(tool("t"), &of(who)).await.unwrap()) }
    };
    let (ann, bob) = (text("ann").await, text("bob").await);
    assert!(ann != bob && text("ann").await == ann);
    let (cid, again) = (text("cid").await, text("bob").await);
    assert!(cid != ann && again != bob, "bob's was unused for longest and made room");
    assert_eq!(upstream.status().lines, 2);
}

#[tokio::test]
async fn noise_on_its_output_does_not_matter_and_a_huge_line_fails_its_call_only() {
    let all = upstreams();
    let script = format!(
        r#"echo "starting up"; echo '{{"id":999,"result":{{}}}}'; echo '[[['; case $line in *huge*) printf '{{"jsonrpc":"2.0","id":%s,"result":{{"x":"' "$id"; head -c 3000000 /dev/zero | tr '\0' a; echo '"}}}}';; *) {};; esac"#,
        says("fine")
    );
    let upstream =
        child(&all, old_server(&script), Limits { answer_bytes_max: 1_000_000, ..quick() });
    assert_eq!(content(&upstream.call_tool(tool("t"), &call()).await.unwrap()), "fine");
    let huge = upstream.call_tool(tool("huge"), &call()).await.unwrap_err();
    assert!(huge.to_string().contains("larger than 1000000 bytes"), "{huge}");
    assert_eq!(content(&upstream.call_tool(tool("t"), &call()).await.unwrap()), "fine");
}

#[tokio::test]
async fn one_that_dies_fails_its_calls_at_once_and_is_started_anew() {
    let all = upstreams();
    let script =
        format!("case $line in *die*) echo last words >&2; exit 3;; *) {};; esac", says("$$"));
    let upstream = child(&all, old_server(&script), quick());
    let before = content(&upstream.call_tool(tool("t"), &call()).await.unwrap());
    let dead = within("an end", upstream.call_tool(tool("die"), &call())).await.unwrap_err();
    assert!(dead.to_string().contains("exit status: 3"), "{dead}");
    let after = content(&upstream.call_tool(tool("t"), &call()).await.unwrap());
    assert_ne!(before, after);
}

#[tokio::test]
async fn one_that_cannot_start_is_refused_with_a_pause_that_grows() {
    let all = upstreams();
    for script in ["exit 1", "exec /does/not/exist"] {
        let upstream = child(
            &all,
            program(script),
            Limits { retries_max: 0, breaker_failures: 100, ..quick() },
        );
        let mut last = String::new();
        for _ in 0..5 {
            let failure = upstream.meet(&call()).await.unwrap_err().into_failure("child");
            assert!(
                matches!(failure.kind, FailureKind::Connection | FailureKind::Unavailable),
                "{failure}"
            );
            last = failure.message;
        }
        assert!(last.contains("try again in"), "{last}");
    }
    let missing = Program { command: "/does/not/exist".to_owned(), ..program("") };
    let upstream = child(&all, missing, quick());
    let failure = upstream.meet(&call()).await.unwrap_err().into_failure("child");
    assert!(failure.message.contains("cannot be reached"), "{failure}");
}

#[tokio::test]
async fn a_silent_child_is_given_up_in_time_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("pids");
    let all = upstreams();
    let deaf = Program {
        start_timeout: Duration::from_millis(500),
        ..noting(&marker, &program("trap '' TERM; while :; do sleep 1; done"))
    };
    let limits = Limits { probe_timeout: Duration::from_millis(100), retries_max: 0, ..quick() };
    let upstream = child(&all, deaf, limits);
    let failure = upstream.meet(&call()).await.unwrap_err().into_failure("child");
    assert_eq!(failure.kind, FailureKind::Timeout, "{failure}");
    all_gone("it is killed, deaf as it is", &marker).await;
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_hangs_nobody_and_is_killed_too() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("pids");
    let all = upstreams();
    let script = format!(
        "case $line in *fork*) sleep 1000 & echo $! >> {}; exit 0;; *) {};; esac",
        marker.display(),
        says("up")
    );
    let upstream = child(&all, old_server(&script), quick());
    upstream.call_tool(tool("t"), &call()).await.unwrap();
    let dead = within("an end", upstream.call_tool(tool("fork"), &call())).await.unwrap_err();
    assert!(dead.to_string().contains("it has ended"), "{dead}");
    all_gone("the grandchild is killed", &marker).await;
}

#[tokio::test]
async fn an_idle_child_is_ended_and_comes_back_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("pids");
    let all = upstreams();
    let idle = Program {
        idle_timeout: Duration::from_millis(1),
        ..noting(&marker, &old_server(&says("x")))
    };
    let upstream = child(&all, idle, quick());
    upstream.call_tool(tool("t"), &call()).await.unwrap();
    all_gone("it is ended", &marker).await;
    upstream.call_tool(tool("t"), &call()).await.unwrap();
    assert_eq!(pids(&marker).len(), 2);
}

#[tokio::test]
async fn a_child_sees_only_the_variables_it_is_given() {
    let all = upstreams();
    let mut program = old_server(&says("$GIVEN:${CARGO_MANIFEST_DIR:-none}:${PATH:+path}"));
    program.env.insert("GIVEN".to_owned(), cortex::contract::upstream::Secret("g".to_owned()));
    let upstream = child(&all, program, quick());
    assert_eq!(content(&upstream.call_tool(tool("t"), &call()).await.unwrap()), "g:none:path");
}

#[tokio::test]
async fn a_child_is_killed_when_whoever_started_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("pids");
    // A child that is deaf to everything but SIGKILL, as its input's end is nothing to it.
    let deaf =
        format!("trap '' TERM HUP; echo $$ >> {}; while :; do sleep 1; done", marker.display());
    let script = format!("{} mcp-child $$ -- sh -c \"$0\" & wait", env!("CARGO_BIN_EXE_cortex"));
    let mut parent =
        tokio::process::Command::new("sh").args(["-c", &script, &deaf]).spawn().unwrap();
    eventually("it runs", || async { pids(&marker).len() == 1 }).await;
    assert!(!is_gone(&pids(&marker)[0]));
    parent.kill().await.unwrap();
    all_gone("it is killed too", &marker).await;
}

#[tokio::test]
async fn a_child_that_ends_with_this_process_is_like_any_other() {
    let all = bound_upstreams();
    let upstream = child(&all, old_server(&says("$PPID")), quick());
    let text = content(&upstream.call_tool(tool("t"), &call()).await.unwrap());
    assert_eq!(text, std::process::id().to_string(), "nothing stands between");
    let missing = Program { command: "/does/not/exist".to_owned(), ..program("") };
    let once = Limits { retries_max: 0, ..quick() };
    let failure = child(&all, missing, once).meet(&call()).await.unwrap_err();
    assert!(failure.to_string().contains("exit status"), "{failure}");
}

#[tokio::test]
async fn children_end_with_their_upstream_and_many_leave_nothing_behind() {
    let wanted = std::env::vars().find(|(name, _)| name == "UPSTREAM_CYCLES");
    let cycles = wanted.map_or(CYCLES, |(_, count)| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("pids");
    let all = upstreams();
    let before = pipes();
    let cycle = |upstream: Upstream| async move {
        upstream.call_tool(tool("t"), &call()).await.unwrap();
        drop(upstream);
    };
    for n in 0..cycles {
        // Settings that differ, so that each is a new upstream with a new child.
        let limits = Limits { answer_bytes_max: 1_000_000 + n, ..quick() };
        cycle(child(&all, noting(&marker, &old_server(&says("x"))), limits)).await;
    }
    all.remove("child");
    all_gone("every child is reaped", &marker).await;
    assert_eq!(pids(&marker).len(), cycles);
    // Other tests open some of their own meanwhile; a leak would be three for each cycle.
    eventually("no pipe is left", || async { pipes() < before + cycles }).await;
}
