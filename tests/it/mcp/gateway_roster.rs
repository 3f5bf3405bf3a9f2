//! Upstreams that come and go while core runs, who may use what, and looking for tools.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::{
    gateway_guest::{ERAS, Era, Guest},
    gateway_stage::{Stage, peer},
    upstream_peer::{Peer, modern},
};
use crate::harness::{API_KEY, Answer, Cluster, User, eventually};

/// One with a tool of this name.
async fn with_tool(tool: &'static str) -> Peer {
    Peer::start(modern("tools/list", move |_| {
        let tools = json!([{"name": tool, "inputSchema": {"type": "object"}}]);
        super::upstream_peer::Say::Result(json!({ "tools": tools }))
    }))
    .await
}

async fn administer(cluster: &Cluster, method: Method, path: &str, body: &Value) -> Answer {
    let question = cluster.core.anonymous().ask(method, path).header("x-api-key", API_KEY);
    question.json(body).send().await
}

async fn upstream_tools(guest: &Guest) -> Vec<String> {
    let ours = ["core__", "memory__", "cognition__"];
    let names = guest.tools().await.into_iter();
    names.filter(|name| !ours.iter().any(|ours| name.starts_with(ours))).collect()
}

#[actix_rt::test]
async fn upstreams_are_added_replaced_and_removed_by_request_and_kept_over_a_restart() {
    let mut cluster = Cluster::start().await;
    let ann = User::new("ann");
    let guest = Guest::of(cluster.core.of(&ann), Era::Modern).await;
    let (one, two) = (with_tool("one").await, with_tool("two").await);
    let document = |peer: &Peer| json!({"mcpServers": {"up": {"url": peer.url()}}});
    for (peer, tool) in [(&one, "up__one"), (&two, "up__two")] {
        let added = administer(&cluster, Method::POST, "/upstreams", &document(peer)).await.ok();
        assert_eq!(added["upstreams"], json!(["up"]));
        assert_eq!(upstream_tools(&guest).await, [tool], "in the very next list");
    }
    let listed = administer(&cluster, Method::GET, "/upstreams", &Value::Null).await.ok();
    assert_eq!(listed["upstreams"][0]["name"], "up");
    let tested = administer(&cluster, Method::POST, "/upstreams/up/test", &Value::Null).await.ok();
    assert_eq!(tested["offers"]["tools"], 1);
    cluster.core.stop().await;
    cluster.core.start();
    cluster.until_followed().await;
    assert_eq!(upstream_tools(&guest).await, ["up__two"], "kept over a restart");
    administer(&cluster, Method::DELETE, "/upstreams/up", &Value::Null).await.ok();
    assert!(upstream_tools(&guest).await.is_empty());
    let gone = guest.call("up__two", json!({})).await;
    assert_eq!(gone.answer["error"]["code"], -32602);
    let again = administer(&cluster, Method::DELETE, "/upstreams/up", &Value::Null).await;
    assert_eq!(again.status, 404);
    cluster.stop().await;
}

#[actix_rt::test]
async fn what_cannot_be_an_upstream_is_refused_and_not_kept() {
    let mut cluster = Cluster::start().await;
    for entry in [
        json!({"memory": {"url": "http://127.0.0.1:9/mcp"}}),
        json!({"core": {"url": "http://127.0.0.1:9/mcp"}}),
        json!({"up": {"url": "http://127.0.0.1:9/mcp", "prefix": "cognition"}}),
        json!({"up": {"url": "ftp://127.0.0.1/"}}),
        json!({"up": {"url": "http://"}}),
        json!({"up": {"url": "http://127.0.0.1:9/", "headers": {"X-A": "a\nb"}}}),
        json!({"up": {"url": "http://127.0.0.1:9/", "headers": {"no name": "a"}}}),
        json!({}),
    ] {
        let document = json!({ "mcpServers": entry });
        let refused = administer(&cluster, Method::POST, "/upstreams", &document).await;
        assert_eq!(refused.status, 422, "{document}: {}", refused.text());
    }
    let listed = administer(&cluster, Method::GET, "/upstreams", &Value::Null).await.ok();
    assert_eq!(listed["upstreams"], json!([]));
    let by_user = cluster.core.of(&User::new("ann")).get("/upstreams").await;
    assert_eq!(by_user.status, 403);
    // It starts again: nothing of that was kept.
    cluster.core.stop().await;
    cluster.core.start();
    cluster.until_followed().await;
    cluster.stop().await;
}

#[actix_rt::test]
async fn a_changed_file_is_read_without_a_restart_and_a_broken_one_changes_nothing() {
    let (one, two) = (with_tool("one").await, with_tool("two").await);
    let config = |entries: Value| json!({ "upstreams": entries });
    let stage = Stage::start(config(json!({"a": {"url": one.url()}}))).await;
    let guest = stage.guest(Era::Modern).await;
    assert_eq!(upstream_tools(&guest).await, ["a__one"]);
    stage.configure(&json!({"upstreams": {"a": {"url": "nonsense"}}}));
    stage.configure(&config(json!({"b": {"url": two.url()}, "a": {"url": one.url()}})));
    let has = |expected: &'static [&'static str]| {
        let guest = &guest;
        eventually(
            "the file is read",
            move || async move { upstream_tools(guest).await == expected },
        )
    };
    has(&["a__one", "b__two"]).await;
    let taken = json!({"mcpServers": {"a": {"url": two.url()}}});
    let taken = administer(&stage.cluster, Method::POST, "/upstreams", &taken).await;
    assert_eq!(taken.status, 409, "the file has the last word: {}", taken.text());
    stage.configure(&config(json!({"a": {"url": two.url()}})));
    has(&["a__two"]).await;
    stage.configure(&config(json!({})));
    has(&[]).await;
    stage.stop().await;
}

