//! Core's own store in trouble: what is acknowledged is kept, and health and the log say what is
//! wrong, once.

use std::os::unix::fs::FileExt as _;

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use futures_util::future::join_all;
use serde_json::json;

use super::storage::{SmallDisk, may_mount};
use crate::harness::{Client, User, eventually, process::RealProcess};

/// Nobody listens there.
const NOBODY: [&str; 4] =
    ["--memory-service-url", "http://127.0.0.1:9", "--store-patience", "0.05"];

async fn say(core: &Client, text: &str) -> u16 {
    core.post("/input", json!({ "content": text })).await.status
}

#[actix::test]
async fn a_full_disk_is_in_health_and_told_once_a_second_and_goes_on_once_there_is_room() {
    if !may_mount() {
        return;
    }
    let disk = SmallDisk::new();
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 700_000]).unwrap();
    let mut process = RealProcess::start_role("core", disk.path(), &NOBODY);
    let core = process.client().await.with_token(&User::new("ann").token);
    let text = "much text ".repeat(2_000);
    let mut kept = 0;
    while say(&core, &text).await == 200 {
        kept += 1;
    }
    assert!(kept > 5, "{kept}");
    let begun = tokio::time::Instant::now();
    for _ in 0..10 {
        let said = join_all((0..10).map(|_| say(&core, &text))).await;
        assert!(said.iter().all(|status| *status == 500), "{said:?}");
    }
    let health = core.get("/health").await;
    assert_eq!(health.status, 503, "{}", health.text());
    assert!(health.text().contains("database: the store is full"), "{}", health.text());
    let most = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    let log = process.stderr();
    for line in ["statement failed", "request failed code=database_error"] {
        let told = log.lines().filter(|told| told.contains(line)).count();
        assert!((1..=most).contains(&told), "{told} lines of {line:?}, {most} expected: {log}");
    }
    std::fs::remove_file(&ballast).unwrap();
    eventually("it is well again by itself", || async {
        let health = core.get("/health").await;
        health.status == 200 && !health.text().contains("full")
    })
    .await;
    assert_eq!(say(&core, &text).await, 200);
    let outbox = core.get("/health").await.json()["components"]["outbox"]["entries"].take();
    assert_eq!(outbox, kept + 1);
    assert_eq!(process.terminate().await, Some(0));
}

#[actix::test]
async fn a_damaged_store_ends_the_start_with_its_path_and_a_check_reports_it_without_log_lines() {
    let data = tempfile::tempdir().unwrap();
    let store = data.path().join("core.db");
    let mut process = RealProcess::start_role("core", data.path(), &NOBODY);
    process.url().await;
    assert_eq!(process.terminate().await, Some(0));
    // All of it into the file: a page that stands in the log is not read from there.
    let mut connection = SqliteConnection::establish(&store.display().to_string()).unwrap();
    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(connection);
    let file = std::fs::OpenOptions::new().write(true).read(true).open(&store).unwrap();
    let whole = std::fs::read(&store).unwrap();
    // The head of each of the first pages; that of the file stands before the first.
    for page in 0..8_u64 {
        let head = if page == 0 { 100 } else { page * 4096 };
        file.write_all_at(&[0xa5; 300], head).unwrap();
        let mut process = RealProcess::start_role("core", data.path(), &NOBODY);
        assert_eq!(process.wait().await.code(), Some(70), "page {page}");
        let said = process.stderr();
        let complaint = said.lines().find(|line| line.starts_with("cortex: ")).unwrap();
        let path = store.display().to_string();
        assert!(complaint.contains(&path), "page {page}: {complaint}");
        let folder = data.path().display().to_string();
        let mut check =
            RealProcess::start(&["check", "--store", "core", "--data-dir", folder.as_str()]);
        let code = check.wait().await.code();
        assert!(matches!(code, Some(1 | 2)), "page {page}: {code:?}");
        let told = check.stderr();
        assert!(told.lines().all(|line| line.starts_with("cortex: ")), "page {page}: {told}");
        file.write_all_at(&whole, 0).unwrap();
    }
}
