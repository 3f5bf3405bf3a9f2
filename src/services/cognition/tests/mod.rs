//! Cognition as its callers see it, with an index on disk, and a real socket where memory is, or
//! nothing there.

mod seen;

use std::{collections::BTreeMap, sync::Arc};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use clap::Parser;
use serde_json::{Map, json};

use super::*;
use crate::{
    backplane::{
        client::ClientsShared,
        config::{Calls, Index as IndexSettings, Services, Understanding},
        discovery::{Discovery, DiscoveryActor, Register, Source},
        host::{Asked, Content},
        token::Tokens,
        vitals::House,
    },
    contract::cognition::{MEMORY_ERROR, MEMORY_UNAVAILABLE},
};

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    calls: Calls,
    #[command(flatten)]
    services: Services,
    #[command(flatten)]
    index: IndexSettings,
    #[command(flatten)]
    understanding: Understanding,
}

/// Cognition with a memory that knows the answers to some paths.
struct Rig {
    host: Host,
    metrics: Metrics,
    memory: Option<ServerHandle>,
    index: Index,
    _discovery: Discovery,
    _data: tempfile::TempDir,
}

impl Rig {
    /// `answers` by path and query below `/resource/`; any other path is not found.
    async fn with(answers: &[(&str, u16, Value)]) -> Rig {
        let answers: BTreeMap<String, (u16, Value)> = answers
            .iter()
            .map(|(path, status, body)| (format!("/resource/{path}"), (*status, body.clone())))
            .collect();
        let server = HttpServer::new(move || {
            let answers = answers.clone();
            let answer = move |request: HttpRequest| {
                let known = answers.get(&request.uri().to_string());
                let (status, body) = known.cloned().unwrap_or((404, json!({})));
                let status = actix_web::http::StatusCode::from_u16(status).unwrap();
                async move { HttpResponse::build(status).json(body) }
            };
            App::new()
                .route("/health", web::get().to(HttpResponse::Ok))
                .default_service(web::to(answer))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let running = server.run();
        let handle = running.handle();
        actix_rt::spawn(running);
        Rig::at(url, Some(handle)).await
    }

    /// Nothing listens where memory should be.
    async fn without_memory() -> Rig {
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        drop(socket);
        Rig::at(url, None).await
    }

    async fn at(url: String, memory: Option<ServerHandle>) -> Rig {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().display().to_string();
        let arguments =
            ["test", "--max-retries", "0", "--data-dir", &folder, "--index-wait-max", "0.05"];
        let Settings { calls, services, index, understanding } = Settings::parse_from(arguments);
        let (house, metrics, calls) = (House::new(), Metrics::new("cognition"), Arc::new(calls));
        let index = Index::open(&index, &metrics).unwrap();
        let discovery = DiscoveryActor::start(&house, &metrics, &calls, &services);
        let register =
            Register { service: "memory".to_owned(), urls: vec![url], source: Source::Runtime };
        discovery.register.ask(register).await.unwrap();
        let shared = ClientsShared {
            house,
            directory: discovery.directory.clone(),
            settings: calls,
            metrics: metrics.clone(),
            tokens: Tokens::new("a secret of thirty-two bytes or more"),
            own_name: "cognition",
        };
        let clients = Clients::new(shared, "test".to_owned());
        let cognition = Cognition::new(clients, index.clone(), metrics.clone(), understanding);
        Rig {
            host: Rc::new(cognition).host(),
            metrics,
            memory,
            index,
            _discovery: discovery,
            _data: data,
        }
    }

    /// Has this in the index, as the follower would bring it.
    async fn indexed(self, entries: Vec<(i64, Value)>) -> Rig {
        let batch: Vec<(i64, String)> =
            entries.iter().map(|(seq, entry)| (*seq, entry.to_string())).collect();
        let upto = batch.last().unwrap().0;
        self.index.apply_written(Arc::new(batch), upto).await.unwrap();
        self
    }

    async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        let arguments: Map<String, Value> = arguments.as_object().unwrap().clone();
        self.host.call(tool, user(), arguments).await
    }

    async fn read(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Failure> {
        self.read_as(user(), path, query).await
    }

    async fn read_as(
        &self,
        caller: Principal,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<Value>, Failure> {
        let query =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let asked = Asked { query, ..Asked::default() };
        match self.host.read(path, caller, asked).await? {
            Content::Items(items) => Ok(items),
            Content::Live(_) => panic!("cognition has no live resources"),
        }
    }

    async fn end(self) {
        if let Some(memory) = self.memory {
            memory.stop(false).await;
        }
    }
}

fn user() -> Principal {
    Principal::User { id: "u".to_owned(), name: String::new(), email: String::new() }
}

fn item(seq: i64, conversation: &str, content: &str) -> Value {
    json!({
        "seq": seq, "id": seq.to_string(), "user_id": "u", "sender_id": "ann",
        "conversation_id": conversation, "content": content,
        "timestamp": format!("2026-01-01T00:{seq:02}:00Z"),
    })
}

/// What was said, in the index.
fn said() -> Vec<(i64, Value)> {
    vec![
        (1, json!({"stored": item(1, "c", "old kite")})),
        (2, json!({"stored": item(2, "c", "red kite, mail a@b.org")})),
        (3, json!({"stored": item(3, "d", "lunch")})),
    ]
}

/// A memory that has come to this number.
fn head(seq: i64) -> Vec<(&'static str, u16, Value)> {
    vec![("log/head", 200, json!([{ "seq": seq }]))]
}

fn ids(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[actix::test]
async fn tools_answer_from_what_the_index_holds() {
    let rig = Rig::with(&head(3)).await.indexed(said()).await;
    let reply = rig.call("get_context", json!({"query": "lunch"})).await.unwrap();
    assert_eq!(ids(&reply["context"])[0], "3");
    assert_eq!(reply["context"][0]["reasons"]["terms"], json!(["lunch"]));
    assert_eq!((&reply["index_seq"], reply.get("error")), (&json!(3), None));
    let asked = json!({"query": "kite", "conversation_id": "c", "limit": 2});
    let reply = rig.call("get_context", asked).await.unwrap();
    let mut found = ids(&reply["relevant_items"]);
    found.sort_unstable();
    assert_eq!(found, ["1", "2"]);
    let text = rig.metrics.render(&House::new());
    assert!(text.contains("context_generation_total 2"), "{text}");

    let asked = json!({"conversation_id": "c", "analysis_type": "summary"});
    let reply = rig.call("analyze_conversation", asked).await.unwrap();
    assert_eq!(reply["results"]["message_count"], json!(2));
    let reply = rig.call("search_history", json!({"query": "lunch"})).await.unwrap();
    assert_eq!(ids(&reply["results"]), ["3"]);
    assert_eq!(reply["results"][0]["_conversation_data"]["message_count"], json!(1));
    let reply = rig.call("summarize_history", json!({})).await.unwrap();
    assert_eq!(reply["summary"]["time_span"], json!("2 minutes"));
    let reply = rig.call("summarize_history", json!({"conversation_id": "c"})).await.unwrap();
    assert_eq!(reply["summary"]["key_points"][0], json!("old kite"));
    rig.end().await;
}

#[actix::test]
async fn resources_list_the_same_as_typed_objects() {
    let rig = Rig::with(&head(3)).await.indexed(said()).await;
    let query = [("query", "lunch"), ("limit", "1"), ("user_id", "u")];
    let entries = rig.read("context/u", &query).await.unwrap();
    let types: Vec<&Value> = entries.iter().map(|entry| &entry["type"]).collect();
    assert_eq!(types, ["metadata", "summary", "entities", "item"]);
    assert_eq!(entries[0]["query"], json!("lunch"));
    assert_eq!(entries[3]["content"], json!("lunch"));
    assert_eq!(entries[3]["data"]["reasons"]["signals"], json!(["terms"]));

    let entries = rig.read("context/u/query/red%20kite", &[]).await.unwrap();
    assert_eq!(entries[3]["id"], json!("2"));
    let entries = rig.read("context/u/conversation/c", &[]).await.unwrap();
    assert_eq!(entries[0]["conversation_id"], json!("c"));
    assert_eq!(entries[0]["count"], json!(3));
    let only = [("conversation_only", "true"), ("min_seq", "3")];
    let entries = rig.read("context/u/conversation/c", &only).await.unwrap();
    assert_eq!(entries[0]["count"], json!(2));
    let entries = rig.read("conversation_analysis/c/topics", &[]).await.unwrap();
    assert_eq!(entries[0]["results"]["keywords"][0]["word"], json!("kite"));
    for path in ["entities/u", "entities/u/conversation/c"] {
        let email = json!([{"type": "email", "value": "a@b.org"}]);
        let group = json!({"type": "entity_group", "entity_type": "email", "entities": email});
        assert_eq!(rig.read(path, &[]).await.unwrap(), [group], "{path}");
    }
    rig.end().await;
}

#[actix::test]
async fn without_memory_every_answer_is_of_the_index_and_says_why() {
    let rig = Rig::without_memory().await.indexed(said()).await;
    let asked = json!({"query": "kite", "conversation_id": "c"});
    for (tool, told) in [
        ("get_context", ("count", json!(3))),
        ("analyze_conversation", ("message_count", json!(2))),
        ("search_history", ("count", json!(2))),
        ("summarize_history", ("user_id", json!("u"))),
    ] {
        let reply = rig.call(tool, asked.clone()).await.unwrap();
        assert_eq!(reply["error"], json!(MEMORY_UNAVAILABLE), "{tool}");
        assert!(reply["error_detail"].is_string(), "{tool}");
        assert_eq!(reply[told.0], told.1, "{tool}");
    }
    let entries = rig.read("context/u", &[]).await.unwrap();
    assert_eq!(entries[1]["type"], json!("error"));
    let entries = rig.read("entities/u", &[]).await.unwrap();
    assert_eq!(entries[0]["error"], json!(MEMORY_UNAVAILABLE));
    assert_eq!(entries[1]["entity_type"], json!("email"));
    let entries = rig.read("conversation_analysis/c/summary", &[]).await.unwrap();
    assert_eq!(entries[0]["error"], json!(MEMORY_UNAVAILABLE));
    let found = rig.call("extract_entities", json!({"content": "at 10:30"})).await.unwrap();
    let time = json!({"time": [{"type": "time", "value": "10:30"}]});
    assert_eq!(found, json!({"user_id": "u", "content": "at 10:30", "entities": time}));
    // Who has to have seen no more than the index has need not ask memory.
    let seen = rig.call("get_context", json!({"query": "kite", "min_seq": 3})).await.unwrap();
    assert_eq!(seen.get("error"), None);
}

#[actix::test]
async fn what_memory_refuses_is_the_callers_and_what_it_breaks_is_not() {
    let refusal = json!({"error": {"code": "permission_denied", "message": "no"}});
    let rig = Rig::with(&[("log/head", 403, refusal)]).await;
    let refused = rig.call("get_context", json!({})).await.unwrap_err();
    assert_eq!(refused.kind, Kind::PermissionDenied);
    rig.end().await;
    let rig = Rig::with(&[]).await;
    let asked = json!({"conversation_id": "unheard of"});
    let reply = rig.call("analyze_conversation", asked).await.unwrap();
    assert_eq!(reply["error"], json!(MEMORY_ERROR), "a path memory does not have");
    rig.end().await;
}

#[actix::test]
async fn what_is_asked_wrongly_is_refused_before_memory_is_asked() {
    let rig = Rig::without_memory().await;
    for (tool, arguments, kind) in [
        ("get_context", json!({"user_id": "v"}), Kind::PermissionDenied),
        ("get_context", json!({"limit": "ten"}), Kind::Validation),
        ("get_context", json!({"max_tokens": 0}), Kind::Validation),
        ("get_context", json!({"from": "soon"}), Kind::Validation),
        ("get_context", json!({"metadata": {"a": [1]}}), Kind::Validation),
        ("get_context", json!({"conversation_only": true}), Kind::Validation),
        ("reindex", json!({}), Kind::PermissionDenied),
        ("analyze_conversation", json!({}), Kind::Validation),
        ("search_history", json!({"query": " "}), Kind::Validation),
        ("summarize_history", json!({"user_id": "v"}), Kind::PermissionDenied),
        ("extract_entities", json!({}), Kind::Validation),
    ] {
        let refused = rig.call(tool, arguments).await.unwrap_err();
        assert_eq!(refused.kind, kind, "{tool}");
    }
    for (path, query, kind) in [
        ("context/v", ("limit", "1"), Kind::PermissionDenied),
        ("context/u", ("user_id", "v"), Kind::InvalidParameter),
        ("context/u", ("limit", "ten"), Kind::InvalidParameter),
        ("context/u", ("recency_weight", "NaN"), Kind::InvalidParameter),
        ("entities/v", ("limit", "1"), Kind::PermissionDenied),
        ("conversation_analysis/c/topics", ("user_id", "v"), Kind::PermissionDenied),
    ] {
        let refused = rig.read(path, &[query]).await.unwrap_err();
        assert_eq!(refused.kind, kind, "{path} {query:?}");
    }
    let service = Principal::Service { name: "s".into() };
    let refused = rig.read_as(service, "conversation_analysis/c/topics", &[]).await;
    assert_eq!(refused.unwrap_err().kind, Kind::MissingParameter);
}
