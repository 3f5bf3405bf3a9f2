//! Facts on memory: what is remembered is recalled, superseded and not overwritten, of a time, once,
//! by its owner alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{
    Client, Cluster, User, assert_error, assert_has, assert_json, process::RealProcess, within,
};

/// Texts of facts, in their order.
fn texts(facts: &Value) -> Vec<&str> {
    let facts = facts.get("facts").unwrap_or(facts).as_array().unwrap();
    facts.iter().map(|fact| fact["text"].as_str().unwrap()).collect()
}

async fn remember(memory: &Client, text: &str, further: Value) -> Value {
    let mut fact = json!({"subject": "Ann", "text": text});
    fact.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    memory.tool("remember", fact).await
}

#[actix::test]
async fn a_fact_takes_the_place_of_the_one_of_its_subject_and_key() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let home = json!({"key": "home", "source_item_id": "m1"});
    let first = remember(&memory, "lives in Paris", home.clone()).await;
    let golden = json!({
        "status": "remembered", "user_id": ann.id, "fact_id": "<uuid>", "seq": "<int>",
        "superseded": [], "fact": {
            "seq": first["seq"], "id": first["fact_id"], "user_id": ann.id, "subject": "Ann",
            "key": "home", "text": "lives in Paris", "source_item_id": "m1",
            "recorded_at": "<time>", "valid_from": "<time>",
        },
    });
    assert_json(&first, golden);
    // Whatever the case and the spaces.
    let wish = json!({"subject": " ANN ", "key": "Home", "text": "lives in Oslo"});
    let second = memory.tool("remember", wish).await;
    assert_eq!(second["superseded"], json!([first["fact_id"]]));
    remember(&memory, "eats no meat", json!({"key": "diet"})).await;
    let recalled = memory.tool("recall", json!({})).await;
    assert_eq!(texts(&recalled), ["eats no meat", "lives in Oslo"]);
    assert_has(&recalled, json!({"user_id": ann.id, "count": 2, "more": false}));
    let all = memory.tool("recall", json!({"key": "home", "include_superseded": true})).await;
    assert_eq!(texts(&all), ["lives in Oslo", "lives in Paris"]);
    let fact = &second["fact"];
    assert_has(
        &all["facts"][1],
        json!({
            "superseded_by": second["fact_id"], "superseded_at": fact["recorded_at"],
            "valid_to": fact["valid_from"], "source_item_id": "m1",
        }),
    );
    let listed = memory.resource(&format!("facts/{}", ann.id)).await;
    assert_eq!(texts(&listed), ["lives in Oslo", "eats no meat"]);
    let path = format!("facts/{}/subject/ann?include_superseded=true&limit=2", ann.id);
    let page = memory.resource(&path).await;
    assert_eq!(texts(&page), ["lives in Paris", "lives in Oslo"]);
    let rest = memory.resource(&format!("{path}&after={}", page[1]["seq"])).await;
    assert_eq!(texts(&rest), ["eats no meat"]);
    cluster.stop().await;
}

