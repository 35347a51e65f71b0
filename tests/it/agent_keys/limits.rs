//! What an agent key may call, from where and how often.

use serde_json::{Value, json};

use crate::harness::{Api, FakeProvider, TestServer, World};

async fn limit(api: &Api, key: &Value, limits: Value) -> Value {
    let path = format!("/agent-keys/{}", key["id"].as_str().unwrap());
    api.patch(&path, json!({ "limits": limits })).await.expect(200).json()
}

#[tokio::test]
async fn a_key_calls_the_models_it_may_by_whichever_name() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.renamed_model("fast", "vendor-fast", &world.provider).await;
    let agent = &world.agent;
    agent.chat("fast").await.expect(200);
    limit(&api, &world.agent_key, json!({ "allowed_models": ["small*", "fake/vendor-*"] })).await;
    agent.chat(World::MODEL).await.expect(200);
    // By the provider's name for it.
    agent.chat("fast").await.expect(200);
    agent.chat("fake/vendor-fast").await.expect(200);

    limit(&api, &world.agent_key, json!({ "allowed_models": ["small"] })).await;
    agent.chat(World::MODEL).await.expect(200);
    let calls = provider.calls().len();
    for other in ["fast", "fake/vendor-fast", "fake/small"] {
        let refused = agent.chat(other).await.expect(403).json();
        assert_eq!(refused["error"]["code"], "model_not_allowed", "{other}: {refused}");
    }
    agent.post("/providers/fake/chat/completions", json!({ "model": "vendor-fast" })).await.expect(403);
    assert_eq!(provider.calls().len(), calls, "a refused call reaches no provider");
    let listed = agent.get("/v1/models").await.expect(200).json();
    let names: Vec<_> = listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, [World::MODEL]);
    agent.get("/v1/models/fast").await.expect(404);

    limit(&api, &world.agent_key, json!({ "allowed_models": null })).await;
    agent.chat("fast").await.expect(200);
}

#[tokio::test]
async fn a_key_is_called_from_where_it_may_also_for_a_verification() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let limited =
        limit(&keyward.api(), &world.agent_key, json!({ "allowed_addresses": ["127.9.0.0/16", "::1"] })).await;
    assert_eq!(limited["limits"]["allowed_addresses"], json!(["127.9.0.0/16", "::1"]));
    let ask = async |from: [u8; 4], path: &str| {
        let client = reqwest::Client::builder().local_address(std::net::IpAddr::from(from)).build().unwrap();
        let asked = client.get(format!("{}{path}", keyward.url())).bearer_auth(world.agent.secret());
        let answer = asked.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for path in ["/v1/models", "/auth/verify"] {
        assert_eq!(ask([127, 9, 1, 2], path).await.0, 200, "{path}");
        let (status, words) = ask([127, 0, 0, 1], path).await;
        assert!(
            status == 403 && words.contains("ip_not_allowed") && words.contains("127.0.0.1"),
            "{path} {status} {words}"
        );
    }
    world.agent.chat(World::MODEL).await.expect(403);
}

