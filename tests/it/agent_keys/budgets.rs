//! What an agent key may use: never more than that and what was under way, whatever happens meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    task::JoinSet,
};

use crate::harness::{Api, FakeProvider, Home, TestServer, World};

async fn limit(api: &Api, world: &World, limits: Value) {
    api.patch(&world.agent_key_path(), json!({ "limits": limits })).await.expect(200);
}

fn budget(period: &str, unit: &str, amount: i64) -> Value {
    json!({ "budgets": [{ "period": period, "unit": unit, "amount": amount }] })
}

/// The statuses of as many calls as there are callers, all of them open at once.
async fn called_at_once(keyward: &TestServer, secret: &str, callers: usize) -> Vec<u16> {
    let address = keyward.url().trim_start_matches("http://").parse().unwrap();
    let body = json!({ "model": World::MODEL, "messages": [] }).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {secret}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut calls = JoinSet::new();
    for number in 0..callers {
        let request = request.clone();
        calls.spawn(async move {
            // From many addresses, since one alone may not have all connections; and all of them are more than there may be
            // where a process has few files.
            loop {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(([127, 1, 0, u8::try_from(number % 200).unwrap() + 1], 0).into()).unwrap();
                if let Ok(mut connection) = socket.connect(address).await
                    && connection.write_all(request.as_bytes()).await.is_ok()
                    && let mut answer = Vec::new()
                    && connection.read_to_end(&mut answer).await.is_ok()
                    && let Some(status) = String::from_utf8_lossy(&answer).split(' ').nth(1)
                {
                    return status.parse().unwrap();
                }
            }
        });
    }
    calls.join_all().await
}

#[tokio::test]
async fn of_ten_thousand_callers_at_once_as_many_pass_as_may_and_none_more_after_the_server_was_killed() {
    const CALLERS: usize = 10_000;
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    api.patch(&world.provider_path(), json!({ "limits": { "calls_in_flight": 100_000 } })).await.expect(200);
    limit(&api, &world, json!({ "requests_per_minute": 1000 })).await;
    // Known before they come; a list of models counts for nothing.
    world.agent.get("/v1/models").await.expect(200);
    let started = Instant::now();
    let statuses = called_at_once(&keyward, world.agent.secret(), CALLERS).await;
    let count = |status: u16| statuses.iter().filter(|is| **is == status).count();
    // A machine that is too slow for all of them at once may say so to some.
    assert!(statuses.iter().all(|status| [200, 429, 503].contains(status)), "{statuses:?}");
    let first = provider.calls().len();
    assert_eq!(first, count(200), "after {:?}", started.elapsed());
    assert!((900..=1000).contains(&first), "{first} of 1000, {} told to come again", count(503));

    let keyward = keyward.kill().await.serve().start().await;
    let statuses = called_at_once(&keyward, world.agent.secret(), 1000).await;
    // A machine that took longer than the minute has said nothing.
    if started.elapsed() < Duration::from_secs(60) {
        assert!(statuses.iter().all(|status| [429, 503].contains(status)), "{statuses:?}");
        assert_eq!(provider.calls().len(), first);
    }
}