#[actix::test]
async fn what_held_at_a_moment_is_recalled_for_that_moment() {
    let cluster = Cluster::start().await;
    let memory = cluster.memory.of(&User::new("ann"));
    let of =
        |from: &str, to: Option<&str>| json!({"key": "home", "valid_from": from, "valid_to": to});
    remember(&memory, "Paris", of("2001-01-01T00:00:00Z", None)).await;
    remember(&memory, "Oslo", of("2010-01-01T00:00:00Z", None)).await;
    // Known later, and over before the others begin: nobody's place is taken.
    let late = of("1990-01-01T00:00:00Z", Some("2001-01-01T00:00:00Z"));
    assert_eq!(remember(&memory, "Rome", late).await["superseded"], json!([]));
    // It begins one day; until then the old one holds.
    remember(&memory, "Mars", of("2900-01-01T00:00:00Z", None)).await;
    for (at, expected) in [
        ("1989-12-31T23:59:59.999999Z", &[][..]),
        ("1990-01-01T00:00:00Z", &["Rome"]),
        ("2000-12-31T23:59:59Z", &["Rome"]),
        ("2001-01-01T00:00:00Z", &["Paris"]),
        ("2010-01-01T01:00:00+01:00", &["Oslo"]),
        ("2899-12-31T23:59:59Z", &["Oslo"]),
        ("2900-01-01T00:00:00Z", &["Mars"]),
    ] {
        let recalled = memory.tool("recall", json!({"at": at})).await;
        assert_eq!(texts(&recalled), expected, "{at}");
    }
    assert_eq!(texts(&memory.tool("recall", json!({})).await), ["Oslo"]);
    // What was said last holds for all of its time, also before what it takes the place of began.
    remember(&memory, "Bonn", of("1980-01-01T00:00:00Z", None)).await;
    for at in ["1985-01-01T00:00:00Z", "1995-01-01T00:00:00Z", "2950-01-01T00:00:00Z"] {
        assert_eq!(texts(&memory.tool("recall", json!({"at": at})).await), ["Bonn"], "{at}");
    }
    let all = memory.tool("recall", json!({"include_superseded": true})).await;
    assert_eq!(texts(&all), ["Bonn", "Mars", "Rome", "Oslo", "Paris"]);
    cluster.stop().await;
}

#[actix::test]
async fn without_a_key_facts_are_added_and_one_may_take_the_place_of_one_that_it_names() {
    let cluster = Cluster::start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let memory = cluster.memory.of(&ann);
    let tea = remember(&memory, "likes tea", json!({})).await;
    remember(&memory, "likes coffee", json!({})).await;
    let recalled = memory.tool("recall", json!({})).await;
    assert_eq!(texts(&recalled), ["likes coffee", "likes tea"]);
    let named = json!({"supersedes": tea["fact_id"], "subject": "somebody"});
    let water = remember(&memory, "likes water", named.clone()).await;
    assert_eq!(water["superseded"], json!([tea["fact_id"]]));
    let recalled = memory.tool("recall", json!({})).await;
    assert_eq!(texts(&recalled), ["likes water", "likes coffee"]);
    let again = json!({"subject": "s", "text": "x", "supersedes": tea["fact_id"]});
    assert_error(&memory.post("/tool/remember", again).await, 422, "validation_error");
    let unknown = json!({"subject": "s", "text": "x", "supersedes": water["fact_id"]});
    let answer = cluster.memory.of(&bob).post("/tool/remember", unknown).await;
    assert_error(&answer, 404, "resource_not_found");
    assert_eq!(texts(&cluster.memory.of(&bob).tool("recall", json!({})).await), [""; 0]);
    cluster.stop().await;
}

#[actix::test]
async fn the_same_id_is_remembered_once_and_forgotten_for_ever() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    let mine = json!({"id": "mine", "key": "drink"});
    let first = remember(&memory, "likes tea", mine.clone()).await;
    let again = remember(&memory, "likes tea", mine.clone()).await;
    assert_has(&again, json!({"status": "already_exists", "same_body": true, "seq": first["seq"]}));
    let other = remember(&memory, "likes coffee", mine.clone()).await;
    assert_has(&other, json!({"same_body": false, "fact": {"text": "likes tea"}}));
    let told = memory.tool("forget", json!({"fact_id": "mine"})).await;
    assert_json(&told, json!({"status": "forgotten", "user_id": ann.id, "fact_id": "mine"}));
    let answer = memory.post("/tool/forget", json!({"fact_id": "mine"})).await;
    assert_error(&answer, 404, "resource_not_found");
    let all = memory.tool("recall", json!({"include_superseded": true})).await;
    assert_eq!(texts(&all), [""; 0]);
    assert_eq!(remember(&memory, "likes coffee", mine).await["status"], "remembered");
    cluster.stop().await;
}

