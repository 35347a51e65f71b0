//! GET /agent-keys

use crate::harness::{Api, FakeProvider, TestServer, World, eventually};

async fn names(api: &Api, query: &str) -> Vec<String> {
    let page = api.get(&format!("/agent-keys{query}")).await.expect(200).json();
    page["items"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn never_shows_a_secret() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let secret = api.agent_key("ABC-Key").await["secret"].as_str().unwrap().to_owned();
    let page = api.get("/agent-keys").await.expect(200);
    assert!(page.json()["items"][0].get("secret").is_none());
    assert!(!page.text().contains(&secret[4..]));
}

#[tokio::test]
async fn searches_by_name_and_pages() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for name in ["alpha", "beta", "alphabet"] {
        api.agent_key(name).await;
    }
    assert_eq!(names(&api, "?search=ALPHA&sort=name").await, ["alpha", "alphabet"]);
    let page = api.get("/agent-keys?search=alpha&sort=name&limit=1").await.expect(200).json();
    assert_eq!(page["total"], 2);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(names(&api, &format!("?search=alpha&sort=name&limit=1&cursor={cursor}")).await, ["alphabet"]);
}

#[tokio::test]
async fn filters_by_status() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let body = serde_json::json!({ "name": "one day", "expires_in_days": 1 });
    api.post("/agent-keys", body).await.expect(201);
    api.agent_key("lasting").await;
    let off = api.agent_key("off").await;
    api.act(&format!("/agent-keys/{}/disable", off["id"].as_str().unwrap())).await.expect(200);

    let keyward = keyward.stop_to_restart().await.days_later(2).start().await;
    let api = keyward.api();
    assert_eq!(names(&api, "?status=active").await, ["lasting"]);
    assert_eq!(names(&api, "?status=expired").await, ["one day"]);
    assert_eq!(names(&api, "?status=disabled").await, ["off"]);
    assert_eq!(names(&api, "").await.len(), 3);
    api.get("/agent-keys?status=sleeping").await.problem(422);
}

#[tokio::test]
async fn shows_the_last_use_soon_after_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    assert!(api.get("/agent-keys").await.expect(200).json()["items"][0]["last_used_at"].is_null());

    world.agent.chat(World::MODEL).await.expect(200);
    let used = eventually("the last use in the list", async || {
        let page = api.get("/agent-keys").await.expect(200).json();
        page["items"][0]["last_used_at"].as_str().map(str::to_owned)
    })
    .await;
    crate::management::assert_time(&used.into());
}

#[tokio::test]
async fn a_refused_call_is_no_use() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.act(&format!("{}/disable", world.agent_key_path())).await.expect(200);
    world.agent.chat(World::MODEL).await.refused(401, "disabled_api_key");

    // Another key's use is shown, so the flush has come by; this one's is still null.
    let other = api.agent_key("other").await;
    keyward.agent(other["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
    eventually("the other key's use", async || {
        api.read("/agent-keys", &other["id"]).await["last_used_at"].is_string().then_some(())
    })
    .await;
    assert!(api.read("/agent-keys", &world.agent_key["id"]).await["last_used_at"].is_null());
}
