//! Keys of other products: taken over by the hashes of their secrets, so that agents go on with those they have.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, FakeProvider, TestServer, World};

const LITELLM: &str = "sk-test-LiteLLM-0123456789";
const UNKEY: &str = "prod_test_Unkey_0123456789";

fn sha256(secret: &str) -> Vec<u8> {
    digest(&SHA256, secret.as_bytes()).as_ref().to_vec()
}

fn hex(secret: &str) -> String {
    sha256(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn import(api: &Api, issuer: &str, keys: Value) -> Answer {
    api.post("/agent-keys/import", json!({ "issuer": issuer, "agent_keys": keys })).await
}

fn indices(remarks: &Value) -> Vec<i64> {
    remarks.as_array().unwrap().iter().map(|one| one["index"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn an_agent_goes_on_with_the_secret_it_has() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let old = keyward.agent(LITELLM);
    // Before the import, and not once looked for.
    old.chat(World::MODEL).await.refused(401, "invalid_api_key");

    let keys = json!([
        { "token": hex(LITELLM), "key_alias": "Search", "key_name": "sk-...6789", "models": [World::MODEL], "rpm_limit": 2,
          "max_budget": 5.0, "budget_duration": "30d", "expires": null, "spend": 0.0, "metadata": { "tags": ["prod"] } },
        { "token": hex("sk-blocked-0123456789"), "key_alias": "Search", "blocked": true, "models": ["small*"], "team_id": "t" },
        { "token": hex("sk-over-0123456789"), "key_alias": "Over", "expires": "2020-01-01T00:00:00Z" },
        { "token": hex(LITELLM), "key_alias": "Again" },
    ]);
    let trial = json!({ "issuer": "litellm", "agent_keys": keys, "trial": true });
    let would = api.post("/agent-keys/import", trial).await.expect(200).json();
    assert_eq!((indices(&would["created"]), indices(&would["skipped"])), (vec![0, 1], vec![2, 3]));
    assert_eq!(api.get("/agent-keys").await.expect(200).json()["total"], 1, "a trial writes nothing");
    old.chat(World::MODEL).await.refused(401, "invalid_api_key");

    let done = import(&api, "litellm", keys.clone()).await.expect(200);
    assert!(!done.text().contains(LITELLM) && !done.text().contains(&hex(LITELLM)), "{done}");
    let done = done.json();
    assert_eq!((indices(&done["created"]), indices(&done["skipped"])), (vec![0, 1], vec![2, 3]));
    // One has a budget in money, which a model without prices is shut by; one was its team's.
    assert_eq!(indices(&done["notes"]), [0, 1]);
    assert!(done["notes"][0]["detail"].as_str().unwrap().contains(World::MODEL), "{done}");
    let (search, blocked) = (&done["created"][0]["agent_key"], &done["created"][1]["agent_key"]);
    assert_eq!((&search["name"], &search["masked_secret"]), (&json!("Search"), &json!("sk-******6789")));
    assert_eq!((&blocked["name"], &blocked["status"]), (&json!("Search 2"), &json!("disabled")));
    assert_eq!(search["tags"], json!(["litellm:prod"]));
    assert_eq!(search["limits"]["budgets"], json!([{ "period": "month", "unit": "cost_micros", "amount": 5_000_000 }]));
    assert_eq!(search.get("secret"), None);

    // The official clients send it as they did; a model without prices is refused for its budget in money.
    let path = format!("/agent-keys/{}", search["id"].as_str().unwrap());
    api.patch(&path, json!({ "limits": { "budgets": null } })).await.expect(200);
    old.chat(World::MODEL).await.expect(200);
    assert!(!provider.last_call().mentions(LITELLM));
    old.send(old.request(Method::GET, "/auth/verify")).await.expect(200);
    old.chat(World::MODEL).await.expect(200);
    old.chat(World::MODEL).await.refused(429, "rate_limit_exceeded");
    keyward.agent("sk-blocked-0123456789").chat(World::MODEL).await.refused(401, "disabled_api_key");
    for unknown in ["sk-nobody-0123456789", "short", "sk-with a space-0123456789", "kw_mistyped-0123456789"] {
        keyward.agent(unknown).chat(World::MODEL).await.refused(401, "invalid_api_key");
    }
    world.agent.chat(World::MODEL).await.expect(200);

    // Sent again, it changes nothing.
    let again = import(&api, "litellm", keys).await.expect(200).json();
    assert_eq!((indices(&again["created"]), indices(&again["skipped"])), (vec![], vec![0, 1, 2, 3]));
    assert_eq!(again["skipped"][0]["detail"], "it is here already, as Search");
    let events = api.get("/audit-events?action=agent_key.import").await.expect(200).json();
    assert_eq!(events["total"], 2);

    // Whoever starts anew knows of them, and a rotation gives one of ours beside it.
    api.patch(&path, json!({ "limits": { "requests_per_minute": null } })).await.expect(200);
    let keyward = keyward.stop_to_restart().await.start().await;
    let old = keyward.agent(LITELLM);
    old.chat(World::MODEL).await.expect(200);
    let rotated = keyward.api().post(&format!("{path}/rotate"), json!({})).await.expect(201).json();
    keyward.agent(rotated["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
    old.chat(World::MODEL).await.expect(200);
    keyward.api().act(&format!("{path}/retire")).await.expect(200);
    old.chat(World::MODEL).await.refused(401, "expired_api_key");
}

#[tokio::test]
async fn keys_of_unkey_and_of_any_list_of_hashes_are_taken_over_and_can_be_revoked_as_leaked() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    // Rows as its MySQL writes them, one of them deleted there.
    let row = |secret: &str, deleted: Value| {
        json!({ "id": "key_1", "hash": STANDARD.encode(sha256(secret)), "start": "prod_tes", "name": null, "enabled": 1,
            "expires": null, "deleted_at_m": deleted, "ratelimit_limit": 50, "ratelimit_duration": 60000 })
    };
    let unkey = json!([row(UNKEY, Value::Null), row("prod_test_Unkey_of_old", json!(1_700_000_000_000_i64))]);
    let done = import(&api, "unkey", unkey.clone()).await.expect(200).json();
    assert_eq!((indices(&done["created"]), indices(&done["skipped"])), (vec![0], vec![1]));
    let key = &done["created"][0]["agent_key"];
    assert_eq!((&key["name"], &key["masked_secret"]), (&json!("prod_tes"), &json!("prod******")));
    assert_eq!(key["limits"]["requests_per_minute"], 50);
    let agent = keyward.agent(UNKEY);
    agent.chat(World::MODEL).await.expect(200);
    // It goes to no provider in another place either.
    let elsewhere = agent.request(Method::POST, "/v1/chat/completions").header("x-litellm-api-key", UNKEY);
    let elsewhere = elsewhere.json(&json!({ "model": World::MODEL, "messages": [] }));
    agent.send(elsewhere).await.refused(400, "conflicting_credentials");
    agent.post(&format!("/v1/chat/completions?key={UNKEY}"), json!({ "model": World::MODEL })).await.expect(400);
    // One that was deleted here does not come back with the same list.
    api.delete(&format!("/agent-keys/{}", key["id"].as_str().unwrap())).await.expect(204);
    let again = import(&api, "unkey", unkey).await.expect(200).json();
    assert_eq!(again["skipped"][0]["detail"], "it was here, and was deleted or rotated");
    agent.chat(World::MODEL).await.refused(401, "invalid_api_key");

    let mine = "my-own-secret-of-long-ago";
    let plain = json!([{ "name": "mine", "sha256": hex(mine), "start": "my-o", "expires_at": "2099-01-01T00:00:00Z",
        "limits": { "allowed_models": [World::MODEL] }, "description": "of the old table" }]);
    let done = import(&api, "sha256", plain).await.expect(200).json();
    assert_eq!(done["created"][0]["agent_key"]["description"], "of the old table");
    // It ends where the policy says, and that is told.
    assert_eq!(indices(&done["notes"]), [0]);
    keyward.agent(mine).chat(World::MODEL).await.expect(200);
    let report = keyward.api_with(None).post("/agent-keys/revoke-leaked", json!({ "key": mine })).await.expect(200);
    assert_eq!(report.json()["result"], "revoked");
    keyward.agent(mine).chat(World::MODEL).await.refused(401, "expired_api_key");
}

#[tokio::test]
async fn what_is_wrong_in_a_list_is_told_by_its_place_and_none_is_taken_over() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let good = json!({ "name": "good", "sha256": hex("a-good-secret-of-mine") });
    let wrong =
        json!([good, { "name": "", "sha256": hex("x") }, { "name": "a", "sha256": "sk-the-secret-itself" }, "none"]);
    let refused = import(&api, "sha256", wrong).await.problem(422);
    assert!(!refused.text().contains("sk-the-secret-itself"), "{refused}");
    let pointers: Vec<_> =
        refused.json()["errors"].as_array().unwrap().iter().map(|one| one["pointer"].clone()).collect();
    assert_eq!(pointers, ["/agent_keys/1/name", "/agent_keys/2/sha256", "/agent_keys/3"]);
    let bad_limit = json!([good, { "name": "b", "sha256": hex("b"), "limits": { "calls_in_flight": 0 } }]);
    import(&api, "sha256", bad_limit).await.problem(422).at("/agent_keys/1/limits/calls_in_flight");
    import(&api, "sha256", json!([])).await.problem(422).at("/agent_keys");
    import(&api, "sha256", json!(vec![good.clone(); 1001])).await.problem(422).at("/agent_keys");
    import(&api, "vault", json!([good])).await.problem(422).at("/issuer");
    assert_eq!(api.get("/agent-keys").await.expect(200).json()["total"], 0);
}
