//! Storage faults: what is acknowledged is on the disk, what is not is refused with what to do, and
//! what can mend itself does.

use std::{
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::{
    Answer, Client, User, assert_error, eventually, process::RealProcess, within,
};

/// Everything about one store and who writes it.
pub(super) struct Stage {
    folder: PathBuf,
    pub(super) user: User,
}

impl Stage {
    pub(super) fn on(folder: &Path) -> Self {
        Stage { folder: folder.to_owned(), user: User::new("ann") }
    }

    pub(super) fn store(&self) -> PathBuf {
        self.folder.join("memory.db")
    }

    pub(super) async fn start(&self, further: &[&str]) -> (RealProcess, Client) {
        let mut process = RealProcess::start_role("memory", &self.folder, further);
        let client = process.client().await.with_token(&self.user.token);
        (process, client)
    }

    /// The start must end with exit code 70 and one complaint that has all of `texts`.
    pub(super) async fn refuses_to_start(&self, texts: &[&str]) {
        let mut process = RealProcess::start_role("memory", &self.folder, &[]);
        assert_eq!(process.wait().await.code(), Some(70), "{}", process.stderr());
        let said = process.stderr();
        let complaint = said.lines().find(|line| line.starts_with("cortex: "));
        let complaint = complaint.unwrap_or_else(|| panic!("no complaint: {said}"));
        assert!(texts.iter().all(|text| complaint.contains(text)), "{complaint}");
        assert!(!said.contains("panick"), "{said}");
    }

    pub(super) async fn put(&self, client: &Client, text: &str) -> Answer {
        let input = json!({"id": text, "content": text.repeat(20)});
        let body = json!({"user_id": self.user.id, "input_data": input});
        client.post("/tool/store_input", body).await
    }

    /// Stores this many items; their ids.
    async fn fill(&self, client: &Client, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for number in 0..count {
            let id = format!("item {number}");
            assert_eq!(self.put(client, &id).await.ok()["status"], "stored");
            ids.push(id);
        }
        ids
    }

    /// All of these are stored, whole.
    async fn has(&self, client: &Client, ids: &[String]) {
        for id in ids {
            let found =
                client.tool("get_item", json!({"user_id": self.user.id, "item_id": id})).await;
            assert_eq!(found["content"], id.repeat(20));
        }
    }
}

/// Whether this test may mount; otherwise says why it ends.
pub(super) fn may_mount() -> bool {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !root {
        eprintln!("skipped: only root may mount a small disk");
    }
    root
}

/// A small disk of its own, until dropped.
pub(super) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = SmallDisk(folder);
        disk.mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"]);
        disk
    }

    fn mount(&self, arguments: &[&str]) {
        let status = Command::new("mount").args(arguments).arg(self.0.path()).status();
        assert!(status.unwrap().success(), "mount {arguments:?}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(std::thread::panicking() || status.unwrap().success());
    }
}

#[actix::test]
async fn a_full_disk_acknowledges_nothing_it_does_not_keep_and_goes_on_once_there_is_room() {
    if !may_mount() {
        return;
    }
    let disk = SmallDisk::new();
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 700_000]).unwrap();
    let stage = Stage::on(disk.0.path());
    let (process, client) = stage.start(&[]).await;
    let mut kept = Vec::new();
    let refused = loop {
        let id = format!("{} {}", kept.len(), "much text ".repeat(50));
        let id = id[..200].to_owned();
        let answer = stage.put(&client, &id).await;
        if answer.status != 200 {
            break answer;
        }
        kept.push(id);
    };
    assert!(kept.len() > 10, "{}", kept.len());
    assert_error(&refused, 500, "database_error");
    assert!(refused.text().contains("free disk space"), "{}", refused.text());
    let health = client.get("/health").await;
    assert_eq!(health.status, 503);
    assert!(health.text().contains("the store is full"), "{}", health.text());
    stage.has(&client, &kept).await;
    std::fs::remove_file(&ballast).unwrap();
    eventually("it is healthy by itself", || async { client.get("/health").await.status == 200 })
        .await;
    stage.put(&client, "after").await.ok();
    kept.push("after".to_owned());
    process.kill().await;
    let (process, client) = stage.start(&[]).await;
    stage.has(&client, &kept).await;
    assert_eq!(process.terminate().await, Some(0));
}

