//! What calls cost: prices of models, errors by class, and the pages and the CSV that tell of them.

use serde_json::{Value, json};

use super::row;
use crate::harness::{FakeProvider, Reply, TestServer, World, eventually};

/// 2.50 for a million tokens sent, 10 for a million answered.
const PRICES: [(&str, u64); 2] = [("input_price_micros", 2_500_000), ("output_price_micros", 10_000_000)];

fn prices() -> Value {
    Value::Object(PRICES.iter().map(|(name, micros)| ((*name).to_owned(), json!(micros))).collect())
}

#[tokio::test]
async fn calls_cost_their_tokens_at_the_price_of_their_model_by_whichever_name() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let id = world.agent_key["id"].as_str().unwrap();

    // Before there is a price, nobody knows.
    world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(row(&api, "agent_key", id, 1).await["cost_micros"], Value::Null);

    let model = api.patch(&world.model_path(), prices()).await.expect(200).json();
    assert_eq!((&model["input_price_micros"], &model["output_price_micros"]), (&json!(2_500_000), &json!(10_000_000)));
    // 9 tokens are sent and 12 answered: 22.5 + 120 micros. The same model by its provider's name costs no less.
    world.agent.chat(World::MODEL).await.expect(200);
    world.agent.chat(&format!("fake/{}", World::MODEL)).await.expect(200);
    assert_eq!(row(&api, "agent_key", id, 3).await["cost_micros"], 285);
    assert_eq!(row(&api, "model", World::MODEL, 2).await["cost_micros"], 142);

    // What was counted stays as it was when the price changes, and when it goes.
    api.patch(&world.model_path(), json!({ "output_price_micros": 0 })).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(row(&api, "agent_key", id, 4).await["cost_micros"], 307);
    let gone = json!({ "input_price_micros": null, "output_price_micros": null });
    let model = api.patch(&world.model_path(), gone).await.expect(200).json();
    assert_eq!(model["input_price_micros"], Value::Null);
    world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(row(&api, "agent_key", id, 5).await["cost_micros"], 307);
}

#[tokio::test]
async fn a_price_is_refused_that_cannot_be_one() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    for micros in [json!(-1), json!(1_000_000_000_001_u64), json!("2.5"), json!(2.5), json!(u64::MAX)] {
        api.patch(&world.model_path(), json!({ "input_price_micros": micros })).await.problem(422);
        let new = json!({ "name": "new", "provider_id": world.provider["id"], "output_price_micros": micros });
        api.post("/models", new).await.problem(422);
    }
    assert_eq!(api.get(&world.model_path()).await.expect(200).json()["input_price_micros"], Value::Null);
    let changes = |event: &Value| event["changes"].to_string();
    api.patch(&world.model_path(), prices()).await.expect(200);
    let events = api.audit_events().await;
    assert!(events.iter().any(|event| changes(event).contains("output_price_micros")), "{events:?}");
}

