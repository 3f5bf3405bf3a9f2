//! Upstreams that are dead, hung, slow or failing: the others do not feel it.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    gateway_guest::{ERAS, Era, Guest, notice},
    gateway_stage::{Stage, peer},
    upstream_peer::{Peer, Say, modern},
};
use crate::harness::{
    eventually,
    proxy::{ChaosProxy, Mode},
};

fn entry(proxy: &ChaosProxy) -> Value {
    json!({"url": format!("{}/mcp", proxy.url())})
}

async fn proxied(mode: Mode) -> (Peer, ChaosProxy) {
    let peer = peer().await;
    let proxy = ChaosProxy::start(peer.address).await;
    proxy.set(mode);
    (peer, proxy)
}

/// Who is named as missing.
fn missing(list: &Value) -> Vec<&str> {
    let all = list["_meta"]["cortex/missing"].as_array();
    all.into_iter().flatten().map(|missing| missing["source"].as_str().unwrap()).collect()
}

#[actix_rt::test]
async fn one_that_hangs_among_ten_costs_the_others_nothing() {
    let (_good, pass) = proxied(Mode::Pass).await;
    let (_hung, hole) = proxied(Mode::BlackHole).await;
    let mut upstreams: Map<String, Value> =
        (0..9).map(|number| (format!("good{number}"), entry(&pass))).collect();
    upstreams.insert("hung".to_owned(), entry(&hole));
    // The listing deadline is that of the product: 2 s.
    let stage = Stage::start(json!({"upstreams": upstreams})).await;
    for era in ERAS {
        let guest = stage.guest(era).await;
        let begun = Instant::now();
        let sum = guest.call("good3__look", json!({})).await;
        assert!(sum.result()["content"].is_array(), "{sum:?}");
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
        let begun = Instant::now();
        let list = guest.ask("tools/list", json!({})).await;
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert_eq!(missing(list.result()), ["hung"]);
        assert!(list.result()["ttlMs"].as_u64().is_none_or(|ttl| ttl <= 2000));
        let names = list.result()["tools"].as_array().unwrap().iter();
        let good = names.filter(|tool| tool["name"].as_str().unwrap().starts_with("good"));
        assert_eq!(good.count(), 18, "nine are complete");
        let begun = Instant::now();
        let failed = guest.call("hung__look", json!({})).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(failed.result()["isError"], true);
        assert!(failed.text().contains("try again in"), "{}", failed.text());
        assert_eq!(failed.result()["_meta"]["cortex/error"]["service"], "hung");
    }
    let guest = stage.guest(Era::Modern).await;
    let begun = Instant::now();
    for number in 0..60 {
        let one = Instant::now();
        guest.call(&format!("good{}__look", number % 9), json!({})).await.result();
        assert!(one.elapsed() < Duration::from_secs(1), "call {number}: {:?}", one.elapsed());
        // Over the time in which the one that hangs is asked again.
        if begun.elapsed() > Duration::from_secs(3) {
            break;
        }
        guest.tools().await;
        assert!(one.elapsed() < Duration::from_millis(1500), "{number}: {:?}", one.elapsed());
    }
    stage.stop().await;
}

#[actix_rt::test]
async fn who_is_dead_and_who_hangs_are_named_and_who_is_slow_is_waited_for() {
    let (_good, pass) = proxied(Mode::Pass).await;
    let (_dead, dead) = proxied(Mode::Refuse).await;
    let (_hung, hung) = proxied(Mode::BlackHole).await;
    let (_slow, slow) = proxied(Mode::Delay(Duration::from_millis(100))).await;
    let config = json!({"upstreams": {"good": entry(&pass), "dead": entry(&dead),
        "hung": entry(&hung), "slow": entry(&slow)}});
    let stage = Stage::start(config).await;
    let guest = stage.guest(Era::Modern).await;
    let list = guest.ask("tools/list", json!({})).await;
    assert_eq!(missing(list.result()), ["dead", "hung"]);
    let names = guest.tools().await;
    assert!(names.iter().any(|name| name == "slow__look"), "{names:?}");
    for name in ["dead__look", "hung__look"] {
        let failed = guest.call(name, json!({})).await;
        assert_eq!(failed.result()["isError"], true);
        assert!(failed.text().contains("try again in"), "{}", failed.text());
    }
    let unknown = guest.call("good__nothing", json!({})).await;
    assert_eq!(unknown.answer["error"]["code"], -32602, "{unknown:?}");
    stage.stop().await;
}

