//! Webhooks: what is told of by itself, to whom, and what becomes of it.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Api, Call, FakeProvider, Home, Reply, TestServer, World, eventually, until};

async fn hook(api: &Api, receiver: &FakeProvider, events: Value) -> Value {
    let body = json!({ "name": "on-call", "url": format!("{}/hook?channel=a", receiver.origin()), "events": events });
    api.post("/webhooks", body).await.expect(201).json()
}

/// The messages of a type that have arrived.
fn messages(receiver: &FakeProvider, event: &str) -> Vec<(Call, Value)> {
    let read = |call: Call| {
        let body = call.json();
        (call, body)
    };
    receiver.calls().into_iter().map(read).filter(|(_, body)| body["type"] == event).collect()
}

async fn arrived(receiver: &FakeProvider, event: &str) -> (Call, Value) {
    eventually(event, async || messages(receiver, event).into_iter().next()).await
}

async fn deliveries(api: &Api, hook: &Value) -> Vec<Value> {
    let path = format!("/webhooks/{}/deliveries", hook["id"].as_str().unwrap());
    api.get(&path).await.expect(200).json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_message_is_signed_as_the_standard_says_and_its_delivery_told() {
    let keyward = TestServer::start().await;
    let receiver = FakeProvider::start().await;
    receiver.always(204, &[], "");
    let api = keyward.api();
    let made = hook(&api, &receiver, Value::Null).await;
    let secret = STANDARD.decode(made["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap()).unwrap();
    let path = format!("/webhooks/{}", made["id"].as_str().unwrap());
    assert!(api.get(&path).await.expect(200).json().get("secret").is_none());
    let sent = api.post(&format!("{path}/test"), json!({})).await.expect(200).json();
    let (call, body) = arrived(&receiver, "webhook.test").await;
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/hook?channel=a"));
    assert_eq!(call.header("webhook-id"), sent["id"].as_str());
    assert_eq!(body["data"]["webhook"]["name"], "on-call");
    let text = format!(
        "{}.{}.{}",
        call.header("webhook-id").unwrap(),
        call.header("webhook-timestamp").unwrap(),
        String::from_utf8_lossy(&call.body)
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), text.as_bytes());
    assert_eq!(call.header("webhook-signature"), Some(format!("v1,{}", STANDARD.encode(tag)).as_str()));
    until("its delivery", async || deliveries(&api, &made).await[0]["delivered_at"].is_string()).await;
    let told = deliveries(&api, &made).await;
    assert_eq!(
        (&told[0]["status"], &told[0]["tries"], &told[0]["next_try_at"]),
        (&json!(204), &json!(1), &Value::Null)
    );
    api.delete(&path).await.expect(204);
    api.get(&path).await.problem(404);
}

#[tokio::test]
async fn one_that_is_not_taken_is_tried_again_and_one_receiver_that_hangs_holds_up_no_other() {
    let keyward = TestServer::start().await;
    let (receiver, hung) = (FakeProvider::start().await, FakeProvider::start().await);
    receiver.always(200, &[], "");
    let api = keyward.api();
    let slow = api.post("/webhooks", json!({ "name": "slow", "url": hung.origin() })).await.expect(201).json();
    let stages: Vec<_> = (0..20).map(|_| hung.stage()).collect();
    // More than are sent at once in all.
    for _ in 0..20 {
        api.post(&format!("/webhooks/{}/test", slow["id"].as_str().unwrap()), json!({})).await.expect(200);
    }
    let made = hook(&api, &receiver, Value::Null).await;
    receiver.next(Reply::error(500, "not now"));
    receiver.next(Reply::with(302, &[("location", "http://127.0.0.1:9/")], ""));
    let sent =
        api.post(&format!("/webhooks/{}/test", made["id"].as_str().unwrap()), json!({})).await.expect(200).json();
    until("the first try", async || !receiver.calls().is_empty()).await;
    assert!(hung.calls().len() <= 4, "{} to one receiver at once", hung.calls().len());
    until("a second try", async || deliveries(&api, &made).await[0]["tries"].as_i64() == Some(2)).await;
    let told = eventually("why it failed", async || {
        let told = deliveries(&api, &made).await.remove(0);
        told["detail"].as_str().is_some_and(|detail| detail.contains("302")).then_some(told)
    })
    .await;
    assert_eq!((&told["id"], &told["delivered_at"]), (&sent["id"], &Value::Null));
    assert!(told["next_try_at"].is_string(), "{told}");
    drop(stages);
}

#[tokio::test]
async fn budgets_are_told_of_at_80_and_at_100_percent_once() {
    let keyward = TestServer::start().await;
    let (provider, receiver) = (FakeProvider::start().await, FakeProvider::start().await);
    receiver.always(200, &[], "");
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    hook(&api, &receiver, json!(["agent_key.budget_used"])).await;
    // A call takes 21.
    let budget = json!([{ "period": "month", "unit": "tokens", "amount": 210 }]);
    api.patch(&world.agent_key_path(), json!({ "limits": { "budgets": budget } })).await.expect(200);
    for _ in 0..7 {
        world.agent.chat(World::MODEL).await.expect(200);
    }
    assert!(messages(&receiver, "agent_key.budget_used").is_empty());
    world.agent.chat(World::MODEL).await.expect(200);
    let (_, body) = arrived(&receiver, "agent_key.budget_used").await;
    assert_eq!(body["data"]["agent_key"]["id"], world.agent_key["id"]);
    assert_eq!((&body["data"]["percent"], &body["data"]["period"]), (&json!(80), &json!("month")));
    assert_eq!(body["data"]["budget"], json!({ "unit": "tokens", "amount": 210 }));
    while world.agent.chat(World::MODEL).await.status == 200 {}
    until("the second", async || messages(&receiver, "agent_key.budget_used").len() == 2).await;
    assert_eq!(messages(&receiver, "agent_key.budget_used")[1].1["data"]["percent"], 100);
    // A restart tells nothing again.
    let keyward = keyward.stop().await.serve().start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(429);
    keyward.stop().await;
    assert_eq!(messages(&receiver, "agent_key.budget_used").len(), 2);
}

#[tokio::test]
async fn keys_that_end_soon_that_ended_and_that_are_refused_are_told_of() {
    let keyward = Home::new().await.serve().start().await;
    let (provider, receiver) = (FakeProvider::start().await, FakeProvider::start().await);
    receiver.always(200, &[], "");
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    hook(&api, &receiver, Value::Null).await;
    world.agent.chat(World::MODEL).await.expect(200);
    api.agent_key("never used").await;
    provider.next(Reply::error(401, "Incorrect API key"));
    world.agent.chat(World::MODEL).await.expect(502);
    let (_, body) = arrived(&receiver, "general_key.refused").await;
    assert_eq!(body["data"]["general_key"]["name"], "MY_API");
    assert!(body["data"]["words"].as_str().unwrap().contains("Incorrect"), "{body}");
    assert!(!body.to_string().contains(world.value));

    let keyward = keyward.stop_to_restart().await.days_later(80).start().await;
    let (_, body) = arrived(&receiver, "agent_key.ending").await;
    assert_eq!((&body["data"]["agent_key"]["id"], &body["data"]["within_days"]), (&world.agent_key["id"], &json!(14)));
    let keyward = keyward.stop_to_restart().await.days_later(91).start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(401);
    let (_, body) = arrived(&receiver, "agent_key.ended_called").await;
    assert_eq!(body["data"]["agent_key"]["id"], world.agent_key["id"]);
    assert_eq!(body["data"]["address"], "127.0.0.1");
    keyward.stop().await;
    assert_eq!(messages(&receiver, "agent_key.ending").len(), 1, "of a key never used, nothing");
}

#[tokio::test]
async fn one_is_edited_and_signs_as_before() {
    let keyward = TestServer::start().await;
    let receiver = FakeProvider::start().await;
    receiver.always(204, &[], "");
    let elsewhere = FakeProvider::start().await;
    elsewhere.always(204, &[], "");
    let api = keyward.api();
    let made = hook(&api, &receiver, json!(["agent_key.ending"])).await;
    let path = format!("/webhooks/{}", made["id"].as_str().unwrap());
    let old = api.etag(&path).await;
    let wrong = json!({ "name": "", "url": "ftp://example.com/", "events": ["everything"] });
    api.patch(&path, wrong).await.problem(422).at("/name").at("/url").at("/events");
    for bad in [json!({ "url": null }), json!({ "name": null }), json!({ "secret": "whsec_x" })] {
        api.patch(&path, bad).await.problem(422);
    }
    assert_eq!(api.etag(&path).await, old, "a refused edit changed it");
    let url = format!("{}/other", elsewhere.origin());
    let edited = api.patch(&path, json!({ "name": "night", "url": url, "events": null })).await.expect(200);
    assert_eq!(edited.header("etag"), Some(api.etag(&path).await.as_str()));
    let edited = edited.json();
    assert_eq!((&edited["name"], &edited["url"], &edited["events"]), (&json!("night"), &json!(url), &json!([])));
    assert!(edited.get("secret").is_none(), "{edited}");
    let stale = api.request(Method::PATCH, &path).header("if-match", old.as_str()).json(&json!({ "name": "late" }));
    api.send(stale).await.problem(412);
    api.post(&format!("{path}/test"), json!({})).await.expect(200);
    let (call, body) = arrived(&elsewhere, "webhook.test").await;
    assert_eq!((call.path.as_str(), &body["data"]["webhook"]["name"]), ("/other", &json!("night")));
    let secret = STANDARD.decode(made["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap()).unwrap();
    let (id, seconds) = (call.header("webhook-id").unwrap(), call.header("webhook-timestamp").unwrap());
    let text = format!("{id}.{seconds}.{}", String::from_utf8_lossy(&call.body));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), text.as_bytes());
    assert_eq!(call.header("webhook-signature"), Some(format!("v1,{}", STANDARD.encode(tag)).as_str()));
    receiver.received_nothing();
    let behind = format!("{}/secret-path", elsewhere.origin());
    api.patch(&path, json!({ "url": behind })).await.expect(200);
    let events = api.audit_events().await;
    let told: Vec<_> = events.iter().filter(|event| event["action"] == "webhook.edit").collect();
    assert_eq!(told.len(), 2, "{events:?}");
    assert!(told.iter().all(|event| !event.to_string().contains("secret-path")), "{told:?}");
}

#[tokio::test]
async fn a_webhook_goes_where_it_may_and_a_changed_row_tells_nobody() {
    let keyward = TestServer::start().await;
    let receiver = FakeProvider::start().await;
    receiver.always(200, &[], "");
    let api = keyward.api();
    for bad in [
        json!({ "name": "x", "url": "http://169.254.169.254/latest" }),
        json!({ "name": "x", "url": "http://10.0.0.1/hook" }),
        json!({ "name": "x", "url": "ftp://example.com/" }),
        json!({ "name": "x", "url": keyward.url() }),
        json!({ "name": "x", "url": "https://example.com/", "events": ["everything"] }),
        json!({ "name": "", "url": "https://example.com/" }),
        json!({ "name": "x", "url": "https://user:pw@example.com/" }),
    ] {
        api.post("/webhooks", bad).await.problem(422);
    }
    let made = hook(&api, &receiver, Value::Null).await;
    let mut database = keyward.database().await;
    let elsewhere = FakeProvider::start().await;
    database.execute(format!("UPDATE webhooks SET url = '{}/'", elsewhere.origin())).await;
    let path = format!("/webhooks/{}", made["id"].as_str().unwrap());
    api.post(&format!("{path}/test"), json!({})).await.problem(503);
    elsewhere.received_nothing();
    api.delete(&path).await.expect(204);
    let actions: Vec<_> = api.audit_events().await.iter().map(|event| event["action"].clone()).collect();
    assert!(actions.contains(&json!("webhook.create")) && actions.contains(&json!("webhook.delete")), "{actions:?}");
}
