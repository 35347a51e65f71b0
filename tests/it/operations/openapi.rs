//! /openapi.json and /docs: the description is of the server that serves it.

use http::Method;
use serde_json::Value;

use crate::harness::TestServer;

async fn description(keyward: &TestServer) -> Value {
    let api = keyward.api_with(None);
    api.send(api.outside(Method::GET, "/openapi.json")).await.expect(200).json()
}

#[tokio::test]
async fn describes_every_resource_with_its_errors() {
    let keyward = TestServer::start().await;
    let description = description(&keyward).await;
    assert!(description["openapi"].as_str().unwrap().starts_with("3."), "{}", description["openapi"]);
    for resource in ["general-keys", "agent-keys", "providers", "models", "members", "management-tokens"] {
        let collection = &description["paths"][format!("/api/v1/{resource}")];
        for method in ["get", "post"] {
            assert!(collection[method]["responses"].is_object(), "{method} {resource}");
        }
        let responses = &collection["post"]["responses"];
        assert!(responses["422"].is_object() || responses["default"].is_object(), "the errors of {resource}");
        let item = &description["paths"][format!("/api/v1/{resource}/{{id}}")];
        for method in ["get", "patch", "delete"] {
            assert!(item[method]["responses"].is_object(), "{method} {resource}/{{id}}");
        }
    }
    assert!(description["paths"]["/api/v1/audit-events"]["get"].is_object());
    assert!(description["paths"]["/api/v1/general-keys/{id}/test"]["post"].is_object());
}

#[tokio::test]
async fn every_path_it_names_is_served_and_closed_without_a_token() {
    let keyward = TestServer::start().await;
    let api = keyward.api_with(None);
    for (path, methods) in description(&keyward).await["paths"].as_object().unwrap() {
        if !path.starts_with("/api/v1/") {
            continue;
        }
        let path = path.replace("{id}", "gk_01HZZZZZZZZZZZZZZZZZZZZZZZ");
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = api.send(api.outside(method.clone(), &path)).await;
            // A leaked key is its own proof: without one the body is refused.
            let expected = if path.ends_with("/revoke-leaked") { 422 } else { 401 };
            assert_eq!(answer.status, expected, "{method} {path}: {answer}");
        }
    }
}

#[tokio::test]
async fn what_it_says_of_a_general_key_is_what_one_looks_like() {
    let keyward = TestServer::start().await;
    let key = keyward.api().general_key("MY_API", "sk-test-value-1").await;
    let description = description(&keyward).await;
    let ok = &description["paths"]["/api/v1/general-keys/{id}"]["get"]["responses"]["200"];
    let mut schema = &ok["content"]["application/json"]["schema"];
    if let Some(reference) = schema["$ref"].as_str() {
        schema = description.pointer(reference.trim_start_matches('#')).expect("the reference leads somewhere");
    }
    let mut described: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let mut real: Vec<&String> = key.as_object().unwrap().keys().collect();
    described.sort();
    real.sort();
    assert_eq!(described, real);
}

#[tokio::test]
async fn docs_are_a_page_of_our_own() {
    let keyward = TestServer::start().await;
    let api = keyward.api_with(None);
    let page = api.send(api.outside(Method::GET, "/docs")).await.expect(200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let text = page.text();
    assert!(text.contains("/api/v1/general-keys"), "{text}");
    for outside in ["src=\"http", "href=\"http", "src=\"//", "href=\"//", "<style", "style=\""] {
        assert!(!text.contains(outside), "{outside} in /docs");
    }
}
