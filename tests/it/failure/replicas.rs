//! Several memory processes on one store: nothing twice, one order, streams of each show what any
//! stored, and a stopped one does not hold the others up for ever.

use std::{cell::Cell, collections::BTreeSet, path::Path, rc::Rc};

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Client, User, assert_error, eventually, process::RealProcess, within};

/// Starts a memory process on the store in `data`.
fn start(data: &Path, further: &[&str]) -> RealProcess {
    RealProcess::start_role("memory", data, further)
}

/// Two memory processes on one store, started at the same moment on nothing at all.
async fn two(data: &Path, further: &[&str]) -> (RealProcess, RealProcess, [Client; 2]) {
    let (mut first, mut second) = (start(data, further), start(data, further));
    let clients = [first.client().await, second.client().await];
    (first, second, clients)
}

fn input(user: &User, id: &str, text: &str) -> Value {
    json!({"user_id": user.id, "input_data": {"id": id, "content": text}})
}

#[actix::test]
async fn a_write_repeated_at_another_replica_is_stored_once() {
    let data = tempfile::tempdir().unwrap();
    let (first, second, clients) = two(data.path(), &[]).await;
    let ann = User::new("ann");
    let [one, other] = clients.map(|client| client.with_token(&ann.token));
    // All of them at once, at both.
    let asked = (0..40).map(|number| {
        let client = if number % 2 == 0 { &one } else { &other };
        client.tool("store_input", input(&ann, &format!("id{}", number / 4), "said"))
    });
    let answers = join_all(asked).await;
    let stored = answers.iter().filter(|answer| answer["status"] == "stored").count();
    assert_eq!(stored, 10, "{answers:?}");
    let known = answers.iter().filter(|answer| answer["status"] == "already_exists");
    assert!(known.clone().all(|answer| answer["same_body"] == true));
    assert_eq!(known.count(), 30);
    let differs = other.tool("store_input", input(&ann, "id0", "something else")).await;
    assert_eq!(
        (&differs["status"], &differs["same_body"]),
        (&json!("already_exists"), &json!(false))
    );
    for client in [&one, &other] {
        let items = client.resource(&format!("history/{}", ann.id)).await;
        assert_eq!(items.as_array().unwrap().len(), 10);
    }
    assert_eq!(first.terminate().await, Some(0));
    assert_eq!(second.terminate().await, Some(0));
}

#[actix::test]
async fn streams_of_each_replica_show_what_any_stored_in_order_without_gap_or_repeat() {
    let data = tempfile::tempdir().unwrap();
    let (first, second, clients) = two(data.path(), &["--events-per-subscriber-max", "4096"]).await;
    let ann = User::new("ann");
    let [one, other] = clients.map(|client| client.with_token(&ann.token));
    let path = format!("/resource/history/{}/stream", ann.id);
    let mut streams = [one.events(&path).await, other.events(&path).await];
    // The first line: both are subscribed soon after it, and catch up from there.
    for stream in &mut streams {
        stream.next_frame().await.unwrap();
    }
    let mut acknowledged = BTreeSet::new();
    for round in 0..25 {
        // Now one writes, now the other, now both at once.
        let (at_one, at_other) = [(4, 4), (5, 0), (0, 7)][round % 3];
        let writes = (0..at_one).map(|n| (&one, n)).chain((0..at_other).map(|n| (&other, 100 + n)));
        let asked = writes.map(|(client, number)| {
            client.tool("store_input", input(&ann, &format!("{round}-{number}"), "x"))
        });
        acknowledged.extend(join_all(asked).await.iter().map(|a| a["seq"].as_i64().unwrap()));
    }
    for stream in &mut streams {
        let mut seen = Vec::new();
        while seen.len() < acknowledged.len() {
            seen.push(stream.next_event().await["seq"].as_i64().unwrap());
        }
        assert!(seen.iter().eq(acknowledged.iter()), "{seen:?}");
    }
    assert_eq!(first.terminate().await, Some(0));
    assert_eq!(second.terminate().await, Some(0));
}

#[actix::test]
async fn a_stream_shows_what_an_idle_replica_never_heard_of() {
    let data = tempfile::tempdir().unwrap();
    let (first, second, clients) = two(data.path(), &[]).await;
    let ann = User::new("ann");
    let [one, other] = clients.map(|client| client.with_token(&ann.token));
    let mut stream = one.events(&format!("/resource/history/{}/stream", ann.id)).await;
    stream.next_frame().await.unwrap();
    for number in 0..3 {
        let id = format!("{number}");
        other.tool("store_input", input(&ann, &id, "x")).await;
        assert_eq!(stream.next_event().await["id"], *id);
    }
    // One leaves, the other goes on, and streams what is stored through itself.
    assert_eq!(second.terminate().await, Some(0));
    one.tool("store_input", input(&ann, "last", "x")).await;
    assert_eq!(stream.next_event().await["id"], "last");
    drop(stream);
    first.kill().await;
    let mut third = start(data.path(), &[]);
    let client = third.client().await.with_token(&ann.token);
    let items = client.resource(&format!("history/{}", ann.id)).await;
    assert_eq!(items.as_array().unwrap().len(), 4);
    assert_eq!(third.terminate().await, Some(0));
}

