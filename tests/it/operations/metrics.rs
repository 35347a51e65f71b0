//! /metrics

use std::sync::Arc;

use http::Method;

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
    for name in ["MY_API", "ABC-Key", "kw_", "gk_", "ak_", world.value] {
        assert!(!text.contains(name), "{name} stands in the metrics");
    }
}

#[tokio::test]
async fn a_key_that_many_bring_at_once_is_looked_up_once_and_the_hit_ratio_tells() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let figure = async |name: &str| -> f64 {
        let text = api.send(api.outside(Method::GET, "/metrics")).await.expect(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("keyward_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    };
    assert_eq!(figure("agent_key_look_ups").await, 0.0);

    let barrier = Arc::new(tokio::sync::Barrier::new(50));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (agent, barrier) = (world.agent.clone(), Arc::clone(&barrier));
        calls.spawn(async move {
            barrier.wait().await;
            agent.chat(World::MODEL).await.status
        });
    }
    assert!(calls.join_all().await.iter().all(|status| *status == 200));
    assert_eq!(figure("agent_key_look_ups").await, 1.0);
    assert_eq!(figure("agent_key_cache_hit_ratio").await, 0.98);
}
