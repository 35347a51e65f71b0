//! DELETE /models/{id}

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn its_name_is_unknown_at_the_next_call() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    world.agent.chat(World::MODEL).await.expect(200);
    api.delete(&world.model_path()).await.expect(204);
    world.agent.chat(World::MODEL).await.refused(404, "model_not_found");
    api.get(&world.model_path()).await.problem(404);
    assert_eq!(provider.calls().len(), 1);
}