#[actix::test]
async fn a_store_that_cannot_be_written_ends_the_start_with_what_to_do() {
    if !may_mount() {
        return;
    }
    let disk = SmallDisk::new();
    let stage = Stage::on(disk.0.path());
    let (process, client) = stage.start(&[]).await;
    let kept = stage.fill(&client, 3).await;
    assert_eq!(process.terminate().await, Some(0));
    disk.mount(&["-o", "remount,ro"]);
    stage.refuses_to_start(&["cannot be written", "Read-only file system"]).await;
    disk.mount(&["-o", "remount,rw"]);
    let (process, client) = stage.start(&[]).await;
    stage.has(&client, &kept).await;
    assert_eq!(process.terminate().await, Some(0));
}

#[actix::test]
async fn a_lock_held_for_long_is_overload_and_passes_with_it() {
    let data = tempfile::tempdir().unwrap();
    let stage = Stage::on(data.path());
    let (process, client) = stage.start(&["--store-lock-timeout", "0.2"]).await;
    let kept = stage.fill(&client, 2).await;
    let mut other = SqliteConnection::establish(&stage.store().display().to_string()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let refused = stage.put(&client, "meanwhile").await;
    assert_error(&refused, 503, "overloaded");
    assert!(refused.text().contains("another process holds"), "{}", refused.text());
    assert_eq!(client.get("/health").await.status, 503);
    stage.has(&client, &kept).await;
    other.batch_execute("ROLLBACK").unwrap();
    stage.put(&client, "meanwhile").await.ok();
    assert_eq!(client.get("/health").await.status, 200);
    assert_eq!(process.terminate().await, Some(0));
}

/// A store with a few hundred items whose process has left, so that all is in its one file.
pub(super) async fn written(folder: &Path) -> Stage {
    let stage = Stage::on(folder);
    let (process, client) = stage.start(&[]).await;
    let puts = (0..300).map(|number| {
        let id = format!("{number} {}", "word ".repeat(30));
        let (stage, client) = (&stage, &client);
        async move { stage.put(client, &id).await.ok() }
    });
    futures_util::future::join_all(puts).await;
    assert_eq!(process.terminate().await, Some(0));
    let log = std::fs::metadata(folder.join("memory.db-wal")).map_or(0, |log| log.len());
    assert_eq!(log, 0, "the log is written back and emptied");
    let length = std::fs::metadata(stage.store()).unwrap().len();
    assert!(length > 300_000, "{length}");
    stage
}

/// Overwrites the pages in the middle, whatever they hold.
fn damage_pages(store: &Path) {
    let file = std::fs::File::options().write(true).open(store).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    for page in pages / 4..pages * 3 / 4 {
        file.write_all_at(&[0xa5; 4096], page * 4096).unwrap();
    }
}

#[actix::test]
async fn damaged_pages_end_the_start_which_says_how_to_go_on() {
    let data = tempfile::tempdir().unwrap();
    let stage = written(data.path()).await;
    damage_pages(&stage.store());
    stage.refuses_to_start(&["memory.db", "damaged", "cortex check", "cortex restore"]).await;
}

#[actix::test]
async fn damage_found_while_running_is_told_by_health_and_ends_writing() {
    let data = tempfile::tempdir().unwrap();
    let stage = written(data.path()).await;
    damage_pages(&stage.store());
    let (process, client) = stage.start(&["--store-check-max", "0"]).await;
    let path = format!("/resource/history/{}?limit=1000", stage.user.id);
    let answer = client.get(&path).await;
    assert_error(&answer, 500, "database_error");
    assert!(answer.text().contains("cortex restore"), "{}", answer.text());
    let health = client.get("/health").await;
    assert_eq!(health.status, 503);
    assert!(health.text().contains("damaged"), "{}", health.text());
    assert_error(&stage.put(&client, "new").await, 500, "database_error");
    assert_eq!(process.terminate().await, Some(0));
}

#[actix::test]
async fn a_truncated_or_emptied_file_is_not_taken_for_a_new_store() {
    let data = tempfile::tempdir().unwrap();
    let stage = written(data.path()).await;
    let whole = std::fs::read(stage.store()).unwrap();
    let file = std::fs::File::options().write(true).open(stage.store()).unwrap();
    file.set_len(100 * 1024).unwrap();
    stage.refuses_to_start(&["damaged", "cortex restore"]).await;
    file.set_len(0).unwrap();
    stage.refuses_to_start(&["is empty, though it held a store", "cortex restore"]).await;
    file.write_all_at(&whole, 0).unwrap();
    file.write_all_at(&[7; 100], 0).unwrap();
    stage.refuses_to_start(&["not a database", "cortex restore"]).await;
}

/// Attaches strace to a process so that its `call` fails with `error`; `None` where that cannot be.
async fn inject(process: &RealProcess, call: &str, error: &str) -> Option<tokio::process::Child> {
    let spawned = tokio::process::Command::new("strace")
        .args(["-f", "-p", &process.id().to_string(), "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error={error}"), "-o", "/dev/null"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut strace) = spawned else {
        eprintln!("skipped: strace is missing");
        return None;
    };
    // Stays open, so that strace can go on talking.
    let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines();
    // "Process 7 attached with 9 threads", once it has all of them.
    while let Some(line) = within("strace attaches", lines.next_line()).await.unwrap() {
        if line.contains(" attached") {
            actix_rt::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(strace);
        }
    }
    eprintln!("skipped: strace may not attach");
    None
}

/// The system call `call` fails with `error`: what is acknowledged stays, nothing is acknowledged
/// meanwhile, and once it passes all goes on without a restart.
async fn check_failing_call(call: &str, error: &str, said: &str) {
    let data = tempfile::tempdir().unwrap();
    let stage = Stage::on(data.path());
    let (process, client) = stage.start(&[]).await;
    let mut kept = stage.fill(&client, 10).await;
    let Some(mut strace) = inject(&process, call, error).await else {
        process.kill().await;
        return;
    };
    for number in 0..3 {
        let refused = stage.put(&client, &format!("refused {number}")).await;
        assert_error(&refused, 500, "database_error");
        assert!(refused.text().contains(said), "{}", refused.text());
    }
    let health = client.get("/health").await;
    assert_eq!(health.status, 503);
    assert!(health.text().contains(said), "{}", health.text());
    stage.has(&client, &kept).await;
    strace.kill().await.unwrap();
    eventually("it is healthy by itself", || async { client.get("/health").await.status == 200 })
        .await;
    stage.put(&client, "after").await.ok();
    kept.push("after".to_owned());
    assert!(process.stderr().contains("the store was opened again"), "{}", process.stderr());
    process.kill().await;
    let (process, client) = stage.start(&[]).await;
    stage.has(&client, &kept).await;
    assert_eq!(process.terminate().await, Some(0));
}

#[actix::test]
async fn a_failing_fsync_is_never_acknowledged_and_the_store_is_opened_anew() {
    check_failing_call("fsync", "EIO", "the disk failed").await;
}

#[actix::test]
async fn a_disk_without_room_for_one_more_page_is_named_while_running() {
    check_failing_call("pwrite64", "ENOSPC", "free disk space").await;
}

#[actix::test]
async fn a_disk_that_turned_read_only_is_named_while_running() {
    check_failing_call("pwrite64", "EROFS", "the disk failed").await;
}

#[actix::test]
async fn the_write_ahead_log_stays_small_and_is_written_back_on_leaving() {
    let data = tempfile::tempdir().unwrap();
    let stage = Stage::on(data.path());
    let (process, client) = stage.start(&[]).await;
    let log = stage.folder.join("memory.db-wal");
    for round in 0..30 {
        let puts = (0..64).map(|number| {
            let id = format!("{round} {number} {}", "x".repeat(200));
            let (stage, client) = (&stage, &client);
            async move { stage.put(client, &id).await.ok() }
        });
        futures_util::future::join_all(puts).await;
        let length = std::fs::metadata(&log).unwrap().len();
        assert!(length < 16 * 1024 * 1024, "{length} bytes in round {round}");
    }
    assert!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o077 == 0);
    assert_eq!(process.terminate().await, Some(0));
    // All of it is in the file now: a copy of that alone has everything.
    let alone = data.path().join("alone.db");
    std::fs::copy(stage.store(), &alone).unwrap();
    let mut connection = SqliteConnection::establish(&alone.display().to_string()).unwrap();
    let count = cortex::services::memory::store::head(&mut connection).unwrap();
    assert_eq!(count, 30 * 64);
}
