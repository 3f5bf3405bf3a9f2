//! Upstreams of either era behind the gateway, asked by clients of either era.

use serde_json::{Value, json};

use super::{
    gateway_guest::{ERAS, Era, Guest, able},
    gateway_stage::{Fixture, Stage},
    server::next,
};
use crate::harness::User;

/// Runs `check` for a client of each era with an upstream of each era.
async fn each(abilities: Value, check: impl AsyncFn(&Guest, Era)) {
    for upstream in ERAS {
        let fixture = Fixture::start(upstream);
        let stage = Stage::start(json!({"upstreams": {"up": {"url": fixture.url()}}})).await;
        for era in ERAS {
            let client = stage.cluster.core.of(&User::new("ann"));
            check(&Guest::able_to(client, era, abilities.clone()).await, upstream).await;
        }
        stage.stop().await;
        fixture.stop().await;
    }
}

#[actix_rt::test]
async fn results_and_errors_come_through_unharmed() {
    each(json!({}), async |guest: &Guest, upstream| {
        let case = format!("{:?} client, {upstream:?} upstream", guest.era);
        let sum = guest.call("up__add", json!({"a": 1, "b": 2.5})).await;
        assert_eq!(sum.result()["structuredContent"], json!({"sum": 3.5}), "{case}");
        assert_eq!(serde_json::from_str::<Value>(sum.text()).unwrap(), json!({"sum": 3.5}));
        let many = guest.call("up__test_multiple_content_types", json!({})).await;
        let kinds = many.result()["content"].as_array().unwrap().iter();
        let kinds: Vec<&str> = kinds.map(|part| part["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["text", "image", "resource"], "{case}");
        let failed = guest.call("up__test_error_handling", json!({})).await;
        assert_eq!(failed.result()["isError"], true, "{case}");
        assert_eq!(failed.text(), "This tool intentionally returns an error for testing");
        let incapable = guest.call("up__test_missing_capability", json!({})).await;
        let expected = if upstream == Era::Modern { -32021 } else { -32600 };
        if upstream == Era::Modern {
            assert_eq!(incapable.answer["error"]["code"], expected, "{case}: {incapable:?}");
        } else {
            assert!(incapable.answer["error"].is_object(), "{case}: {incapable:?}");
        }
        let unknown = guest.call("up__nothing", json!({})).await;
        assert_eq!(unknown.answer["error"]["code"], -32602, "{case}");
        let read = |uri: &'static str| guest.ask("resources/read", json!({"uri": uri}));
        let text = read("test://static-text").await;
        assert_eq!(text.result()["contents"][0]["mimeType"], "text/plain", "{case}");
        let made = read("test://template/7/data").await;
        assert!(made.result()["contents"][0]["text"].as_str().unwrap().contains("\"7\""), "{case}");
        let none = read("test://none").await;
        assert_eq!(none.answer["error"]["data"]["uri"], "test://none", "{case}: {none:?}");
        let arguments = json!({"arg1": "one", "arg2": "two"});
        let params = json!({"name": "up__test_prompt_with_arguments", "arguments": arguments});
        let prompt = guest.ask("prompts/get", params).await;
        let text = prompt.result()["messages"][0]["content"]["text"].as_str().unwrap();
        assert!(text.contains("one") && text.contains("two"), "{case}: {text}");
        let prompt = json!({"type": "ref/prompt", "name": "up__test_prompt_with_arguments"});
        let argument = json!({"name": "arg1", "value": "par"});
        let typed = json!({"ref": prompt, "argument": argument});
        let completed = guest.ask("completion/complete", typed).await;
        assert!(completed.result()["completion"]["values"].is_array(), "{case}");
        assert_eq!(guest.tools().await.iter().filter(|name| name.starts_with("up__")).count(), 32);
    })
    .await;
}

#[actix_rt::test]
async fn what_is_told_during_a_call_comes_in_order_and_before_its_answer() {
    each(json!({}), async |guest: &Guest, upstream| {
        let case = format!("{:?} client, {upstream:?} upstream", guest.era);
        let params = json!({"name": "up__test_tool_with_progress", "arguments": {},
            "_meta": {"progressToken": "mine"}});
        let told = guest.ask("tools/call", params).await;
        let of = |notice: &Value| {
            (notice["params"]["progressToken"].clone(), notice["params"]["progress"].as_f64())
        };
        let progress: Vec<_> = told.notices.iter().map(of).collect();
        let expected = [0.0, 50.0, 100.0].map(|done| (json!("mine"), Some(done)));
        assert_eq!(progress, expected, "{case}: {told:?}");
        assert_eq!(told.text(), "Done.", "{case}");
        if upstream == Era::Legacy {
            // There, lines of a log are of no request: nobody can say whose they are.
            return;
        }
        let params = json!({"name": "up__test_tool_with_logging", "arguments": {},
            "_meta": {"io.modelcontextprotocol/logLevel": "info"}});
        let mut heard = guest.listen(&[]).await;
        let told = guest.ask("tools/call", params).await;
        let mut lines = told.notices.clone();
        // In a session they come on its own stream.
        while guest.era == Era::Legacy && lines.len() < 3 {
            let line = next(&mut heard).await.unwrap();
            lines.extend((line["method"] == "notifications/message").then_some(line));
        }
        let said: Vec<&Value> = lines.iter().map(|line| &line["params"]["data"]).collect();
        let expected =
            ["Tool execution started", "Tool processing data", "Tool execution completed"];
        assert_eq!(said, expected, "{case}: {told:?}");
    })
    .await;
}

#[actix_rt::test]
async fn questions_reach_the_client_and_its_answers_the_upstream() {
    each(able(), async |guest: &Guest, upstream| {
        let case = format!("{:?} client, {upstream:?} upstream", guest.era);
        let told = guest.call("up__test_elicitation", json!({"message": "who?"})).await;
        assert!(told.text().starts_with("User response: action=accept"), "{case}: {told:?}");
        assert!(told.text().contains("ann@example.org"), "{case}: {told:?}");
        assert_eq!(told.questions.len(), 1, "{case}");
        assert_eq!(told.questions[0]["params"]["message"], "who?", "{case}");
        let told = guest.call("up__test_sampling", json!({"prompt": "?"})).await;
        assert_eq!(told.text(), "LLM response: Paris", "{case}");
        let told = guest.call("up__test_input_required_result_multi_round", json!({})).await;
        assert_eq!((told.text(), told.questions.len()), ("Ann likes blue.", 2), "{case}: {told:?}");
        let told = guest.call("up__test_input_required_result_multiple_inputs", json!({})).await;
        assert!(told.text().starts_with("state-ok"), "{case}: {told:?}");
        assert_eq!(told.questions.len(), 3, "{case}");
        let params = json!({"name": "up__test_input_required_result_prompt"});
        let told = guest.ask("prompts/get", params).await;
        assert!(told.result()["messages"].is_array(), "{case}: {told:?}");
        assert_eq!(told.questions.len(), 1, "{case}");
    })
    .await;
}

#[actix_rt::test]
async fn a_client_that_cannot_be_asked_is_not_asked() {
    each(json!({}), async |guest: &Guest, upstream| {
        let case = format!("{:?} client, {upstream:?} upstream", guest.era);
        let told = guest.call("up__test_elicitation", json!({"message": "who?"})).await;
        assert!(told.questions.is_empty(), "{case}: {told:?}");
        let failed = told.answer["error"].is_object() || told.answer["result"]["isError"] == true;
        assert!(failed, "{case}: {told:?}");
    })
    .await;
}

#[actix_rt::test]
async fn what_a_client_keeps_between_rounds_is_good_for_that_client_alone() {
    for upstream in ERAS {
        let fixture = Fixture::start(upstream);
        let stage = Stage::start(json!({"upstreams": {"up": {"url": fixture.url()}}})).await;
        let guest = async |name: &str| {
            let client = stage.cluster.core.of(&User::new(name));
            Guest::able_to(client, Era::Modern, able()).await
        };
        let (ann, bob) = (guest("ann").await, guest("bob").await);
        let tool = "up__test_input_required_result_request_state";
        let asked = ann.once("tools/call", json!({"name": tool, "arguments": {}})).await;
        let required = asked.result();
        assert_eq!(required["resultType"], "input_required", "{asked:?}");
        let keys: Vec<_> = required["inputRequests"].as_object().unwrap().keys().collect();
        let mut again = json!({"name": tool, "arguments": {}});
        again["inputResponses"][keys[0]] = json!({"action": "accept", "content": {"ok": true}});
        again["requestState"] = required["requestState"].clone();
        let stolen = bob.once("tools/call", again.clone()).await;
        assert_eq!(stolen.answer["error"]["code"], -32602, "{upstream:?}: {stolen:?}");
        let mut other = again.clone();
        other["name"] = json!("up__test_input_required_result_tampered_state");
        let moved = ann.once("tools/call", other).await;
        assert_eq!(moved.answer["error"]["code"], -32602, "{upstream:?}: {moved:?}");
        let mut forged = again.clone();
        forged["requestState"] = json!(format!("{}x", required["requestState"].as_str().unwrap()));
        let forged = ann.once("tools/call", forged).await;
        assert_eq!(forged.answer["error"]["code"], -32602, "{upstream:?}: {forged:?}");
        let done = ann.once("tools/call", again).await;
        assert!(done.text().starts_with("state-ok"), "{upstream:?}: {done:?}");
        stage.stop().await;
        fixture.stop().await;
    }
}

#[actix_rt::test]
async fn a_session_that_the_upstream_lost_is_made_anew_once_and_nobody_notices() {
    let fixture = Fixture::start(Era::Legacy);
    let stage = Stage::start(json!({"upstreams": {"up": {"url": fixture.url()}}})).await;
    let guests = [stage.guest(Era::Modern).await, stage.guest(Era::Legacy).await];
    let add = async || {
        let calls = (0..4)
            .flat_map(|_| &guests)
            .map(|guest| guest.call("up__add", json!({"a": 1, "b": 1})));
        for sum in futures_util::future::join_all(calls).await {
            assert_eq!(sum.result()["structuredContent"]["sum"], 2.0, "{sum:?}");
        }
    };
    add().await;
    let before = fixture.sessions().len();
    fixture.forget_sessions();
    add().await;
    assert_eq!(fixture.sessions().len(), before + 1, "one session for all who waited");
    stage.stop().await;
    fixture.stop().await;
}
