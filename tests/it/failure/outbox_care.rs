//! The outbox under care: what memory refuses or fails at, what is forgotten, and the order of what
//! shares a key.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
};

use actix_web::http::Method;
use serde_json::{Value, json};

use super::{
    scripted::{Scripted, answer},
    stored,
};
use crate::harness::{
    Answer, Client, Cluster, SECRET, User, assert_error, eventually, process::RealProcess, within,
};

const QUICK: [&str; 8] = [
    "--max-retries",
    "0",
    "--probe-interval",
    "0.05",
    "--outbox-retry-max",
    "0.05",
    "--store-patience",
    "0.2",
];

async fn pend(core: &Client, text: &str) -> String {
    let answer = core.post("/input", json!({ "content": text })).await.ok();
    assert_eq!(answer["status"], "received_storage_pending", "{text}");
    answer["data"]["message_id"].as_str().unwrap().to_owned()
}

async fn outbox(core: &Client) -> Value {
    core.get("/health").await.json()["components"]["outbox"].take()
}

async fn reasons(core: &Client) -> String {
    core.get("/health").await.json()["reasons"].to_string()
}

async fn said(cluster: &Cluster, user: &User) -> Vec<String> {
    let path = format!("history/{}?after=0&limit=1000", user.id);
    let items = cluster.memory.of(user).resource(&path).await;
    let text = |item: &Value| item["content"].as_str().unwrap().to_owned();
    items.as_array().unwrap().iter().map(text).collect()
}

/// Runs `cortex outbox` against a core: its exit code, and what it printed.
async fn cortex(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String) {
    let url = cluster.core.url();
    let all: Vec<&str> =
        ["outbox"].iter().chain(arguments).copied().chain(["--url", &url]).collect();
    let mut process = RealProcess::start_with(&all, &[("JWT_SECRET_KEY", SECRET)]);
    let code = process.wait().await.code();
    (code, format!("{}{}", process.stdout(), process.stderr()))
}

#[actix::test]
async fn what_memory_refuses_is_listed_shown_tried_again_and_dropped() {
    let args = ["--outbox-refused-max", "2", "--outbox-user-share", "1"];
    let mut cluster = Cluster::builder().core_args(&QUICK).core_args(&args).start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let (core, of_bob) = (cluster.core.of(&ann), cluster.core.of(&bob));
    cluster.memory.stop().await;
    let large = pend(&core, &"x".repeat(200_000)).await;
    let other = pend(&core, &"y".repeat(200_000)).await;
    pend(&core, "small").await;
    cluster.memory.start_with(&["--max-request-size", "1000"]);
    eventually("both are refused", || async {
        let outbox = outbox(&core).await;
        outbox["refused"] == 2 && outbox["entries"] == 0
    })
    .await;
    assert_eq!(said(&cluster, &ann).await, ["small"]);
    assert!(reasons(&core).await.contains("of at most 2: it takes no more"));
    // Nothing that was acknowledged is given up for what comes: that is refused instead.
    cluster.memory.stop().await;
    let refused = of_bob.post("/input", json!({"content": "no room"})).await;
    assert_error(&refused, 503, "overloaded");
    assert!(refused.text().contains("`cortex outbox`"), "{}", refused.text());
    assert!(refused.header("retry-after").is_some());

    let (code, listed) = cortex(&cluster, &["list"]).await;
    assert_eq!(code, Some(0), "{listed}");
    assert!(listed.contains("WHY") && listed.contains(&large) && listed.contains("refused"));
    let (_, lines) = cortex(&cluster, &["list", "--refused", "-o", "json"]).await;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["message_id"], &first["state"]), (&json!(large), &json!("refused")));
    assert_eq!(lines.lines().count(), 2);
    let (_, shown) = cortex(&cluster, &["show", &large]).await;
    assert!(shown.contains("xxxx"), "with what was said");
    let (code, dropped) = cortex(&cluster, &["drop", &other]).await;
    assert_eq!(code, Some(0), "{dropped}");
    let (code, unknown) = cortex(&cluster, &["drop", &other]).await;
    assert_eq!(code, Some(1), "{unknown}");
    assert_eq!(outbox(&core).await["refused"], 1);
    pend(&of_bob, "there is room again").await;

    cluster.memory.start_with(&["--max-request-size", "1048576"]);
    let (code, tried) = cortex(&cluster, &["retry", "--all"]).await;
    assert_eq!((code, tried.as_str()), (Some(0), "1 inputs are tried again"));
    eventually("it is delivered", || async {
        let outbox = outbox(&core).await;
        outbox["entries"] == 0 && outbox["refused"] == 0
    })
    .await;
    assert_eq!(said(&cluster, &ann).await, ["small", &"x".repeat(200_000)]);
    assert_eq!(said(&cluster, &bob).await, ["there is room again"]);
    cluster.stop().await;
}