#[tokio::test]
async fn a_budget_in_tokens_ends_with_what_was_under_way_and_a_restart_gives_nothing_back() {
    const CALLERS: usize = 20;
    // Each call takes 9 tokens and answers with 12.
    const CALL: usize = 21;
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    limit(&keyward.api(), &world, budget("month", "tokens", 2100)).await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let agent = keyward.agent(world.agent.secret());
        callers.spawn(async move {
            for _ in 0..200 {
                let answer = agent.chat(World::MODEL).await;
                if answer.status == 429 && answer.text().contains("begins anew") {
                    return answer;
                }
            }
            panic!("the budget has no end");
        });
    }
    for refused in callers.join_all().await {
        let told = refused.json();
        assert_eq!(told["error"]["code"], "insufficient_quota", "{told}");
        assert!(told["error"]["message"].as_str().unwrap().contains("2100 tokens a month"), "{told}");
        let wait: i64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=31 * 86_400).contains(&wait));
    }
    let passed = provider.calls().len();
    assert!((100..100 + CALLERS).contains(&passed), "{passed} calls of {CALL} tokens");

    let keyward = keyward.stop().await.serve().start().await;
    let agent = keyward.agent(world.agent.secret());
    agent.chat(World::MODEL).await.expect(429);
    let told = "has used all of its budget of 2,100 tokens a month";
    let overview = keyward.person("admin", "admin").await.api.page("/overview").await.expect(200).text();
    assert!(overview.contains(told), "{overview}");
    let keyward = keyward.kill().await.serve().start().await;
    let agent = keyward.agent(world.agent.secret());
    agent.chat(World::MODEL).await.expect(429);
    assert_eq!(provider.calls().len(), passed);
    // Of a higher budget the difference is left, and of a lower one nothing.
    let more = i64::try_from((passed + 2) * CALL).unwrap();
    limit(&keyward.api(), &world, budget("month", "tokens", more)).await;
    agent.chat(World::MODEL).await.expect(200);
    limit(&keyward.api(), &world, budget("month", "tokens", 50)).await;
    agent.chat(World::MODEL).await.expect(429);
    limit(&keyward.api(), &world, budget("day", "tokens", 50)).await;
    agent.chat(World::MODEL).await.refused(429, "insufficient_quota");
    // What was used before there was the budget counts as well.
    limit(&keyward.api(), &world, budget("day", "tokens", 10_000)).await;
    let answer = agent.chat(World::MODEL).await.expect(200);
    assert_eq!(answer.header("ratelimit-policy"), Some("\"day-tokens\";q=10000;qu=\"tokens\";w=86400"));
}

#[tokio::test]
async fn what_is_left_of_a_budget_survives_a_stop_and_a_new_day_begins_anew() {
    let start = Home::new().await.serve();
    let keyward = start.start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    // Of which a call takes 21 and leaves the rest.
    limit(&keyward.api(), &world, budget("day", "tokens", 63)).await;
    world.agent.chat(World::MODEL).await.expect(200);
    let keyward = keyward.stop().await.serve().start().await;
    let agent = keyward.agent(world.agent.secret());
    agent.chat(World::MODEL).await.expect(200);
    agent.chat(World::MODEL).await.expect(200);
    agent.chat(World::MODEL).await.expect(429);
    let keyward = keyward.stop_to_restart().await.days_later(1).start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn a_budget_in_money_counts_by_prices_and_lets_nothing_through_that_has_none() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    // A call costs 22.5 + 120 micros.
    limit(&api, &world, budget("week", "cost_micros", 1425)).await;
    let refused = world.agent.chat(World::MODEL).await.refused(403, "model_not_allowed").text();
    assert!(refused.contains("has a budget in money") && refused.contains("prices"), "{refused}");
    api.patch(&world.model_path(), json!({ "input_price_micros": 2_500_000 })).await.expect(200);
    world.agent.chat(World::MODEL).await.expect(403);
    provider.received_nothing();
    api.patch(&world.model_path(), json!({ "output_price_micros": 10_000_000 })).await.expect(200);
    for _ in 0..10 {
        world.agent.chat(World::MODEL).await.expect(200);
    }
    let refused = world.agent.chat(World::MODEL).await.refused(429, "insufficient_quota").text();
    assert!(refused.contains("0.001425 of money a week"), "{refused}");
    assert_eq!(provider.calls().len(), 10);
    // What is asked without a cost is answered.
    world.agent.get("/v1/models").await.expect(200);

    let owner = keyward.person("boss", "owner").await.api;
    let path = format!("/keys/agent/{}", world.agent_key["id"].as_str().unwrap());
    let page = owner.page(&path).await.expect(200).text();
    assert!(page.contains("0.0014 a week") && page.contains("all of it"), "{page}");
}

