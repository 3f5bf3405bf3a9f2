//! Whatever is killed, restarted, restored or done meanwhile: afterwards the index is one that is
//! made anew.

use std::{cell::Cell, rc::Rc};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Stage, compare, keep_changing, position, store_many};
use crate::harness::{Client, Door, SECRET, User, eventually, process::RealProcess, within};

/// Ids that a search finds, through a user's own token.
async fn found(cognition: &Client, user: &User, query: &str) -> Vec<String> {
    let arguments = json!({"user_id": user.id, "query": query, "limit": 100});
    let told = cognition.tool("search_history", arguments).await;
    assert_eq!(told.get("error"), None, "{told}");
    let ids = told["results"].as_array().unwrap().iter();
    ids.map(|item| {
        assert_eq!(item["user_id"], json!(user.id));
        item["id"].as_str().unwrap().to_owned()
    })
    .collect()
}

/// Returns when the index has gone on by so much.
async fn goes_on(cognition: &Client, by: i64) {
    let from = position(cognition).await;
    eventually("the index goes on", || async { position(cognition).await >= from + by }).await;
}

#[actix::test]
async fn a_cognition_killed_while_indexing_goes_on_where_it_was() {
    let mut stage = Stage::start().await;
    let users = [User::new("ann"), User::new("bob"), User::new("cy")];
    let ended = Rc::new(Cell::new(false));
    let writing: Vec<_> = (0..)
        .zip(&users)
        .map(|(seed, user)| keep_changing(&stage.of_memory(), user, seed, &ended))
        .collect();
    for _ in 0..4 {
        goes_on(&stage.of_cognition(), 20).await;
        stage.cognition.take().unwrap().kill().await;
        stage.start_cognition().await;
    }
    ended.set(true);
    let written = within("the writers end", join_all(writing)).await;
    assert!(written.into_iter().map(Result::unwrap).sum::<usize>() > 80);
    stage.assert_alike().await;
    stage.end().await;
}

#[actix::test]
async fn a_memory_killed_while_it_is_followed_is_followed_again() {
    let mut stage = Stage::start().await;
    let users = [User::new("ann"), User::new("bob")];
    let ended = Rc::new(Cell::new(false));
    let writing: Vec<_> = (0..)
        .zip(&users)
        .map(|(seed, user)| keep_changing(&stage.of_memory(), user, seed, &ended))
        .collect();
    for round in 0..4 {
        goes_on(&stage.of_cognition(), 20).await;
        let memory = stage.memory.take().unwrap();
        if round % 2 == 0 {
            memory.kill().await;
        } else {
            assert_eq!(memory.terminate().await, Some(0));
        }
        stage.start_memory().await;
    }
    ended.set(true);
    within("the writers end", join_all(writing)).await;
    stage.assert_alike().await;
    let log = stage.cognition.as_ref().unwrap().stderr();
    assert!(!log.contains("made anew"), "it is the same log all the time: {log}");
    stage.end().await;
}

#[actix::test]
async fn changes_and_a_forgotten_user_during_a_rebuild_are_in_it() {
    let stage = Stage::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let memory = stage.of_memory();
    store_many(&memory, &ann, 1500).await;
    store_many(&memory, &bob, 500).await;
    stage.until_indexed().await;
    let cognition = stage.of_cognition();
    assert_eq!(found(&cognition, &ann, "kite").await.len(), 100);
    let ended = Rc::new(Cell::new(false));
    let writing = keep_changing(&memory, &bob, 7, &ended);
    let begun = cognition.tool("reindex", json!({})).await;
    assert_eq!(begun["status"], "begun");
    for number in (0..1500).step_by(2) {
        let arguments = json!({"user_id": ann.id, "message_id": format!("many-{number}")});
        memory.tool("delete_message", arguments).await;
        if number == 700 {
            let told = memory.tool("forget_user", json!({"user_id": bob.id})).await;
            assert_eq!(told["status"], "forgotten");
        }
    }
    ended.set(true);
    within("the writer ends", writing).await.unwrap();
    stage.assert_alike().await;
    let ids = found(&cognition, &ann, "kite").await;
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id[5..].parse::<u32>().unwrap() % 2 == 1), "{ids:?}");
    memory.tool("forget_user", json!({"user_id": ann.id})).await;
    assert_eq!(found(&cognition, &ann, "kite").await, [""; 0]);
    stage.assert_alike().await;
    stage.end().await;
}

