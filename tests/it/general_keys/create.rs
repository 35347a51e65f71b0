//! POST /general-keys

use serde_json::json;

use crate::harness::TestServer;
use crate::management::{BAD_NAMES, assert_fields, assert_time};

#[tokio::test]
async fn answers_with_the_mask_and_never_the_value() {
    let keyward = TestServer::start().await;
    let api = keyward.api();

    let body = json!({ "name": "MY_API", "value": "sk-test-0123456789-xyz" });
    let created = api.post("/general-keys", body).await.expect(201);

    let key = created.json();
    let id = key["id"].as_str().unwrap();
    assert!(id.starts_with("gk_"), "{id}");
    assert_eq!(created.header("location"), Some(format!("/api/v1/general-keys/{id}").as_str()));
    assert!(created.header("etag").is_some());
    assert_fields(
        &key,
        &[
            "id",
            "name",
            "masked_value",
            "linked_to",
            "created_at",
            "updated_at",
            "created_by",
            "last_used_at",
            "health",
        ],
    );
    assert_eq!(key["name"], "MY_API");
    assert_eq!(key["masked_value"], "sk-******xyz");
    assert_eq!(key["linked_to"], json!([]));
    assert!(key["last_used_at"].is_null());
    assert_time(&key["created_at"]);
    assert_time(&key["updated_at"]);
    assert!(key["created_by"]["id"].is_string() && key["created_by"]["name"].is_string(), "{key}");
    assert!(!created.text().contains("0123456789"), "{created}");

    let read = api.get(&format!("/general-keys/{id}")).await.expect(200);
    assert_eq!(read.json(), key);
    assert_eq!(read.header("etag"), created.header("etag"));
}

#[tokio::test]
async fn masks_a_short_value_whole() {
    let keyward = TestServer::start().await;
    let key = keyward.api().general_key("short", "abcdefghijk").await;
    let mask = key["masked_value"].as_str().unwrap();
    assert!(!mask.is_empty() && mask.chars().all(|character| character == '*'), "{mask}");
}

#[tokio::test]
async fn trims_a_name_and_counts_its_characters_not_its_bytes() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    assert_eq!(api.general_key("  spaced  ", "sk-test-value-1").await["name"], "spaced");
    let long = "é".repeat(64);
    assert_eq!(api.general_key(&long, "sk-test-value-2").await["name"], long.as_str());
}

#[tokio::test]
async fn refuses_a_bad_name() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for name in BAD_NAMES {
        let body = json!({ "name": name, "value": "sk-test-value" });
        api.post("/general-keys", body).await.problem(422).at("/name");
    }
    let body = json!({ "name": "x".repeat(65), "value": "sk-test-value" });
    api.post("/general-keys", body).await.problem(422).at("/name");
}

#[tokio::test]
async fn refuses_a_name_that_differs_only_in_case_or_unicode_form() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for (first, second) in [
        ("MY_API", "my_api"),
        ("MY_API", " MY_API "),
        ("MY_API", "ＭＹ＿ＡＰＩ"),
        ("MY_API", "MY\u{200d}_API"),
        ("caf\u{e9}", "cafe\u{301}"),
        ("straße", "STRASSE"),
    ] {
        let key = api.general_key(first, "sk-test-value").await;
        let body = json!({ "name": second, "value": "sk-test-value" });
        api.post("/general-keys", body).await.problem(409);
        api.delete(&format!("/general-keys/{}", key["id"].as_str().unwrap())).await.expect(204);
    }
}

#[tokio::test]
async fn refuses_a_bad_value_without_repeating_it() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let agent_secret = api.agent_key("an agent").await["secret"].as_str().unwrap().to_owned();
    for value in [
        json!(""),
        json!("   "),
        json!(agent_secret),
        json!(keyward.home().token()),
        json!("kw_looks-like-one-of-ours"),
        json!("kwm_looks-like-one-of-ours"),
        json!("two\nlines-of-some-length"),
        json!("nul\u{0}inside-of-it"),
        json!("clé-non-ascii-de-test"),
        json!(17),
        json!(null),
    ] {
        let refused = api.post("/general-keys", json!({ "name": "x", "value": value })).await.problem(422).at("/value");
        if let Some(text) = value.as_str().filter(|text| text.len() > 6) {
            assert!(!refused.text().contains(text), "{refused}");
        }
    }
    assert_eq!(api.get("/general-keys").await.expect(200).json()["total"], 0);
}

#[tokio::test]
async fn refuses_a_field_it_does_not_know_and_one_that_is_missing() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let owner = json!({ "name": "x", "value": "sk-test-value", "created_by": { "id": "mb_1", "name": "boss" } });
    api.post("/general-keys", owner).await.problem(422);
    api.post("/general-keys", json!({ "name": "x", "value": "sk-test-value", "valeu": 1 })).await.problem(422);
    api.post("/general-keys", json!({ "name": "x" })).await.problem(422).at("/value");
    api.post("/general-keys", json!({ "value": "sk-test-value" })).await.problem(422).at("/name");
}
