//! GET /providers

use serde_json::json;

use crate::harness::TestServer;

#[tokio::test]
async fn searches_sorts_and_pages() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for name in ["beta", "Alpha", "gamma"] {
        api.post("/providers", json!({ "name": name, "kind": "openai" })).await.expect(201);
    }
    let all = api.get("/providers?sort=name").await.expect(200).json();
    let names: Vec<_> = all["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Alpha", "beta", "gamma"]);
    let found = api.get("/providers?search=ET").await.expect(200).json();
    assert_eq!((found["total"].as_u64(), found["items"][0]["name"].as_str()), (Some(1), Some("beta")));
    let page = api.get("/providers?sort=name&limit=2").await.expect(200).json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let last = api.get(&format!("/providers?sort=name&limit=2&cursor={cursor}")).await.expect(200).json();
    assert_eq!(last["items"].as_array().unwrap().len(), 1);
    assert!(last["next_cursor"].is_null());
    api.get("/providers?cursor=made-up").await.problem(422);
}
