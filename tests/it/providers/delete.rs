//! DELETE /providers/{id}

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn one_that_has_models_is_kept_and_they_are_listed() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let refused = keyward.api().delete(&world.provider_path()).await.problem(409);
    assert!(refused.text().contains(World::MODEL), "{refused}");
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn one_without_models_goes_and_its_key_is_unlinked() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.delete(&world.model_path()).await.expect(204);
    api.delete(&world.provider_path()).await.expect(204);
    api.get(&world.provider_path()).await.problem(404);
    assert_eq!(api.read("/general-keys", &world.general_key["id"]).await["linked_to"], serde_json::json!([]));
    world.agent.chat("fake/small").await.refused(404, "model_not_found");
    provider.received_nothing();
}

#[tokio::test]
async fn force_takes_its_models_along() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.delete(&format!("{}?force=true", world.provider_path())).await.expect(204);
    api.get(&world.provider_path()).await.problem(404);
    api.get(&world.model_path()).await.problem(404);
    world.agent.chat(World::MODEL).await.refused(404, "model_not_found");
}
