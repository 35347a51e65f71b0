//! `Idempotency-Key` on POST: the same request twice makes one thing, and shows its secret once.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, TestServer};

async fn post(api: &Api, path: &str, key: &str, body: Value) -> Answer {
    api.send(api.request(Method::POST, path).header("idempotency-key", key).json(&body)).await
}

#[tokio::test]
async fn a_replay_answers_with_the_same_thing_but_never_the_secret() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let body = json!({ "name": "ABC-Key" });
    let first = post(&api, "/agent-keys", "one", body.clone()).await.expect(201).json();
    let replay = post(&api, "/agent-keys", "one", body.clone()).await;
    assert!([200, 201].contains(&replay.status), "{replay}");
    let again = replay.json();
    assert_eq!(again["id"], first["id"]);
    assert!(again.get("secret").is_none_or(Value::is_null), "the secret was shown twice");
    assert!(!replay.text().contains(first["secret"].as_str().unwrap()));
    assert_eq!(api.get("/agent-keys").await.expect(200).json()["total"], 1);
}

#[tokio::test]
async fn holds_over_a_restart() {
    let keyward = TestServer::start().await;
    let body = json!({ "name": "MY_API", "value": "sk-test-value-1" });
    let first = post(&keyward.api(), "/general-keys", "one", body.clone()).await.expect(201).json();
    let keyward = keyward.stop_to_restart().await.start().await;
    let again = post(&keyward.api(), "/general-keys", "one", body).await;
    assert!([200, 201].contains(&again.status), "{again}");
    assert_eq!(again.json()["id"], first["id"]);
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let one = json!({ "name": "MY_API", "value": "sk-test-value-1" });
    let other = json!({ "name": "MY_API", "value": "sk-test-value-2" });
    post(&api, "/general-keys", "one", one.clone()).await.expect(201);
    post(&api, "/general-keys", "one", other).await.problem(422);
    // The same key on another route is another matter.
    post(&api, "/agent-keys", "one", json!({ "name": "MY_API" })).await.expect(201);
}

#[tokio::test]
async fn a_refused_request_does_not_use_the_key_up() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    post(&api, "/agent-keys", "one", json!({ "name": "" })).await.problem(422);
    post(&api, "/agent-keys", "one", json!({ "name": "ABC-Key" })).await.expect(201);
}

#[tokio::test]
async fn two_at_once_make_one() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let body = json!({ "name": "ABC-Key" });
    let (left, right) =
        tokio::join!(post(&api, "/agent-keys", "one", body.clone()), post(&api, "/agent-keys", "one", body.clone()));
    let secrets = [&left, &right].iter().filter(|answer| answer.json()["secret"].is_string()).count();
    assert_eq!(secrets, 1, "{left}\n{right}");
    for answer in [left, right] {
        assert!([200, 201, 409].contains(&answer.status), "{answer}");
    }
    assert_eq!(api.get("/agent-keys").await.expect(200).json()["total"], 1);
}
