//! POST /oauth2/introspect: RFC 7662.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, TestServer, until, well_formed};
use crate::management::assert_fields;

const FORM: &str = "application/x-www-form-urlencoded";

async fn ask(api: &Api, body: &str) -> Answer {
    let request = api.outside(Method::POST, "/oauth2/introspect").header("content-type", FORM);
    api.send(request.body(body.to_owned())).await
}

async fn ask_about(api: &Api, token: &str) -> Answer {
    ask(api, &format!("token={token}&token_type_hint=access_token")).await
}

#[track_caller]
fn inactive(answer: Answer) {
    let answer = answer.expect(200);
    assert_eq!(answer.json(), json!({ "active": false }), "nothing else is told");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

async fn token_with(keyward: &TestServer, scope: &str) -> String {
    let body = json!({ "name": scope, "scopes": [scope] });
    let token = keyward.api().post("/management-tokens", body).await.expect(201).json();
    token["secret"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn of_a_good_key_it_is_told_whose_it_is_and_until_when() {
    let keyward = TestServer::start().await;
    let key = keyward.api().agent_key("ABC-Key").await;
    let secret = key["secret"].as_str().unwrap();
    let asker = keyward.api_with(Some(&token_with(&keyward, "introspect").await));
    let answer = ask_about(&asker, secret).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let told = answer.json();
    let names = ["active", "client_id", "client_name", "sub", "username", "token_type", "iss", "iat", "exp"];
    assert_fields(&told, &names);
    assert_eq!((&told["active"], &told["token_type"]), (&json!(true), &json!("Bearer")));
    assert_eq!((&told["client_id"], &told["client_name"]), (&key["id"], &key["name"]));
    assert_eq!(told["username"], key["created_by"]["name"]);
    assert!(told["sub"].as_str().unwrap().starts_with("mb_"), "{told}");
    assert_eq!(told["iss"], keyward.url().as_str());
    let seconds = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!(told["exp"], seconds(&key["expires_at"]));
    assert_eq!(told["iat"], seconds(&key["created_at"]));
    until("the last use, since asking is one", async || {
        keyward.api().read("/agent-keys", &key["id"]).await["last_used_at"].is_string()
    })
    .await;
}

#[tokio::test]
async fn whatever_is_not_good_is_inactive_and_nothing_else_is_told() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let path = |key: &Value| format!("/agent-keys/{}", key["id"].as_str().unwrap());
    let (off, gone, short) = (api.agent_key("off").await, api.agent_key("gone").await, api.agent_key("short").await);
    let rotated = api.agent_key("rotated").await;
    api.act(&format!("{}/disable", path(&off))).await.expect(200);
    api.delete(&path(&gone)).await.expect(204);
    api.post(&format!("{}/rotate", path(&rotated)), json!({ "overlap_seconds": 0 })).await.expect(201);
    let unknown = well_formed("kw_", 'x');
    let own = keyward.home().token().to_owned();
    for bad in ["nonsense", "", "%00%ff", &unknown, &own]
        .into_iter()
        .chain([&off, &gone, &rotated].map(|key| key["secret"].as_str().unwrap()))
    {
        inactive(ask_about(&api, bad).await);
    }
    ask_about(&api, short["secret"].as_str().unwrap()).await.expect(200);
    let keyward = keyward.stop_to_restart().await.days_later(91).start().await;
    let owner = keyward.sign_in("owner@example.com", "a password for tests only").await.expect(303);
    inactive(ask_about(&keyward.signed_in(&owner), short["secret"].as_str().unwrap()).await);
}

#[tokio::test]
async fn whoever_asks_needs_a_management_token_with_the_scope_as_bearer_or_as_basic() {
    let keyward = TestServer::start().await;
    let key = keyward.api().agent_key("ABC-Key").await;
    let secret = key["secret"].as_str().unwrap();
    let token = token_with(&keyward, "introspect").await;
    let other = token_with(&keyward, "agent-keys:read").await;
    for refused in [None, Some(secret), Some("nonsense")] {
        let answer = ask_about(&keyward.api_with(refused), secret).await.problem(401);
        assert!(answer.header("www-authenticate").is_some_and(|text| text.starts_with("Bearer")), "{answer}");
    }
    ask_about(&keyward.api_with(Some(&other)), secret).await.problem_called(403, "forbidden");

    let nobody = keyward.api_with(None);
    for (user, password, status) in
        [("any-client", &*token, 200), ("", &token, 200), ("any-client", &other, 403), ("any-client", secret, 401)]
    {
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let request = nobody.outside(Method::POST, "/oauth2/introspect").header("authorization", basic);
        let request = request.header("content-type", FORM).body(format!("token={secret}"));
        nobody.send(request).await.expect(status);
    }
    // That is for this one route.
    let basic = format!("Basic {}", STANDARD.encode(format!("x:{other}")));
    nobody.send(nobody.request(Method::GET, "/agent-keys").header("authorization", basic)).await.problem(401);
}

#[tokio::test]
async fn a_question_that_names_no_token_or_two_is_refused_as_oauth_says() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for body in ["", "tokens=x", "token=a&token=b"] {
        let refused = ask(&api, body).await.problem(400);
        assert_eq!(refused.json()["error"], "invalid_request", "{body:?}");
    }
    let json = api.outside(Method::POST, "/oauth2/introspect").json(&json!({ "token": "x" }));
    api.send(json).await.problem(415);
    api.send(api.outside(Method::GET, "/oauth2/introspect?token=x")).await.problem(405);
}

#[tokio::test]
async fn where_it_cannot_be_told_the_answer_is_503_and_never_inactive() {
    let keyward = TestServer::start().await;
    let key = keyward.api().agent_key("ABC-Key").await;
    let mut database = keyward.database().await;
    database.execute("ALTER TABLE agent_secrets RENAME TO agent_secrets_gone").await;
    let answer = ask_about(&keyward.api(), key["secret"].as_str().unwrap()).await;
    answer.problem_called(503, "storage_unavailable");
    database.execute("ALTER TABLE agent_secrets_gone RENAME TO agent_secrets").await;
    let api = keyward.api();
    until("an answer", async || ask_about(&api, key["secret"].as_str().unwrap()).await.status == 200).await;
}
