//! PATCH /agent-keys/{id}

use serde_json::json;

use crate::harness::{FakeProvider, TestServer, World, well_formed};

#[tokio::test]
async fn changes_the_name_and_nothing_else() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();

    let before = api.read("/agent-keys", &world.agent_key["id"]).await;
    let after = api.patch(&world.agent_key_path(), json!({ "name": "renamed" })).await.expect(200).json();
    assert_eq!(after["name"], "renamed");
    for field in ["id", "status", "masked_secret", "created_at", "created_by", "expires_at"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert!(after.get("secret").is_none());
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn secret_status_and_expiry_cannot_be_edited() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.agent_key("ABC-Key").await;
    let path = format!("/agent-keys/{}", key["id"].as_str().unwrap());
    for patch in [
        json!({ "secret": well_formed("kw_", '1') }),
        json!({ "status": "active" }),
        json!({ "expires_at": "2999-01-01T00:00:00Z" }),
        json!({ "expires_in_days": 90 }),
        json!({ "created_by": null }),
        json!({ "name": null }),
        json!({ "name": "a\u{202e}b" }),
    ] {
        api.patch(&path, patch).await.problem(422);
    }
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_and_an_unknown_key_not_found() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    api.agent_key("taken").await;
    let key = api.agent_key("mine").await;
    api.patch(&format!("/agent-keys/{}", key["id"].as_str().unwrap()), json!({ "name": "TAKEN" })).await.problem(409);
    api.patch("/agent-keys/ak_01HZZZZZZZZZZZZZZZZZZZZZZZ", json!({ "name": "x" })).await.problem(404);
}
