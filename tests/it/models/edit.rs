//! PATCH /models/{id}

use serde_json::json;

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn another_upstream_model_is_asked_for_from_the_next_call_on() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat(World::MODEL).await.expect(200);

    let patch = json!({ "upstream_model": "large-2026" });
    let edited = keyward.api().patch(&world.model_path(), patch).await.expect(200).json();
    assert_eq!(edited["upstream_model"], "large-2026");
    assert_eq!(edited["name"], "small");
    world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(provider.last_call().json()["model"], "large-2026");
}

#[tokio::test]
async fn a_renamed_model_answers_to_its_new_name_only() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    keyward.api().patch(&world.model_path(), json!({ "name": "medium" })).await.expect(200);
    world.agent.chat("medium").await.expect(200);
    assert_eq!(provider.only_call().json()["model"], "small", "its name at the provider stays");
    world.agent.chat("small").await.refused(404, "model_not_found");
}

#[tokio::test]
async fn refuses_what_create_refuses() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.model("taken", &world.provider).await;
    let path = world.model_path();
    api.patch(&path, json!({ "name": "Taken" })).await.problem(409);
    api.patch(&path, json!({ "name": "a\u{202e}b" })).await.problem(422).at("/name");
    api.patch(&path, json!({ "provider_id": null })).await.problem(422);
    api.patch(&path, json!({ "provider_id": "pr_01HZZZZZZZZZZZZZZZZZZZZZZZ" })).await.problem(422);
    api.patch(&path, json!({ "unknown": 1 })).await.problem(422);
    api.patch("/models/md_01HZZZZZZZZZZZZZZZZZZZZZZZ", json!({ "name": "x" })).await.problem(404);
    assert_eq!(api.read("/models", &world.model["id"]).await, world.model);
}
