//! Which model: from its name to provider, upstream model and general key.

use serde_json::{Value, json};

use crate::harness::{FakeProvider, TestServer};

#[tokio::test]
async fn an_unknown_model_is_not_found() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for name in ["nobody-knows-me", "", "fakes/small", "small/", "/small", "fake/", "'; DROP TABLE models; --"] {
        let answer = world.agent.chat(name).await;
        assert!([400, 404].contains(&answer.status), "{name:?}: {answer}");
    }
    world.agent.chat("nobody-knows-me").await.refused(404, "model_not_found");
    provider.received_nothing();
}

#[tokio::test]
async fn a_model_whose_provider_has_no_key_says_what_to_link() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let api = keyward.api();
    let made = api.provider("keyless", "openai", &provider.base_url(), &Value::Null).await;
    api.model("gpt-x", &made).await;
    let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());

    let refused = agent.chat("gpt-x").await.refused(503, "no_general_key");
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("keyless") || message.contains("gpt-x"), "{message}");
    provider.received_nothing();
}

#[tokio::test]
async fn a_kind_that_needs_no_key_is_called_without_one() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let api = keyward.api();
    let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());
    for (kind, base_url, path) in [
        ("ollama", provider.origin(), "/v1/chat/completions"),
        ("vllm", provider.base_url(), "/v1/chat/completions"),
        ("openai-compatible", format!("{}/deep/er", provider.origin()), "/deep/er/chat/completions"),
    ] {
        let made = api.provider(kind, kind, &base_url, &Value::Null).await;
        api.model(&format!("of-{kind}"), &made).await;
        agent.chat(&format!("of-{kind}")).await.expect(200);
        let call = provider.last_call();
        assert_eq!(call.path, path);
        assert_eq!(call.header("authorization"), None);
        assert!(!call.mentions(agent.secret()));
    }
}

#[tokio::test]
async fn provider_slash_model_reaches_a_model_nobody_registered() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat("fake/anything/at:all").await.expect(200);
    let call = provider.only_call();
    assert_eq!(call.json()["model"], "anything/at:all");
    assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
}

#[tokio::test]
async fn a_model_s_name_wins_over_provider_slash_model() {
    let keyward = TestServer::start().await;
    let (first, second) = (FakeProvider::start().await, FakeProvider::start().await);
    let world = keyward.with_linked_model(&first).await;
    let api = keyward.api();
    let other = api.provider("other", "openai-compatible", &second.base_url(), &Value::Null).await;
    api.model("fake/small", &other).await;

    world.agent.chat("fake/small").await.expect(200);
    first.received_nothing();
    assert_eq!(second.only_call().json()["model"], "fake/small");
}

#[tokio::test]
async fn the_list_is_in_openai_s_shape() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    keyward.api().model("another", &world.provider).await;

    let list = world.agent.get("/v1/models").await.expect(200).json();
    assert_eq!(list["object"], "list");
    let mut names = Vec::new();
    for model in list["data"].as_array().unwrap() {
        assert_eq!(model["object"], "model");
        assert!(model["created"].is_u64() && model["owned_by"].is_string(), "{model}");
        names.push(model["id"].as_str().unwrap());
    }
    names.sort_unstable();
    assert_eq!(names, ["another", "small"]);
    provider.received_nothing();

    let anonymous = world.agent.anonymous(http::Method::GET, "/v1/models");
    world.agent.send(anonymous).await.refused(401, "invalid_api_key");
}

#[tokio::test]
async fn where_the_names_differ_only_the_model_s_own_bytes_change() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let body = json!({ "name": "nice", "provider_id": world.provider["id"], "upstream_model": "vendor/model-1" });
    keyward.api().post("/models", body).await.expect(201);

    let sent = "{ \"messages\" : [{\"role\":\"user\",\"content\":\"the model is nice\"}],\n\t\"model\"  :\"nice\" ,\"x\":1.0e0, \"u\":\"\\u00e9\" }";
    let answer = world.agent.post_bytes("/v1/chat/completions", sent).await.expect(200);
    let received = provider.only_call();
    assert_eq!(String::from_utf8(received.body.to_vec()).unwrap(), sent.replace(":\"nice\"", ":\"vendor/model-1\""));
    assert_eq!(received.header("content-length"), Some(received.body.len().to_string().as_str()));
    assert_eq!(answer.json()["model"], "vendor/model-1", "the answer keeps the provider's own");
}