#[actix::test]
async fn a_store_that_was_restored_or_is_another_one_is_indexed_anew() {
    let mut stage = Stage::start().await;
    let ann = User::new("ann");
    let folder = stage.data.path().display().to_string();
    let put = async |stage: &Stage, id: &str| {
        let input = json!({"user_id": ann.id, "input_data": {"id": id, "content": "a kite"}});
        stage.of_memory().tool("store_input", input).await;
    };
    put(&stage, "kept").await;
    let copies = stage.data.path().join("copies").display().to_string();
    let store = ["--store", "memory", "--data-dir", &folder];
    let mut backup = RealProcess::start(&[&["backup", &copies], &store[..]].concat());
    assert!(backup.wait().await.success(), "{}", backup.stderr());
    put(&stage, "lost").await;
    let mut seen = found(&stage.of_cognition(), &ann, "kite").await;
    seen.sort_unstable();
    assert_eq!(seen, ["kept", "lost"]);
    assert_eq!(stage.memory.take().unwrap().terminate().await, Some(0));
    let mut restore = RealProcess::start(&[&["restore", &copies], &store[..]].concat());
    assert!(restore.wait().await.success(), "{}", restore.stderr());
    stage.start_memory().await;
    // More than was lost, so that numbers alone say nothing.
    for id in ["new-1", "new-2", "new-3"] {
        put(&stage, id).await;
    }
    stage.assert_alike().await;
    let mut seen = found(&stage.of_cognition(), &ann, "kite").await;
    seen.sort_unstable();
    assert_eq!(seen, ["kept", "new-1", "new-2", "new-3"]);

    // The files of a copy under the same name, by hand, while nothing follows.
    assert_eq!(stage.memory.take().unwrap().terminate().await, Some(0));
    assert_eq!(stage.cognition.take().unwrap().terminate().await, Some(0));
    std::fs::copy(stage.data.path().join("copies/memory.db"), stage.data.path().join("memory.db"))
        .unwrap();
    stage.start_memory().await;
    for number in 0..20 {
        put(&stage, &format!("other-{number}")).await;
    }
    stage.start_cognition().await;
    stage.assert_alike().await;
    assert_eq!(found(&stage.of_cognition(), &ann, "kite").await.len(), 21);
    stage.end().await;
}

#[actix::test]
async fn an_index_that_is_damaged_or_gone_is_made_again() {
    let mut stage = Stage::start().await;
    let ann = User::new("ann");
    store_many(&stage.of_memory(), &ann, 300).await;
    stage.until_indexed().await;
    let path = stage.data.path().join("cognition.db");
    for damage in ["garbage", "nothing", "no file"] {
        assert_eq!(stage.cognition.take().unwrap().terminate().await, Some(0));
        match damage {
            "garbage" => std::fs::write(&path, "this is no database at all").unwrap(),
            "nothing" => std::fs::write(&path, "").unwrap(),
            _ => std::fs::remove_file(&path).unwrap(),
        }
        stage.start_cognition().await;
        stage.assert_alike().await;
        assert_eq!(found(&stage.of_cognition(), &ann, "kite").await.len(), 100, "{damage}");
    }
    stage.end().await;
}

#[actix::test]
async fn several_cognitions_of_one_folder_each_follow_into_a_file_of_their_own_and_answer_alike() {
    let stage = Stage::start().await;
    let ann = User::new("ann");
    store_many(&stage.of_memory(), &ann, 200).await;
    let door = Door::new();
    let (port, folder) =
        (door.address().port().to_string(), stage.data.path().display().to_string());
    let url = stage.memory_url();
    let mut second = RealProcess::start(&[
        "cognition",
        "--port",
        &port,
        "--data-dir",
        &folder,
        "--memory-service-url",
        &url,
        "--jwt-secret-key",
        SECRET,
    ]);
    let of_second = second.client().await.with_token(&ann.token);
    store_many(&stage.of_memory(), &User::new("bob"), 100).await;
    let first = stage.of_cognition().with_token(&ann.token);
    for query in ["kite number 3", "message 17", "what of the kite?"] {
        let asked = json!({"query": query, "limit": 20});
        let answers = [&first, &of_second].map(|client| client.tool("get_context", asked.clone()));
        let answers: Vec<Value> = join_all(answers).await;
        assert_eq!(answers[0]["count"], 20);
        assert_eq!(answers[0], answers[1], "{query}");
    }
    stage.assert_alike().await;
    compare(stage.data.path(), "cognition-2.db", &stage.memory_url()).await;
    assert_eq!(second.terminate().await, Some(0));
    stage.end().await;
}