#[actix_rt::test]
async fn one_whose_breaker_is_open_is_named_while_its_tools_are_shown() {
    let peer = Peer::start(modern("tools/call", |_| Say::Status(500, "", String::new()))).await;
    let limits = json!({"breaker_failures": 2, "breaker_reset": 60, "retries_max": 0});
    let upstream = json!({"url": peer.url(), "limits": limits});
    let stage = Stage::start(json!({"upstreams": {"bad": upstream}})).await;
    for era in ERAS {
        let guest = stage.guest(era).await;
        for _ in 0..3 {
            let failed = guest.call("bad__change", json!({})).await;
            assert_eq!(failed.result()["isError"], true, "{failed:?}");
        }
        let failed = guest.call("bad__change", json!({})).await;
        let why = &failed.result()["_meta"]["cortex/error"];
        assert_eq!(why["code"], "circuit_open", "{failed:?}");
        assert!(why["retry_after_seconds"].as_f64().unwrap() > 1.0, "{why}");
        let list = guest.ask("tools/list", json!({})).await;
        let named = &list.result()["_meta"]["cortex/missing"][0];
        assert_eq!((&named["source"], &named["code"]), (&json!("bad"), &json!("circuit_open")));
        assert_eq!(named["shown_as_before"], true);
        let names = guest.tools().await;
        assert!(names.iter().any(|name| name == "bad__change"), "{names:?}");
    }
    assert_eq!(peer.count("tools/call"), 2, "it is left alone");
    stage.stop().await;
}

#[actix_rt::test]
async fn one_that_comes_back_is_told_of() {
    for era in ERAS {
        let (_peer, proxy) = proxied(Mode::Refuse).await;
        let upstream = json!({"url": format!("{}/mcp", proxy.url()),
            "limits": {"breaker_reset": 0.2, "breaker_open_max": 0.2}});
        let settings = ["--gateway-list-pause", "0.1"];
        let stage = Stage::start_with(json!({"upstreams": {"up": upstream}}), &settings).await;
        let guest = stage.guest(era).await;
        let mut heard = guest.listen(&[]).await;
        let list = guest.ask("tools/list", json!({})).await;
        assert_eq!(missing(list.result()), ["up"]);
        proxy.set(Mode::Pass);
        assert_eq!(notice(&mut heard).await, "notifications/tools/list_changed", "{era:?}");
        let names = guest.tools().await;
        assert!(names.iter().any(|name| name == "up__look"), "{era:?}: {names:?}");
        drop(heard);
        stage.stop().await;
    }
}

#[actix_rt::test]
async fn a_list_that_a_server_does_not_have_is_empty() {
    // It declares resources and answers none of their lists, as many servers do.
    let (peer, proxy) = proxied(Mode::Pass).await;
    let stage = Stage::start(json!({"upstreams": {"up": entry(&proxy)}})).await;
    let guest = stage.guest(Era::Modern).await;
    let list = guest.ask("tools/list", json!({})).await;
    assert!(missing(list.result()).is_empty(), "{list:?}");
    assert!(peer.count("resources/list") > 0);
    eventually("its tools are there", || async {
        guest.tools().await.iter().any(|name| name == "up__look")
    })
    .await;
    stage.stop().await;
}

#[actix_rt::test]
async fn a_client_without_patience_is_answered_for_what_is_there() {
    let (_hung, hole) = proxied(Mode::BlackHole).await;
    let stage = Stage::start(json!({"upstreams": {"hung": entry(&hole)}})).await;
    let guest: Guest = stage.guest(Era::Modern).await;
    let begun = Instant::now();
    let read = guest.ask("resources/read", json!({"uri": "memory://log"})).await;
    assert!(read.answer["error"].is_object(), "a user does not read the log");
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    stage.stop().await;
}
