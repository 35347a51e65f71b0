//! What a token may: its scopes, as far as its owner's role goes, until it ends.

use serde_json::json;

use crate::harness::TestServer;

#[tokio::test]
async fn each_scope_opens_what_it_is_for_and_nothing_else() {
    let keyward = TestServer::start().await;
    let reads = [
        ("general-keys:read", "/general-keys"),
        ("agent-keys:read", "/agent-keys"),
        ("providers:read", "/providers"),
        ("models:read", "/models"),
        ("members:read", "/members"),
        ("management-tokens:read", "/management-tokens"),
        ("audit:read", "/audit-events"),
        ("usage:read", "/usage"),
    ];
    let all = reads.map(|(scope, _)| scope).into_iter().chain(["introspect", "metrics:read", "agent-keys:write"]);
    for scope in all {
        let body = json!({ "name": scope, "scopes": [scope] });
        let token = keyward.api().post("/management-tokens", body).await.expect(201).json();
        let api = keyward.api_with(token["secret"].as_str());
        for (needed, path) in reads {
            let answer = api.get(path).await;
            assert_eq!(answer.status, if needed == scope { 200 } else { 403 }, "{scope} at {path}: {answer}");
            if needed != scope {
                assert_eq!(answer.problem(403).json()["required_scope"], needed);
            }
        }
        let metrics = api.send(api.outside(http::Method::GET, "/metrics")).await.status;
        assert_eq!(metrics, if scope == "metrics:read" { 200 } else { 403 }, "{scope}");
        let created = api.post("/agent-keys", json!({ "name": format!("by {scope}") })).await.status;
        assert_eq!(created, if scope == "agent-keys:write" { 201 } else { 403 }, "{scope}");
    }
}

#[tokio::test]
async fn an_owner_who_may_less_takes_it_from_the_token_as_well() {
    let keyward = TestServer::start().await;
    let person = keyward.person("grace", "admin").await;
    let body = json!({ "name": "hers", "scopes": ["providers:read", "providers:write", "agent-keys:read"] });
    let token = person.api.post("/management-tokens", body).await.expect(201).json();
    let api = keyward.api_with(token["secret"].as_str());
    let provider = json!({ "name": "p", "kind": "openai" });
    api.post("/providers", provider.clone()).await.expect(201);
    keyward.api().patch(&person.path(), json!({ "role": "operator" })).await.expect(200);
    api.post("/providers", provider).await.problem(403);
    api.get("/providers").await.expect(200);
    keyward.api().patch(&person.path(), json!({ "role": "member" })).await.expect(200);
    api.get("/providers").await.problem(403);
    assert_eq!(api.get("/agent-keys").await.expect(200).json()["total"], 0);
}

#[tokio::test]
async fn nobody_gives_a_token_what_their_role_may_not() {
    let keyward = TestServer::start().await;
    let operator = keyward.person("grace", "operator").await;
    let make = async |scope: &str| {
        let body = json!({ "name": scope, "scopes": [scope] });
        operator.api.post("/management-tokens", body).await
    };
    for scope in ["providers:write", "members:read", "audit:read", "introspect"] {
        let refused = make(scope).await.problem(403);
        assert_eq!(refused.json()["missing_scopes"], json!([scope]));
    }
    make("general-keys:write").await.expect(201);
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let keyward = TestServer::start().await;
    let body = json!({ "name": "a day", "scopes": ["usage:read"], "expires_in_days": 1 });
    let token = keyward.api().post("/management-tokens", body).await.expect(201).json();
    let keyward = keyward.stop_to_restart().await.days_later(2).start().await;
    keyward.api_with(token["secret"].as_str()).get("/usage").await.problem(401);
}
