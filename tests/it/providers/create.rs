//! POST /providers

use serde_json::json;

use crate::harness::{FakeProvider, TestServer};
use crate::management::{BAD_NAMES, assert_fields};

const KINDS_WITH_ONE_ADDRESS: [(&str, &str); 12] = [
    ("openai", "https://api.openai.com/v1"),
    ("anthropic", "https://api.anthropic.com"),
    ("gemini", "https://generativelanguage.googleapis.com"),
    ("mistral", "https://api.mistral.ai/v1"),
    ("groq", "https://api.groq.com/openai/v1"),
    ("deepseek", "https://api.deepseek.com"),
    ("openrouter", "https://openrouter.ai/api/v1"),
    ("xai", "https://api.x.ai/v1"),
    ("together", "https://api.together.xyz/v1"),
    ("fireworks", "https://api.fireworks.ai/inference/v1"),
    ("cohere", "https://api.cohere.com"),
    ("ollama", "http://localhost:11434"),
];

#[tokio::test]
async fn every_kind_with_one_public_address_knows_it() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for (kind, base_url) in KINDS_WITH_ONE_ADDRESS {
        let made = api.post("/providers", json!({ "name": kind, "kind": kind })).await.expect(201).json();
        assert_eq!(made["base_url"], base_url, "{kind}");
        assert!(made["general_key_id"].is_null());
        assert_eq!(made["kind"], kind);
    }
}

#[tokio::test]
async fn the_kinds_without_one_need_it_given() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for kind in ["azure-openai", "vllm", "openai-compatible"] {
        api.post("/providers", json!({ "name": kind, "kind": kind })).await.problem(422).at("/base_url");
    }
    let body =
        json!({ "name": "azure", "kind": "azure-openai", "base_url": "https://example-resource.openai.azure.com" });
    api.post("/providers", body).await.expect(201);
}

#[tokio::test]
async fn links_the_general_key_that_is_named() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let api = keyward.api();
    let key = api.general_key("MY_API", "sk-test-value-1").await;

    let made = api.provider("fake", "openai-compatible", &provider.base_url(), &key).await;
    let fields = [
        "id",
        "name",
        "kind",
        "base_url",
        "credential_header",
        "general_key_id",
        "general_keys",
        "limits",
        "created_at",
        "updated_at",
    ];
    assert_fields(&made, &fields);
    assert_eq!(made["general_key_id"], key["id"]);
    assert_eq!(made["base_url"], provider.base_url());
    assert_eq!(api.read("/general-keys", &key["id"]).await["linked_to"][0]["id"], made["id"]);
}

#[tokio::test]
async fn refuses_what_cannot_be() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for name in BAD_NAMES {
        api.post("/providers", json!({ "name": name, "kind": "openai" })).await.problem(422).at("/name");
    }
    api.post("/providers", json!({ "name": "a/b", "kind": "openai" })).await.problem(422).at("/name");
    api.post("/providers", json!({ "name": "x", "kind": "skynet" })).await.problem(422).at("/kind");
    api.post("/providers", json!({ "name": "x" })).await.problem(422).at("/kind");
    api.post("/providers", json!({ "name": "x", "kind": "openai", "headers": {} })).await.problem(422);
    let unknown = json!({ "name": "x", "kind": "openai", "general_key_id": "gk_01HZZZZZZZZZZZZZZZZZZZZZZZ" });
    api.post("/providers", unknown).await.problem(422).at("/general_key_id");
    api.post("/providers", json!({ "name": "openai", "kind": "openai" })).await.expect(201);
    api.post("/providers", json!({ "name": "OpenAI", "kind": "openai" })).await.problem(409);
}
