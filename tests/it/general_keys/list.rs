//! GET /general-keys

use serde_json::Value;

use crate::harness::{Api, FakeProvider, Reply, TestServer, World, until};

async fn names(api: &Api, query: &str) -> Vec<String> {
    let page = api.get(&format!("/general-keys{query}")).await.expect(200).json();
    page["items"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

async fn with_keys(names: &[&str]) -> TestServer {
    let keyward = TestServer::start().await;
    for name in names {
        keyward.api().general_key(name, "sk-test-value").await;
    }
    keyward
}

#[tokio::test]
async fn searches_part_of_the_name_in_any_case_and_takes_no_wildcards() {
    let keyward = with_keys(&["MY_API", "MYXAPI", "other", "100%"]).await;
    let api = keyward.api();
    assert_eq!(names(&api, "?search=y_a").await, ["MY_API"]);
    assert_eq!(names(&api, "?search=OTH").await, ["other"]);
    assert_eq!(names(&api, "?search=%25").await, ["100%"]);
    assert_eq!(names(&api, "?search='%20OR%201=1").await, [""; 0]);
    assert_eq!(names(&api, "?search=").await.len(), 4);
}

#[tokio::test]
async fn sorts_both_ways() {
    let keyward = with_keys(&["b", "C", "a"]).await;
    let api = keyward.api();
    assert_eq!(names(&api, "?sort=name").await, ["a", "b", "C"]);
    assert_eq!(names(&api, "?sort=-name").await, ["C", "b", "a"]);
    assert_eq!(names(&api, "?sort=created_at").await, ["b", "C", "a"]);
    api.get("/general-keys?sort=value").await.problem(422);
}

#[tokio::test]
async fn walks_every_page_once_even_when_keys_come_and_go() {
    let keyward = with_keys(&["k1", "k2", "k3", "k4", "k5"]).await;
    let api = keyward.api();
    let first = api.get("/general-keys?sort=name&limit=2").await.expect(200).json();
    assert_eq!(first["total"], 5);
    assert_eq!(first["total_is_exact"], true);

    let shown = first["items"][0]["id"].as_str().unwrap();
    api.delete(&format!("/general-keys/{shown}")).await.expect(204);
    api.general_key("k0", "sk-test-value").await;

    let mut seen = vec![first["items"][0]["name"].clone(), first["items"][1]["name"].clone()];
    let mut cursor = first["next_cursor"].clone();
    while let Some(text) = cursor.as_str() {
        let page = api.get(&format!("/general-keys?sort=name&limit=2&cursor={text}")).await.expect(200).json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|key| key["name"].clone()));
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(seen, ["k1", "k2", "k3", "k4", "k5"].map(Value::from));
}

#[tokio::test]
async fn refuses_a_cursor_it_did_not_make_and_a_limit_out_of_range() {
    let keyward = with_keys(&["k1", "k2"]).await;
    let api = keyward.api();
    for query in [
        "cursor=made-up",
        "cursor=%00",
        "cursor=AAAA",
        "cursor=eyJpZCI6MX0",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
    ] {
        api.get(&format!("/general-keys?{query}")).await.problem(422);
    }
    let page = api.get("/general-keys?sort=name&limit=1").await.expect(200).json();
    let cursor = page["next_cursor"].as_str().unwrap();
    api.get(&format!("/general-keys?sort=-created_at&limit=1&cursor={cursor}")).await.problem(422);
    assert_eq!(names(&api, "?limit=200").await.len(), 2);
}

#[tokio::test]
async fn shows_what_each_key_is_linked_to() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let page = keyward.api().get("/general-keys").await.expect(200).json();
    let link = &page["items"][0]["linked_to"][0];
    assert_eq!(link["kind"], "provider");
    assert_eq!(link["id"], world.provider["id"]);
    assert_eq!(link["name"], "fake");
}

#[tokio::test]
async fn lists_those_that_a_provider_refused_those_it_accepted_and_those_nobody_was_asked_about() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.general_key("UNASKED", "sk-test-value-nobody-was-asked").await;
    world.agent.chat(World::MODEL).await.expect(200);
    until("the acceptance", async || names(&api, "?status=ok").await == ["MY_API"]).await;
    assert_eq!(names(&api, "?status=unknown").await, ["UNASKED"]);
    assert_eq!(names(&api, "?status=refused").await, [""; 0]);
    provider.next(Reply::error(401, "no longer"));
    world.agent.chat(World::MODEL).await.expect(502);
    until("the refusal", async || names(&api, "?status=refused&sort=-name&search=api").await == ["MY_API"]).await;
    assert_eq!(names(&api, "?status=ok").await, [""; 0]);
    assert_eq!(api.get("/general-keys?status=refused").await.json()["total"], 1);
    api.get("/general-keys?status=bad").await.problem(422).at("?status");

    let owner = keyward.sign_in("owner@example.com", "a password for tests only").await.expect(303);
    let console = keyward.signed_in(&owner);
    let shown = console.page("/keys/general?status=refused").await.expect(200).text();
    assert!(shown.contains("MY_API") && shown.contains("Refused") && !shown.contains("UNASKED"), "{shown}");
    let shown = console.page("/keys/general").await.expect(200).text();
    assert!(shown.contains("Not asked yet"), "{shown}");
}
