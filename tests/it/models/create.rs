//! POST /models

use serde_json::{Value, json};

use crate::harness::{FakeProvider, TestServer};
use crate::management::{BAD_NAMES, assert_fields};

#[tokio::test]
async fn the_upstream_model_defaults_to_the_name() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    assert_fields(
        &world.model,
        &[
            "id",
            "name",
            "provider_id",
            "upstream_model",
            "general_key_id",
            "general_keys",
            "input_price_micros",
            "output_price_micros",
            "created_at",
            "updated_at",
        ],
    );
    assert_eq!(world.model["upstream_model"], "small");
    assert!(world.model["general_key_id"].is_null());
}

#[tokio::test]
async fn slashes_and_colons_may_stand_in_a_name() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let model = keyward.api().model("meta-llama/Llama-3:free", &world.provider).await;
    assert_eq!(model["name"], "meta-llama/Llama-3:free");
    world.agent.chat("meta-llama/Llama-3:free").await.expect(200);
}

#[tokio::test]
async fn the_model_s_own_key_wins_over_the_provider_s() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let own = api.general_key("OWN", "sk-test-the-model-s-own").await;
    let body = json!({ "name": "special", "provider_id": world.provider["id"], "general_key_id": own["id"] });
    api.post("/models", body).await.expect(201);

    world.agent.chat("special").await.expect(200);
    assert_eq!(provider.last_call().header("authorization"), Some("Bearer sk-test-the-model-s-own"));
    world.agent.chat("small").await.expect(200);
    assert_eq!(provider.last_call().header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
}

#[tokio::test]
async fn refuses_what_cannot_be() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let provider = api.provider("fake", "openai-compatible", "https://api.example.com/v1", &Value::Null).await;
    let id = &provider["id"];
    for name in BAD_NAMES {
        api.post("/models", json!({ "name": name, "provider_id": id })).await.problem(422).at("/name");
    }
    api.post("/models", json!({ "name": "x".repeat(65), "provider_id": id })).await.problem(422).at("/name");
    api.post("/models", json!({ "name": "x" })).await.problem(422).at("/provider_id");
    let unknown = json!({ "name": "x", "provider_id": "pr_01HZZZZZZZZZZZZZZZZZZZZZZZ" });
    api.post("/models", unknown).await.problem(422).at("/provider_id");
    api.post("/models", json!({ "name": "x", "provider_id": id, "upstream_model": "" })).await.problem(422);
    api.post("/models", json!({ "name": "x", "provider_id": id, "price": 1 })).await.problem(422);
    api.model("taken", &provider).await;
    api.post("/models", json!({ "name": "TAKEN", "provider_id": id })).await.problem(409);
}
