//! Agents, MCP servers and other services behind Keyward, at `/agents/{name}/…`.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Agent, Api, FakeProvider, Reply, TestServer};

const VALUE: &str = "test-value-of-the-service-xyz";

/// A service with a credential of its own, and an agent.
async fn world(keyward: &TestServer, service: &FakeProvider, header: Value) -> (Value, Agent) {
    let api = keyward.api();
    let key = api.general_key("SERVICE", VALUE).await;
    let body = json!({ "name": "weather", "kind": "service", "base_url": format!("{}/base", service.origin()),
        "general_key_id": key["id"], "credential_header": header });
    let made = api.post("/providers", body).await.expect(201).json();
    (made, keyward.agent(api.agent_key("caller").await["secret"].as_str().unwrap()))
}

async fn limit(api: &Api, agent: &str, limits: Value) {
    let keys = api.get(&format!("/agent-keys?search={agent}")).await.expect(200).json();
    let path = format!("/agent-keys/{}", keys["items"][0]["id"].as_str().unwrap());
    api.patch(&path, json!({ "limits": limits })).await.expect(200);
}

#[tokio::test]
async fn any_method_and_path_reach_it_with_its_own_credential_in_its_own_header() {
    let keyward = TestServer::start().await;
    let service = FakeProvider::start().await;
    let (made, agent) = world(&keyward, &service, json!("X-Service-Token")).await;
    assert_eq!((&made["kind"], &made["credential_header"]), (&json!("service"), &json!("x-service-token")));
    service.always(
        200,
        &[
            ("content-type", "text/plain"),
            ("mcp-session-id", "s1"),
            ("x-own", "1"),
            ("set-cookie", "a=b"),
            ("access-control-allow-origin", "*"),
            ("x-accel-redirect", "/internal"),
        ],
        "whatever it says",
    );
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        service.forget();
        let request = agent.request(method.clone(), "/agents/weather/some/.well-known/path/?q=a%20b&x=1");
        let request =
            request.header("x-service-token", "forged").header("mcp-session-id", "s0").header("x_service_token", "too");
        let answer = agent.send(request.body("{\"model\": \"a\", \"model\": \"b\"")).await.expect(200);
        assert_eq!(answer.text(), "whatever it says");
        assert_eq!((answer.header("mcp-session-id"), answer.header("x-own")), (Some("s1"), Some("1")));
        assert!(answer.header("set-cookie").is_none() && answer.header("access-control-allow-origin").is_none());
        assert!(answer.header("x-accel-redirect").is_none(), "a proxy in front would follow it");
        let call = service.only_call();
        assert_eq!(
            (call.method.as_str(), call.path.as_str()),
            (method.as_str(), "/base/some/.well-known/path/?q=a%20b&x=1")
        );
        assert_eq!(call.header("x-service-token"), Some(VALUE));
        assert_eq!((call.header("mcp-session-id"), call.header("x_service_token")), (Some("s0"), None));
        assert_eq!(&call.body[..], b"{\"model\": \"a\", \"model\": \"b\"");
        assert!(!call.mentions(agent.secret()) && !call.mentions("forged"), "{call:?}");
    }
    // The base URL itself, with and without a slash behind it.
    for (path, there) in
        [("/agents/weather", "/base"), ("/agents/weather/", "/base/"), ("/agents/weather?a=1", "/base?a=1")]
    {
        service.forget();
        agent.get(path).await.expect(200);
        assert_eq!(service.only_call().path, there);
    }
    // What it says of its own passes, but for a redirect and the refusal of its credential.
    for status in [404, 405, 409, 422, 500] {
        service.next(Reply::error(status, "its own words"));
        assert!(agent.get("/agents/weather/x").await.expect(status).text().contains("its own words"));
    }
    service.next(Reply::with(307, &[("location", "http://elsewhere.example/")], ""));
    agent.get("/agents/weather/x").await.refused(502, "upstream_unreachable");
    service.next(Reply::error(401, "who are you"));
    agent.get("/agents/weather/x").await.refused(502, "provider_refused_key");
}

