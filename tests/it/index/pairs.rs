//! Read your writes: a question asked after an input was acknowledged sees it, under load, and also
//! while the index is behind.

use std::{cell::Cell, rc::Rc};

use futures_util::future::join_all;
use serde_json::json;

use super::{Stage, keep_changing, store_many};
use crate::harness::{Client, Cluster, User, within};

/// Who stores and asks at once.
const ASKING: usize = 8;
/// Pairs of each in the suite; `INDEX_PAIRS` says how many there are together otherwise.
const PAIRS_EACH: usize = 250;

fn pairs_each() -> usize {
    let asked = std::env::vars().find(|(name, _)| name == "INDEX_PAIRS");
    asked.map_or(PAIRS_EACH, |(_, count)| count.parse::<usize>().unwrap().div_ceil(ASKING))
}

/// Stores an input that nobody else says, and asks for it at once: how many were not seen, and how
/// many answers had to read from memory.
async fn store_and_ask(core: Client, user: User, pairs: usize) -> (usize, usize) {
    let core = core.with_token(&user.token);
    let (mut missed, mut tails) = (0, 0);
    for number in 0..pairs {
        let word = format!("pair{number}");
        let content = format!("{} said {word} and something of the kite", user.name);
        let stored = core.post("/input", json!({ "content": content })).await.ok();
        assert_eq!(stored["status"], "received");
        let asked = json!({"query": format!("who said {word}?"), "limit": 5});
        let told = core.post("/cognition/context", asked).await.ok();
        let items = told["data"]["context"].as_array().unwrap();
        missed += usize::from(!items.iter().any(|item| item["content"] == content));
        assert!(items.iter().all(|item| item["user_id"] == json!(user.id)));
        tails += usize::from(told["data"].get("tail_entries").is_some());
    }
    (missed, tails)
}

#[actix::test]
async fn every_question_sees_what_was_acknowledged_before_it() {
    let cluster = Cluster::start().await;
    let pairs = pairs_each();
    let ended = Rc::new(Cell::new(false));
    let noise: Vec<_> = (0..2)
        .map(|seed| {
            let memory = cluster.memory.anonymous();
            keep_changing(&memory, &User::new("noise"), seed, &ended)
        })
        .collect();
    let asking = (0..ASKING).map(|number| {
        let user = User::new(&format!("user{}", number / 2));
        store_and_ask(cluster.core.anonymous(), user, pairs)
    });
    let seen = join_all(asking).await;
    ended.set(true);
    let written: usize =
        within("the writers end", join_all(noise)).await.into_iter().map(Result::unwrap).sum();
    let missed: usize = seen.iter().map(|(missed, _)| missed).sum();
    let tails: usize = seen.iter().map(|(_, tails)| tails).sum();
    eprintln!("{} pairs beside {written} writes: {missed} missed, {tails} read on", ASKING * pairs);
    assert_eq!(missed, 0);
    assert!(written > 10, "others wrote meanwhile");
    cluster.stop().await;
}

#[actix::test]
async fn while_the_index_is_behind_the_rest_is_read_from_memory_and_the_answer_says_so() {
    let mut stage = Stage::start().await;
    let ann = User::new("ann");
    let memory = stage.of_memory();
    store_many(&memory, &ann, 50).await;
    stage.until_indexed().await;
    assert_eq!(stage.cognition.take().unwrap().terminate().await, Some(0));
    // A lock on the index's file by somebody else: it is read, and not written.
    let path = stage.data.path().join("cognition.db");
    stage.start_cognition().await;
    let mut lock = {
        use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
        let mut connection = SqliteConnection::establish(&path.display().to_string()).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE").unwrap();
        connection
    };
    let input = json!({"id": "new", "content": "a brand new umbrella"});
    memory.tool("store_input", json!({"user_id": ann.id, "input_data": input})).await;
    memory.tool("delete_message", json!({"user_id": ann.id, "message_id": "many-3"})).await;
    let cognition = stage.of_cognition();
    let asked = json!({"user_id": ann.id, "query": "umbrella", "limit": 5});
    let told = cognition.tool("get_context", asked.clone()).await;
    assert_eq!(told["context"][0]["id"], "new", "{told}");
    assert_eq!((&told["tail_entries"], told.get("error")), (&json!(2), None));
    let gone = json!({"user_id": ann.id, "query": "message 3", "limit": 100});
    let told = cognition.tool("search_history", gone.clone()).await;
    let ids: Vec<&str> = told["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect();
    assert!(!ids.contains(&"many-3") && ids.len() == 49, "{ids:?}");
    {
        use diesel::connection::SimpleConnection as _;
        lock.batch_execute("ROLLBACK").unwrap();
    }
    stage.assert_alike().await;
    let told = cognition.tool("get_context", asked).await;
    assert_eq!((&told["context"][0]["id"], told.get("tail_entries")), (&json!("new"), None));
    stage.end().await;
}
