//! A general key goes to the origin it was saved for, and nowhere else.

use serde_json::json;

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn another_base_url_for_a_linked_provider_is_refused_and_the_key_never_arrives_there() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let evil = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();

    let patch = json!({ "base_url": evil.base_url() });
    api.patch(&world.provider_path(), patch).await.problem_called(409, "origin_not_bound");
    let both = json!({ "base_url": evil.base_url(), "name": "renamed" });
    api.patch(&world.provider_path(), both).await.problem_called(409, "origin_not_bound");

    assert_eq!(api.read("/providers", &world.provider["id"]).await, world.provider);
    world.agent.chat(World::MODEL).await.expect(200);
    api.act(&format!("{}/test", world.general_key_path())).await.expect(200);
    assert_eq!(provider.calls().len(), 2);
    evil.received_nothing();
}

#[tokio::test]
async fn another_path_prefix_of_a_kind_without_one_public_address_counts_as_elsewhere() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let patch = json!({ "base_url": format!("{}/tenant-b/v1", provider.origin()) });
    keyward.api().patch(&world.provider_path(), patch).await.problem_called(409, "origin_not_bound");
}

#[tokio::test]
async fn with_the_value_given_again_the_key_moves_along() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let next = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let patch = json!({ "base_url": next.base_url(), "general_key_value": world.value });
    let moved = keyward.api().patch(&world.provider_path(), patch).await.expect(200);
    assert_eq!(moved.json()["base_url"], next.base_url());
    assert!(!moved.text().contains(world.value));

    world.agent.chat(World::MODEL).await.expect(200);
    provider.received_nothing();
    assert_eq!(next.only_call().header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
}

#[tokio::test]
async fn a_value_that_only_looks_like_the_stored_one_is_not_taken_for_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let next = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let lookalike = format!("{}-another-{}", &world.value[..3], &world.value[world.value.len() - 3..]);
    let patch = json!({ "base_url": next.base_url(), "general_key_value": lookalike });
    let refused = keyward.api().patch(&world.provider_path(), patch).await;
    refused.problem(422).at("/general_key_value");
    world.agent.chat(World::MODEL).await.expect(200);
    next.received_nothing();
}

#[tokio::test]
async fn linking_a_bound_key_to_a_provider_elsewhere_needs_the_value_too() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let evil = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();

    let create = json!({
        "name": "evil", "kind": "openai-compatible", "base_url": evil.base_url(), "general_key_id": world.general_key["id"],
    });
    api.post("/providers", create).await.problem_called(409, "origin_not_bound");

    let bare = api.provider("evil", "openai-compatible", &evil.base_url(), &serde_json::Value::Null).await;
    let path = format!("/providers/{}", bare["id"].as_str().unwrap());
    let link = json!({ "general_key_id": world.general_key["id"] });
    api.patch(&path, link.clone()).await.problem_called(409, "origin_not_bound");

    let model = api.model("evil-model", &bare).await;
    let model_path = format!("/models/{}", model["id"].as_str().unwrap());
    api.patch(&model_path, link.clone()).await.problem_called(409, "origin_not_bound");
    let create = json!({ "name": "x", "provider_id": bare["id"], "general_key_id": world.general_key["id"] });
    api.post("/models", create).await.problem_called(409, "origin_not_bound");

    // Unlinking first does not loosen it: the key is bound, not the link.
    api.patch(&world.provider_path(), json!({ "general_key_id": null })).await.expect(200);
    api.patch(&path, link).await.problem_called(409, "origin_not_bound");

    world.agent.chat("evil-model").await;
    assert!(evil.calls().iter().all(|call| !call.mentions(world.value)));
}

#[tokio::test]
async fn a_model_cannot_carry_its_key_to_another_provider() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let evil = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let elsewhere = api.provider("evil", "openai-compatible", &evil.base_url(), &serde_json::Value::Null).await;
    api.patch(&world.model_path(), json!({ "general_key_id": world.general_key["id"] })).await.expect(200);

    let patch = json!({ "provider_id": elsewhere["id"] });
    api.patch(&world.model_path(), patch).await.problem_called(409, "origin_not_bound");
    world.agent.chat(World::MODEL).await.expect(200);
    evil.received_nothing();
}

#[tokio::test]
async fn a_link_at_the_model_follows_the_provider_s_base_url_only_with_the_value() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let evil = FakeProvider::start().await;
    let api = keyward.api();
    let key = api.general_key("MY_API", "sk-test-value-of-the-model").await;
    let bare = api.provider("fake", "openai-compatible", &provider.base_url(), &serde_json::Value::Null).await;
    let body = json!({ "name": "small", "provider_id": bare["id"], "general_key_id": key["id"] });
    api.post("/models", body).await.expect(201);

    let path = format!("/providers/{}", bare["id"].as_str().unwrap());
    api.patch(&path, json!({ "base_url": evil.base_url() })).await.problem_called(409, "origin_not_bound");
    let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());
    agent.chat("small").await.expect(200);
    assert_eq!(provider.only_call().header("authorization"), Some("Bearer sk-test-value-of-the-model"));
    evil.received_nothing();
}
