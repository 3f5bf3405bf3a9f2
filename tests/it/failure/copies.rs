//! `cortex backup`, `restore` and `check`, with real processes and under load.

use std::{
    cell::Cell, collections::BTreeSet, os::unix::fs::PermissionsExt as _, path::Path, rc::Rc,
};

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, User, process::RealProcess, within};

/// Runs a command to its end: exit code, standard output, standard error.
async fn cortex(arguments: &[&str]) -> (i32, String, String) {
    let mut process = RealProcess::start(arguments);
    let status = process.wait().await;
    (status.code().unwrap(), process.stdout(), process.stderr())
}

async fn put(client: &Client, user: &User, id: &str) -> i64 {
    let input = json!({"user_id": user.id, "input_data": {"id": id, "content": id}});
    client.tool("store_input", input).await["seq"].as_i64().unwrap()
}

async fn ids(client: &Client, user: &User) -> BTreeSet<String> {
    let (mut all, mut after) = (BTreeSet::new(), 0);
    loop {
        let page = format!("history/{}?limit=1000&after={after}", user.id);
        let items = client.resource(&page).await;
        let Some(last) = items.as_array().unwrap().last() else { return all };
        after = last["seq"].as_i64().unwrap();
        let new = items.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap());
        all.extend(new.map(str::to_owned));
    }
}

/// A memory process with its client, over the store in `data`.
async fn memory(data: &Path, user: &User) -> (RealProcess, Client) {
    let mut process = RealProcess::start_role("memory", data, &[]);
    let client = process.client().await.with_token(&user.token);
    (process, client)
}

#[actix::test]
async fn a_backup_under_load_has_everything_acknowledged_before_it_and_comes_back() {
    let data = tempfile::tempdir().unwrap();
    let ann = User::new("ann");
    let (process, client) = memory(data.path(), &ann).await;
    let acknowledged = Rc::new(std::cell::RefCell::new(BTreeSet::new()));
    let ended = Rc::new(Cell::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (client, ann, ended) = (client.clone(), ann.clone(), Rc::clone(&ended));
            let acknowledged = Rc::clone(&acknowledged);
            actix_rt::spawn(async move {
                let mut number = 0;
                while !ended.get() {
                    let id = format!("{writer}-{number}");
                    put(&client, &ann, &id).await;
                    acknowledged.borrow_mut().insert(id);
                    number += 1;
                }
            })
        })
        .collect();
    let enough = async {
        while acknowledged.borrow().len() < 200 {
            tokio::task::yield_now().await;
        }
    };
    within("two hundred are stored", enough).await;
    let before = acknowledged.borrow().clone();
    let dir = data.path().display().to_string();
    let copies = data.path().join("copies");
    let to = copies.display().to_string();
    let (code, said, trouble) =
        cortex(&["backup", &to, "--store", "memory", "--json", "--data-dir", &dir]).await;
    assert_eq!(code, 0, "{trouble}");
    let meanwhile = acknowledged.borrow().len();
    ended.set(true);
    for writer in writers {
        within("a writer ends", writer).await.unwrap();
    }
    assert!(meanwhile > before.len(), "writing went on");
    let saved: Value = serde_json::from_str(&said).unwrap();
    assert!(saved["saved"]["counts"]["items"].as_u64().unwrap() >= 200, "{said}");
    let copy = copies.join("memory.db");
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(&copies).unwrap().count(), 1, "nothing unfinished is left");
    let (code, _, said) = cortex(&["backup", &to, "--data-dir", &dir]).await;
    assert_eq!(code, 1);
    assert!(said.contains("is there already") && said.contains("--force"), "{said}");
    let head = put(&client, &ann, "after the backup").await;
    let all = ids(&client, &ann).await;
    // In use: refused, whoever has it.
    let (code, _, said) = cortex(&["restore", &to, "--data-dir", &dir]).await;
    assert_eq!(code, 1);
    assert!(said.contains("in use by another process") && said.contains("stop"), "{said}");
    assert_eq!(process.terminate().await, Some(0));
    let (code, said, trouble) = cortex(&["restore", &to, "--data-dir", &dir]).await;
    assert_eq!(code, 0, "{trouble}");
    assert!(said.contains("items") && said.contains("is kept as"), "{said}");
    let (process, client) = memory(data.path(), &ann).await;
    let restored = ids(&client, &ann).await;
    assert!(restored.is_superset(&before), "acknowledged before the backup began");
    assert!(!restored.contains("after the backup"));
    assert!(put(&client, &ann, "new").await > head, "no number is given out twice");
    assert_eq!(process.terminate().await, Some(0));
    // What was there is kept whole.
    let names = std::fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().path());
    let kept = names.filter(|path| path.display().to_string().contains("replaced-"));
    let [kept] = kept.collect::<Vec<_>>().try_into().unwrap();
    let aside = data.path().join("aside");
    std::fs::create_dir(&aside).unwrap();
    std::fs::rename(kept, aside.join("memory.db")).unwrap();
    let (process, client) = memory(&aside, &ann).await;
    assert_eq!(ids(&client, &ann).await, all);
    assert_eq!(process.terminate().await, Some(0));
}

