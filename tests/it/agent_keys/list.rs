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
async fn a_part_of_a_name_is_found_whatever_stands_in_it_and_not_under_a_name_of_before() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for name in ["50%_off \"now\"", "Größe ✓ wählen", "back\\slash", "it's -- AND NOT *", "other"] {
        api.agent_key(name).await;
    }
    for (part, found) in [
        ("0%25_o", "50%_off \"now\""),
        ("%22now%22", "50%_off \"now\""),
        ("GRÖSSE", "Größe ✓ wählen"),
        ("✓", "Größe ✓ wählen"),
        ("✓ w", "Größe ✓ wählen"),
        ("ck%5Csl", "back\\slash"),
        ("%27s --", "it's -- AND NOT *"),
        ("not *", "it's -- AND NOT *"),
        ("er", "other"),
    ] {
        assert_eq!(names(&api, &format!("?search={part}")).await, [found], "{part}");
    }
    for part in ["0%25%25o", "oth*", "other now", "%00oth"] {
        assert!(names(&api, &format!("?search={part}")).await.is_empty(), "{part}");
    }
    let other = api.get("/agent-keys?search=other").await.expect(200).json()["items"][0].clone();
    let path = format!("/agent-keys/{}", other["id"].as_str().unwrap());
    api.patch(&path, serde_json::json!({ "name": "renamed" })).await.expect(200);
    assert!(names(&api, "?search=other").await.is_empty());
    assert_eq!(names(&api, "?search=name&status=active&sort=-name").await, ["renamed"]);
    api.delete(&path).await.expect(204);
    assert!(names(&api, "?search=renamed").await.is_empty());
    assert_eq!(api.get("/agent-keys?search=renamed").await.expect(200).json()["total"], 0);
}

#[tokio::test]
async fn rows_that_have_other_numbers_since_the_schema_changed_are_found_all_the_same() {
    let keyward = TestServer::start_on_sqlite().await;
    for name in ["first", "second"] {
        keyward.api().agent_key(name).await;
    }
    let home = keyward.stop().await;
    // As VACUUM may do it, which nobody can be told to.
    let renumber = "UPDATE agent_keys SET rowid = rowid + 1000; CREATE TABLE vacuumed (x)";
    crate::harness::Database::open(&home).await.execute(renumber).await;
    let keyward = home.serve().start().await;
    assert_eq!(names(&keyward.api(), "?search=second").await, ["second"]);
    assert_eq!(names(&keyward.api(), "?search=first").await, ["first"]);
}

#[tokio::test]
async fn names_have_one_order_whatever_the_database_and_its_language() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for name in ["éclair", "zebra", "Apple", "a-b", "ab", "a b", "B2", "b10"] {
        api.agent_key(name).await;
    }
    let order = ["a b", "a-b", "ab", "Apple", "b10", "B2", "zebra", "éclair"];
    assert_eq!(names(&api, "?sort=name").await, order);
    let page = api.get("/agent-keys?sort=name&limit=6").await.expect(200).json();
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(names(&api, &format!("?sort=name&limit=6&cursor={cursor}")).await, ["zebra", "éclair"]);
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