#[actix::test]
async fn only_operators_see_the_outbox() {
    let cluster = Cluster::start().await;
    let core = cluster.core.of(&User::new("ann"));
    for (method, path) in [
        (Method::GET, "/outbox"),
        (Method::GET, "/outbox/x"),
        (Method::POST, "/outbox/x/retry"),
        (Method::DELETE, "/outbox/x"),
    ] {
        let refused = core.ask(method.clone(), path).send().await;
        assert_error(&refused, 403, "permission_denied");
        let nobody = cluster.core.anonymous().ask(method.clone(), path).send().await;
        assert_error(&nobody, 401, "auth_error");
        let found = cluster.core.of_service().ask(method, path).send().await;
        assert_eq!(found.status, if path == "/outbox" { 200 } else { 404 }, "{path}");
    }
    let wrong = cluster.core.of_service().get("/outbox?state=x").await;
    assert_error(&wrong, 422, "validation_error");
    cluster.stop().await;
}

async fn forget(client: &Client, user: &User) -> Answer {
    client.post("/forget", json!({"user_id": user.id})).await
}

#[actix::test]
async fn a_user_who_is_forgotten_is_forgotten_in_the_outbox_too() {
    let mut cluster = Cluster::builder().core_args(&QUICK).start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let (core, of_bob) = (cluster.core.of(&ann), cluster.core.of(&bob));
    core.post("/input", json!({"content": "stored"})).await.ok();
    cluster.memory.stop().await;
    for number in 0..5 {
        pend(&core, &format!("{number}")).await;
        pend(&of_bob, &format!("{number}")).await;
    }
    assert_error(&forget(&of_bob, &ann).await, 403, "permission_denied");
    let unnamed = core.post("/forget", json!({})).await;
    assert_error(&unnamed, 422, "validation_error");
    // Memory is away: what waits is withdrawn all the same.
    assert_eq!(forget(&core, &ann).await.status, 503);
    assert_eq!(outbox(&core).await["entries"], 5);
    pend(&core, "said after that").await;
    cluster.memory.start();
    eventually("bob's inputs arrive", || async { said(&cluster, &bob).await.len() == 5 }).await;
    eventually("memory has forgotten", || async {
        forget(&cluster.core.of_service(), &ann).await.status == 200
    })
    .await;
    assert!(said(&cluster, &ann).await.is_empty());
    assert_eq!(outbox(&core).await["entries"], 0);
    core.post("/input", json!({"content": "a new beginning"})).await.ok();
    eventually("it is there", || async { said(&cluster, &ann).await == ["a new beginning"] }).await;
    cluster.stop().await;
}

/// A core before a scripted memory.
async fn core_before(memory: &Scripted, data: &Path, further: &[&str]) -> (RealProcess, Client) {
    let url = memory.url();
    let mut arguments = vec!["--memory-service-url", url.as_str()];
    arguments.extend(QUICK);
    arguments.extend(further);
    let mut process = RealProcess::start_role("core", data, &arguments);
    let core = process.client().await;
    (process, core)
}