#[tokio::test]
async fn of_a_thousand_calls_at_once_as_many_pass_as_a_minute_may_have() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    limit(&api, &world.agent_key, json!({ "requests_per_minute": 100 })).await;
    let callers = (0..20).map(|_| {
        let agent = keyward.agent(world.agent.secret());
        tokio::spawn(async move {
            let mut passed = 0;
            for _ in 0..50 {
                let answer = agent.chat(World::MODEL).await;
                passed += usize::from(answer.status == 200);
                if answer.status == 429 {
                    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                    assert!((1..=66).contains(&wait), "{answer}");
                    assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
                }
            }
            passed
        })
    });
    let mut passed = 0;
    for caller in callers.collect::<Vec<_>>() {
        passed += caller.await.unwrap();
    }
    assert_eq!(passed, 100);
    assert_eq!(provider.calls().len(), 100);
    // Another key has its own.
    let other = api.agent_key("other").await;
    limit(&api, &other, json!({ "requests_per_minute": 3 })).await;
    let answer = keyward.agent(other["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
    assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=3;w=60"));
    assert!(answer.header("ratelimit").unwrap().starts_with("\"requests\";r=2;t="), "{answer}");
    let openai = ["limit", "remaining"].map(|what| answer.header(&format!("x-ratelimit-{what}-requests")).unwrap());
    assert_eq!(openai, ["3", "2"]);
    // What was counted stays when the limit changes, and when the key gets another secret.
    limit(&api, &world.agent_key, json!({ "requests_per_minute": 101 })).await;
    let path = format!("/agent-keys/{}/rotate", world.agent_key["id"].as_str().unwrap());
    let rotated = api.post(&path, json!({})).await.expect(201).json();
    let turned = keyward.agent(rotated["secret"].as_str().unwrap());
    turned.chat(World::MODEL).await.expect(200);
    turned.chat(World::MODEL).await.expect(429);
    world.agent.chat(World::MODEL).await.expect(429);
}

#[tokio::test]
async fn no_more_calls_are_open_than_may_be_and_one_that_ends_makes_room() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    limit(&keyward.api(), &world.agent_key, json!({ "calls_in_flight": 2 })).await;
    let body = json!({ "model": World::MODEL, "stream": true, "messages": [] });
    let mut open = Vec::new();
    for _ in 0..2 {
        let stage = provider.stage();
        let asked = world.agent.stream(body.clone());
        let told = async {
            stage.open();
            stage
        };
        let (stream, stage) = tokio::join!(asked, told);
        open.push((stream, stage));
    }
    let refused = world.agent.chat(World::MODEL).await.expect(429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    // A call that is refused, or goes wrong, leaves its place.
    for _ in 0..3 {
        world.agent.chat(World::MODEL).await.expect(429);
    }
    let (stream, stage) = open.pop().unwrap();
    stage.event("[DONE]");
    drop(stage);
    drop(stream.rest().await);
    crate::harness::until("a place", async || world.agent.chat(World::MODEL).await.status == 200).await;
    world.agent.chat("nobody-knows-me").await.expect(404);
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn limits_are_set_merged_and_taken_away_and_nonsense_is_refused() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let body = json!({ "name": "narrow", "limits": { "allowed_models": ["a", "b*"], "requests_per_minute": 5 } });
    let made = api.post("/agent-keys", body).await.expect(201).json();
    let none = json!({ "allowed_models": [], "allowed_routes": [], "allowed_addresses": [], "requests_per_minute": null,
        "calls_in_flight": null, "tokens_per_minute": null, "budgets": [] });
    let with = |limits: Value| {
        let mut all = none.clone();
        all.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        all
    };
    let wanted = with(json!({ "allowed_models": ["a", "b*"], "requests_per_minute": 5 }));
    assert_eq!(made["limits"], wanted);
    let merged = limit(&api, &made, json!({ "calls_in_flight": 7, "allowed_models": [] })).await;
    let wanted = with(json!({ "requests_per_minute": 5, "calls_in_flight": 7 }));
    assert_eq!(merged["limits"], wanted);
    assert_eq!(limit(&api, &made, json!({})).await["limits"], wanted);
    let path = format!("/agent-keys/{}", made["id"].as_str().unwrap());
    for bad in [
        json!({ "requests_per_minute": 0 }),
        json!({ "requests_per_minute": -1 }),
        json!({ "calls_in_flight": 1_000_001 }),
        json!({ "calls_in_flight": 9_223_372_036_854_775_808_u64 }),
        json!({ "allowed_addresses": ["10.0.0.0/33"] }),
        json!({ "allowed_addresses": ["example.com"] }),
        json!({ "allowed_models": [""] }),
        json!({ "allowed_models": vec!["x"; 101] }),
        json!({ "tokens_per_minute": 0 }),
        json!({ "tokens_per_minute": -5 }),
        json!({ "tokens_per_minute": 9_223_372_036_854_775_808_u64 }),
        json!({ "budgets": [{ "period": "year", "unit": "tokens", "amount": 5 }] }),
        json!({ "budgets": [{ "period": "day", "unit": "euros", "amount": 5 }] }),
        json!({ "budgets": [{ "period": "day", "unit": "tokens", "amount": 0 }] }),
        json!({ "budgets": [{ "period": "day", "unit": "cost_micros", "amount": 9_223_372_036_854_775_808_u64 }] }),
        json!({ "budgets": [{ "period": "day", "unit": "tokens" }] }),
        json!({ "budgets": [{ "period": "day", "unit": "tokens", "amount": 5 }, { "period": "day", "unit": "tokens", "amount": 6 }] }),
        json!({ "tokens": 5 }),
        json!(null),
    ] {
        api.patch(&path, json!({ "limits": bad })).await.problem(422);
    }
    assert_eq!(api.get(&path).await.expect(200).json()["limits"], wanted);
    let events = api.audit_events().await;
    let told = |words: &str| events.iter().any(|event| event["changes"].to_string().contains(words));
    assert!(told("models a, b*; 5 requests a minute") && told("5 requests a minute; 7 calls at once"), "{events:?}");
}
