//! The limits of agent keys that have none of their own.

use serde_json::{Value, json};

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn default_limits_hold_for_every_key_that_has_none_of_its_own() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let read = api.get("/agent-key-defaults").await.expect(200);
    assert_eq!(
        (read.json()["limits"]["requests_per_minute"].clone(), read.header("etag")),
        (Value::Null, Some("\"0\""))
    );
    world.agent.chat(World::MODEL).await.expect(200);

    let limits = json!({ "limits": { "requests_per_minute": 2, "allowed_models": ["small*"] } });
    let set = api.patch("/agent-key-defaults", limits).await.expect(200);
    assert_eq!(set.header("etag"), Some("\"1\""));
    let key = api.get(&world.agent_key_path()).await.expect(200).json();
    assert_eq!(key["limits"]["requests_per_minute"], Value::Null);
    assert_eq!(key["effective_limits"]["requests_per_minute"], 2);
    assert_eq!(key["effective_limits"]["allowed_models"], json!(["small*"]));
    let listed = api.get("/agent-keys").await.expect(200).json();
    assert_eq!(listed["items"][0]["effective_limits"]["requests_per_minute"], 2);
    // From the next call on, also of a key that is in memory.
    world.agent.chat(World::MODEL).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(429);
    // A key's own limit is the one that holds, be it wider.
    api.patch(&world.agent_key_path(), json!({ "limits": { "requests_per_minute": 100 } })).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(200);
    let events = api.audit_events().await;
    let event = events.iter().find(|event| event["action"] == "agent_key_defaults.edit").expect("an event");
    assert!(event["changes"].to_string().contains("models small*; 2 requests a minute"), "{event}");

    for bad in [
        json!({ "limits": { "requests_per_minute": 0 } }),
        json!({ "limits": { "allowed_routes": ["fake/files"] } }),
        json!({ "limits": null }),
        json!({ "name": "x" }),
    ] {
        api.patch("/agent-key-defaults", bad).await.problem(422);
    }
    let stale = api.request(http::Method::PATCH, "/agent-key-defaults").header("if-match", "\"0\"");
    api.send(stale.json(&json!({ "limits": {} }))).await.problem(412);
    api.patch("/agent-key-defaults", json!({ "limits": { "requests_per_minute": null, "allowed_models": [] } }))
        .await
        .expect(200);
    let key = api.get(&world.agent_key_path()).await.expect(200).json();
    assert_eq!(key["effective_limits"], key["limits"]);
}

#[tokio::test]
async fn who_has_keys_of_their_own_may_narrow_their_limits_and_not_widen_them() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let budget = |amount: i64| json!([{ "period": "day", "unit": "tokens", "amount": amount }]);
    api.patch("/agent-key-defaults", json!({ "limits": { "requests_per_minute": 60, "budgets": budget(1000) } }))
        .await
        .expect(200);
    let member = keyward.person("worker", "member").await.api;
    for wider in [json!({ "requests_per_minute": 61 }), json!({ "budgets": budget(1001) })] {
        member.post("/agent-keys", json!({ "name": "wide", "limits": wider })).await.problem(403);
    }
    let narrower =
        json!({ "requests_per_minute": 30, "allowed_models": ["a", "b"], "allowed_addresses": ["10.0.0.0/8"] });
    let made = member.post("/agent-keys", json!({ "name": "narrow", "limits": narrower })).await.expect(201).json();
    let path = format!("/agent-keys/{}", made["id"].as_str().unwrap());
    for wider in [
        json!({ "requests_per_minute": 31 }),
        json!({ "requests_per_minute": null }),
        json!({ "allowed_models": ["a", "c"] }),
        json!({ "allowed_models": [] }),
        json!({ "allowed_addresses": null }),
        json!({ "budgets": budget(1001) }),
    ] {
        let refused = member.patch(&path, json!({ "limits": wider })).await.problem(403).text();
        assert!(refused.contains("must not be wider"), "{refused}");
    }
    let narrower = json!({ "limits": { "requests_per_minute": 20, "allowed_models": ["a"], "budgets": budget(999) } });
    member.patch(&path, narrower).await.expect(200);
    member.patch(&path, json!({ "name": "renamed" })).await.expect(200);
    // Whoever may edit everybody's keys widens them.
    api.patch(&path, json!({ "limits": { "requests_per_minute": 6000, "budgets": budget(1_000_000) } }))
        .await
        .expect(200);
}

#[tokio::test]
async fn default_limits_that_were_altered_or_taken_away_outside_keyward_let_nothing_through() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.patch("/agent-key-defaults", json!({ "limits": { "requests_per_minute": 60 } })).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(200);
    let mut database = keyward.database().await;
    database.execute("UPDATE agent_key_defaults SET limits = '{\"requests_per_minute\":6000}'").await;
    crate::harness::until("a refusal", async || world.agent.chat(World::MODEL).await.status == 503).await;
    database.execute("DELETE FROM agent_key_defaults").await;
    crate::harness::until("its notice", async || {
        world.agent.chat(World::MODEL).await.expect(503);
        keyward.log().contains("row missing")
    })
    .await;
    world.agent.chat(World::MODEL).await.expect(503);
    api.get("/agent-key-defaults").await.problem(503);
    // Keys are made and ended all the same, and the limits set anew.
    let made = api.post("/agent-keys", json!({ "name": "meanwhile" })).await;
    assert_eq!(made.status, 503, "nobody knows what it may have: {made}");
    let disabled = api.act(&format!("{}/disable", world.agent_key_path())).await.expect(200).json();
    assert_eq!(disabled["effective_limits"], serde_json::Value::Null);
    api.act(&format!("{}/enable", world.agent_key_path())).await.expect(200);
    api.patch("/agent-key-defaults", json!({ "limits": { "requests_per_minute": 60 } })).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(200);
}