#[actix::test]
async fn both_stores_are_saved_checked_and_brought_back_together() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().display().to_string();
    let ann = User::new("ann");
    let (memory_process, client) = memory(data.path(), &ann).await;
    put(&client, &ann, "one").await;
    let mut core = RealProcess::start_role(
        "core",
        data.path(),
        &["--dev-user", "true", "--memory-service-url", "http://127.0.0.1:1"],
    );
    core.url().await;
    let (code, said, trouble) = cortex(&["check", "--data-dir", &dir]).await;
    assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
    assert!(said.contains("core.db is whole: 1 users"), "{said}");
    assert!(said.contains("memory.db is whole: 1 items, last sequence number 1"), "{said}");
    let to = data.path().join("copies").display().to_string();
    for further in [&[][..], &["--force"]] {
        let arguments: Vec<&str> = ["backup", &to, "--data-dir", &dir]
            .into_iter()
            .chain(further.iter().copied())
            .collect();
        let (code, said, trouble) = cortex(&arguments).await;
        assert_eq!(code, 0, "{trouble}");
        assert!(said.lines().count() == 2 && said.contains("saved to"), "{said}");
    }
    assert_eq!(core.terminate().await, Some(0));
    assert_eq!(memory_process.terminate().await, Some(0));
    let fresh = tempfile::tempdir().unwrap();
    let elsewhere = fresh.path().join("new").display().to_string();
    let (code, said, trouble) = cortex(&["restore", &to, "--data-dir", &elsewhere]).await;
    assert_eq!(code, 0, "{trouble}");
    assert!(said.contains("core: 1 users") && said.contains("memory: 1 items"), "{said}");
    let (code, said, _) = cortex(&["check", "--json", "--data-dir", &elsewhere]).await;
    assert_eq!(code, 0);
    for line in said.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["ok"], true, "{line}");
    }
    let (process, client) = memory(&fresh.path().join("new"), &ann).await;
    assert_eq!(ids(&client, &ann).await, BTreeSet::from(["one".to_owned()]));
    assert_eq!(process.terminate().await, Some(0));
}

/// A stopped store with some items; its path.
async fn store(data: &Path, user: &User, count: usize) -> String {
    let (process, client) = memory(data, user).await;
    join_all((0..count).map(|number| {
        let client = &client;
        async move { put(client, user, &format!("{number} {}", "x".repeat(200))).await }
    }))
    .await;
    assert_eq!(process.terminate().await, Some(0));
    data.join("memory.db").display().to_string()
}

#[actix::test]
async fn a_check_finds_what_is_wrong_and_says_so_by_its_exit_code() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().display().to_string();
    let (code, _, said) = cortex(&["check", "--data-dir", &dir]).await;
    assert_eq!(code, 2);
    assert!(said.contains("does not exist"), "{said}");
    let path = store(data.path(), &User::new("ann"), 300).await;
    let mut connection = SqliteConnection::establish(&path).unwrap();
    connection.batch_execute("UPDATE memory_items SET content = 'forged' WHERE seq = 7").unwrap();
    drop(connection);
    let (code, said, trouble) = cortex(&["check", "--data-dir", &dir]).await;
    assert_eq!(code, 1);
    assert!(said.contains("1 items whose text is not what was stored: 7"), "{said}");
    assert!(trouble.contains("cortex restore"), "{trouble}");
    let (code, said, _) = cortex(&["check", "--quick", "--data-dir", &dir]).await;
    assert_eq!(code, 0, "{said}");
    // Now its pages.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let middle = file.metadata().unwrap().len() / 8192 * 4096;
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 16384], middle).unwrap();
    let (code, said, _) = cortex(&["check", "--json", "--data-dir", &dir]).await;
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert!(!report["problems"].as_array().unwrap().is_empty(), "{said}");
    std::fs::write(&path, vec![7; 20_000]).unwrap();
    let (code, _, said) = cortex(&["check", "--data-dir", &dir]).await;
    assert_eq!(code, 2);
    assert!(said.contains("not a database"), "{said}");
    let (code, _, _) = cortex(&["check", "--store", "nothing"]).await;
    assert!(code > 2, "{code}");
}

