//! What was acknowledged is there after a stop, and after a power failure.

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn keys_work_on_after_a_stop_and_after_a_kill() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let keyward = keyward.stop_to_restart().await.start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);

    let late = keyward.api().agent_key("made just before the power failed").await;
    let gone = keyward.api().agent_key("deleted just before the power failed").await;
    let path = format!("/agent-keys/{}", gone["id"].as_str().unwrap());
    keyward.api().delete(&path).await.expect(204);
    let keyward = keyward.kill().await.serve().start().await;
    keyward.agent(late["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    keyward.agent(gone["secret"].as_str().unwrap()).chat(World::MODEL).await.refused(401, "invalid_api_key");
    for call in provider.calls() {
        assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
    }
}
