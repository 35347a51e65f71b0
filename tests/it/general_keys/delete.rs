//! DELETE /general-keys/{id}

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn is_gone_for_good() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.general_key("MY_API", "sk-test-value-1").await;
    let path = format!("/general-keys/{}", key["id"].as_str().unwrap());

    let deleted = api.delete(&path).await.expect(204);
    assert!(deleted.body.is_empty());
    api.get(&path).await.problem(404);
    api.delete(&path).await.problem(404);
    assert_eq!(api.get("/general-keys").await.expect(200).json()["total"], 0);

    let again = api.general_key("MY_API", "sk-test-value-2").await;
    assert_ne!(again["id"], key["id"], "the name is free again, the id is not");
}

#[tokio::test]
async fn a_linked_key_is_kept_and_its_links_are_listed() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let refused = keyward.api().delete(&world.general_key_path()).await.problem(409);
    assert!(refused.text().contains("fake"), "it does not say what is linked: {refused}");
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn force_unlinks_and_the_value_is_never_used_again() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();

    api.delete(&format!("{}?force=true", world.general_key_path())).await.expect(204);

    assert!(api.read("/providers", &world.provider["id"]).await["general_key_id"].is_null());
    world.agent.chat(World::MODEL).await.expect(200);
    let call = provider.last_call();
    assert!(!call.mentions(world.value) && call.header("authorization").is_none(), "{call:?}");
}
