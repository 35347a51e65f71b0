//! GET /models (of the management API)

use crate::harness::{FakeProvider, TestServer};

#[tokio::test]
async fn searches_sorts_and_pages() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.model("gpt-large", &world.provider).await;
    api.model("gpt-mini", &world.provider).await;

    let found = api.get("/models?search=GPT&sort=-name").await.expect(200).json();
    let names: Vec<_> = found["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["gpt-mini", "gpt-large"]);
    let page = api.get("/models?limit=2&sort=name").await.expect(200).json();
    assert_eq!(page["total"], 3);
    let cursor = page["next_cursor"].as_str().unwrap();
    let last = api.get(&format!("/models?limit=2&sort=name&cursor={cursor}")).await.expect(200).json();
    assert_eq!(last["items"][0]["name"], "small");
    api.get("/models?cursor=made-up").await.problem(422);
}