/// Writes through `client` for as long as `wanted`; refusals are tried again. How many were stored.
async fn write_while(client: &Client, user: &User, wanted: impl Fn(usize) -> bool) -> usize {
    let mut stored = 0;
    while wanted(stored) {
        let id = uuid::Uuid::new_v4().to_string();
        let body = json!({ "arguments": input(user, &id, "x") });
        stored += usize::from(client.post("/tool/store_input", body).await.status == 200);
    }
    stored
}

#[actix::test]
async fn two_busy_replicas_both_get_their_turns() {
    let data = tempfile::tempdir().unwrap();
    let (first, second, clients) = two(data.path(), &[]).await;
    let ann = User::new("ann");
    let clients = clients.map(|client| client.with_token(&ann.token));
    let total = Cell::new(0);
    let writers = (0..8).map(|writer| {
        let (client, ann, total) = (&clients[writer % 2], &ann, &total);
        write_while(client, ann, move |_| {
            total.set(total.get() + 1);
            total.get() <= 400
        })
    });
    let stored = within("four hundred writes", join_all(writers)).await;
    let of_first: usize = stored.iter().step_by(2).sum();
    let all: usize = stored.iter().sum();
    assert_eq!(all, 400);
    assert!((100..=300).contains(&of_first), "one of them starves: {of_first} of {all}");
    assert_eq!(first.terminate().await, Some(0));
    assert_eq!(second.terminate().await, Some(0));
}

/// Whether every thread of a process is stopped.
fn is_stopped(id: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    tasks.map(|task| task.unwrap().path().join("stat")).all(|stat| {
        let stat = std::fs::read_to_string(stat).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
    })
}

/// Whether somebody holds the write lock of a store.
fn is_locked(store: &Path) -> bool {
    let mut connection = SqliteConnection::establish(&store.display().to_string()).unwrap();
    connection.batch_execute("BEGIN IMMEDIATE; ROLLBACK").is_err()
}

#[actix::test]
async fn a_replica_stopped_in_mid_transaction_is_not_waited_for_for_ever() {
    let data = tempfile::tempdir().unwrap();
    let further = ["--store-lock-timeout", "0.3"];
    let (first, second, clients) = two(data.path(), &further).await;
    let ann = User::new("ann");
    let [one, other] = clients.map(|client| client.with_token(&ann.token));
    let ended = Rc::new(Cell::new(false));
    let writing: Vec<_> = (0..8)
        .map(|_| {
            let (one, ann, ended) = (one.clone(), ann.clone(), Rc::clone(&ended));
            actix_rt::spawn(async move { write_while(&one, &ann, |_| !ended.get()).await })
        })
        .collect();
    // Until it is caught in the middle of a transaction, which is where it mostly is.
    let store = data.path().join("memory.db");
    let caught = async {
        loop {
            first.signal("STOP").await;
            eventually("it is stopped", || async { is_stopped(first.id()) }).await;
            if is_locked(&store) {
                return;
            }
            first.signal("CONT").await;
            tokio::task::yield_now().await;
        }
    };
    within("it is stopped in mid-transaction", caught).await;
    let body = || json!({ "arguments": input(&ann, "meanwhile", "x") });
    let refused = other.post("/tool/store_input", body()).await;
    assert_error(&refused, 503, "overloaded");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(other.get("/health").await.status, 503);
    assert!(other.resource(&format!("history/{}", ann.id)).await.is_array(), "it still reads");
    first.signal("CONT").await;
    eventually("the other stores again", || async {
        other.post("/tool/store_input", body()).await.status == 200
    })
    .await;
    eventually("the other is healthy", || async { other.get("/health").await.status == 200 }).await;
    ended.set(true);
    let mut stored = 1;
    for writer in writing {
        stored += within("a writer ends", writer).await.unwrap();
    }
    let page = format!("history/{}?limit=1000", ann.id);
    eventually("what was acknowledged is there", || async {
        other.resource(&page).await.as_array().unwrap().len() >= stored.min(1000)
    })
    .await;
    assert_eq!(first.terminate().await, Some(0));
    assert_eq!(second.terminate().await, Some(0));
}
