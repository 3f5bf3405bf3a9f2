//! Everything of a user, printed: complete, in pages of bounded size, also while it is written to.

use std::{cell::Cell, collections::BTreeSet, rc::Rc};

use serde_json::{Value, json};

use crate::harness::{Client, Cluster, SECRET, User, process::RealProcess, within};

async fn store(memory: &Client, id: &str) {
    let input = json!({"id": id, "content": "x", "metadata": {"kept": 1}, "odd": [1]});
    memory.tool("store_input", json!({"input_data": input})).await;
}

async fn remember(memory: &Client, id: &str) {
    memory.tool("remember", json!({"subject": "s", "key": "k", "text": "x", "id": id})).await;
}

/// Runs the command; its lines, and what its last one says.
async fn export(cluster: &Cluster, user: &User) -> (Vec<Value>, Value) {
    let folder = cluster.data().join("memory").display().to_string();
    let url = cluster.memory.url();
    let mut command = RealProcess::start(&[
        "export",
        &user.id,
        "--url",
        &url,
        "--data-dir",
        &folder,
        "--jwt-secret-key",
        SECRET,
    ]);
    let status = command.wait().await;
    assert!(status.success(), "{}", command.stderr());
    let said = command.stdout();
    let mut lines: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let end = lines.pop().unwrap()["end"].take();
    (lines, end)
}

/// The ids of what was exported, each of which must be there once.
fn ids(lines: &[Value], kind: &str, user: &User) -> BTreeSet<String> {
    let of_kind: Vec<&Value> = lines.iter().filter_map(|line| line.get(kind)).collect();
    assert!(of_kind.iter().all(|kept| kept["user_id"] == json!(user.id)));
    let ids: BTreeSet<String> =
        of_kind.iter().map(|kept| kept["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), of_kind.len(), "twice");
    ids
}

#[actix::test]
async fn an_export_has_all_that_is_kept_of_one_user_in_its_order() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let of_ann = cluster.memory.of(&ann);
    for number in 0..20 {
        store(&of_ann, &format!("item {number}")).await;
        remember(&of_ann, &format!("fact {number}")).await;
        store(&cluster.memory.of(&bob), "his").await;
    }
    of_ann.tool("delete_message", json!({"message_id": "item 3"})).await;
    of_ann.tool("forget", json!({"fact_id": "fact 4"})).await;
    let (lines, end) = export(&cluster, &ann).await;
    assert_eq!((&end["items"], &end["facts"]), (&json!(19), &json!(19)), "{end}");
    let (items, facts) = (ids(&lines, "item", &ann), ids(&lines, "fact", &ann));
    assert_eq!((items.len(), facts.len(), lines.len()), (19, 19, 38));
    assert!(!items.contains("item 3") && !facts.contains("fact 4"));
    let seqs: Vec<i64> = lines
        .iter()
        .map(|line| line.get("item").or(line.get("fact")).unwrap()["seq"].as_i64().unwrap())
        .collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    let item = lines.iter().find_map(|line| line.get("item")).unwrap();
    assert_eq!((&item["metadata"], &item["odd"]), (&json!({"kept": 1}), &json!([1])));
    let superseded = lines.iter().filter(|line| line["fact"].get("superseded_by").is_some());
    assert_eq!(superseded.count(), 18, "history is exported too");
    let (none, end) = export(&cluster, &User::new("nobody")).await;
    assert_eq!((none, &end["items"]), (Vec::new(), &json!(0)));
    cluster.stop().await;
}

#[actix::test]
async fn pages_of_any_size_give_the_same() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    for number in 0..15 {
        store(&memory, &format!("item {number}")).await;
        if number % 3 > 0 {
            remember(&memory, &format!("fact {number}")).await;
        }
    }
    let whole = memory.tool("export_user", json!({})).await;
    assert_eq!((whole["entries"].as_array().unwrap().len(), &whole["more"]), (25, &json!(false)));
    for limit in [1, 2, 7, 24, 25] {
        let (mut after, mut entries) = (json!(0), Vec::new());
        loop {
            let page = memory.tool("export_user", json!({"after": after, "limit": limit})).await;
            let told = page["entries"].as_array().unwrap();
            assert!(told.len() <= limit, "{limit}");
            entries.extend(told.clone());
            if page["more"] == false {
                break;
            }
            after = page["upto"].clone();
        }
        assert_eq!(json!(entries), whole["entries"], "{limit}");
    }
    cluster.stop().await;
}

#[actix::test]
async fn an_export_that_is_written_to_has_all_that_was_there_when_it_began() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let many = |from: usize| {
        let inputs: Vec<Value> = (from..from + 500)
            .map(|n| json!({"user_id": ann.id, "input_data": {"id": format!("i{n}"), "content": "x"}}))
            .collect();
        json!({ "inputs": inputs })
    };
    for from in [0, 500, 1000] {
        memory.tool("store_inputs", many(from)).await;
        for number in 0..20 {
            remember(&memory, &format!("f{}", from + number)).await;
        }
    }
    let (ended, written) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let writing = actix_rt::spawn({
        let (memory, ended, written) = (memory.clone(), Rc::clone(&ended), Rc::clone(&written));
        async move {
            while !ended.get() {
                let number = written.get();
                store(&memory, &format!("later {number}")).await;
                // Each takes the place of the one before, whose page may have been read or not.
                remember(&memory, &format!("later {number}")).await;
                let changed =
                    json!({"message_id": format!("i{number}"), "updates": {"content": "y"}});
                memory.tool("update_message", changed).await;
                written.set(number + 1);
            }
        }
    });
    crate::harness::eventually("somebody writes", || async { written.get() > 3 }).await;
    let before = written.get();
    let (lines, _) = export(&cluster, &ann).await;
    let after = written.get();
    ended.set(true);
    within("the writer ends", writing).await.unwrap();
    assert!(after > before, "it was written to meanwhile");
    let (items, facts) = (ids(&lines, "item", &ann), ids(&lines, "fact", &ann));
    for number in 0..1500 {
        assert!(items.contains(&format!("i{number}")), "i{number}");
    }
    for number in (0..20).flat_map(|number| [number, number + 500, number + 1000]) {
        assert!(facts.contains(&format!("f{number}")), "f{number}");
    }
    for number in 0..before {
        let id = format!("later {number}");
        assert!(items.contains(&id) && facts.contains(&id), "{id}");
    }
    cluster.stop().await;
}
