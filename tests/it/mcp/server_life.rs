//! How work ends: with its answer, its client, its cancellation, its panic, or the process.

use actix_web::http::Method;
use serde_json::json;

use super::server::{Server, Session, ask, call, modern, next};
use crate::harness::within;

#[actix_rt::test]
async fn a_client_of_2026_07_28_that_goes_cancels_its_call() {
    let mut server = Server::open(&[]);
    for tool in ["wait", "report"] {
        let client = server.client();
        let working = actix_rt::spawn(async move {
            let mut events = call(&client, tool).try_open().await.unwrap();
            while next(&mut events).await.is_some() {}
        });
        server.until_waiting(1).await;
        working.abort();
        server.until_waiting(0).await;
    }
    server.stop().await;
}

#[actix_rt::test]
async fn in_a_session_going_is_not_cancelling_but_saying_so_is() {
    let mut server = Server::open(&[]);
    let session = Session::begin(&server.client()).await;
    let kept = session.call(2, "wait").await;
    let mut answers = session.call(3, "wait").await;
    server.until_waiting(2).await;
    drop(kept);
    let cancel = |id: u64| {
        let params = json!({ "requestId": id, "reason": "enough" });
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })
    };
    assert_eq!(session.post(&cancel(3)).send().await.status, 202);
    server.until_waiting(1).await;
    assert_eq!(next(&mut answers).await, None, "what was cancelled has no answer");
    assert_eq!(session.post(&cancel(2)).send().await.status, 202);
    server.until_waiting(0).await;
    server.stop().await;
}

#[actix_rt::test]
async fn a_session_that_ends_takes_its_work_with_it() {
    let mut server = Server::open(&[]);
    let session = Session::begin(&server.client()).await;
    let mut answers = session.call(2, "wait").await;
    server.until_waiting(1).await;
    assert_eq!(session.ask(Method::DELETE).send().await.status, 204);
    assert_eq!(next(&mut answers).await, None);
    server.until_waiting(0).await;
    server.stop().await;
}

#[actix_rt::test]
async fn a_panic_costs_its_own_call() {
    let server = Server::open(&[]);
    let fallen = call(&server.client(), "fall").send().await;
    assert_eq!(fallen.json()["error"]["code"], -32603, "{}", fallen.text());
    let session = Session::begin(&server.client()).await;
    let fallen = next(&mut session.call(2, "fall").await).await.unwrap();
    assert_eq!(fallen["error"]["code"], -32603);
    assert!(next(&mut session.call(3, "show").await).await.unwrap()["result"].is_object());
    server.stop().await;
}

#[actix_rt::test]
async fn a_process_that_leaves_ends_streams_in_order_and_finishes_calls() {
    let mut server = Server::open(&["--mcp-call-timeout", "300ms"]);
    let client = server.client();
    let session = Session::begin(&client).await;
    let mut stream = session.ask(Method::GET).try_open().await.unwrap();
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    let listening = ask(&client, &modern(5, "subscriptions/listen", wanted));
    let mut listening = listening.try_open().await.unwrap();
    let first = next(&mut listening).await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let call = call(&client, "wait");
    let working = actix_rt::spawn(async move { call.send().await });
    server.until_waiting(1).await;
    let left = server.leave();
    assert_eq!(next(&mut listening).await.unwrap()["id"], 5);
    assert_eq!(next(&mut listening).await, None);
    assert_eq!(next(&mut stream).await, None);
    // The call still gets its answer, which is that its time is up.
    assert_eq!(working.await.unwrap().json()["error"]["code"], -32603);
    within("the server leaves", left).await.unwrap().unwrap();
}