#[tokio::test]
async fn pages_and_csv_tell_of_usage_by_name_with_errors_by_class() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.patch(&world.model_path(), prices()).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(200);
    for status in [400, 500] {
        provider.next(Reply::error(status, "no"));
        world.agent.chat(World::MODEL).await.expect(status);
    }
    // One that Keyward refuses itself is of the callers' errors as well.
    world.agent.chat("unknown").await.expect(404);
    row(&api, "agent_key", world.agent_key["id"].as_str().unwrap(), 4).await;
    let owner = keyward.person("boss", "owner").await.api;
    let page = owner.page("/usage?by=agent_key&period=24h").await.expect(200).text();
    for told in ["ABC-Key", "2 4xx, 1 5xx", "0.0001", "Calls in the last 24 hours: 4 in all, 3 failed"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    let csv = owner.page("/usage.csv?by=agent_key&period=7d").await.expect(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let lines: Vec<String> = csv.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("\"ABC-Key\",4,3,2,1,9,12,0.000142,0,"), "{lines:?}");

    // A key that is gone is told by its id, a name that could be a formula as text.
    let formula = api.agent_key("=1+2").await;
    keyward.agent(formula["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
    row(&api, "agent_key", formula["id"].as_str().unwrap(), 1).await;
    let csv = owner.page("/usage.csv?by=agent_key").await.expect(200).text();
    assert!(csv.contains("\"'=1+2\""), "{csv}");
    api.delete(&format!("/agent-keys/{}", formula["id"].as_str().unwrap())).await.expect(204);
    let page = owner.page("/usage?by=agent_key&period=7d").await.expect(200).text();
    assert!(page.contains("Deleted") && page.contains(formula["id"].as_str().unwrap()), "{page}");
    // What neither parameter knows shows the default.
    owner.page("/usage?by=colour&period=always").await.expect(200);
}

#[tokio::test]
async fn whoever_calls_is_told_of_and_a_key_that_is_over_needs_attention() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let owner = keyward.person("boss", "owner").await.api;
    let calm = owner.page("/overview").await.expect(200).text();
    assert!(calm.contains("Nothing: no key in use ends within 14 days"), "{calm}");

    let path = format!("/keys/agent/{}", world.agent_key["id"].as_str().unwrap());
    world.agent.chat(World::MODEL).await.expect(200);
    let page = owner.page(&path).await.expect(200).text();
    assert!(page.contains("From where") && page.contains("127.0.0.1"), "{page}");
    let delete = owner.page(&format!("{path}/delete")).await.expect(200).text();
    assert!(delete.contains("127.0.0.1"), "{delete}");

    api.act(&format!("/agent-keys/{}/disable", world.agent_key["id"].as_str().unwrap())).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(401);
    let told = owner.page("/overview").await.expect(200).text();
    assert!(told.contains("is disabled, and is still called") && told.contains("from 127.0.0.1"), "{told}");

    provider.next(Reply::error(401, "no such key"));
    let soon = api.post("/agent-keys", json!({ "name": "short", "expires_in_days": 5 })).await.expect(201).json();
    keyward.agent(soon["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(502);
    eventually("the refused general key", async || {
        let told = owner.page("/overview").await.expect(200).text();
        (told.contains("is refused") && told.contains("MY_API") && told.contains("in 4 days")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_more_than_twenty_addresses_of_a_key_are_kept() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let address: std::net::SocketAddr = keyward.url().trim_start_matches("http://").parse().unwrap();
    for last in 1..=30_u8 {
        let client =
            reqwest::Client::builder().local_address(std::net::IpAddr::from([127, 0, 7, last])).build().unwrap();
        let asked = client.get(format!("http://{address}/v1/models")).bearer_auth(world.agent.secret());
        assert_eq!(asked.send().await.unwrap().status(), 200);
    }
    let id = world.agent_key["id"].as_str().unwrap();
    let filter = format!("agent_key_id = '{id}'");
    let newest = format!("{filter} AND address = '127.0.7.30'");
    eventually("the newest addresses", async || {
        let mut database = keyward.database().await;
        let kept = database.count("agent_key_callers", &filter).await;
        (kept <= 20 && database.count("agent_key_callers", &newest).await == 1).then_some(())
    })
    .await;
    // Also where calls came in one and the same millisecond.
    keyward.database().await.execute("UPDATE agent_key_callers SET last_seen_at = 1").await;
    world.agent.get("/v1/models").await.expect(200);
    let this = format!("{filter} AND address = '127.0.0.1'");
    eventually("one address more", async || {
        let mut database = keyward.database().await;
        (database.count("agent_key_callers", &this).await == 1).then_some(())
    })
    .await;
    assert_eq!(keyward.database().await.count("agent_key_callers", &filter).await, 20);
    // Nothing is kept of a key that is gone, also not what its last refused call left to be written down.
    keyward.api().act(&format!("/agent-keys/{id}/disable")).await.expect(200);
    world.agent.get("/v1/models").await.expect(401);
    keyward.api().delete(&format!("/agent-keys/{id}")).await.expect(204);
    keyward.person("boss", "owner").await.api.page("/overview").await.expect(200);
    assert_eq!(keyward.database().await.count("agent_key_callers", &filter).await, 0);
}