#[tokio::test]
async fn a_stream_passes_as_it_comes_and_nothing_is_read_in_it() {
    let keyward = TestServer::start().await;
    let service = FakeProvider::start().await;
    let (_, agent) = world(&keyward, &service, Value::Null).await;
    let stage = service.stage();
    let request = agent.request(Method::GET, "/agents/weather/events");
    let (response, ()) = tokio::join!(request.send(), async { stage.open() });
    let mut response = response.unwrap();
    assert_eq!(response.status(), 200);
    for event in
        [r#"{"usage":{"prompt_tokens":5,"completion_tokens":7}}"#, r#"{"choices":[],"usage":{"total_tokens":3}}"#]
    {
        stage.event(event);
        assert_eq!(response.chunk().await.unwrap().unwrap(), format!("data: {event}\n\n"));
    }
    drop(stage);
    assert!(response.chunk().await.unwrap().is_none());
    assert_eq!(service.only_call().header("authorization"), Some(format!("Bearer {VALUE}").as_str()));
    let api = keyward.api();
    let row = crate::harness::eventually("its usage", async || {
        let usage = api.get("/usage?group_by=provider").await.expect(200).json();
        usage["items"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(
        (&row["requests"], &row["input_tokens"], &row["output_tokens"]),
        (&json!(1), &json!(0), &json!(0)),
        "{row}"
    );
}

#[tokio::test]
async fn it_is_no_provider_of_models_and_its_path_climbs_nowhere() {
    let keyward = TestServer::start().await;
    let service = FakeProvider::start().await;
    let (made, agent) = world(&keyward, &service, Value::Null).await;
    let api = keyward.api();
    api.post("/models", json!({ "name": "m", "provider_id": made["id"] })).await.problem(422);
    let other = api.provider("models", "openai-compatible", &service.base_url(), &Value::Null).await;
    agent.chat("weather/small").await.refused(404, "model_not_found");
    agent.post("/providers/weather/chat/completions", json!({ "model": "m" })).await.refused(403, "route_not_allowed");
    agent.get("/agents/models/models").await.refused(403, "route_not_allowed");
    agent.get("/agents/nobody/x").await.refused(404, "provider_not_found");
    for path in
        ["/agents/weather/%2e%2e/admin", "/agents/weather/a%2fb", "/agents/weather/a//b", "/agents/weather/..%5cx"]
    {
        let answer = crate::harness::exchange(
            &keyward.url(),
            format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
                agent.secret()
            ),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("route_not_allowed"), "{path}: {answer}");
    }
    service.received_nothing();
    // Which services a key calls its limits say, as with the models of a provider.
    limit(&api, "caller", json!({ "allowed_models": ["gpt-*"] })).await;
    agent.get("/agents/weather/x").await.refused(403, "model_not_allowed");
    limit(&api, "caller", json!({ "allowed_models": ["gpt-*", "weather/*"], "requests_per_minute": 2 })).await;
    agent.get("/agents/weather/x").await.expect(200);
    agent.get("/agents/weather/x").await.expect(200);
    agent.get("/agents/weather/x").await.refused(429, "rate_limit_exceeded");
    // Without a good key nothing passes, and a key that ended ends its calls.
    keyward.agent("kw_nonsense").get("/agents/weather/x").await.expect(401);
    let path = format!("/providers/{}", other["id"].as_str().unwrap());
    for bad in [
        json!({ "credential_header": "x-token" }),
        json!({ "kind": "service", "credential_header": "host" }),
        json!({ "kind": "service", "credential_header": "x token" }),
    ] {
        api.patch(&path, bad).await.problem(422);
    }
}

#[tokio::test]
async fn its_credential_goes_into_another_header_only_with_its_value_again() {
    let keyward = TestServer::start().await;
    let service = FakeProvider::start().await;
    let (made, agent) = world(&keyward, &service, Value::Null).await;
    let api = keyward.api();
    let path = format!("/providers/{}", made["id"].as_str().unwrap());
    api.patch(&path, json!({ "credential_header": "x-debug-echo" })).await.problem_called(409, "origin_not_bound");
    agent.get("/agents/weather/x").await.expect(200);
    assert_eq!(service.last_call().header("x-debug-echo"), None);
    let moved = json!({ "credential_header": "x-token", "general_key_value": VALUE });
    assert_eq!(api.patch(&path, moved).await.expect(200).json()["credential_header"], "x-token");
    agent.get("/agents/weather/x").await.expect(200);
    assert_eq!(service.last_call().header("x-token"), Some(VALUE));
    assert_eq!(service.last_call().header("authorization"), None);
    // Whoever writes to the database moves it nowhere.
    let mut database = keyward.database().await;
    database.execute("UPDATE providers SET credential_header = 'x-debug-echo'").await;
    crate::harness::until("a refusal", async || agent.get("/agents/weather/x").await.status == 503).await;
    assert!(service.calls().iter().all(|call| call.header("x-debug-echo").is_none()));
}
