//! Everything has a bound: places, streams, sessions, bodies, time.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::server::{Server, Session, ask, call, modern, next};
use crate::harness::{Answer, Client, User, assert_error, events::Events, eventually};

fn listen(client: &Client) -> crate::harness::client::Question {
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    ask(client, &modern(9, "subscriptions/listen", wanted))
}

async fn listening(client: &Client) -> Events {
    let mut events = listen(client).try_open().await.unwrap();
    let first = next(&mut events).await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    events
}

#[track_caller]
fn assert_overloaded(answer: &Answer) {
    assert_error(answer, 503, "overloaded");
    assert!(answer.header("retry-after").is_some());
}

#[actix_rt::test]
async fn calls_have_places_while_they_work_and_streams_need_none() {
    let mut server = Server::open(&["--requests-in-flight-max", "1"]);
    let client = server.client();
    let _listening = listening(&client).await;
    for tool in ["wait", "report"] {
        assert_eq!(call(&client, "show").send().await.status, 200);
        // Also when its answer has begun: progress is not the end of the work.
        let (client, tool) = (client.clone(), tool.to_owned());
        let working = actix_rt::spawn(async move {
            let mut events = call(&client, &tool).try_open().await.unwrap();
            while next(&mut events).await.is_some() {}
        });
        server.until_waiting(1).await;
        assert_overloaded(&call(&server.client(), "show").send().await);
        working.abort();
        server.until_waiting(0).await;
        eventually("the place is free again", || async {
            call(&server.client(), "show").send().await.status == 200
        })
        .await;
    }
    server.stop().await;
}

#[actix_rt::test]
async fn work_that_a_session_goes_on_with_keeps_its_place() {
    let mut server = Server::open(&["--requests-in-flight-max", "1", "--mcp-streams-max", "1"]);
    let session = Session::begin(&server.client()).await;
    let answers = session.call(2, "wait").await;
    let stream = session.ask(Method::GET).try_open().await.unwrap();
    server.until_waiting(1).await;
    drop(answers);
    drop(stream);
    // Who hung up second is seen to have; so the first is too.
    eventually("the stream is free again", || async {
        session.ask(Method::GET).try_open().await.is_ok()
    })
    .await;
    assert_overloaded(&call(&server.client(), "show").send().await);
    server.stop().await;
}

#[actix_rt::test]
async fn only_so_many_streams_are_open() {
    let server = Server::open(&["--mcp-streams-max", "2"]);
    let client = server.client();
    let session = Session::begin(&client).await;
    let first = listening(&client).await;
    let _second = session.ask(Method::GET).try_open().await.unwrap();
    assert_overloaded(&listen(&client).send().await);
    assert_overloaded(&session.ask(Method::GET).send().await);
    assert_eq!(call(&client, "show").send().await.status, 200);
    drop(first);
    eventually("a stream is free again", || async { listen(&client).try_open().await.is_ok() })
        .await;
    server.stop().await;
}

#[actix_rt::test]
async fn only_so_many_sessions_are_open_and_of_one_user_fewer() {
    let server = Server::guarded(&["--mcp-sessions-max", "3", "--mcp-sessions-per-user-max", "2"]);
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let of = |user: &User| server.client().with_token(&user.token);
    let first = Session::begin(&of(&ann)).await;
    let _second = Session::begin(&of(&ann)).await;
    assert_overloaded(&Session::try_begin(&of(&ann)).await);
    let _third = Session::begin(&of(&bob)).await;
    assert_overloaded(&Session::try_begin(&of(&bob)).await);
    assert_eq!(first.ask(Method::DELETE).send().await.status, 204);
    Session::begin(&of(&ann)).await;
    server.stop().await;
}

#[actix_rt::test]
async fn a_session_nobody_uses_ends() {
    let server = Server::open(&["--mcp-session-idle", "100ms", "--mcp-sessions-max", "1"]);
    let session = Session::begin(&server.client()).await;
    eventually("there is room for another session", || async {
        Session::try_begin(&server.client()).await.status == 200
    })
    .await;
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    assert_error(&session.post(&ping).send().await, 404, "resource_not_found");
    server.stop().await;
}

#[actix_rt::test]
async fn a_body_beyond_the_limit_is_refused() {
    let server = Server::open(&["--max-request-size", "1000"]);
    let params = json!({ "name": "show", "arguments": { "text": "x".repeat(70_000) } });
    let answer = ask(&server.client(), &modern(1, "tools/call", params)).send().await;
    assert_error(&answer, 413, "request_too_large");
    server.stop().await;
}

#[actix_rt::test]
async fn a_call_ends_at_its_deadline() {
    let mut server = Server::open(&["--mcp-call-timeout", "100ms"]);
    let client = server.client();
    let told = |answer: Value| {
        assert_eq!(answer["error"]["code"], -32603, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("time"), "{answer}");
    };
    told(call(&client, "wait").send().await.json());
    told(call(&client, "wait").header("x-cortex-timeout-ms", "20").send().await.json());
    let session = Session::begin(&client).await;
    told(next(&mut session.call(2, "wait").await).await.unwrap());
    server.until_waiting(0).await;
    server.stop().await;
}
