//! /metrics

use http::Method;
use serde_json::json;

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn counts_calls_for_who_has_a_token_and_names_no_key() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat(World::MODEL).await.expect(200);

    let nobody = keyward.api_with(None);
    nobody.send(nobody.outside(Method::GET, "/metrics")).await.expect(401);
    let agent = keyward.api_with(Some(world.agent.secret()));
    agent.send(agent.outside(Method::GET, "/metrics")).await.expect(401);

    let api = keyward.api();
    let answer = api.send(api.outside(Method::GET, "/metrics")).await.expect(200);
    let text = answer.text();
    assert!(
        answer.header("content-type").is_some_and(|kind| kind.contains("text/plain") || kind.contains("openmetrics"))
    );
    assert!(text.lines().any(|line| line.starts_with("# TYPE keyward_")), "{text}");
    assert!(text.contains("keyward_limited_calls 0\n") && text.contains("keyward_messages_delivered 0\n"), "{text}");
    let once = json!({ "limits": { "requests_per_minute": 1 } });
    api.patch(&world.agent_key_path(), once).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(429);
    let again = api.send(api.outside(Method::GET, "/metrics")).await.expect(200);
    assert!(again.text().contains("keyward_limited_calls 1\n"), "{again}");
    for name in ["MY_API", "ABC-Key", "kw_", "gk_", "ak_", world.value] {
        assert!(!again.text().contains(name), "{name} stands in the metrics");
    }
}