#[tokio::test]
async fn what_nobody_told_the_usage_of_is_taken_by_its_body() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    limit(&keyward.api(), &world, budget("day", "tokens", 30_000)).await;
    let long = json!({ "model": World::MODEL, "stream": true, "messages": [{ "role": "user", "content": "x".repeat(50_000) }] });
    // Streams that their callers leave before the provider has told what they came to: about 12,500 tokens each were sent.
    for _ in 0..3 {
        let stage = provider.stage();
        let (stream, ()) = tokio::join!(world.agent.stream(long.clone()), async { stage.open() });
        drop(stream);
        stage.caller_left().await;
    }
    crate::harness::until("the end of the budget", async || world.agent.chat(World::MODEL).await.status == 429).await;
    // An answer that says it failed costs nothing.
    limit(&keyward.api(), &world, budget("month", "tokens", 60_000)).await;
    for _ in 0..10 {
        provider.next(crate::harness::Reply::error(400, "no"));
        world.agent.post("/v1/chat/completions", long.clone()).await.expect(400);
    }
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn calls_that_stay_open_count_once_and_hold_nobody_up() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    limit(&keyward.api(), &world, json!({ "requests_per_minute": 8, "tokens_per_minute": 1000 })).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let stage = provider.stage();
        let body = json!({ "model": World::MODEL, "stream": true, "messages": [] });
        let (stream, ()) = tokio::join!(world.agent.stream(body), async { stage.open() });
        open.push((stream, stage));
    }
    let started = Instant::now();
    // Also in the next slots of the minute, of five seconds each, they are those four and no more.
    crate::harness::until("two slots later", async || started.elapsed() > Duration::from_secs(11)).await;
    for _ in 0..4 {
        world.agent.chat(World::MODEL).await.expect(200);
    }
    if started.elapsed() < Duration::from_secs(50) {
        world.agent.chat(World::MODEL).await.expect(429);
    }
    drop(open);
}

#[tokio::test]
async fn a_socket_that_costs_nobody_knows_what_is_not_opened_with_a_budget_in_money() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    limit(&keyward.api(), &world, budget("month", "cost_micros", 1_000_000)).await;
    let path = format!("/v1/realtime?model={}", World::MODEL);
    let request = world.agent.request(http::Method::GET, &path);
    let request = request
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    world.agent.send(request).await.refused(403, "model_not_allowed");
    provider.received_nothing();
}

#[tokio::test]
async fn tokens_a_minute_are_counted_with_those_of_calls_under_way() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    limit(&keyward.api(), &world, json!({ "tokens_per_minute": 43 })).await;
    let answer = world.agent.chat(World::MODEL).await.expect(200);
    assert!(answer.header("ratelimit-policy").unwrap().contains("\"tokens\";q=43;qu=\"tokens\";w=60"), "{answer}");
    assert_eq!(answer.header("x-ratelimit-limit-tokens"), Some("43"));
    world.agent.chat(World::MODEL).await.expect(200);
    // 42 are used; the one that is left is held by one call under way.
    let stage = provider.stage();
    let asked = world.agent.stream(json!({ "model": World::MODEL, "stream": true, "messages": [] }));
    let (stream, ()) = tokio::join!(asked, async { stage.open() });
    let refused = world.agent.chat(World::MODEL).await.refused(429, "rate_limit_exceeded");
    // A second where they began in this slot of the minute, which may have ended since.
    let wait: i64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=66).contains(&wait), "{refused}");
    // It came to nothing, so that as much is left as before.
    stage.event(r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#);
    stage.event("[DONE]");
    drop(stage);
    drop(stream.rest().await);
    crate::harness::until("what was held", async || world.agent.chat(World::MODEL).await.status == 200).await;
    let refused = world.agent.chat(World::MODEL).await.refused(429, "rate_limit_exceeded");
    assert!(refused.text().contains("43 tokens a minute"), "{refused}");
}
