//! DELETE /agent-keys/{id}

use serde_json::json;

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn ends_the_key_at_the_very_next_call_and_after_a_restart() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    world.agent.chat(World::MODEL).await.expect(200);

    api.delete(&world.agent_key_path()).await.expect(204);
    world.agent.chat(World::MODEL).await.refused(401, "invalid_api_key");
    api.get(&world.agent_key_path()).await.problem(404);
    api.delete(&world.agent_key_path()).await.problem(404);

    let keyward = keyward.stop_to_restart().await.start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.refused(401, "invalid_api_key");
    assert_eq!(provider.calls().len(), 1);
}

#[tokio::test]
async fn a_new_key_of_the_same_name_does_not_revive_the_old_secret() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.delete(&world.agent_key_path()).await.expect(204);
    let again = api.agent_key("ABC-Key").await;
    assert_ne!(again["id"], world.agent_key["id"]);

    world.agent.chat(World::MODEL).await.refused(401, "invalid_api_key");
    keyward.agent(again["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn no_call_in_a_storm_of_them_is_accepted_after_the_deletion_was_answered() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let deleted = std::sync::atomic::AtomicBool::new(false);

    // Each caller goes on until it is refused once the deletion has been answered; what it sent after that must fail.
    let storm = async {
        let caller = async || {
            let agent = keyward.agent(world.agent.secret());
            loop {
                let was_deleted = deleted.load(std::sync::atomic::Ordering::SeqCst);
                let status = agent.get("/v1/models").await.status;
                if was_deleted {
                    assert_eq!(status, 401);
                    break;
                }
            }
        };
        tokio::join!(caller(), caller(), caller(), caller());
    };
    let deletion = async {
        world.agent.chat(World::MODEL).await.expect(200);
        keyward.api().delete(&world.agent_key_path()).await.expect(204);
        deleted.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    tokio::join!(storm, deletion);
}

#[tokio::test]
async fn ends_its_open_streams_also_those_begun_before_a_rename() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let body = json!({ "model": World::MODEL, "stream": true, "messages": [] });

    let before = provider.stage();
    before.open();
    let mut begun_before = world.agent.stream(body.clone()).await;
    api.patch(&world.agent_key_path(), json!({ "name": "renamed" })).await.expect(200);
    let after = provider.stage();
    after.open();
    let mut begun_after = world.agent.stream(body).await;

    api.delete(&world.agent_key_path()).await.expect(204);
    assert!(begun_before.next().await.is_err());
    assert!(begun_after.next().await.is_err());
    before.caller_left().await;
    after.caller_left().await;
}
