//! Clients of either era before the gateway: they ask, hear what is told meanwhile, and answer what
//! they are asked.

use std::cell::Cell;

use actix_web::http::Method;
use serde_json::{Value, json};

use super::server::{LEGACY, MODERN, next};
use crate::harness::{Client, client::Question, events::Events};

/// What a client can be asked, where it can be asked anything.
pub(super) fn able() -> Value {
    json!({"elicitation": {}, "sampling": {}, "roots": {}})
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    Modern,
    Legacy,
}

pub(super) const ERAS: [Era; 2] = [Era::Modern, Era::Legacy];

/// One client.
pub(super) struct Guest {
    client: Client,
    pub(super) era: Era,
    pub(super) session: Option<String>,
    abilities: Value,
    last: Cell<u64>,
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct Told {
    /// What was told before the answer.
    pub(super) notices: Vec<Value>,
    /// What was asked before the answer: method and parameters.
    pub(super) questions: Vec<Value>,
    pub(super) answer: Value,
}

impl Told {
    #[track_caller]
    pub(super) fn result(&self) -> &Value {
        assert!(self.answer["result"].is_object(), "{self:?}");
        &self.answer["result"]
    }

    /// The first text of a tool's result.
    #[track_caller]
    pub(super) fn text(&self) -> &str {
        self.result()["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{self:?}"))
    }
}

impl Guest {
    /// A client that cannot be asked anything.
    pub(super) async fn of(client: Client, era: Era) -> Self {
        Guest::able_to(client, era, json!({})).await
    }

    pub(super) async fn able_to(client: Client, era: Era, abilities: Value) -> Self {
        let mut guest = Guest { client, era, session: None, abilities, last: Cell::new(0) };
        if era == Era::Legacy {
            let params = json!({"protocolVersion": LEGACY, "capabilities": guest.abilities,
                "clientInfo": {"name": "guest", "version": "1"}});
            let hello =
                json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
            let answer = guest.posting(&hello).send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            guest.session = Some(answer.header("mcp-session-id").unwrap().to_owned());
            guest.notify("notifications/initialized", json!({})).await;
        }
        guest
    }

    fn posting(&self, message: &Value) -> Question {
        let question = self
            .client
            .ask(Method::POST, "/mcp")
            .header("accept", "application/json, text/event-stream");
        self.headed(question, message).json(message)
    }

    fn headed(&self, question: Question, message: &Value) -> Question {
        let Some(session) = &self.session else {
            if self.era == Era::Legacy {
                return question;
            }
            let question = question
                .header("mcp-protocol-version", MODERN)
                .header("mcp-method", message["method"].as_str().unwrap());
            let name = message["params"]["name"].as_str().or(message["params"]["uri"].as_str());
            return match name {
                Some(name) => question.header("mcp-name", name),
                None => question,
            };
        };
        question.header("mcp-protocol-version", LEGACY).header("mcp-session-id", session)
    }

    async fn notify(&self, method: &str, params: Value) {
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        assert_eq!(self.posting(&message).send().await.status, 202);
    }

    /// The message of a request as this client sends it.
    fn message(&self, method: &str, mut params: Value) -> Value {
        let id = self.last.get() + 1;
        self.last.set(id);
        if self.era == Era::Modern {
            let meta = params.as_object_mut().unwrap().entry("_meta").or_insert_with(|| json!({}));
            meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
            meta["io.modelcontextprotocol/clientCapabilities"] = self.abilities.clone();
        }
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    /// One request and its answer; what a client with a session is asked meanwhile is answered.
    pub(super) async fn once(&self, method: &str, params: Value) -> Told {
        let message = self.message(method, params);
        let (answer, events) = self.posting(&message).open().await;
        let mut told = Told { notices: vec![], questions: vec![], answer: Value::Null };
        let Some(mut events) = events else {
            told.answer = answer.json();
            return told;
        };
        loop {
            let heard = next(&mut events).await;
            let heard = heard.unwrap_or_else(|| panic!("no answer to {message}: {told:?}"));
            if heard.get("method").is_none() {
                assert_eq!(heard["id"], message["id"]);
                told.answer = heard;
                return told;
            }
            if heard.get("id").is_none() {
                told.notices.push(heard);
                continue;
            }
            let result = reply(&heard);
            let reply = json!({"jsonrpc": "2.0", "id": heard["id"], "result": result});
            told.questions.push(heard);
            assert_eq!(self.posting(&reply).send().await.status, 202);
        }
    }

    /// A request with all its rounds of questions.
    pub(super) async fn ask(&self, method: &str, params: Value) -> Told {
        let mut told = self.once(method, params.clone()).await;
        while told.answer["result"]["resultType"] == "input_required" {
            let mut params = params.clone();
            let required = told.answer["result"].clone();
            params["inputResponses"] = json!({});
            for (key, question) in required["inputRequests"].as_object().unwrap() {
                params["inputResponses"][key] = reply(question);
                told.questions.push(question.clone());
            }
            if !required["requestState"].is_null() {
                params["requestState"] = required["requestState"].clone();
            }
            let more = self.once(method, params).await;
            assert!(told.questions.len() < 20, "{method} asks without end: {more:?}");
            told.notices.extend(more.notices);
            told.answer = more.answer;
        }
        told
    }

    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Told {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// The names in a list, all pages.
    pub(super) async fn names(&self, method: &str, field: &str, name: &str) -> Vec<String> {
        let (mut names, mut params) = (Vec::new(), json!({}));
        loop {
            let page = self.ask(method, params).await;
            let page = page.result();
            let entries = page[field].as_array().unwrap().iter();
            names.extend(entries.map(|entry| entry[name].as_str().unwrap().to_owned()));
            let Some(next) = page["nextCursor"].as_str() else { return names };
            params = json!({"cursor": next});
        }
    }

    pub(super) async fn tools(&self) -> Vec<String> {
        self.names("tools/list", "tools", "name").await
    }

    /// Hears what is told of lists, and of these resources.
    pub(super) async fn listen(&self, uris: &[&str]) -> Events {
        if self.era == Era::Legacy {
            for uri in uris {
                self.ask("resources/subscribe", json!({"uri": uri})).await.result();
            }
            let question =
                self.client.ask(Method::GET, "/mcp").header("accept", "text/event-stream");
            return self.headed(question, &Value::Null).try_open().await.unwrap();
        }
        let wanted = json!({"toolsListChanged": true, "promptsListChanged": true,
            "resourcesListChanged": true, "resourceSubscriptions": uris});
        let message = self.message("subscriptions/listen", json!({"notifications": wanted}));
        let mut events = self.posting(&message).try_open().await.unwrap();
        let first = next(&mut events).await.unwrap();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
        events
    }
}

/// The method of the next notice.
pub(super) async fn notice(events: &mut Events) -> String {
    next(events).await.unwrap()["method"].as_str().unwrap().to_owned()
}

/// What a client says when it is asked.
fn reply(question: &Value) -> Value {
    match question["method"].as_str().unwrap() {
        "elicitation/create" => json!({"action": "accept", "content":
            {"username": "ann", "email": "ann@example.org", "name": "Ann", "color": "blue", "context": "here", "ok": true}}),
        "sampling/createMessage" => json!({"role": "assistant", "model": "m",
            "content": {"type": "text", "text": "Paris"}}),
        "roots/list" => json!({"roots": [{"uri": "file:///home", "name": "home"}]}),
        other => panic!("asked {other}"),
    }
}
