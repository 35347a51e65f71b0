//! GET /audit-events: nothing that changes keys goes unrecorded, and no secret is recorded.

use serde_json::{Value, json};

use crate::harness::{FakeProvider, TestServer, World};
use crate::management::{assert_fields, assert_time};

fn actions_on<'a>(events: &'a [Value], id: &Value) -> Vec<&'a str> {
    let mut found: Vec<&Value> = events.iter().filter(|event| event["target"]["id"] == *id).collect();
    found.sort_by_key(|event| event["seq"].as_i64());
    found.iter().map(|event| event["action"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_change_is_there_with_who_what_and_when() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.patch(&world.general_key_path(), json!({ "name": "RENAMED" })).await.expect(200);
    api.act(&format!("{}/disable", world.agent_key_path())).await.expect(200);
    api.delete(&world.model_path()).await.expect(204);
    api.delete(&world.agent_key_path()).await.expect(204);

    let events = api.audit_events().await;
    for event in &events {
        assert_fields(event, &["seq", "at", "actor", "action", "target", "changes", "address", "request_id"]);
        assert_time(&event["at"]);
        assert!(event["actor"].is_object() || event["actor"].is_string(), "{event}");
    }
    assert_eq!(actions_on(&events, &world.general_key["id"]).len(), 2, "{events:#?}");
    assert_eq!(actions_on(&events, &world.agent_key["id"]).len(), 3);
    assert_eq!(actions_on(&events, &world.model["id"]).len(), 2);
    assert_eq!(actions_on(&events, &world.provider["id"]).len(), 1);

    let mut numbers: Vec<i64> = events.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    let consecutive: Vec<i64> = (numbers[0]..).take(numbers.len()).collect();
    assert_eq!(numbers, consecutive, "a gap in the sequence");
    // What is deleted stays readable in the history.
    let deleted = events.iter().find(|event| event["target"]["id"] == world.model["id"]).unwrap();
    assert_eq!(deleted["target"]["name"], World::MODEL);
}

#[tokio::test]
async fn a_change_that_was_refused_is_no_event() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.general_key("MY_API", "sk-test-value-1").await;
    let before = api.audit_events().await.len();
    let path = format!("/general-keys/{}", key["id"].as_str().unwrap());
    api.patch(&path, json!({ "name": "" })).await.problem(422);
    api.post("/general-keys", json!({ "name": "MY_API", "value": "sk-test-value-2" })).await.problem(409);
    api.get(&path).await.expect(200);
    assert_eq!(api.audit_events().await.len(), before);
}

#[tokio::test]
async fn no_value_and_no_secret_stands_in_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.patch(&world.general_key_path(), json!({ "value": "sk-test-the-second-value-abc" })).await.expect(200);
    let text = api.get("/audit-events?limit=200").await.expect(200).text();
    for secret in [world.value, "the-second-value", &world.agent.secret()[4..], &keyward.home().token()[5..]] {
        assert!(!text.contains(secret), "{secret} stands in the audit events");
    }
}

#[tokio::test]
async fn pages_by_cursor_and_cannot_be_changed() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for number in 0..5 {
        api.agent_key(&format!("key {number}")).await;
    }
    let all = api.audit_events().await;
    let mut walked = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = api.get(&format!("/audit-events{query}")).await.expect(200).json();
        walked.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=2&cursor={cursor}");
    }
    assert_eq!(walked, all);
    api.get("/audit-events?cursor=made-up").await.problem(422);
    for method in [http::Method::POST, http::Method::DELETE, http::Method::PATCH] {
        let answer = api.send(api.request(method, "/audit-events")).await;
        assert!([404, 405].contains(&answer.status), "{answer}");
    }
}

#[tokio::test]
async fn events_are_found_by_their_time_and_exported_from_the_page() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.agent_key("of-today").await;
    let made = key["created_at"].as_str().unwrap();
    let (day, earlier) = (&made[..10], "2001-02-03");
    let total = async |query: &str| {
        api.get(&format!("/audit-events?action=agent_key.create&{query}")).await.expect(200).json()["total"].clone()
    };
    // A date lasts to its end, a time does not.
    for (query, found) in [
        (format!("from={day}&to={day}"), 1),
        (format!("from={made}"), 1),
        (format!("to={made}"), 0),
        (format!("to={earlier}"), 0),
        (format!("from={earlier}&to="), 1),
    ] {
        assert_eq!(total(&query).await, found, "{query}");
    }
    for query in ["from=yesterday", "to=2001-13-01", "from=1"] {
        api.get(&format!("/audit-events?{query}")).await.problem(422);
    }
    let owner = keyward.person("boss", "owner").await.api;
    let page = owner.page(&format!("/audit?action=agent_key.create&since={day}&until={day}")).await.expect(200).text();
    assert!(page.contains("of-today") && page.contains("1 event"), "{page}");
    let none = owner.page(&format!("/audit?until={earlier}")).await.expect(200).text();
    assert!(none.contains("No events match these filters"), "{none}");
    owner.page("/audit?since=yesterday").await.expect(422);
    let file = owner.page("/audit.ndjson?action=agent_key.create").await.expect(200);
    assert_eq!(file.header("content-disposition"), Some("attachment; filename=\"keyward-audit.ndjson\""));
    let lines: Vec<Value> = file.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["target"]["name"]), (1, &json!("of-today")));
    assert!(lines[0]["mac"].is_string());
}
