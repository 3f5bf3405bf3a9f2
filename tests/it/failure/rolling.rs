//! A rolling restart under load: nothing is lost, and nobody who obeys sees an error of ours.

use std::{cell::Cell, rc::Rc};

use actix_web::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, Node, User, eventually};

const QUICK: [&str; 6] =
    ["--probe-interval", "0.05", "--health-check-interval", "0.2", "--outbox-retry-max", "0.05"];

/// Writes one input after the other until told to stop, each until it is acknowledged; a connection
/// that is refused or cut is tried again, as any client does whose server restarts.
async fn write(core: Client, going: Rc<Cell<bool>>, acknowledged: Rc<Cell<usize>>) -> Vec<String> {
    let mut texts = Vec::new();
    while going.get() {
        let text = format!("input-{}", texts.len());
        loop {
            let question = core.ask(Method::POST, "/input").header("idempotency-key", &text);
            match question.json(&json!({ "content": text })).try_send().await {
                Ok(answer) => {
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    break;
                }
                Err(_refused_or_cut) => {
                    eventually("core answers again", || async {
                        core.ask(Method::GET, "/health/live").try_send().await.is_ok()
                    })
                    .await;
                }
            }
        }
        texts.push(text);
        acknowledged.set(acknowledged.get() + 1);
    }
    texts
}

async fn said(memory: &Node, user: &User) -> Vec<String> {
    let mut texts = Vec::new();
    let mut after = 0;
    loop {
        let path = format!("history/{}?after={after}&limit=1000", user.id);
        let items = memory.of(user).resource(&path).await;
        let items = items.as_array().unwrap();
        let Some(last) = items.last() else { return texts };
        after = last["seq"].as_i64().unwrap();
        let text = |item: &Value| item["content"].as_str().unwrap().to_owned();
        texts.extend(items.iter().map(text));
    }
}

#[actix::test]
async fn a_rolling_restart_under_load_loses_nothing_and_shows_no_error_of_ours() {
    let mut cluster = Cluster::builder().core_args(&QUICK).start().await;
    let users: Vec<User> = (0..8).map(|number| User::new(&format!("user{number}"))).collect();
    let (going, acknowledged) = (Rc::new(Cell::new(true)), Rc::new(Cell::new(0)));
    let writers: Vec<_> = users
        .iter()
        .map(|user| {
            let core = cluster.core.of(user);
            actix_rt::spawn(write(core, Rc::clone(&going), Rc::clone(&acknowledged)))
        })
        .collect();
    let more = async || {
        let enough = acknowledged.get() + 40;
        eventually("inputs go on", || std::future::ready(acknowledged.get() >= enough)).await;
    };
    for _ in 0..2 {
        more().await;
        cluster.memory.stop().await;
        more().await;
        cluster.memory.start();
        more().await;
        cluster.cognition.stop().await;
        cluster.cognition.start();
        more().await;
        cluster.core.stop().await;
        cluster.core.start();
    }
    more().await;
    going.set(false);
    let written: Vec<Vec<String>> =
        join_all(writers).await.into_iter().map(Result::unwrap).collect();
    let core = cluster.core.anonymous();
    eventually("the outbox is empty", || async {
        core.get("/health").await.json()["components"]["outbox"]["entries"] == 0
    })
    .await;
    for (user, texts) in users.iter().zip(written) {
        assert_eq!(said(&cluster.memory, user).await, texts, "once each, in order");
    }
    cluster.stop().await;
}
