//! Facts follow the log into the index through faults, and a user who is forgotten is forgotten
//! everywhere.

use std::{cell::Cell, path::Path, rc::Rc};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Stage, keep_changing, position, store_many};
use crate::harness::{Client, User, eventually, within};

/// Remembers and forgets as `user` until told to end, through faults.
fn keep_remembering(
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
            let (tool, arguments) = if random.u8(0..4) == 0 {
                ("forget", json!({"fact_id": random.usize(0..=number).to_string()}))
            } else {
                let text = format!("{} has {number} kites", user.name);
                let key = random.u8(0..6).to_string();
                let id = number.to_string();
                ("remember", json!({"subject": user.name, "key": key, "text": text, "id": id}))
            };
            let question = memory.ask(actix_web::http::Method::POST, &format!("/tool/{tool}"));
            // Refused and unheard is part of it: what counts is what memory has in the end.
            let _told = question.json(&arguments).try_send().await;
            number += 1;
            tokio::task::yield_now().await;
        }
        number
    })
}

/// The texts of the facts that a context has, and of those that memory recalls, each sorted.
async fn told_and_recalled(stage: &Stage, user: &User) -> (Vec<String>, Vec<String>) {
    let sorted = |facts: &Value, name: &str| {
        let facts = facts.as_array().unwrap().iter();
        let texts = facts.filter(|fact| fact["kind"] != "item");
        let mut texts: Vec<String> =
            texts.map(|fact| fact[name].as_str().unwrap().to_owned()).collect();
        texts.sort_unstable();
        texts
    };
    let cognition = stage.of_cognition().with_token(&user.token);
    let asked = json!({"query": "how many kites?", "limit": 100, "conversation_id": "none"});
    let told = cognition.tool("get_context", asked).await;
    assert_eq!(told.get("error"), None, "{told}");
    let memory = stage.of_memory().with_token(&user.token);
    let recalled = memory.tool("recall", json!({"limit": 1000})).await;
    (sorted(&told["context"], "content"), sorted(&recalled["facts"], "text"))
}

#[actix::test]
async fn facts_follow_into_the_index_while_cognition_and_memory_are_killed() {
    let mut stage = Stage::start().await;
    let users = [User::new("ann"), User::new("bob")];
    let ended = Rc::new(Cell::new(false));
    let mut writing: Vec<_> = (0..)
        .zip(&users)
        .map(|(seed, user)| keep_remembering(&stage.of_memory(), user, seed, &ended))
        .collect();
    writing.push(keep_changing(&stage.of_memory(), &users[0], 9, &ended));
    for round in 0..4 {
        let cognition = stage.of_cognition();
        let from = position(&cognition).await;
        eventually("the index goes on", || async { position(&cognition).await >= from + 30 }).await;
        if round % 2 == 0 {
            stage.cognition.take().unwrap().kill().await;
            stage.start_cognition().await;
        } else {
            stage.memory.take().unwrap().kill().await;
            stage.start_memory().await;
        }
    }
    ended.set(true);
    let written = within("the writers end", join_all(writing)).await;
    assert!(written.into_iter().map(Result::unwrap).sum::<usize>() > 80);
    stage.assert_alike().await;
    for user in &users {
        let (told, recalled) = told_and_recalled(&stage, user).await;
        assert!(!recalled.is_empty() && recalled.len() <= 6, "{recalled:?}");
        assert_eq!(told, recalled, "{}", user.name);
    }
    stage.end().await;
}

#[actix::test]
async fn an_index_that_is_made_anew_has_the_facts_that_hold() {
    let mut stage = Stage::start().await;
    let ann = User::new("ann");
    let memory = stage.of_memory().with_token(&ann.token);
    for number in 0..30 {
        let key = (number % 5).to_string();
        let text = format!("has {number} kites");
        memory.tool("remember", json!({"subject": "Ann", "key": key, "text": text})).await;
    }
    stage.until_indexed().await;
    let (told, recalled) = told_and_recalled(&stage, &ann).await;
    assert_eq!((told.len(), &told), (5, &recalled));
    let begun = stage.of_cognition().tool("reindex", json!({})).await;
    assert_eq!(begun["status"], "begun");
    let fact = json!({"subject": "Ann", "key": "0", "text": "has no kites"});
    memory.tool("remember", fact).await;
    stage.assert_alike().await;
    let (told, recalled) = told_and_recalled(&stage, &ann).await;
    assert!(told.contains(&"has no kites".to_owned()) && told == recalled, "{told:?}");
    // From its file alone.
    stage.cognition.take().unwrap().kill().await;
    stage.start_cognition().await;
    assert_eq!(told_and_recalled(&stage, &ann).await.0, recalled);
    stage.end().await;
}

