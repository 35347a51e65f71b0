//! The OpenAI routes, and what is none.

use http::Method;
use serde_json::json;

use crate::harness::{FakeProvider, TestServer};

#[tokio::test]
async fn every_openai_route_with_a_model_in_its_body_reaches_the_provider() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for route in ["chat/completions", "completions", "responses", "embeddings", "moderations", "images/generations"] {
        let answer = world.agent.post(&format!("/v1/{route}"), json!({ "model": "small", "input": "x" })).await;
        answer.expect(200);
        let call = provider.last_call();
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", format!("/v1/{route}").as_str()));
        assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
    }
}

#[tokio::test]
async fn the_query_goes_along() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.post("/v1/chat/completions?trace=1&x=%2F", json!({ "model": "small" })).await.expect(200);
    assert_eq!(provider.only_call().path, "/v1/chat/completions?trace=1&x=%2F");
}

#[tokio::test]
async fn what_is_no_route_is_refused_in_openai_s_shape() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for path in ["/v1/nothing-here", "/v1/chat/completions/../../admin", "/v1//chat/completions", "/v1/"] {
        let answer = world.agent.post(path, json!({ "model": "small" })).await;
        assert!([400, 403, 404].contains(&answer.status), "{path}: {answer}");
    }
    let nothing = world.agent.post("/v1/nothing-here", json!({ "model": "small" })).await;
    assert!(nothing.json()["error"]["message"].is_string(), "{nothing}");
    let got = world.agent.send(world.agent.request(Method::GET, "/v1/chat/completions")).await;
    assert!([403, 404, 405].contains(&got.status), "{got}");
    provider.received_nothing();
}

#[tokio::test]
async fn the_kinds_put_the_openai_paths_where_they_belong() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let api = keyward.api();
    let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());
    for (kind, base, path, header, carried) in [
        ("openai", "/v1", "/v1/chat/completions", "authorization", "Bearer "),
        ("mistral", "/v1", "/v1/chat/completions", "authorization", "Bearer "),
        ("groq", "/openai/v1", "/openai/v1/chat/completions", "authorization", "Bearer "),
        ("deepseek", "", "/chat/completions", "authorization", "Bearer "),
        ("openrouter", "/api/v1", "/api/v1/chat/completions", "authorization", "Bearer "),
        ("xai", "/v1", "/v1/chat/completions", "authorization", "Bearer "),
        ("together", "/v1", "/v1/chat/completions", "authorization", "Bearer "),
        ("fireworks", "/inference/v1", "/inference/v1/chat/completions", "authorization", "Bearer "),
        ("vllm", "/v1", "/v1/chat/completions", "authorization", "Bearer "),
        ("openai-compatible", "/v1", "/v1/chat/completions", "authorization", "Bearer "),
        ("ollama", "", "/v1/chat/completions", "authorization", "Bearer "),
        ("anthropic", "", "/v1/chat/completions", "authorization", "Bearer "),
        ("cohere", "", "/compatibility/v1/chat/completions", "authorization", "Bearer "),
        ("gemini", "", "/v1beta/openai/chat/completions", "authorization", "Bearer "),
        ("azure-openai", "", "/openai/v1/chat/completions", "api-key", ""),
    ] {
        let value = format!("sk-test-value-for-{kind}");
        let key = api.general_key(kind, &value).await;
        let made = api.provider(kind, kind, &format!("{}{base}", provider.origin()), &key).await;
        api.model(&format!("of-{kind}"), &made).await;
        agent.chat(&format!("of-{kind}")).await.expect(200);
        let call = provider.last_call();
        assert_eq!(call.path, path, "{kind}");
        assert_eq!(call.header(header), Some(format!("{carried}{value}").as_str()), "{kind}");
    }
}
