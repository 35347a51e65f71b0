//! DELETE /members/{id}

use serde_json::{Value, json};

use crate::harness::{FakeProvider, TestServer, World};

#[tokio::test]
async fn ends_sessions_and_tokens_at_once() {
    let keyward = TestServer::start().await;
    let person = keyward.person("grace", "admin").await;
    let body = json!({ "name": "hers", "scopes": ["agent-keys:read"] });
    let token = person.api.post("/management-tokens", body).await.expect(201).json();
    let by_token = keyward.api_with(token["secret"].as_str());
    by_token.get("/agent-keys").await.expect(200);
    keyward.api().delete(&person.path()).await.expect(204);
    by_token.get("/agent-keys").await.problem(401);
    person.api.get("/agent-keys").await.problem(401);
    keyward.sign_in(&person.email, crate::harness::Person::PASSWORD).await.expect(401);
    keyward.api().get(&person.path()).await.problem(404);
    let tokens = keyward.api().get("/management-tokens?search=hers").await.expect(200).json();
    assert_eq!(tokens["total"], 0);
    // The address is free again.
    keyward.person("grace", "auditor").await;
}

#[tokio::test]
async fn whoever_has_agent_keys_is_removed_only_with_a_word_about_these() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let person = keyward.person("grace", "member").await;
    let heir = keyward.person("heir", "member").await;
    let key = person.api.agent_key("hers").await;
    let agent = keyward.agent(key["secret"].as_str().unwrap());
    agent.chat(World::MODEL).await.expect(200);

    let refused = api.delete(&person.path()).await.problem_called(409, "has_agent_keys");
    assert_eq!(refused.json()["agent_keys"], json!([{ "id": key["id"], "name": "hers" }]));
    for query in
        ["?reassign_to=mb_01HZZZZZZZZZZZZZZZZZZZZZZZ", "?reassign_to=", &format!("?reassign_to={}", person.id())]
    {
        api.delete(&format!("{}{query}", person.path())).await.problem(422).at("?reassign_to");
    }
    let both = format!("{}?revoke=true&reassign_to={}", person.path(), heir.id());
    api.delete(&both).await.problem(422);
    api.delete(&format!("{}?force=true", person.path())).await.problem(422);
    agent.chat(World::MODEL).await.expect(200);

    api.delete(&format!("{}?reassign_to={}", person.path(), heir.id())).await.expect(204);
    agent.chat(World::MODEL).await.expect(200);
    let theirs = heir.api.get("/agent-keys").await.expect(200).json();
    assert_eq!(theirs["items"][0]["id"], key["id"]);
    assert_eq!(theirs["items"][0]["created_by"]["name"], "grace", "history stays");

    api.delete(&format!("{}?revoke=true", heir.path())).await.expect(204);
    agent.chat(World::MODEL).await.refused(401, "invalid_api_key");
    let events = api.audit_events().await;
    let on_key = |action: &str| events.iter().filter(|event| event["action"] == action).count();
    assert_eq!((on_key("agent_key.reassign"), on_key("agent_key.delete"), on_key("member.remove")), (1, 1, 2));
    let of_key: Vec<&Value> = events.iter().filter(|event| event["target"]["id"] == key["id"]).collect();
    assert_eq!(of_key.len(), 3);
}

#[tokio::test]
async fn the_pop_up_of_the_console_asks_what_becomes_of_the_keys() {
    let keyward = TestServer::start().await;
    let owner = keyward.person("second", "owner").await;
    let person = keyward.person("grace", "member").await;
    person.api.agent_key("hers").await;
    let path = format!("/members/{}/delete", person.id());
    let asked = owner.api.page(&path).await.expect(200).text();
    assert!(asked.contains("hers") && asked.contains("Give them to second"), "{asked}");
    let version = api_version(&owner.api.etag(&person.path()).await);
    let refused = owner.api.form(&path, &[("version", &version)]).await.expect(409).text();
    assert!(refused.contains("Choose what becomes of them."), "{refused}");
    owner.api.form(&path, &[("version", &version), ("keys", owner.id())]).await.expect(303);
    assert_eq!(owner.api.get("/agent-keys").await.json()["items"][0]["name"], "hers");
}

fn api_version(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}
