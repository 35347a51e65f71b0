//! PATCH /providers/{id}

use serde_json::{Value, json};

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn unlinking_takes_effect_at_the_next_call() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    world.agent.chat(World::MODEL).await.expect(200);

    let edited = api.patch(&world.provider_path(), json!({ "general_key_id": null })).await.expect(200).json();
    assert!(edited["general_key_id"].is_null());
    world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(provider.last_call().header("authorization"), None);
    assert_eq!(api.read("/general-keys", &world.general_key["id"]).await["linked_to"], json!([]));
}

#[tokio::test]
async fn another_key_for_the_same_origin_can_be_linked() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let second = api.general_key("SECOND", "sk-test-the-second-key").await;

    api.patch(&world.provider_path(), json!({ "general_key_id": second["id"] })).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(provider.last_call().header("authorization"), Some("Bearer sk-test-the-second-key"));
}

#[tokio::test]
async fn an_unlinked_provider_may_move_freely() {
    let keyward = TestServer::start().await;
    let (first, second) = (FakeProvider::start().await, FakeProvider::start().await);
    let api = keyward.api();
    let made = api.provider("fake", "openai-compatible", &first.base_url(), &Value::Null).await;
    let path = format!("/providers/{}", made["id"].as_str().unwrap());
    api.patch(&path, json!({ "base_url": second.base_url(), "name": "moved" })).await.expect(200);

    api.model("small", &made).await;
    let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());
    agent.chat("small").await.expect(200);
    agent.chat("moved/whatever").await.expect(200);
    first.received_nothing();
    assert_eq!(second.calls().len(), 2);
}

#[tokio::test]
async fn refuses_what_create_refuses() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    api.post("/providers", json!({ "name": "taken", "kind": "openai" })).await.expect(201);
    let made = api.post("/providers", json!({ "name": "mine", "kind": "openai" })).await.expect(201).json();
    let path = format!("/providers/{}", made["id"].as_str().unwrap());
    api.patch(&path, json!({ "name": "TAKEN" })).await.problem(409);
    api.patch(&path, json!({ "name": "a/b" })).await.problem(422).at("/name");
    api.patch(&path, json!({ "created_at": "2020-01-01T00:00:00Z" })).await.problem(422);
    api.patch(&path, json!({ "general_key_id": "gk_01HZZZZZZZZZZZZZZZZZZZZZZZ" })).await.problem(422);
    api.patch("/providers/pr_01HZZZZZZZZZZZZZZZZZZZZZZZ", json!({ "name": "x" })).await.problem(404);
    assert_eq!(api.read("/providers", &made["id"]).await, made);
}
