//! Changes of lists and resources, passed on through the gateway.

use serde_json::json;

use super::{
    gateway_guest::{ERAS, Era, Guest, notice},
    gateway_stage::{Fixture, Stage},
    server::next,
};
use crate::harness::{Cluster, User, events::Events, within};

const TOOLS: &str = "notifications/tools/list_changed";
const PROMPTS: &str = "notifications/prompts/list_changed";
const UPDATED: &str = "notifications/resources/updated";

/// Calls a tool again and again until the notice comes: what is heard from then on is complete.
async fn until_heard(guest: &Guest, tool: &str, heard: &mut Events, wanted: &str) {
    let calling = async {
        let mut pause = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            guest.call(tool, json!({})).await.result();
            pause.tick().await;
        }
    };
    let hearing = async { while notice(heard).await != wanted {} };
    let heard = async {
        tokio::select! {
            () = calling => {}
            () = hearing => {}
        }
    };
    within("the first notice", Box::pin(heard)).await;
}

#[actix_rt::test]
async fn a_change_of_a_list_is_told_once_to_clients_of_either_era() {
    for upstream in ERAS {
        let fixture = Fixture::start(upstream);
        let config = json!({"upstreams": {"up": {"url": fixture.url()}}});
        let stage = Stage::start_with(config, &["--gateway-changes-pause", "1"]).await;
        let caller = stage.guest(Era::Modern).await;
        caller.tools().await;
        let mut listeners = Vec::new();
        for era in ERAS {
            let guest = stage.guest(era).await;
            let heard = guest.listen(&[]).await;
            listeners.push((guest, heard));
        }
        for (_, heard) in &mut listeners {
            Box::pin(until_heard(&caller, "up__test_trigger_tool_change", heard, TOOLS)).await;
        }
        // What is still on its way comes before this.
        caller.call("up__test_trigger_prompt_change", json!({})).await.result();
        for (_, heard) in &mut listeners {
            while notice(heard).await != PROMPTS {}
        }
        let change = || caller.call("up__test_trigger_tool_change", json!({}));
        let three = tokio::join!(change(), change(), change());
        assert_eq!(three.2.text(), "Told.");
        for (guest, heard) in &mut listeners {
            assert_eq!(notice(heard).await, TOOLS);
            assert!(guest.tools().await.iter().any(|name| name == "up__add"));
        }
        caller.call("up__test_trigger_prompt_change", json!({})).await.result();
        for (guest, heard) in &mut listeners {
            let next = notice(heard).await;
            assert_eq!(next, PROMPTS, "{:?} client, {upstream:?} upstream", guest.era);
        }
        drop(listeners);
        stage.stop().await;
        fixture.stop().await;
    }
}

#[actix_rt::test]
async fn an_upstreams_resource_is_watched_through_the_gateway() {
    for upstream in ERAS {
        let fixture = Fixture::start(upstream);
        let stage = Stage::start(json!({"upstreams": {"up": {"url": fixture.url()}}})).await;
        let caller = stage.guest(Era::Modern).await;
        for era in ERAS {
            let guest = stage.guest(era).await;
            let mut heard = guest.listen(&["test://watched-resource"]).await;
            Box::pin(until_heard(&caller, "up__test_trigger_resource_change", &mut heard, UPDATED))
                .await;
            drop(heard);
        }
        stage.stop().await;
        fixture.stop().await;
    }
}

#[actix_rt::test]
async fn what_a_user_says_is_told_to_who_watches_it_and_to_nobody_else() {
    let cluster = Cluster::start().await;
    for era in ERAS {
        let (ann, bob) = (User::new("ann"), User::new("bob"));
        let guest = Guest::of(cluster.core.of(&ann), era).await;
        let uri = format!("memory://history/{}", ann.id);
        let mut heard = guest.listen(&[&uri]).await;
        let other = Guest::of(cluster.core.of(&bob), Era::Legacy).await;
        let refused = other.ask("resources/subscribe", json!({"uri": uri})).await;
        assert!(refused.answer["error"].is_object(), "{refused:?}");
        // At once: whoever was told that they watch misses nothing.
        let input = json!({"id": "x", "content": "new", "conversation_id": "c"});
        guest.call("memory__store_input", json!({"input_data": input})).await.result();
        let told = next(&mut heard).await.unwrap();
        assert_eq!((&told["method"], &told["params"]["uri"]), (&json!(UPDATED), &json!(uri)));
        drop(heard);
    }
    cluster.stop().await;
}
