//! GET /usage: what was counted, by whom.

mod costs;

use serde_json::{Value, json};

use crate::harness::{Api, FakeProvider, Reply, TestServer, World, eventually};

/// The row of that group once it counts that many requests.
pub async fn row(api: &Api, group: &str, key: &str, requests: u64) -> Value {
    eventually("the usage", async || {
        let usage = api.get(&format!("/usage?group_by={group}")).await.expect(200).json();
        let rows = usage["items"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["key"] == key && row["requests"] == requests)
    })
    .await
}

#[tokio::test]
async fn requests_errors_and_tokens_are_counted_for_plain_and_streamed_calls() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();

    world.agent.chat(World::MODEL).await.expect(200);
    let body = json!({ "model": World::MODEL, "stream": true, "messages": [] });
    world.agent.stream(body.clone()).await.rest().await;
    let mut asking = body;
    asking["stream_options"] = json!({ "include_usage": true });
    world.agent.stream(asking).await.rest().await;
    world.agent.post("/v1/embeddings", json!({ "model": World::MODEL, "input": "x" })).await.expect(200);
    provider.next(Reply::error(500, "no"));
    world.agent.chat(World::MODEL).await.expect(500);

    let id = world.agent_key["id"].as_str().unwrap();
    let counted = row(&api, "agent_key", id, 5).await;
    crate::management::assert_fields(
        &counted,
        &["key", "requests", "errors", "input_tokens", "output_tokens", "cost_micros"],
    );
    assert_eq!(counted["errors"], 1);
    assert_eq!(counted["input_tokens"], 9 * 3 + 5);
    assert_eq!(counted["output_tokens"], 12 * 3);
}

#[tokio::test]
async fn the_same_calls_by_model_provider_and_general_key() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    world.agent.chat(World::MODEL).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(200);
    row(&api, "model", World::MODEL, 2).await;
    row(&api, "provider", world.provider["id"].as_str().unwrap(), 2).await;
    row(&api, "general_key", world.general_key["id"].as_str().unwrap(), 2).await;
    api.get("/usage?group_by=colour").await.problem(422);
}

#[tokio::test]
async fn a_period_without_calls_is_empty() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    world.agent.chat(World::MODEL).await.expect(200);
    row(&api, "agent_key", world.agent_key["id"].as_str().unwrap(), 1).await;
    let past = "/usage?group_by=agent_key&from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z";
    assert_eq!(api.get(past).await.expect(200).json()["items"], json!([]));
    let all = "/usage?group_by=agent_key&from=2020-01-01T00:00:00Z&to=2999-01-01T00:00:00Z";
    assert_eq!(api.get(all).await.expect(200).json()["items"].as_array().unwrap().len(), 1);
    api.get("/usage?from=yesterday").await.problem(422);
}

#[tokio::test]
async fn a_refused_call_counts_no_tokens() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat("nobody-knows-me").await.expect(404);
    world.agent.chat(World::MODEL).await.expect(200);
    let api = keyward.api();
    let counted = eventually("the usage", async || {
        let usage = api.get("/usage?group_by=agent_key").await.expect(200).json();
        usage["items"].get(0).cloned()
    })
    .await;
    assert_eq!(counted["input_tokens"], 9, "{counted}");
}

#[tokio::test]
async fn a_thousand_calls_at_once_are_a_thousand_in_the_books() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let agent = keyward.agent(world.agent.secret());
            tokio::spawn(async move {
                for _ in 0..50 {
                    agent.chat(World::MODEL).await.expect(200);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let counted = row(&keyward.api(), "agent_key", world.agent_key["id"].as_str().unwrap(), 1000).await;
    assert_eq!(counted["output_tokens"], 12_000);
    assert_eq!(counted["errors"], 0);
}