#[actix::test]
async fn memory_is_asked_to_forget_only_after_the_batch_on_its_way_has_arrived() {
    let memory = Scripted::with_bodies(|path, body| match path {
        "/tool/store%5Finput" => answer("503 Service Unavailable", "retry-after: 1\r\n", "{}"),
        "/tool/store%5Finputs" => {
            let asked: Value = serde_json::from_str(body).unwrap();
            let count = asked["arguments"]["inputs"].as_array().unwrap().len();
            let results = vec![json!({"status": "stored", "seq": 1}); count];
            answer("200 OK", "", &json!({"result": {"results": results}}).to_string())
        }
        _ => answer("200 OK", "", r#"{"result": {"status": "forgotten", "deleted": 1}}"#),
    })
    .await;
    let data = tempfile::tempdir().unwrap();
    memory.hold(Some("/tool/store%5Finputs"));
    let (process, core) = core_before(&memory, data.path(), &[]).await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let (of_ann, of_bob) = (core.with_token(&ann.token), core.with_token(&bob.token));
    pend(&of_ann, "on its way").await;
    eventually("a batch is under way", || async { memory.asked("/tool/store%5Finputs") == 1 })
        .await;
    let forgetting = actix_rt::spawn({
        let (of_ann, ann) = (of_ann.clone(), ann.clone());
        async move { forget(&of_ann, &ann).await }
    });
    eventually("nothing of hers waits", || async { outbox(&core).await["entries"] == 0 }).await;
    for number in 0..5 {
        pend(&of_bob, &format!("{number}")).await;
    }
    assert_eq!(memory.asked("/tool/forget%5Fuser"), 0, "the batch would come after it");
    memory.hold(None);
    let forgotten = within("she is forgotten", forgetting).await.unwrap().ok();
    assert_eq!((&forgotten["withdrawn"], &forgotten["deleted"]), (&json!(1), &json!(1)));
    eventually("bob's are delivered", || async { outbox(&core).await["entries"] == 0 }).await;
    assert_eq!(process.terminate().await, Some(0));
}

/// What a memory fails at.
#[derive(Clone, Copy, PartialEq)]
enum Sick {
    All,
    AtPoison,
    Well,
}

/// A memory that fails, and the texts it has taken, in its order.
async fn failing(sick: Rc<Cell<Sick>>, taken: Rc<RefCell<Vec<String>>>) -> Scripted {
    Scripted::with_bodies(move |path, body| {
        if !path.starts_with("/tool/") {
            return answer("200 OK", "", r#"{"status": "healthy"}"#);
        }
        let fails = match sick.get() {
            Sick::All => true,
            Sick::AtPoison => body.contains("poison"),
            Sick::Well => false,
        };
        if fails {
            let why =
                json!({"error": {"code": "tool_execution_error", "message": "cannot bear it"}});
            return answer("500 Internal Server Error", "", &why.to_string());
        }
        let asked: Value = serde_json::from_str(body).unwrap();
        let inputs = asked["arguments"]["inputs"].as_array().cloned().unwrap_or_default();
        let text = |input: &Value| input["input_data"]["content"].as_str().unwrap().to_owned();
        taken.borrow_mut().extend(inputs.iter().map(text));
        let results = vec![json!({"status": "stored", "seq": 1}); inputs.len()];
        answer("200 OK", "", &json!({"result": {"results": results}}).to_string())
    })
    .await
}

#[actix::test]
async fn an_input_memory_always_fails_at_holds_up_its_own_conversation_alone() {
    let (sick, taken) = (Rc::new(Cell::new(Sick::All)), Rc::default());
    let memory = failing(Rc::clone(&sick), Rc::clone(&taken)).await;
    let data = tempfile::tempdir().unwrap();
    let further = ["--outbox-attempts-max", "3", "--outbox-apart-retry", "0.3"];
    let (process, core) = core_before(&memory, data.path(), &further).await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let (of_ann, of_bob) = (core.with_token(&ann.token), core.with_token(&bob.token));
    pend(&of_ann, "poison").await;
    pend(&of_ann, "behind it").await;
    pend(&of_bob, "for bob").await;
    sick.set(Sick::AtPoison);
    eventually("what is apart is named, and the rest has gone on", || async {
        let outbox = outbox(&core).await;
        outbox["held"] == 1 && outbox["entries"] == 2
    })
    .await;
    assert_eq!(*taken.borrow(), ["for bob"]);
    assert!(reasons(&core).await.contains("memory fails at an input in 1 conversations"));
    // What comes next in that conversation waits behind it, and nobody waits for that.
    pend(&of_ann, "last").await;
    sick.set(Sick::Well);
    eventually("all is delivered", || async { outbox(&core).await["entries"] == 0 }).await;
    assert_eq!(*taken.borrow(), ["for bob", "poison", "behind it", "last"]);
    assert_eq!(process.terminate().await, Some(0));
}

async fn keyed(core: &Client, key: &str, text: &str) -> Value {
    let question = core.ask(Method::POST, "/input").header("idempotency-key", key);
    question.json(&json!({ "content": text })).send().await.ok()
}

#[actix::test]
async fn an_input_whose_key_stood_for_another_keeps_its_place_before_what_follows_it() {
    let mut cluster = Cluster::builder().core_args(&QUICK).start().await;
    let ann = User::new("ann");
    let core = cluster.core.of(&ann);
    keyed(&core, "k", "before").await;
    cluster.memory.stop().await;
    pend(&core, "first").await;
    let clash = keyed(&core, "k", "second").await;
    assert_eq!(clash["status"], "received_storage_pending");
    keyed(&core, "other", "third").await;
    pend(&core, "fourth").await;
    cluster.memory.start();
    eventually("all is delivered", || async { outbox(&core).await["entries"] == 0 }).await;
    let texts = said(&cluster, &ann).await;
    assert_eq!(texts, ["before", "first", "second", "third", "fourth"]);
    assert!(stored(&cluster, &ann).await.values().all(|count| *count == 1));
    let path = format!("history/{}?after=0", ann.id);
    let items = cluster.memory.of(&ann).resource(&path).await;
    assert_eq!(items[2]["metadata"]["acknowledged_as"], clash["data"]["message_id"]);
    cluster.stop().await;
}
