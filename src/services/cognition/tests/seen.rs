//! What is in the index is what is answered: conditions, changes, what is not in it yet, and nobody
//! else's items.

use super::*;

#[actix::test]
async fn conditions_hold_for_every_item() {
    let with = |mut item: Value, key: &str, value: Value| {
        item[key] = value;
        json!({ "stored": item })
    };
    let entries = vec![
        (1, with(item(1, "c", "a red kite"), "role", json!("assistant"))),
        (2, with(item(2, "c", "a kite"), "metadata", json!({"mood": "good", "n": 2, "x": null}))),
        (3, with(item(3, "d", "kites"), "metadata", json!({"mood": "bad", "n": 2.5, "t": true}))),
    ];
    let rig = Rig::with(&head(3)).await.indexed(entries).await;
    for (further, expected) in [
        (json!({}), vec!["1", "2", "3"]),
        (json!({"role": "assistant"}), vec!["1"]),
        (json!({"from": "2026-01-01T00:02:00Z"}), vec!["2", "3"]),
        (json!({"to": "2026-01-01T00:02:00Z"}), vec!["1"]),
        (json!({"conversation_id": "d", "conversation_only": true}), vec!["3"]),
        (json!({"metadata": {"mood": "good"}}), vec!["2"]),
        (json!({"metadata": {"n": 2}}), vec!["2"]),
        (json!({"metadata": {"n": 2.5, "t": true}}), vec!["3"]),
        (json!({"metadata": {"x": null}}), vec!["2"]),
        (json!({"metadata": {"n": "2"}}), vec![]),
        (json!({"metadata": {"mood": "good"}, "role": "assistant"}), vec![]),
    ] {
        for query in [json!("kite"), Value::Null] {
            let mut asked = further.clone();
            asked["query"] = query;
            let reply = rig.call("get_context", asked.clone()).await.unwrap();
            let mut found = ids(&reply["context"]);
            found.sort_unstable();
            assert_eq!(found, expected, "{asked}");
            if asked["query"].is_string() {
                let reply = rig.call("search_history", asked.clone()).await.unwrap();
                let mut found = ids(&reply["results"]);
                found.sort_unstable();
                assert_eq!(found, expected, "search {asked}");
            }
        }
    }
    rig.end().await;
}

#[actix::test]
async fn what_is_changed_removed_and_forgotten_is_so_in_the_index() {
    let rig = Rig::with(&head(7)).await.indexed(said()).await;
    let found = async |rig: &Rig, query: &str| {
        let reply = rig.call("search_history", json!({"query": query})).await.unwrap();
        ids(&reply["results"]).join(" ")
    };
    assert_eq!(found(&rig, "lunch").await, "3");
    let mut changed = item(3, "d", "dinner");
    changed["metadata"] = json!({"updated_at": "now"});
    let removed = json!({"removed": {"user_id": "u", "item_seq": 1, "item_id": "1"}});
    let rig = rig.indexed(vec![(4, json!({ "changed": changed })), (5, removed)]).await;
    assert_eq!((found(&rig, "lunch").await, found(&rig, "dinner").await), ("".into(), "3".into()));
    assert_eq!(found(&rig, "old").await, "");
    assert_eq!(rig.index.condition().items, 2);
    let rig = rig
        .indexed(vec![
            (6, json!({"forgotten": {"user_id": "u"}})),
            (7, json!({"stored": item(7, "e", "a kite after all")})),
        ])
        .await;
    assert_eq!((found(&rig, "dinner").await, found(&rig, "kite").await), ("".into(), "7".into()));
    let reply = rig.call("get_context", json!({})).await.unwrap();
    assert_eq!(ids(&reply["context"]), ["7"]);
    assert_eq!(rig.index.condition().items, 1);
    rig.end().await;
}