#[actix::test]
async fn a_backup_that_is_not_whole_or_not_ours_or_too_new_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().display().to_string();
    let ann = User::new("ann");
    let path = store(data.path(), &ann, 50).await;
    let before = std::fs::read(&path).unwrap();
    let bad = data.path().join("bad.db");
    let from = bad.display().to_string();
    let alter = |sql: &str| {
        std::fs::write(&bad, &before).unwrap();
        let mut connection = SqliteConnection::establish(&bad.display().to_string()).unwrap();
        connection.batch_execute(sql).unwrap();
    };
    alter("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')");
    let (code, _, said) = cortex(&["restore", &from, "--data-dir", &dir]).await;
    assert_eq!(code, 1);
    assert!(said.contains("newer cortex") && said.contains("nothing was changed"), "{said}");
    alter("PRAGMA application_id = 7");
    let (code, _, said) = cortex(&["restore", &from, "--data-dir", &dir]).await;
    assert_eq!(code, 2);
    assert!(said.contains("is no store of Cortex"), "{said}");
    let mut torn = before.clone();
    let middle = torn.len() / 8192 * 4096;
    torn[middle..middle + 8192].fill(0xa5);
    std::fs::write(&bad, &torn).unwrap();
    let (code, _, said) = cortex(&["restore", &from, "--data-dir", &dir]).await;
    assert_eq!(code, 1);
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let (process, client) = memory(data.path(), &ann).await;
    assert_eq!(ids(&client, &ann).await.len(), 50);
    assert_eq!(process.terminate().await, Some(0));
}

#[actix::test]
async fn a_damaged_store_comes_back_from_its_backup() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().display().to_string();
    let ann = User::new("ann");
    let path = store(data.path(), &ann, 50).await;
    let copies = data.path().join("copies");
    let to = copies.display().to_string();
    let (code, _, said) = cortex(&["backup", &to, "--data-dir", &dir]).await;
    assert_eq!(code, 0, "{said}");
    for ruin in [vec![7; 20_000], Vec::new()] {
        std::fs::write(&path, ruin).unwrap();
        let mut refused = RealProcess::start_role("memory", data.path(), &[]);
        assert_eq!(refused.wait().await.code(), Some(70));
        let one = copies.join("memory.db").display().to_string();
        let (code, _, said) = cortex(&["restore", &one, "--data-dir", &dir]).await;
        assert_eq!(code, 0, "{said}");
        let (process, client) = memory(data.path(), &ann).await;
        assert_eq!(ids(&client, &ann).await.len(), 50);
        assert_eq!(process.terminate().await, Some(0));
    }
}

#[actix::test]
async fn a_restore_does_not_drop_what_waits_in_cores_outbox() {
    let mut cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    cluster.memory.stop().await;
    let taken = core.post("/input", json!({"content": "waits"})).await.ok();
    assert_eq!(taken["status"], "received_storage_pending");
    cluster.core.stop().await;
    let data = cluster.data().join("core").display().to_string();
    let backup = cluster.data().join("backup").display().to_string();
    let stores = ["--data-dir", &data, "--store", "core"];
    let (code, out, err) = cortex(&[&["backup", backup.as_str()][..], &stores].concat()).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("1 inputs in the outbox"), "{out}");
    let onto_itself = [&["backup", data.as_str(), "--force"][..], &stores].concat();
    let (code, _, err) = cortex(&onto_itself).await;
    assert!(code == 1 && err.contains("the store itself"), "{err}");
    let (code, _, err) = cortex(&[&["restore", backup.as_str()][..], &stores].concat()).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("1 inputs wait in the outbox") && err.contains("--store memory"), "{err}");
    let words = [&["restore", backup.as_str(), "--discard-outbox"][..], &stores].concat();
    let (code, _, err) = cortex(&words).await;
    assert_eq!(code, 0, "{err}");
    cluster.stop().await;
}
