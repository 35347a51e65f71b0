//! Tags, descriptions and owners of agent keys.

use serde_json::{Value, json};

use crate::harness::{Api, TestServer};

async fn found(api: &Api, query: &str) -> Vec<String> {
    let listed = api.get(&format!("/agent-keys?sort=name&{query}")).await.expect(200).json();
    let names: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed["total"], names.len());
    names
}

#[tokio::test]
async fn keys_are_found_by_a_tag_and_tagged_by_a_filter() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for (name, tags) in [("a", json!(["prod", "team:x_1"])), ("b", json!(["prod-eu"])), ("c", json!(["team:xy1"]))] {
        let made = api.post("/agent-keys", json!({ "name": name, "tags": tags })).await.expect(201).json();
        assert_eq!(made["tags"], tags);
    }
    assert_eq!(found(&api, "tag=prod").await, ["a"]);
    // What is a pattern to the database is none here.
    assert_eq!(found(&api, "tag=team:x_1").await, ["a"]);
    assert_eq!(found(&api, "tag=prod&search=b").await, [""; 0]);
    assert_eq!(found(&api, "tag=prod&status=disabled").await, [""; 0]);
    api.get("/agent-keys?tag=%25").await.problem(422);

    let acted = api.post("/agent-keys/bulk-tag", json!({ "tag": "prod", "add": ["old"], "remove": ["prod"] })).await;
    assert_eq!(acted.expect(200).json()["failed"], json!([]));
    assert_eq!(found(&api, "tag=old").await, ["a"]);
    assert_eq!(found(&api, "tag=prod").await, [""; 0]);
    let acted =
        api.post("/agent-keys/bulk-tag", json!({ "status": "active", "add": ["all"] })).await.expect(200).json();
    assert_eq!(acted["done"].as_array().unwrap().len(), 3);
    assert_eq!(found(&api, "tag=all").await, ["a", "b", "c"]);
    api.post("/agent-keys/bulk-delete", json!({ "tag": "team:xy1" })).await.expect(200);
    assert_eq!(found(&api, "tag=all").await, ["a", "b"]);
    for bad in [
        json!({ "tag": "all" }),
        json!({ "add": ["x"] }),
        json!({ "tag": "all", "add": ["X"] }),
        json!({ "tag": "all", "add": "x" }),
        json!({ "tag": "A", "add": ["x"] }),
    ] {
        api.post("/agent-keys/bulk-tag", bad).await.problem(422);
    }
}

#[tokio::test]
async fn what_a_key_is_for_is_set_and_taken_away() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let body = json!({ "name": "k", "description": " Search, ask Ada\r\nor Bob ", "tags": ["b", "a", "b"] });
    let made = api.post("/agent-keys", body).await.expect(201).json();
    assert_eq!((&made["description"], &made["tags"]), (&json!("Search, ask Ada\nor Bob"), &json!(["a", "b"])));
    let path = format!("/agent-keys/{}", made["id"].as_str().unwrap());
    let edited = api.patch(&path, json!({ "name": "l" })).await.expect(200).json();
    assert_eq!((&edited["description"], &edited["tags"]), (&made["description"], &made["tags"]));
    let edited = api.patch(&path, json!({ "description": null, "tags": null })).await.expect(200).json();
    assert_eq!((&edited["description"], &edited["tags"]), (&json!(""), &json!([])));
    for bad in [
        json!({ "description": "x".repeat(501) }),
        json!({ "description": "a\u{7}" }),
        json!({ "tags": ["Prod"] }),
        json!({ "tags": (0..21).map(|number| format!("t{number}")).collect::<Vec<_>>() }),
        json!({ "owner_id": null }),
        json!({ "owner_id": "mb_nobody" }),
    ] {
        api.patch(&path, bad).await.problem(422);
    }
    let events = api.audit_events().await;
    assert!(events.iter().any(|event| event["changes"].to_string().contains("Search, ask Ada")), "{events:?}");
    // Under the row's MAC: whoever writes to the database makes nobody meet a policy.
    let mut database = keyward.database().await;
    database.execute("UPDATE agent_keys SET tags = ' prod '").await;
    keyward.agent(made["secret"].as_str().unwrap()).get("/auth/verify").await.expect(401);
}

#[tokio::test]
async fn a_key_is_given_to_another_member_by_who_may_edit_all() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let (ada, bob) = (keyward.person("ada", "member").await, keyward.person("bob", "member").await);
    let id = |person: &crate::harness::Person| person.path().rsplit('/').next().unwrap().to_owned();
    let key: Value = ada.api.agent_key("ada's").await;
    assert_eq!(key["owner_id"], id(&ada));
    let path = format!("/agent-keys/{}", key["id"].as_str().unwrap());
    bob.api.get(&path).await.problem(403);
    ada.api.patch(&path, json!({ "owner_id": id(&bob) })).await.problem(403);
    ada.api.post("/agent-keys", json!({ "name": "for bob", "owner_id": id(&bob) })).await.problem(403);
    // An operator edits keys, and gives none away: whoever has a key may have a new secret of it.
    let operator = keyward.person("olga", "operator").await.api;
    operator.patch(&path, json!({ "owner_id": id(&bob) })).await.problem(403);
    // Tags are given by who may edit all keys, since policies let in by them; anybody takes them off.
    ada.api.patch(&path, json!({ "tags": ["prod"] })).await.problem(403);
    ada.api.post("/agent-keys", json!({ "name": "tagged", "tags": ["prod"] })).await.problem(403);
    operator.patch(&path, json!({ "tags": ["prod", "eu"] })).await.expect(200);
    ada.api.patch(&path, json!({ "tags": ["eu"] })).await.expect(200);
    ada.api.patch(&path, json!({ "tags": ["eu", "prod"] })).await.problem(403);
    assert_eq!(api.patch(&path, json!({ "owner_id": id(&bob) })).await.expect(200).json()["owner_id"], id(&bob));
    bob.api.get(&path).await.expect(200);
    ada.api.get(&path).await.problem(403);
    let made = api.post("/agent-keys", json!({ "name": "for ada", "owner_id": id(&ada) })).await.expect(201).json();
    ada.api.get(&format!("/agent-keys/{}", made["id"].as_str().unwrap())).await.expect(200);
}
