//! The main job from end to end, told once in full; the other files tell its parts.

use crate::harness::{FakeProvider, TestServer, World, until};

#[tokio::test]
async fn an_agent_chats_through_a_linked_key_and_a_deleted_key_ends_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();

    let answer = world.agent.chat(World::MODEL).await.expect(200).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello there");

    let call = provider.only_call();
    assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
    assert!(!call.mentions(world.agent.secret()), "the agent key reached the provider");

    until("the last use of both keys", async || {
        let agent_key = api.read("/agent-keys", &world.agent_key["id"]).await;
        let general_key = api.read("/general-keys", &world.general_key["id"]).await;
        agent_key["last_used_at"].is_string() && general_key["last_used_at"].is_string()
    })
    .await;

    api.delete(&world.agent_key_path()).await.expect(204);
    world.agent.chat(World::MODEL).await.refused(401, "invalid_api_key");
    assert_eq!(provider.calls().len(), 1, "a deleted key must reach nobody");
}
