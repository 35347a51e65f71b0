//! PATCH /general-keys/{id}

use serde_json::json;

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn renames_and_keeps_the_value() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();

    let edited = api.patch(&world.general_key_path(), json!({ "name": "OTHER" })).await.expect(200).json();
    assert_eq!(edited["name"], "OTHER");
    assert_eq!(edited["masked_value"], world.general_key["masked_value"]);
    assert_eq!(edited["linked_to"].as_array().unwrap().len(), 1);

    world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(provider.last_call().header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
}

#[tokio::test]
async fn a_replaced_value_is_used_from_the_next_call_on() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat(World::MODEL).await.expect(200);

    let patch = json!({ "value": "sk-test-the-second-value-abc" });
    let edited = keyward.api().patch(&world.general_key_path(), patch).await.expect(200);
    assert_eq!(edited.json()["masked_value"], "sk-******abc");
    assert!(!edited.text().contains("second"), "{edited}");

    world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(provider.last_call().header("authorization"), Some("Bearer sk-test-the-second-value-abc"));
}

#[tokio::test]
async fn the_mask_sent_back_as_the_value_is_refused_and_the_real_one_survives() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();

    let mask = world.general_key["masked_value"].clone();
    api.patch(&world.general_key_path(), json!({ "value": mask })).await.problem(422).at("/value");
    let both = json!({ "name": "OTHER", "value": mask });
    api.patch(&world.general_key_path(), both).await.problem(422).at("/value");

    assert_eq!(api.read("/general-keys", &world.general_key["id"]).await["name"], "MY_API", "half an edit");
    world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(provider.last_call().header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
}

#[tokio::test]
async fn refuses_what_create_refuses() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    api.general_key("TAKEN", "sk-test-value-1").await;
    let key = api.general_key("MINE", "sk-test-value-2").await;
    let path = format!("/general-keys/{}", key["id"].as_str().unwrap());

    api.patch(&path, json!({ "name": "taken" })).await.problem(409);
    api.patch(&path, json!({ "name": "" })).await.problem(422).at("/name");
    api.patch(&path, json!({ "name": null })).await.problem(422).at("/name");
    api.patch(&path, json!({ "value": "kw_looks-like-one-of-ours" })).await.problem(422).at("/value");
    api.patch(&path, json!({ "masked_value": "sk-******abc" })).await.problem(422);
    api.patch(&path, json!({ "id": "gk_other" })).await.problem(422);
    assert_eq!(api.read("/general-keys", &key["id"]).await, key);

    // Only its own case: the same key may have it.
    assert_eq!(api.patch(&path, json!({ "name": "mine" })).await.expect(200).json()["name"], "mine");
}

#[tokio::test]
async fn an_unknown_key_is_not_found() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for id in ["gk_01HZZZZZZZZZZZZZZZZZZZZZZZ", "nonsense", "ak_01HZZZZZZZZZZZZZZZZZZZZZZZ", "%00", "..%2f"] {
        api.patch(&format!("/general-keys/{id}"), json!({ "name": "x" })).await.problem(404);
    }
}
