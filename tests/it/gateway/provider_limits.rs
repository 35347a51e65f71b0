//! What a provider gets at once, and how long it may take.

use serde_json::json;

use crate::harness::{FakeProvider, TestServer, World, until};

#[tokio::test]
async fn past_its_calls_in_flight_a_provider_is_busy_until_one_of_them_ends() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    keyward.api().patch(&world.provider_path(), json!({ "limits": { "calls_in_flight": 1 } })).await.expect(200);
    let stage = provider.stage();
    let (events, ()) = tokio::join!(world.agent.stream(json!({ "model": World::MODEL, "stream": true })), async {
        provider.has_calls(1).await;
        stage.open();
    });
    let refused = world.agent.chat(World::MODEL).await.refused(503, "provider_busy");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(provider.calls().len(), 1, "the refused call went nowhere");
    drop(events);
    stage.caller_left().await;
    until("a place at the provider", async || world.agent.chat(World::MODEL).await.status == 200).await;
}

#[tokio::test]
async fn a_call_that_takes_longer_than_it_may_ends() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    keyward.api().patch(&world.provider_path(), json!({ "limits": { "total_seconds": 1 } })).await.expect(200);
    let stage = provider.stage();
    let (mut events, ()) = tokio::join!(world.agent.stream(json!({ "model": World::MODEL, "stream": true })), async {
        provider.has_calls(1).await;
        stage.open();
        stage.event("{\"choices\":[]}");
    });
    while let Ok(Some(_)) = events.next().await {}
    stage.caller_left().await;

    // And one whose head never comes.
    let _silent = provider.stage();
    world.agent.chat(World::MODEL).await.refused(504, "upstream_timeout");
}

#[tokio::test]
async fn limits_are_told_merged_and_refused_with_a_reason() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let (api, path) = (keyward.api(), world.provider_path());
    let none = json!({
        "calls_in_flight": null, "connect_seconds": null, "head_seconds": null, "idle_seconds": null, "total_seconds": null,
    });
    assert_eq!(world.provider["limits"], none);
    api.patch(&path, json!({ "limits": { "head_seconds": 30, "calls_in_flight": 5 } })).await.expect(200);
    let edited =
        api.patch(&path, json!({ "limits": { "calls_in_flight": null, "idle_seconds": 9 } })).await.expect(200);
    let limits = &edited.json()["limits"];
    assert_eq!((&limits["head_seconds"], &limits["idle_seconds"]), (&json!(30), &json!(9)));
    assert!(limits["calls_in_flight"].is_null());
    for wrong in [json!(0), json!(-1), json!(86_401), json!(4_294_967_296_u64), json!("5"), json!(1.5)] {
        api.patch(&path, json!({ "limits": { "total_seconds": wrong } })).await.expect(422);
    }
    api.patch(&path, json!({ "limits": { "no_such_limit": 1 } })).await.expect(422);
    assert_eq!(api.get(&path).await.json()["limits"], *limits, "a refused edit changes nothing");
}