#[actix::test]
async fn facts_are_recalled_for_a_query_best_first() {
    let cluster = Cluster::start().await;
    let memory = cluster.memory.of(&User::new("ann"));
    remember(&memory, "is afraid of dogs", json!({})).await;
    remember(&memory, "prefers green tea to black tea", json!({"key": "favourite_drink"})).await;
    let sister = json!({"subject": "her sister", "text": "keeps two dogs and a parrot"});
    memory.tool("remember", sister).await;
    let asked = |query: &str, limit: i64| json!({"query": query, "limit": limit});
    let dogs = memory.tool("recall", asked("the parrot and the dogs of the sister", 10)).await;
    assert_eq!(texts(&dogs), ["keeps two dogs and a parrot", "is afraid of dogs"]);
    assert_eq!(dogs["facts"][0]["relevance_score"], json!(1.0));
    let best = memory.tool("recall", asked("dogs", 1)).await;
    assert_has(&best, json!({"count": 1, "more": true}));
    let drink = memory.tool("recall", asked("which drink?", 10)).await;
    assert_eq!(texts(&drink), ["prefers green tea to black tea"], "found by its key");
    assert_eq!(texts(&memory.tool("recall", asked("zebra", 10)).await), [""; 0]);
    cluster.stop().await;
}

#[actix::test]
async fn what_cannot_be_a_fact_is_refused_by_name() {
    let cluster = Cluster::start().await;
    let memory = cluster.memory.of(&User::new("ann"));
    for (tool, wrong, field) in [
        ("remember", json!({"text": "x"}), "subject"),
        ("remember", json!({"subject": "s", "text": "  "}), "text"),
        ("remember", json!({"subject": "s".repeat(256), "text": "x"}), "subject"),
        ("remember", json!({"subject": "s", "text": "x".repeat(10_001)}), "text"),
        ("remember", json!({"subject": "s", "text": "x", "valid_from": "soon"}), "valid_from"),
        (
            "remember",
            json!({"subject": "s", "text": "x", "valid_to": "2001-01-01T00:00:00Z"}),
            "valid_to",
        ),
        ("recall", json!({"at": "then"}), "at"),
        ("recall", json!({"query": "q".repeat(10_001)}), "query"),
        ("forget", json!({}), "fact_id"),
    ] {
        let answer = memory.post(&format!("/tool/{tool}"), wrong).await;
        assert_error(&answer, 422, "validation_error");
        assert!(answer.text().contains(field), "{}", answer.text());
    }
    assert_eq!(texts(&memory.tool("recall", json!({})).await), [""; 0]);
    cluster.stop().await;
}

/// What a user's facts are, by a model: current text by key, and how many there are in all.
#[derive(Default)]
struct Model {
    current: BTreeMap<String, String>,
    all: usize,
}

