//! PATCH and DELETE /management-tokens/{id}, and the list.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Api, TestServer};

async fn token(api: &Api, name: &str, scopes: &[&str]) -> (Value, String) {
    let made = api.post("/management-tokens", json!({ "name": name, "scopes": scopes })).await.expect(201).json();
    let path = format!("/management-tokens/{}", made["id"].as_str().unwrap());
    (made, path)
}

#[tokio::test]
async fn fewer_scopes_hold_from_the_next_call_on() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let (made, path) = token(&api, "ci", &["usage:read", "agent-keys:read"]).await;
    let by_token = keyward.api_with(made["secret"].as_str());
    by_token.get("/usage").await.expect(200);
    let edited = api.patch(&path, json!({ "name": "ci 2", "scopes": ["agent-keys:read"] })).await.expect(200).json();
    assert_eq!((&edited["name"], &edited["scopes"]), (&json!("ci 2"), &json!(["agent-keys:read"])));
    by_token.get("/usage").await.problem(403);
    by_token.get("/agent-keys").await.expect(200);
    for edit in
        [json!({ "scopes": [] }), json!({ "scopes": ["*"] }), json!({ "scopes": null }), json!({ "expires_at": 1 })]
    {
        api.patch(&path, edit).await.problem(422);
    }
}

#[tokio::test]
async fn a_deleted_token_is_refused_at_once_and_a_stale_edit_too() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let (made, path) = token(&api, "ci", &["usage:read"]).await;
    let by_token = keyward.api_with(made["secret"].as_str());
    by_token.get("/usage").await.expect(200);
    let etag = api.etag(&path).await;
    api.patch(&path, json!({ "name": "renamed" })).await.expect(200);
    api.send(api.request(Method::DELETE, &path).header("if-match", etag)).await.problem(412);
    api.delete(&path).await.expect(204);
    by_token.get("/usage").await.problem(401);
    api.get(&path).await.problem(404);
    let events = api.audit_events().await;
    let actions: Vec<_> = events
        .iter()
        .filter(|event| event["target"]["id"] == made["id"])
        .map(|event| event["action"].clone())
        .collect();
    assert_eq!(actions, ["management_token.delete", "management_token.edit", "management_token.create"]);
}

#[tokio::test]
async fn lists_everybody_s_or_one_s_own() {
    let keyward = TestServer::start().await;
    let member = keyward.person("grace", "member").await;
    token(&member.api, "hers", &["agent-keys:read"]).await;
    let names = async |api: &Api, query: &str| {
        let list = api.get(&format!("/management-tokens{query}")).await.expect(200).json();
        let items = list["items"].as_array().unwrap().clone();
        items.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&member.api, "").await, ["hers"]);
    assert_eq!(names(&keyward.api(), "").await, ["hers", "t"]);
    assert_eq!(names(&keyward.api(), "?sort=-name&limit=1").await, ["t"]);
    assert!(names(&keyward.api(), "?status=expired").await.is_empty());
    let keyward = keyward.stop_to_restart().await.days_later(91).start().await;
    assert_eq!(names(&keyward.api(), "?status=expired").await, ["hers"]);
}