#[actix::test]
async fn what_the_index_has_not_yet_is_read_from_memory_and_the_answer_says_so() {
    let mut answers = head(6);
    let mut changed = item(3, "d", "dinner");
    changed["metadata"] = json!({"mood": "good"});
    let tail = json!([
        {"seq": 4, "entry": {"removed": {"user_id": "u", "item_seq": 2, "item_id": "2"}}},
        {"seq": 5, "entry": {"changed": changed}},
        {"seq": 6, "entry": {"stored": item(6, "e", "a brand new kite")}},
        {"upto": 6, "more": false},
    ]);
    answers.push(("log/entries/u?after=3&limit=1000", 200, tail));
    answers.push(("log/entries/u?after=6&limit=1000", 200, json!([{"upto": 6, "more": false}])));
    let rig = Rig::with(&answers).await.indexed(said()).await;
    let reply = rig.call("get_context", json!({"query": "kite", "limit": 3})).await.unwrap();
    let mut found = ids(&reply["context"]);
    found.sort_unstable();
    assert_eq!(found, ["1", "3", "6"], "also what fills the rest");
    assert_eq!((&reply["index_seq"], &reply["tail_entries"]), (&json!(6), &json!(3)));
    assert_eq!(reply.get("error"), None);
    let asked = json!({"query": "dinner", "metadata": {"mood": "good"}});
    let reply = rig.call("search_history", asked).await.unwrap();
    assert_eq!(ids(&reply["results"]), ["3"]);
    assert_eq!(ids(&rig.call("get_context", json!({})).await.unwrap()["context"]), ["6", "3", "1"]);
    // Then the follower brings the same.
    let rig = rig
        .indexed(vec![
            (4, json!({"removed": {"user_id": "u", "item_seq": 2, "item_id": "2"}})),
            (5, json!({"changed": item(3, "d", "dinner")})),
            (6, json!({"stored": item(6, "e", "a brand new kite")})),
        ])
        .await;
    let reply = rig.call("get_context", json!({"min_seq": 6})).await.unwrap();
    assert_eq!(ids(&reply["context"]), ["6", "3", "1"]);
    assert_eq!(reply.get("tail_entries"), None);
    rig.end().await;
}

#[actix::test]
async fn a_number_that_memory_has_not_reached_is_said_not_to_be_seen() {
    let mut answers = head(3);
    answers.push(("log/entries/u?after=3&limit=1000", 200, json!([{"upto": 3, "more": false}])));
    let rig = Rig::with(&answers).await.indexed(said()).await;
    let reply = rig.call("get_context", json!({"query": "kite", "min_seq": 9})).await.unwrap();
    assert_eq!((&reply["error"], &reply["index_seq"]), (&json!("index_behind"), &json!(3)));
    assert_eq!(ids(&reply["context"]).len(), 3);
    rig.end().await;
}

#[actix::test]
async fn one_users_answer_never_holds_anothers_item() {
    let words = ["kite", "boat", "lunch", "harbour"];
    let mut entries = Vec::new();
    for seq in 1..=200_i64 {
        let mut item = item(seq % 60, "c", words[usize::try_from(seq).unwrap() % words.len()]);
        item["seq"] = json!(seq);
        item["id"] = json!(format!("{seq}"));
        item["user_id"] = json!(["u", "v", "w", "u/v"][usize::try_from(seq / 3).unwrap() % 4]);
        entries.push((seq, json!({ "stored": item })));
    }
    let rig = Rig::with(&head(200)).await.indexed(entries).await;
    let mut seen = 0;
    for user in ["u", "v", "w", "u/v", "nobody", ""] {
        for query in words.iter().chain(&["kite boat lunch", "", "c ann"]) {
            let caller = || Principal::Service { name: "s".into() };
            let asked =
                json!({"user_id": user, "query": query, "limit": 100, "conversation_id": "c"});
            let asked = asked.as_object().unwrap().clone();
            for tool in ["get_context", "search_history"] {
                let Ok(reply) = rig.host.call(tool, caller(), asked.clone()).await else {
                    assert!(user.is_empty() || query.is_empty(), "{tool} {user:?} {query:?}");
                    continue;
                };
                let list = reply.get("context").or(reply.get("results")).unwrap();
                for item in list.as_array().unwrap() {
                    assert_eq!(item["user_id"], json!(user));
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 500, "{seen}");
    rig.end().await;
}