#[actix::test]
async fn whatever_users_do_each_has_their_own_facts_and_nobody_elses() {
    let cluster = Cluster::start().await;
    let users: Vec<User> = ["ann", "bob", "cy"].into_iter().map(User::new).collect();
    let mut models: Vec<Model> = (0..3).map(|_| Model::default()).collect();
    let mut random = fastrand::Rng::with_seed(11);
    for number in 0..300 {
        let at = random.usize(0..3);
        let (user, memory) = (&users[at], cluster.memory.of(&users[at]));
        let key = format!("key{}", random.u8(0..4));
        match random.u8(0..20) {
            0 => {
                let told = memory.tool("forget_user", json!({"user_id": user.id})).await;
                assert_eq!(told["facts"], json!(models[at].all));
                models[at] = Model::default();
            }
            1..5 => {
                let recalled = memory.tool("recall", json!({"key": key})).await;
                let Some(fact) = recalled["facts"].get(0) else { continue };
                assert_eq!(
                    Some(fact["text"].as_str().unwrap()),
                    models[at].current.get(&key).map(|text| text.as_str())
                );
                memory.tool("forget", json!({"fact_id": fact["id"]})).await;
                models[at].current.remove(&key);
                models[at].all -= 1;
            }
            _ => {
                // The same subjects, keys and ids for all of them.
                let text = format!("{} said {number}", user.name);
                let further = json!({"key": key, "id": format!("fact {number}")});
                remember(&memory, &text, further).await;
                models[at].current.insert(key, text);
                models[at].all += 1;
            }
        }
    }
    for (user, model) in users.iter().zip(&models) {
        let memory = cluster.memory.of(user);
        let expected: Vec<&str> = model.current.values().map(String::as_str).collect();
        let ours = |facts: &Value| {
            let mut ours: Vec<String> = texts(facts).into_iter().map(str::to_owned).collect();
            ours.sort_by_key(|text| {
                model.current.iter().find(|(_, known)| *known == text).map(|(key, _)| key.clone())
            });
            ours
        };
        assert_eq!(ours(&memory.tool("recall", json!({})).await), expected);
        assert_eq!(ours(&memory.tool("recall", json!({"query": "who said Ann"})).await), expected);
        assert_eq!(ours(&memory.resource(&format!("facts/{}", user.id)).await), expected);
        let exported = memory.tool("export_user", json!({})).await;
        let entries = exported["entries"].as_array().unwrap();
        assert_eq!(entries.len(), model.all);
        assert!(entries.iter().all(|entry| entry["fact"]["user_id"] == json!(user.id)));
        let asked = json!({"query": "what was said of Ann?", "limit": 100});
        let told = cluster.cognition.of(user).tool("get_context", asked).await;
        assert_eq!(told["count"], json!(expected.len()), "{told}");
        assert!(
            told["context"].as_array().unwrap().iter().all(|hit| hit["user_id"] == json!(user.id))
        );
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_fact_that_was_acknowledged_survives_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let ann = User::new("ann");
    let mut known: Vec<String> = Vec::new();
    for round in 0..3 {
        let mut process = RealProcess::start_role("memory", data.path(), &[]);
        let memory = process.client().await.with_token(&ann.token);
        let kept = memory.tool("recall", json!({"include_superseded": true, "limit": 1000})).await;
        let ids: Vec<&str> = kept["facts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fact| fact["id"].as_str().unwrap())
            .collect();
        for id in &known {
            assert!(ids.contains(&id.as_str()), "{id} is gone");
        }
        let asking = (0..8).map(|asker| {
            let memory = memory.clone();
            async move {
                let mut acknowledged = Vec::new();
                loop {
                    let id = format!("{round} {asker} {}", acknowledged.len());
                    let fact = json!({"subject": "s", "key": id, "text": "x", "id": id});
                    let body = json!({ "arguments": fact });
                    let question = memory.ask(actix_web::http::Method::POST, "/tool/remember");
                    match question.json(&body).try_send().await {
                        Ok(answer) if answer.status == 200 => acknowledged.push(id),
                        Ok(_) | Err(_) => return acknowledged,
                    }
                }
            }
        });
        let killing = async {
            let memory = memory.clone();
            crate::harness::eventually("some are remembered", || async {
                let told = memory.ask(actix_web::http::Method::GET, "/resource/log/head");
                let head = told.header("accept", "application/json").send().await.ok();
                head[0]["seq"].as_i64().unwrap() > 60 * (round + 1)
            })
            .await;
            process.kill().await;
        };
        let (acknowledged, ()) = within(
            "the askers hear of the end",
            futures_util::future::join(futures_util::future::join_all(asking), killing),
        )
        .await;
        known.extend(acknowledged.into_iter().flatten());
    }
    assert!(known.len() > 100, "{} were acknowledged", known.len());
    let mut process = RealProcess::start_role("memory", data.path(), &[]);
    let memory = process.client().await.with_token(&ann.token);
    for id in &known {
        let fact = json!({"subject": "s", "key": id, "text": "x", "id": id});
        let told = memory.tool("remember", fact).await;
        assert_has(&told, json!({"status": "already_exists", "same_body": true}));
    }
    assert_eq!(process.terminate().await, Some(0));
}
