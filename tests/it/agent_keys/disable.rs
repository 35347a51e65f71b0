//! POST /agent-keys/{id}/disable and /enable

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn a_disabled_key_is_refused_until_it_is_enabled() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();

    let disabled = api.act(&format!("{}/disable", world.agent_key_path())).await.expect(200).json();
    assert_eq!(disabled["status"], "disabled");
    world.agent.chat(World::MODEL).await.refused(401, "disabled_api_key");
    provider.received_nothing();

    let enabled = api.act(&format!("{}/enable", world.agent_key_path())).await.expect(200).json();
    assert_eq!(enabled["status"], "active");
    assert_eq!(enabled["expires_at"], world.agent_key["expires_at"], "enabling gives no new life");
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn doing_it_twice_is_harmless_and_an_unknown_key_not_found() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.agent_key("ABC-Key").await;
    let path = format!("/agent-keys/{}", key["id"].as_str().unwrap());
    for verb in ["disable", "disable", "enable", "enable"] {
        api.act(&format!("{path}/{verb}")).await.expect(200);
    }
    api.act("/agent-keys/ak_01HZZZZZZZZZZZZZZZZZZZZZZZ/disable").await.problem(404);
    api.act("/agent-keys/ak_01HZZZZZZZZZZZZZZZZZZZZZZZ/enable").await.problem(404);
}

#[tokio::test]
async fn an_expired_key_is_refused_and_cannot_be_revived() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let body = serde_json::json!({ "name": "one day", "expires_in_days": 1 });
    let short = keyward.api().post("/agent-keys", body).await.expect(201).json();
    let secret = short["secret"].as_str().unwrap();
    keyward.agent(secret).chat(World::MODEL).await.expect(200);

    let keyward = keyward.stop_to_restart().await.days_later(2).start().await;
    let api = keyward.api();
    keyward.agent(secret).chat(World::MODEL).await.refused(401, "expired_api_key");
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);

    let id = short["id"].as_str().unwrap();
    assert_eq!(api.read("/agent-keys", &short["id"]).await["status"], "expired");
    for verb in ["enable", "disable"] {
        api.act(&format!("/agent-keys/{id}/{verb}")).await;
        keyward.agent(secret).chat(World::MODEL).await.expect(401);
    }
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn after_90_days_a_key_has_expired() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let keyward = keyward.stop_to_restart().await.days_later(91).start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.refused(401, "expired_api_key");
    provider.received_nothing();
}
