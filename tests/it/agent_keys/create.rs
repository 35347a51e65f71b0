//! POST /agent-keys

use serde_json::json;

use crate::harness::{TestServer, well_formed};
use crate::management::{BAD_NAMES, assert_fields, assert_time, days_between};

const FIELDS: [&str; 14] = [
    "id",
    "name",
    "status",
    "masked_secret",
    "created_at",
    "last_used_at",
    "leaked_at",
    "created_by",
    "owner_id",
    "description",
    "tags",
    "effective_limits",
    "expires_at",
    "limits",
];

#[tokio::test]
async fn shows_the_secret_once_and_its_mask_ever_after() {
    let keyward = TestServer::start().await;
    let api = keyward.api();

    let created = api.post("/agent-keys", json!({ "name": "ABC-Key" })).await.expect(201);
    let key = created.json();
    let id = key["id"].as_str().unwrap();
    let secret = key["secret"].as_str().unwrap();
    assert!(id.starts_with("ak_"), "{id}");
    assert_eq!(created.header("location"), Some(format!("/api/v1/agent-keys/{id}").as_str()));
    let mut with_secret = FIELDS.to_vec();
    with_secret.push("secret");
    assert_fields(&key, &with_secret);
    assert_eq!(key["status"], "active");
    assert!(key["last_used_at"].is_null());
    assert_time(&key["created_at"]);
    assert_time(&key["expires_at"]);
    assert_eq!(days_between(&key["created_at"], &key["expires_at"]), 90);
    let mask = format!("{}******{}", &secret[..4], &secret[secret.len() - 4..]);
    assert_eq!(key["masked_secret"], mask.as_str());

    let read = api.get(&format!("/agent-keys/{id}")).await.expect(200).json();
    assert_fields(&read, &FIELDS);
    assert_eq!(read["masked_secret"], mask.as_str());
}

#[tokio::test]
async fn mints_keys_in_the_contract_s_form_and_never_the_same_twice() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let mut seen = std::collections::HashSet::new();
    for number in 0..20 {
        let key = api.agent_key(&format!("key {number}")).await;
        let secret = key["secret"].as_str().unwrap().to_owned();
        assert_eq!(secret.len(), 3 + 43 + 6, "{secret}");
        assert!(secret.starts_with("kw_") && secret[3..].chars().all(|letter| letter.is_ascii_alphanumeric()));
        assert_eq!(crate::harness::with_checksum(&secret[..46]), secret);
        assert!(seen.insert(secret));
    }
    assert_eq!(well_formed("kw_", '0').len(), 52);
}

#[tokio::test]
async fn a_shorter_life_is_allowed_and_a_longer_one_is_not() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for days in [1, 30, 90] {
        let body = json!({ "name": format!("{days} days"), "expires_in_days": days });
        let key = api.post("/agent-keys", body).await.expect(201).json();
        assert_eq!(days_between(&key["created_at"], &key["expires_at"]), days);
    }
    for days in [json!(0), json!(-1), json!(91), json!(1.5), json!("30"), json!(1e300), json!(u64::MAX)] {
        let body = json!({ "name": "too long", "expires_in_days": days });
        api.post("/agent-keys", body).await.problem(422).at("/expires_in_days");
    }
}

#[tokio::test]
async fn the_maximum_can_be_configured() {
    let home = crate::harness::Home::new().await;
    let keyward = home.serve().env("KEYWARD_AGENT_KEY_MAX_DAYS", "7").start().await;
    let api = keyward.api();
    let key = api.agent_key("a week").await;
    assert_eq!(days_between(&key["created_at"], &key["expires_at"]), 7);
    let body = json!({ "name": "eight days", "expires_in_days": 8 });
    api.post("/agent-keys", body).await.problem(422).at("/expires_in_days");
}

#[tokio::test]
async fn refuses_a_bad_name_and_a_taken_one() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for name in BAD_NAMES {
        api.post("/agent-keys", json!({ "name": name })).await.problem(422).at("/name");
    }
    api.post("/agent-keys", json!({ "name": "x".repeat(65) })).await.problem(422).at("/name");
    api.post("/agent-keys", json!({})).await.problem(422).at("/name");
    api.agent_key("ABC-Key").await;
    api.post("/agent-keys", json!({ "name": "abc-key" })).await.problem(409);
    // The same name within another kind is free.
    api.general_key("ABC-Key", "sk-test-value").await;
}

#[tokio::test]
async fn nobody_chooses_secret_status_or_creator() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for (field, value) in [
        ("secret", json!(well_formed("kw_", '1'))),
        ("status", json!("active")),
        ("created_by", json!({ "id": "mb_1", "name": "boss" })),
        ("expires_at", json!("2999-01-01T00:00:00Z")),
        ("id", json!("ak_01HZZZZZZZZZZZZZZZZZZZZZZZ")),
    ] {
        api.post("/agent-keys", json!({ "name": "x", field: value })).await.problem(422);
    }
}
