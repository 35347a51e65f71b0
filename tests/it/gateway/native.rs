//! The wire formats of Anthropic, Gemini and Azure, beyond what the official clients send.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn the_list_of_models_has_the_shape_of_whoever_asks() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for (path, header, place, expected) in [
        ("/v1/models", None, "/data/0/object", "model"),
        ("/v1/models", Some("anthropic-version"), "/data/0/type", "model"),
        ("/v1/models", Some("x-goog-api-client"), "/models/0/name", "models/small"),
        ("/v1beta/models", None, "/models/0/name", "models/small"),
        ("/openai/models?api-version=2024-10-21", None, "/data/0/id", "small"),
        ("/v1/models/small", None, "/object", "model"),
        ("/v1/models/small", Some("anthropic-version"), "/type", "model"),
        ("/v1/models/small", Some("x-goog-api-client"), "/name", "models/small"),
        ("/v1beta/models/small", None, "/name", "models/small"),
        ("/openai/models/small?api-version=2024-10-21", None, "/id", "small"),
    ] {
        let request = world.agent.request(Method::GET, path);
        let request = header.into_iter().fold(request, |request, name| request.header(name, "1"));
        let answer = world.agent.send(request).await.expect(200).json();
        assert_eq!(answer.pointer(place), Some(&json!(expected)), "{path} with {header:?}: {answer}");
    }
    provider.received_nothing();
}

#[tokio::test]
async fn a_list_of_models_without_a_key_is_refused_in_that_shape() {
    let keyward = TestServer::start().await;
    let agent = keyward.agent("");
    for (path, header, place, expected) in [
        ("/v1/models", None, "/error/code", json!("invalid_api_key")),
        ("/v1/models", Some("anthropic-version"), "/error/type", json!("authentication_error")),
        ("/v1/models", Some("x-goog-api-client"), "/error/status", json!("UNAUTHENTICATED")),
        ("/v1beta/models", None, "/error/status", json!("UNAUTHENTICATED")),
        ("/openai/models", None, "/error/code", json!("invalid_api_key")),
    ] {
        let request = agent.anonymous(Method::GET, path);
        let request = header.into_iter().fold(request, |request, name| request.header(name, "1"));
        let answer = agent.send(request).await.expect(401).json();
        assert_eq!(answer.pointer(place), Some(&expected), "{path} with {header:?}: {answer}");
    }
}

#[tokio::test]
async fn a_gemini_body_names_the_model_as_its_provider_knows_it_and_else_stays() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model_of_kind("gemini", &provider).await;
    for (name, method, answered) in [
        ("small", "embedContent", "/embedding/values"),
        ("fake/vendor-small", "embedContent", "/embedding/values"),
        ("small", "countTokens", "/totalTokens"),
    ] {
        let body = |name: &str| match method {
            "countTokens" => format!("{{\"generateContentRequest\" : {{ \"model\":\"models/{name}\", \"x\":1e0 }}}}"),
            _ => {
                format!("{{ \"model\" : \"models/{name}\",\"content\":{{\"parts\":[{{\"text\":\"models/small\"}}]}}}}")
            }
        };
        let answer = world.agent.post_bytes(&format!("/v1beta/models/{name}:{method}"), body(name)).await.expect(200);
        assert!(answer.json().pointer(answered).is_some(), "{answer}");
        let call = provider.last_call();
        assert_eq!(call.path, format!("/v1beta/models/vendor-small:{method}"));
        assert_eq!(String::from_utf8(call.body.to_vec()).unwrap(), body(World::UPSTREAM_MODEL));
    }
}

#[tokio::test]
async fn only_streams_of_completions_are_asked_for_usage_on_azure() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model_of_kind("azure-openai", &provider).await;
    let asking = json!({ "include_usage": true });
    for (operation, options) in [("chat/completions", asking), ("images/generations", Value::Null)] {
        let path = format!("/openai/deployments/small/{operation}?api-version=2025-04-01-preview");
        world.agent.post(&path, json!({ "model": "another", "stream": true })).await.expect(200);
        let sent = provider.last_call().json();
        assert_eq!(sent["stream_options"], options, "{operation}");
        assert_eq!(sent["model"], "another", "Azure goes by the path: {operation}");
    }
}
