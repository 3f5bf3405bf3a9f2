//! Our own services behind the gateway: one list, names that stay, calls in the caller's name.

use serde_json::{Value, json};

use super::{
    gateway_guest::{ERAS, Guest},
    gateway_stage::{Stage, peer},
};
use crate::harness::{Cluster, User};

#[actix_rt::test]
async fn our_services_are_one_list_under_names_that_outlive_a_restart() {
    let mut cluster = Cluster::start().await;
    let ann = User::new("ann");
    let mut before: Option<Vec<String>> = None;
    for restart in [false, true] {
        if restart {
            cluster.core.stop().await;
            cluster.core.start();
            cluster.until_followed().await;
        }
        for era in ERAS {
            let guest = Guest::of(cluster.core.of(&ann), era).await;
            let names = guest.tools().await;
            for name in ["core__send_input", "memory__get_item", "cognition__get_context"] {
                assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
            }
            assert!(names.iter().all(|name| name.len() <= 64 && name.contains("__")));
            assert!(names.is_sorted());
            assert_eq!(before.get_or_insert(names.clone()), &names);
            let list = guest.ask("tools/list", json!({})).await;
            assert!(list.result()["_meta"]["cortex/missing"].is_null(), "{list:?}");
        }
    }
    cluster.stop().await;
}

#[actix_rt::test]
async fn calls_are_made_in_the_callers_name_and_reach_that_users_data_only() {
    let cluster = Cluster::start().await;
    for era in ERAS {
        let (ann, bob) = (User::new("ann"), User::new("bob"));
        let guest = Guest::of(cluster.core.of(&ann), era).await;
        let thief = Guest::of(cluster.core.of(&bob), era).await;
        let input = json!({"id": "x", "content": "hers", "conversation_id": "c"});
        let stored = guest.call("memory__store_input", json!({"input_data": input})).await;
        assert_eq!(stored.result()["isError"], false, "{stored:?}");
        let of_ann = json!({"user_id": ann.id, "item_id": "x"});
        let found = guest.call("memory__get_item", of_ann.clone()).await;
        assert_eq!(found.result()["structuredContent"]["content"], "hers");
        let twin: Value = serde_json::from_str(found.text()).unwrap();
        assert_eq!(twin, found.result()["structuredContent"]);
        let refused = thief.call("memory__get_item", of_ann).await;
        assert_eq!(refused.result()["isError"], true, "{refused:?}");
        assert!(!format!("{refused:?}").contains("hers"));
        let uri = format!("memory://history/{}", ann.id);
        let read = guest.ask("resources/read", json!({"uri": uri})).await;
        assert!(read.result()["contents"][0]["text"].as_str().unwrap().contains("hers"));
        let refused = thief.ask("resources/read", json!({"uri": uri})).await;
        assert!(refused.answer["error"].is_object(), "{refused:?}");
        // In the list, hyphens are escaped.
        let escaped = uri.replace('-', "%2D");
        let listed = |guest| Guest::names(guest, "resources/list", "resources", "uri");
        assert!(listed(&guest).await.contains(&escaped));
        assert!(!listed(&thief).await.contains(&escaped));
        let read = guest.ask("resources/read", json!({"uri": escaped})).await;
        assert!(read.result()["contents"][0]["text"].as_str().unwrap().contains("hers"));
    }
    cluster.stop().await;
}

#[actix_rt::test]
async fn what_a_client_shows_goes_no_further() {
    let peer = peer().await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("token");
    std::fs::write(&secret, "the upstream's own\n").unwrap();
    let upstream = json!({"url": peer.url(), "credential": {"file": secret}});
    let stage = Stage::start(json!({"upstreams": {"peer": upstream}})).await;
    let ann = User::new("ann");
    for era in ERAS {
        let guest = Guest::of(stage.cluster.core.of(&ann), era).await;
        let called = guest.call("peer__change", json!({"a": 1})).await;
        assert!(!called.result()["isError"].as_bool().unwrap_or_default(), "{called:?}");
    }
    assert_eq!(peer.count("tools/call"), 2);
    for asked in peer.seen() {
        assert_eq!(asked.header("authorization"), Some("Bearer the upstream's own"));
        let all = format!("{:?} {}", asked.headers, asked.body);
        assert!(!all.contains(&ann.token), "{all}");
    }
    stage.stop().await;
}

#[actix_rt::test]
async fn a_tool_of_a_service_that_is_away_fails_at_once_and_its_list_says_so() {
    let mut cluster = Cluster::start().await;
    let ann = User::new("ann");
    let guest = Guest::of(cluster.core.of(&ann), ERAS[0]).await;
    let all = guest.tools().await;
    cluster.memory.stop().await;
    let missing = async || {
        let of = json!({"user_id": ann.id, "item_id": "x"});
        let failed = guest.call("memory__get_item", of).await;
        assert_eq!(failed.result()["isError"], true, "{failed:?}");
        let list = guest.ask("tools/list", json!({})).await;
        list.result()["_meta"]["cortex/missing"].clone()
    };
    crate::harness::eventually("memory's breaker is seen", || async {
        let missing = missing().await;
        missing[0]["source"] == "memory" && missing[0]["code"] == "circuit_open"
    })
    .await;
    let missing = missing().await;
    assert_eq!(missing.as_array().unwrap().len(), 1, "{missing}");
    assert_eq!(missing[0]["shown_as_before"], true);
    assert!(missing[0]["retry_after_seconds"].as_f64().unwrap() >= 1.0);
    assert_eq!(guest.tools().await, all, "what it offered is shown as before");
    cluster.stop().await;
}
