//! Many agent keys at once.

use serde_json::{Value, json};

use crate::harness::{FakeProvider, TestServer, World};

fn numbered(count: usize) -> Value {
    let keys: Vec<_> = (0..count).map(|number| json!({ "name": format!("agent-{number:04}") })).collect();
    json!({ "agent_keys": keys })
}

#[tokio::test]
async fn a_thousand_keys_are_created_at_once_and_their_secrets_shown_once() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.post("/agent-keys/bulk-create", numbered(1001)).await.problem(422).at("/agent_keys");
    let asked = || {
        api.request(http::Method::POST, "/agent-keys/bulk-create")
            .header("idempotency-key", "the-thousand")
            .json(&numbered(1000))
    };
    let created = api.send(asked()).await.expect(201);
    assert_eq!(created.header("cache-control"), Some("no-store"));
    let items = created.json()["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 1000);
    for at in [0, 999] {
        assert_eq!(items[at]["name"], format!("agent-{at:04}"));
        keyward.agent(items[at]["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
    }
    // Sent again, it shows no secret and makes nothing.
    let again = api.send(asked()).await.expect(201).json();
    assert_eq!(again["items"].as_array().unwrap().len(), 1000);
    assert_eq!((&again["items"][7]["id"], again["items"][7].get("secret")), (&items[7]["id"], None));
    assert_eq!(api.get("/agent-keys?limit=1&search=agent-0").await.expect(200).json()["total"], 1000);
    // Each is recorded by itself.
    let events = api.get("/audit-events?action=agent_key.create&search=agent-0999").await.expect(200).json();
    assert_eq!(events["total"], 1);

    let table = api
        .request(http::Method::POST, "/agent-keys/bulk-create")
        .header("accept", "text/csv")
        .json(&json!({ "agent_keys": [{ "name": "=1+2", "expires_in_days": 1 }, { "name": "plain" }] }));
    let table = api.send(table).await.expect(201);
    assert_eq!(table.header("content-type"), Some("text/csv; charset=utf-8"));
    let lines: Vec<String> = table.text().lines().map(str::to_owned).collect();
    assert_eq!((lines.len(), lines[0].as_str()), (3, "id,name,secret,expires_at"));
    let cells: Vec<_> = lines[1].split(',').map(|cell| cell.trim_matches('"')).collect();
    assert_eq!(cells[1], "'=1+2");
    keyward.agent(cells[2]).chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn what_is_wrong_with_one_of_many_keys_is_told_with_its_place_and_none_is_made() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    api.agent_key("taken").await;
    for (keys, pointer) in [
        (json!([]), "/agent_keys"),
        (json!([{ "name": "a" }, { "name": "" }]), "/agent_keys/1/name"),
        (json!([{ "name": "a" }, { "name": "A" }]), "/agent_keys/1/name"),
        (json!([{ "name": "a" }, { "name": "b", "expires_in_days": 91 }]), "/agent_keys/1/expires_in_days"),
        (json!([{ "name": "a", "limits": { "requests_per_minute": 0 } }]), "/agent_keys/0/limits/requests_per_minute"),
        (json!([{ "name": "a", "limits": { "allowed_addresses": ["x"] } }]), "/agent_keys/0/limits/allowed_addresses"),
    ] {
        api.post("/agent-keys/bulk-create", json!({ "agent_keys": keys })).await.problem(422).at(pointer);
    }
    let taken = json!({ "agent_keys": [{ "name": "a" }, { "name": "Taken" }] });
    api.post("/agent-keys/bulk-create", taken).await.problem(409);
    assert_eq!(api.get("/agent-keys").await.expect(200).json()["total"], 1);
}

#[tokio::test]
async fn keys_are_disabled_enabled_and_deleted_by_id_or_by_what_finds_them() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let made = api.post("/agent-keys/bulk-create", numbered(250)).await.expect(201).json();
    let agent = keyward.agent(made["items"][3]["secret"].as_str().unwrap());
    agent.get("/v1/models").await.expect(200);
    let id = |at: usize| made["items"][at]["id"].clone();

    let acted = api.post("/agent-keys/bulk-disable", json!({ "search": "agent-00" })).await.expect(200).json();
    assert_eq!((acted["done"].as_array().unwrap().len(), &acted["failed"]), (100, &json!([])));
    agent.get("/v1/models").await.expect(401);
    let disabled = api.get("/agent-keys?status=disabled").await.expect(200).json();
    assert_eq!(disabled["total"], 100);
    let acted = api.post("/agent-keys/bulk-enable", json!({ "ids": [id(3), id(3), id(4)] })).await.expect(200).json();
    assert_eq!(acted["done"], json!([id(3), id(4)]));
    agent.get("/v1/models").await.expect(200);
    // More than a page, and one that is not there.
    let acted = api.post("/agent-keys/bulk-delete", json!({ "status": "active" })).await.expect(200).json();
    assert_eq!(acted["done"].as_array().unwrap().len(), 152);
    let acted = api.post("/agent-keys/bulk-delete", json!({ "ids": [id(3), id(5)] })).await.expect(200).json();
    assert_eq!(acted["done"], json!([id(5)]));
    assert_eq!(acted["failed"][0]["id"], id(3));
    agent.get("/v1/models").await.expect(401);
    assert_eq!(api.get("/agent-keys").await.expect(200).json()["total"], 97);

    // Nothing is done to all keys because nobody said which.
    for choice in [json!({}), json!({ "ids": [] }), json!({ "search": " " }), json!({ "ids": [id(7)], "search": "a" })]
    {
        api.post("/agent-keys/bulk-delete", choice).await.problem(422).at("/ids");
    }
    api.post("/agent-keys/bulk-delete", json!({ "status": "nonsense" })).await.problem(422);
    let many: Vec<_> = (0..1001).map(|number| format!("ak_{number}")).collect();
    api.post("/agent-keys/bulk-delete", json!({ "ids": many })).await.problem(422).at("/ids");

    // A member reaches their own only, whatever they name.
    let member = keyward.person("mia", "member").await.api;
    let own = member.post("/agent-keys", json!({ "name": "mias" })).await.expect(201).json();
    let acted = member.post("/agent-keys/bulk-delete", json!({ "ids": [id(8), own["id"]] })).await.expect(200).json();
    assert_eq!((&acted["done"], &acted["failed"][0]["id"]), (&json!([own["id"]]), &id(8)));
    assert_eq!(api.get("/agent-keys").await.expect(200).json()["total"], 97);
}
