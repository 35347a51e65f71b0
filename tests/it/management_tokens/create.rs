//! POST /management-tokens

use serde_json::{Value, json};

use crate::harness::TestServer;
use crate::management::{BAD_NAMES, assert_fields, assert_time, days_between};

const FIELDS: [&str; 9] =
    ["id", "name", "status", "scopes", "masked_secret", "created_at", "last_used_at", "created_by", "expires_at"];

fn body(name: &str, scopes: &[&str]) -> Value {
    json!({ "name": name, "scopes": scopes })
}

#[tokio::test]
async fn shows_the_secret_once_and_its_mask_ever_after() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let answer = api.post("/management-tokens", body("ci", &["usage:read", "agent-keys:read"])).await.expect(201);
    let token = answer.json();
    let (id, secret) = (token["id"].as_str().unwrap(), token["secret"].as_str().unwrap());
    assert!(id.starts_with("mt_") && secret.starts_with("kwm_"), "{token}");
    assert_eq!(crate::harness::with_checksum(&secret[..47]), secret);
    assert_eq!(answer.header("location"), Some(format!("/api/v1/management-tokens/{id}").as_str()));
    assert!(answer.header("cache-control").is_some_and(|text| text.contains("no-store")));
    assert_fields(&token, &[&FIELDS[..], &["secret"]].concat());
    assert_eq!(token["scopes"], json!(["agent-keys:read", "usage:read"]));
    assert_time(&token["expires_at"]);
    assert_eq!(days_between(&token["created_at"], &token["expires_at"]), 90);
    let read = api.read("/management-tokens", &token["id"]).await;
    assert_fields(&read, &FIELDS);
    assert_eq!(read["masked_secret"], format!("{}******{}", &secret[..4], &secret[secret.len() - 4..]).as_str());
    for (path, bytes) in keyward.home().files() {
        assert!(memchr::memmem::find(&bytes, secret.as_bytes()).is_none(), "in {}", path.display());
    }
    keyward.api_with(Some(secret)).get("/usage").await.expect(200);
    crate::harness::until("its last use", async || {
        api.read("/management-tokens", &token["id"]).await["last_used_at"].is_string()
    })
    .await;
}

#[tokio::test]
async fn refuses_unknown_scopes_none_at_all_and_fields_nobody_chooses() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for scope in ["*", "agent-keys", "agent-keys:*", "agent-keys:admin", "", "AGENT-KEYS:read"] {
        api.post("/management-tokens", body("x", &["usage:read", scope])).await.problem(422).at("/scopes/1");
    }
    api.post("/management-tokens", body("x", &[])).await.problem(422).at("/scopes");
    api.post("/management-tokens", json!({ "name": "x" })).await.problem(422).at("/scopes");
    for scopes in [json!("usage:read"), json!([1]), json!(null)] {
        api.post("/management-tokens", json!({ "name": "x", "scopes": scopes })).await.problem(422);
    }
    for name in BAD_NAMES {
        api.post("/management-tokens", body(name, &["usage:read"])).await.problem(422).at("/name");
    }
    for days in [json!(0), json!(366), json!(-1), json!(i64::MAX), json!(1.5), json!("9")] {
        let mut body = body("x", &["usage:read"]);
        body["expires_in_days"] = days;
        api.post("/management-tokens", body).await.problem(422).at("/expires_in_days");
    }
    for (field, value) in [
        ("member_id", json!("mb_1")),
        ("created_by", json!({ "id": "mb_1" })),
        ("secret", json!(crate::harness::well_formed("kwm_", '3'))),
        ("expires_at", json!("2999-01-01T00:00:00Z")),
    ] {
        let mut body = body("x", &["usage:read"]);
        body[field] = value;
        api.post("/management-tokens", body).await.problem(422);
    }
    api.post("/management-tokens", body("CI", &["usage:read"])).await.expect(201);
    api.post("/management-tokens", body("ci", &["usage:read"])).await.problem_called(409, "name_taken");
}

#[tokio::test]
async fn a_token_makes_narrower_ones_only() {
    let keyward = TestServer::start().await;
    let mut wide = body("wide", &["management-tokens:write", "agent-keys:read", "agent-keys:write"]);
    wide["expires_in_days"] = json!(10);
    let wide = keyward.api().post("/management-tokens", wide).await.expect(201).json();
    let api = keyward.api_with(wide["secret"].as_str());
    let refused = api.post("/management-tokens", body("x", &["agent-keys:read", "usage:read"])).await.problem(403);
    assert_eq!(refused.json()["missing_scopes"], json!(["usage:read"]));
    let mut longer = body("x", &["agent-keys:read"]);
    longer["expires_in_days"] = json!(11);
    api.post("/management-tokens", longer).await.problem(422).at("/expires_in_days");
    let made = api.post("/management-tokens", body("narrow", &["agent-keys:read"])).await.expect(201).json();
    assert_eq!(made["expires_at"], wide["expires_at"], "it ends with the one that made it");
    // And widens none, itself included.
    for id in [&made["id"], &wide["id"]] {
        let path = format!("/management-tokens/{}", id.as_str().unwrap());
        api.patch(&path, json!({ "scopes": ["agent-keys:read", "members:write"] })).await.problem(403);
    }
    let long = keyward.api().post("/management-tokens", body("long", &["usage:read"])).await.expect(201).json();
    let path = format!("/management-tokens/{}", long["id"].as_str().unwrap());
    api.patch(&path, json!({ "scopes": ["usage:read", "agent-keys:write"] })).await.problem(403);
}

#[tokio::test]
async fn the_same_post_again_makes_nothing_and_shows_no_secret() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let post = async || {
        let request = api.request(http::Method::POST, "/management-tokens").header("idempotency-key", "one");
        api.send(request.json(&body("ci", &["usage:read"]))).await.expect(201).json()
    };
    let (first, again) = (post().await, post().await);
    assert_eq!(first["id"], again["id"]);
    assert!(first["secret"].is_string() && again.get("secret").is_none(), "{again}");
}
