//! Importing the models that a provider says it has.

use serde_json::{Value, json};

use crate::harness::{FakeProvider, Reply, TestServer, World};

fn answers(provider: &FakeProvider, list: &Value) {
    provider.next(Reply::with(200, &[("content-type", "application/json")], &list.to_string()));
}

#[tokio::test]
async fn what_a_provider_offers_becomes_models_that_answer() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let path = world.provider_path();
    let list = json!({ "object": "list", "data": [{ "id": "vendor/tiny" }, { "id": World::MODEL }, { "id": "x".repeat(65) }] });
    answers(&provider, &list);
    let offered = api.get(&format!("{path}/available-models")).await.expect(200).json();
    let call = provider.calls().pop().unwrap();
    assert_eq!((call.method.as_str(), call.path.as_str()), ("GET", "/v1/models"));
    let names: Vec<_> = offered["items"].as_array().unwrap().iter().map(|item| &item["upstream_model"]).collect();
    assert_eq!(names, [World::MODEL, "vendor/tiny", &"x".repeat(65)]);
    assert_eq!(offered["items"][0]["model_id"], world.model["id"]);

    let chosen = json!({ "upstream_models": ["vendor/tiny", World::MODEL, "x".repeat(65)] });
    let imported = api.post(&format!("{path}/import-models"), chosen).await.expect(200).json();
    assert_eq!(imported["items"].as_array().unwrap().len(), 1, "{imported}");
    assert_eq!(imported["items"][0]["name"], "vendor/tiny");
    let skipped = imported["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 2, "{imported}");
    assert!(skipped[0]["detail"].as_str().unwrap().contains("there already"), "{imported}");
    world.agent.chat("vendor/tiny").await.expect(200);
    let events = api.audit_events().await;
    assert!(events.iter().any(|event| event["action"] == "model.create" && event["target"]["name"] == "vendor/tiny"));

    // The page shows what there is to choose, and what is chosen already.
    answers(&provider, &list);
    let page = keyward.person("boss", "owner").await.api;
    let shown = page.page(&format!("/catalog{path}/import")).await.expect(200).text();
    for told in ["3 offered, 2 of them imported already", "vendor/tiny", "must have at most 64 characters"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
}

#[tokio::test]
async fn what_a_provider_says_instead_of_a_list_is_told_and_no_key_is_in_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let path = format!("{}/available-models", world.provider_path());
    provider.next(Reply::error(401, &format!("no such key: {}", World::VALUE)));
    let refused = api.get(&path).await.problem_called(502, "upstream_unreachable");
    assert!(refused.text().contains("no such key") && !refused.text().contains(World::VALUE), "{refused}");
    answers(&provider, &json!({ "hello": "world" }));
    api.get(&path).await.problem_called(502, "upstream_unreachable");
    // Nor is one in a list.
    answers(&provider, &json!({ "data": [{ "id": format!("model-of-{}", World::VALUE) }] }));
    assert_eq!(api.get(&path).await.expect(200).json()["items"], json!([]));

    for bad in [json!({}), json!({ "upstream_models": [] }), json!({ "upstream_models": vec!["x"; 1001] })] {
        api.post(&format!("{}/import-models", world.provider_path()), bad).await.problem(422);
    }
    api.get("/providers/pr_none/available-models").await.problem(404);
    api.post("/providers/pr_none/import-models", json!({ "upstream_models": ["x"] })).await.problem(404);
}
