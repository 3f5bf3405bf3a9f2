//! An upstream of 2024-11-05: one stream of events, and a place to post to.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use cortex::{
    backplane::upstream::{Kind, Upstream, Upstreams},
    contract::upstream::{Credential, Remote, Share, Transport, UpstreamSpec},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::upstream_peer::{call, quick, tool, upstreams};
use crate::harness::within;

type Streams = Arc<Mutex<Vec<mpsc::UnboundedSender<Bytes>>>>;

/// A server of that era: how many streams were opened is the number of its sessions.
struct Old {
    url: String,
    streams: Streams,
}

async fn open(streams: web::Data<Streams>, place: web::Data<String>) -> HttpResponse {
    let (to, from) = mpsc::unbounded_channel();
    let number = {
        let mut streams = streams.lock().unwrap();
        streams.push(to.clone());
        streams.len() - 1
    };
    let first = format!("event: endpoint\ndata: {}?n={number}\n\n", place.as_str());
    to.send(first.into()).unwrap();
    let events = futures_util::stream::unfold(from, |mut from| async move {
        Some((Ok::<_, Infallible>(from.recv().await?), from))
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(events)
}

async fn post(
    request: HttpRequest,
    body: web::Json<Value>,
    streams: web::Data<Streams>,
) -> HttpResponse {
    let number: usize = request.query_string().trim_start_matches("n=").parse().unwrap();
    let result = match body["method"].as_str().unwrap_or_default() {
        "initialize" => json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}}),
        "tools/list" => json!({"tools": [{"name": "t"}]}),
        "tools/call" if body["params"]["name"] == "cut" => {
            let closed = mpsc::unbounded_channel().0;
            streams.lock().unwrap()[number] = closed;
            return HttpResponse::Accepted().finish();
        }
        "tools/call" => json!({"content": [], "session": number}),
        _ => return HttpResponse::Accepted().finish(),
    };
    let answer = json!({"jsonrpc": "2.0", "id": body["id"], "result": result});
    let event = format!("event: message\ndata: {answer}\n\n");
    streams.lock().unwrap()[number].send(event.into()).unwrap();
    HttpResponse::Accepted().finish()
}

fn old(place: &str) -> Old {
    let streams = Streams::default();
    let (shared, place) = (streams.clone(), place.to_owned());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(shared.clone()))
            .app_data(web::Data::new(place.clone()))
            .route("/sse", web::get().to(open))
            .route("/post", web::post().to(post))
    })
    .workers(1)
    .h1_allow_half_closed(false)
    .disable_signals()
    .bind("127.0.0.1:0")
    .unwrap();
    let url = format!("http://{}/sse", server.addrs()[0]);
    actix_rt::spawn(server.run());
    Old { url, streams }
}

fn reached(all: &Upstreams, server: &Old) -> Upstream {
    let transport = Transport::Sse(Remote {
        url: server.url.clone(),
        headers: Default::default(),
        credential: Credential::None,
        share: Share::Shared,
    });
    all.put(UpstreamSpec { name: "old".to_owned(), prefix: None, transport, limits: quick() })
        .unwrap()
}

#[actix_rt::test]
async fn it_is_met_asked_and_opened_again_when_its_stream_ends() {
    let server = old("/post");
    let all = upstreams();
    let upstream = reached(&all, &server);
    assert_eq!(upstream.list(Kind::Tools, &call()).await.unwrap().items.len(), 1);
    assert_eq!(upstream.peer().unwrap().version, "2024-11-05");
    let raw = upstream.call_tool(tool("t"), &call()).await.unwrap();
    assert!(raw.get().contains("\"session\":0"), "{raw}");
    let broken = within("an end", upstream.call_tool(tool("cut"), &call())).await.unwrap_err();
    assert!(broken.to_string().contains("broke"), "{broken}");
    let raw = upstream.call_tool(tool("t"), &call()).await.unwrap();
    assert!(raw.get().contains("\"session\":1"), "{raw}");
    all.remove("old");
    drop(upstream);
    let closed = || async { server.streams.lock().unwrap()[1].is_closed() };
    crate::harness::eventually("its stream is closed", closed).await;
}

#[actix_rt::test]
async fn it_cannot_have_our_messages_sent_elsewhere() {
    let server = old("http://127.0.0.2:9/post");
    let all = upstreams();
    let failure = reached(&all, &server).meet(&call()).await.unwrap_err();
    assert!(failure.to_string().contains("not on its own origin"), "{failure}");
}