#[actix_rt::test]
async fn what_somebody_may_not_use_is_neither_listed_nor_found_nor_called() {
    let peer = peer().await;
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let rule = |principals: Value, things: Value, allow: bool| json!({"principals": principals, "upstreams": ["up"], "tools": things, "allow": allow});
    let config = json!({"upstreams": {"up": {"url": peer.url()}}, "access": [
        rule(json!([ann.id]), json!(["change"]), false),
        rule(json!(["*"]), json!(["*"]), true),
        {"upstreams": ["core", "memory"]},
    ]});
    let search = ["--gateway-tool-search", "on"];
    for settings in [&[][..], &search[..]] {
        let stage = Stage::start_with(config.clone(), settings).await;
        for era in ERAS {
            let guest = Guest::of(stage.cluster.core.of(&ann), era).await;
            let other = Guest::of(stage.cluster.core.of(&bob), era).await;
            let before = peer.count("tools/call");
            let refused = guest.call("up__change", json!({})).await;
            assert_eq!(refused.answer["error"]["code"], -32602, "{refused:?}");
            if settings.is_empty() {
                assert_eq!(upstream_tools(&guest).await, ["up__look"]);
                assert_eq!(upstream_tools(&other).await, ["up__change", "up__look"]);
                let names = guest.tools().await;
                assert!(!names.iter().any(|name| name.starts_with("cognition__")), "no rule fits");
            } else {
                let called = json!({"name": "up__change", "arguments": {}});
                let refused = guest.call("call_tool", called).await;
                assert_eq!(refused.answer["error"]["code"], -32602, "{refused:?}");
                let found = guest.call("search_tools", json!({"query": "change"})).await;
                assert!(!found.text().contains("up__change"), "{found:?}");
                let found = other.call("search_tools", json!({"query": "change"})).await;
                assert!(found.text().contains("up__change"), "{found:?}");
            }
            assert_eq!(peer.count("tools/call"), before);
            other.call("up__change", json!({})).await.result();
            assert_eq!(peer.count("tools/call"), before + 1);
        }
        stage.stop().await;
    }
}

#[actix_rt::test]
async fn a_large_catalogue_is_searched_and_what_is_found_is_called() {
    let peer = peer().await;
    let config = json!({"upstreams": {"up": {"url": peer.url()}}});
    let stage = Stage::start_with(
        config,
        &["--gateway-tool-search", "auto", "--gateway-tools-listed-max", "5"],
    )
    .await;
    for era in ERAS {
        let guest = stage.guest(era).await;
        // Nothing was listed before: it must be known all the same that there are many.
        let called = json!({"name": "up__look", "arguments": {"a": 1}});
        guest.call("call_tool", called).await.result();
        let last = peer.seen().into_iter().rfind(|asked| asked.method() == "tools/call").unwrap();
        assert_eq!(last.body["params"]["name"], "look");
        assert_eq!(last.body["params"]["arguments"], json!({"a": 1}));
        assert_eq!(guest.tools().await, ["call_tool", "search_tools"]);
        let asked = json!({"query": "store what a user said as an input", "limit": 3});
        let found = guest.call("search_tools", asked).await;
        let tools = found.result()["structuredContent"]["tools"].as_array().unwrap();
        assert!(!tools.is_empty() && tools.len() <= 3, "{found:?}");
        assert_eq!(tools[0]["name"], "memory__store_input", "{found:?}");
        assert!(tools[0]["inputSchema"].is_object());
        let empty = guest.call("search_tools", json!({"query": " "})).await;
        assert_eq!(empty.result()["isError"], true);
        let none = guest.call("call_tool", json!({"name": "up__nothing"})).await;
        assert_eq!(none.answer["error"]["code"], -32602);
    }
    stage.stop().await;
}

#[actix_rt::test]
async fn pages_are_whole_together_and_a_strange_mark_is_refused() {
    let peer = peer().await;
    let config = json!({"upstreams": {"up": {"url": peer.url()}}});
    let whole = Stage::start(config.clone()).await;
    let expected = whole.guest(Era::Modern).await.tools().await;
    whole.stop().await;
    let stage = Stage::start_with(config, &["--mcp-page-size", "4"]).await;
    for era in ERAS {
        let guest = stage.guest(era).await;
        assert_eq!(guest.tools().await, expected);
        let first = guest.ask("tools/list", json!({})).await;
        assert_eq!(first.result()["tools"].as_array().unwrap().len(), 4);
        for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
            let strange = guest.ask(method, json!({"cursor": "strange"})).await;
            assert_eq!(strange.answer["error"]["code"], -32602, "{method}: {strange:?}");
        }
    }
    stage.stop().await;
}
