//! `/providers/{name}/{path…}`: the provider's own API, for a client that thinks it talks to it.

use http::Method;
use serde_json::json;

use crate::harness::{FakeProvider, Reply, TestServer};

#[tokio::test]
async fn the_path_is_appended_to_the_base_url_and_the_key_injected() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let answer =
        world.agent.post("/providers/fake/chat/completions?x=1", json!({ "model": "whatever" })).await.expect(200);
    assert_eq!(answer.json()["model"], "whatever");
    let call = provider.only_call();
    assert_eq!(call.path, "/v1/chat/completions?x=1");
    assert_eq!(call.json(), json!({ "model": "whatever" }));
    assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
    assert!(!call.mentions(world.agent.secret()));
}

#[tokio::test]
async fn its_model_list_and_its_streams_pass() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let list = world.agent.get("/providers/fake/models").await.expect(200).json();
    assert_eq!(list["data"][0]["owned_by"], "fake");
    let answer =
        world.agent.post("/providers/fake/chat/completions", json!({ "model": "small", "stream": true })).await;
    let text = answer.expect(200).text();
    assert!(text.contains(" there") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(!text.contains("total_tokens"), "{text}");
}

#[tokio::test]
async fn routes_off_the_closed_list_are_refused() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for (method, path) in [
        (Method::GET, "files"),
        (Method::POST, "files"),
        (Method::GET, "files/file-1/content"),
        (Method::POST, "batches"),
        (Method::GET, "organization/users"),
        (Method::POST, "fine_tuning/jobs"),
        (Method::DELETE, "models/small"),
        (Method::DELETE, "chat/completions"),
    ] {
        let request = world.agent.request(method.clone(), &format!("/providers/fake/{path}"));
        let answer = world.agent.send(request.json(&json!({ "model": "small" }))).await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer}");
        answer.refused(403, "route_not_allowed");
    }
    provider.received_nothing();
}

#[tokio::test]
async fn further_routes_are_opened_to_a_key_by_whoever_may_change_providers() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let opened = json!({ "limits": { "allowed_routes": ["fake/files*", "fake/batches"] } });
    let key = api.patch(&world.agent_key_path(), opened.clone()).await.expect(200).json();
    assert_eq!(key["limits"]["allowed_routes"], json!(["fake/files*", "fake/batches"]));

    // Passed as it is, whatever it holds, with the general key.
    let path = "/providers/fake/files?purpose=batch";
    let body = "--x\r\nnot json, and no form either";
    let sent =
        world.agent.request(Method::POST, path).header("content-type", "multipart/form-data; boundary=x").body(body);
    provider.next(Reply::with(200, &[("content-type", "application/json")], r#"{"id":"file-1"}"#));
    assert_eq!(world.agent.send(sent).await.expect(200).json()["id"], "file-1");
    let call = provider.last_call();
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/v1/files?purpose=batch"));
    assert_eq!(
        (&call.body[..], call.header("authorization")),
        (body.as_bytes(), Some(format!("Bearer {}", world.value).as_str()))
    );
    provider.next(Reply::with(200, &[("content-type", "application/octet-stream")], "bytes"));
    assert_eq!(world.agent.get("/providers/fake/files/file-1/content").await.expect(200).text(), "bytes");
    // Inference goes on as before, and nothing else is open.
    world.agent.chat("fake/small").await.expect(200);
    provider.forget();
    for path in
        ["organization/users", "batches/b-1", "files/..%2forganization", "files/%2e%2e/organization", "files//x"]
    {
        let answer = world.agent.get(&format!("/providers/fake/{path}")).await;
        assert!([400, 403].contains(&answer.status), "{path}: {answer}");
    }
    let other = keyward.agent(api.agent_key("other").await["secret"].as_str().unwrap());
    other.get("/providers/fake/files").await.refused(403, "route_not_allowed");
    provider.received_nothing();

    // A member may limit their own key, and not open more with it.
    let member = keyward.person("mia", "member").await.api;
    let own = member.post("/agent-keys", json!({ "name": "mias" })).await.expect(201).json();
    let path = format!("/agent-keys/{}", own["id"].as_str().unwrap());
    member.patch(&path, opened.clone()).await.problem(403);
    let mut new = opened.clone();
    new["name"] = json!("another");
    member.post("/agent-keys", new.clone()).await.problem(403);
    member.post("/agent-keys/bulk-create", json!({ "agent_keys": [new] })).await.problem(403);
    api.patch(&path, opened).await.expect(200);
    member.patch(&path, json!({ "limits": { "requests_per_minute": 5 } })).await.expect(200);
    for wrong in [json!(["files"]), json!([" "]), json!("fake/files")] {
        api.patch(&path, json!({ "limits": { "allowed_routes": wrong } })).await.problem(422);
    }
}

#[tokio::test]
async fn paths_that_climb_out_of_the_base_url_are_refused() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let secret = world.agent.secret();
    for path in [
        "../admin",
        "chat/completions/../../../admin",
        "%2e%2e/admin",
        "..%2fadmin",
        "chat%2fcompletions",
        "/chat/completions",
        "chat//completions",
        "chat\\completions",
        "chat/completions%00",
        "@evil.example/chat/completions",
    ] {
        // By hand: a client library would tidy the path up.
        let request = format!(
            "POST /providers/fake/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\
             Content-Type: application/json\r\nContent-Length: 17\r\nConnection: close\r\n\r\n{{\"model\":\"small\"}}"
        );
        let answer = crate::harness::exchange(&keyward.url(), request).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    provider.received_nothing();
}

#[tokio::test]
async fn an_unknown_provider_is_not_found_and_no_key_no_entry() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.post("/providers/nobody/chat/completions", json!({ "model": "small" })).await.expect(404);
    let anonymous = world.agent.anonymous(Method::POST, "/providers/fake/chat/completions");
    world.agent.send(anonymous.json(&json!({ "model": "small" }))).await.refused(401, "invalid_api_key");
    provider.received_nothing();
}

#[tokio::test]
async fn a_provider_s_name_may_need_escaping() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let api = keyward.api();
    api.provider("Our LLM", "openai-compatible", &provider.base_url(), &serde_json::Value::Null).await;
    let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());
    agent.post("/providers/Our%20LLM/chat/completions", json!({ "model": "small" })).await.expect(200);
    agent.chat("Our LLM/small").await.expect(200);
}
