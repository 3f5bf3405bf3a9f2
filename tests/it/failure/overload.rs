//! More to do than can be done: what does not fit is refused at once, and nobody starves.

use actix_web::http::Method;
use futures_util::future::join;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Client, Cluster, User, assert_error, eventually, proxy::Mode};

async fn metric(client: &Client, start: &str) -> f64 {
    let text = client.get("/metrics").await.text();
    let line = text.lines().find(|line| line.starts_with(start));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Inputs that hang in core until memory answers again.
async fn fill(core: &Client, count: usize) {
    let posts = (0..count).map(|number| {
        let core = core.clone();
        async move { core.post("/input", json!({"content": format!("held {number}")})).await }
    });
    for post in posts {
        actix_rt::spawn(post);
    }
    let inside = f64::from(u32::try_from(count).unwrap());
    eventually("they are inside", || async {
        // Asking is a request, too.
        metric(core, "http_active_requests").await >= inside + 1.0
    })
    .await;
}

#[actix::test]
async fn what_does_not_fit_is_refused_at_once_while_health_and_questions_are_answered() {
    let args = ["--inputs-in-flight-max", "4", "--users-places-percent", "100"];
    let slow = ["--store-patience", "20"];
    let builder = Cluster::builder().with_memory_proxy().core_args(&args).core_args(&slow);
    let cluster = builder.start().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let (core, of_bob) = (cluster.core.of(&ann), cluster.core.of(&bob));
    cluster.memory_proxy.as_ref().unwrap().set(Mode::BlackHole);
    fill(&core, 4).await;
    let refused = of_bob.post("/input", json!({"content": "one too many"})).await;
    assert_error(&refused, 503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.header("x-request-id").is_some());
    let page = of_bob.ask(Method::POST, "/input").header("origin", "http://app.example");
    let refused = page.json(&json!({"content": "from a page"})).send().await;
    assert_error(&refused, 503, "overloaded");
    assert!(refused.header("access-control-allow-origin").is_some(), "a page may read why");
    assert!(metric(&core, r#"cortex_requests_shed_total{door="inputs"}"#).await >= 1.0);
    assert_eq!(core.get("/health").await.status, 200);
    core.get("/config/workspace").await.ok();
    core.get("/auth/verify").await.ok();
    cluster.memory_proxy.as_ref().unwrap().set(Mode::Pass);
    eventually("there is room again", || async {
        of_bob.post("/input", json!({"content": "fits"})).await.status == 200
    })
    .await;
    cluster.stop().await;
}

#[actix::test]
async fn one_users_flood_leaves_a_place_for_others() {
    let args = ["--inputs-in-flight-max", "8", "--store-patience", "20"];
    let cluster = Cluster::builder().with_memory_proxy().core_args(&args).start().await;
    let (flood, ann) = (User::new("flood"), User::new("ann"));
    let (of_flood, of_ann) = (cluster.core.of(&flood), cluster.core.of(&ann));
    cluster.memory_proxy.as_ref().unwrap().set(Mode::BlackHole);
    fill(&of_flood, 6).await;
    let refused = of_flood.post("/input", json!({"content": "x"})).await;
    assert_error(&refused, 503, "overloaded");
    assert!(refused.json()["detail"].as_str().unwrap().contains("this user"));
    // Ann's input is let in: it waits for memory like the others.
    let hers = of_ann.post("/input", json!({"content": "hers"}));
    let opening = async {
        eventually("it is inside", || async {
            metric(&of_ann, "http_active_requests").await >= 8.0
        })
        .await;
        cluster.memory_proxy.as_ref().unwrap().set(Mode::Pass);
    };
    let (hers, ()) = join(hers, opening).await;
    assert_eq!(hers.status, 200, "{}", hers.text());
    cluster.stop().await;
}

#[actix::test]
async fn a_path_that_only_ends_like_a_stream_needs_a_place_like_any_question() {
    let args = ["--requests-in-flight-max", "1", "--users-places-percent", "100"];
    let cluster = Cluster::builder().memory_args(&args).start().await;
    let ann = User::new("ann");
    let memory = cluster.memory.of(&ann);
    // Somebody is inside: a question whose body does not come.
    let address = cluster.memory.address();
    let request = format!(
        "POST /tool/get_item HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-length: 10\r\n\r\n{{",
        ann.token
    );
    let mut inside = actix_rt::net::TcpStream::connect(address).await.unwrap();
    inside.write_all(request.as_bytes()).await.unwrap();
    let history = format!("/resource/history/{}", ann.id);
    let refused = |path: String| {
        let memory = &memory;
        async move {
            let question = memory.ask(Method::GET, &path);
            question.header("accept", "application/json").send().await.status == 503
        }
    };
    eventually("it is inside", || refused(history.clone())).await;
    for path in ["item/x/stream", "message/stream", "history/stream", "history/a/limit/5/stream"] {
        assert!(refused(format!("/resource/{path}")).await, "{path}");
    }
    // A live one is let in all the same.
    let mut stream = memory.events(&format!("{history}/stream")).await;
    stream.next_frame().await.unwrap();
    drop((stream, inside));
    eventually("it has gone", || async { !refused(history.clone()).await }).await;
    let answer = memory.get(&format!("{history}/limit/5/stream")).await;
    assert_eq!(answer.status, 200, "the plain resource: {}", answer.text());
    cluster.stop().await;
}

#[actix::test]
async fn without_an_outbox_a_503_says_from_the_first_on_when_to_come_back() {
    let mut cluster = Cluster::builder().core_args(&super::NO_OUTBOX).start().await;
    let core = cluster.core.of(&User::new("ann"));
    cluster.memory.stop().await;
    for number in 0..8 {
        let refused = core.post("/input", json!({"content": "x"})).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(refused.header("retry-after").is_some(), "{number}: {}", refused.text());
    }
    cluster.stop().await;
}