/// Rows of a store's tables in which a user's id is.
fn traces(path: &Path, user: &User) -> Vec<String> {
    use diesel::{
        Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection,
        sql_types::{BigInt, Text},
    };
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        name: String,
    }
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let mut store = SqliteConnection::establish(&path.display().to_string()).unwrap();
    let tables = "SELECT m.name AS name FROM sqlite_schema AS m WHERE m.type = 'table' AND EXISTS \
                  (SELECT 1 FROM pragma_table_info(m.name) AS c WHERE c.name = 'user_id')";
    let tables: Vec<Name> = diesel::sql_query(tables).load(&mut store).unwrap();
    assert!(tables.len() >= 3, "tables with a user in them");
    let mut traces = Vec::new();
    for Name { name } in tables {
        // What says that they were forgotten is all that stays.
        let but = if name == "memory_changes" { " AND kind <> 'forgotten'" } else { "" };
        let count = format!("SELECT count(*) AS count FROM {name} WHERE user_id = ?{but}");
        let count: Count =
            diesel::sql_query(count).bind::<Text, _>(&user.id).get_result(&mut store).unwrap();
        if count.count > 0 {
            traces.push(format!("{} rows of {name}", count.count));
        }
    }
    traces
}

#[actix::test]
async fn a_user_who_is_forgotten_is_forgotten_everywhere() {
    let stage = Stage::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    for user in [&ann, &bob] {
        let memory = stage.of_memory().with_token(&user.token);
        store_many(&stage.of_memory(), user, 20).await;
        for number in 0..10 {
            let key = (number % 3).to_string();
            let text = format!("{} has {number} kites", user.name);
            memory.tool("remember", json!({"subject": "s", "key": key, "text": text})).await;
        }
        memory.tool("delete_message", json!({"message_id": "many-1"})).await;
    }
    stage.until_indexed().await;
    let (store, index) =
        (stage.data.path().join("memory.db"), stage.data.path().join("cognition.db"));
    // In memory as well as on disk.
    assert_eq!(told_and_recalled(&stage, &ann).await.0.len(), 3);
    assert!(traces(&store, &ann).len() == 3 && traces(&index, &ann).len() == 3);
    let memory = stage.of_memory();
    let told = memory.tool("forget_user", json!({"user_id": ann.id})).await;
    let golden = json!({"status": "forgotten", "user_id": ann.id, "deleted": 19, "facts": 10});
    assert_eq!(told, golden);
    let (told, recalled) = told_and_recalled(&stage, &ann).await;
    assert_eq!((told.len(), recalled.len()), (0, 0));
    let exported = memory.tool("export_user", json!({"user_id": ann.id})).await;
    assert_eq!(exported["entries"], json!([]));
    let log = memory.resource(&format!("log/entries/{}", ann.id)).await;
    let kinds: Vec<&Value> = log.as_array().unwrap().iter().map(|entry| &entry["entry"]).collect();
    assert!(kinds.len() == 2 && kinds[0].get("forgotten").is_some(), "{kinds:?}");
    stage.assert_alike().await;
    assert_eq!(traces(&store, &ann), [""; 0]);
    assert_eq!(traces(&index, &ann), [""; 0]);
    let (told, recalled) = told_and_recalled(&stage, &bob).await;
    assert_eq!((told.len(), &told), (3, &recalled), "others keep theirs");
    // Facts alone are something to forget, too.
    let fact = json!({"user_id": ann.id, "subject": "s", "text": "x"});
    memory.tool("remember", fact).await;
    let again = memory.tool("forget_user", json!({"user_id": ann.id})).await;
    assert_eq!((&again["deleted"], &again["facts"]), (&json!(0), &json!(1)));
    stage.assert_alike().await;
    assert_eq!(traces(&index, &ann), [""; 0]);
    stage.end().await;
}
