//! What several servers let through of one limit is one limit.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::Pair;
use crate::harness::{Agent, World, until};

/// Calls until nothing is left, from as many callers as that.
pub(super) async fn used_up(agents: &[Agent], callers: usize) {
    let mut calling = JoinSet::new();
    for agent in agents {
        for _ in 0..callers {
            let agent = agent.clone();
            calling.spawn(async move {
                loop {
                    let answer = agent.chat(World::MODEL).await;
                    match answer.status {
                        200 => {}
                        429 => break,
                        other => panic!("{other}: {answer}"),
                    }
                }
            });
        }
    }
    calling.join_all().await;
}

#[tokio::test]
async fn two_servers_share_the_requests_of_a_minute() {
    let pair = Pair::start().await;
    let before = pair.provider.calls().len();
    let path = pair.world.agent_key_path();
    pair.first.api().patch(&path, json!({ "limits": { "requests_per_minute": 200 } })).await.expect(200);
    let agents = [&pair.first, &pair.second].map(|server| server.agent(pair.world.agent.secret()));
    until("the limit at the second", async || agents[1].chat(World::MODEL).await.header("ratelimit").is_some()).await;
    let started = Instant::now();
    used_up(&agents, 8).await;
    let passed = pair.provider.calls().len() - before;
    if started.elapsed() < Duration::from_secs(50) {
        // Those before the limit was known do not count.
        assert!((100..=200 + 5).contains(&passed), "{passed} of 200");
    }
}

#[tokio::test]
async fn calls_that_stay_open_at_one_server_count_at_the_other() {
    let pair = Pair::start().await;
    let path = pair.world.agent_key_path();
    pair.first.api().patch(&path, json!({ "limits": { "requests_per_minute": 10 } })).await.expect(200);
    let agents = [&pair.first, &pair.second].map(|server| server.agent(pair.world.agent.secret()));
    until("the limit at the second", async || agents[1].chat(World::MODEL).await.header("ratelimit").is_some()).await;
    let started = Instant::now();
    let mut open = Vec::new();
    for _ in 0..4 {
        let stage = pair.provider.stage();
        let body = json!({ "model": World::MODEL, "stream": true, "messages": [] });
        let (stream, ()) = tokio::join!(agents[0].stream(body), async { stage.open() });
        open.push((stream, stage));
    }
    until("two slots later", async || started.elapsed() > Duration::from_secs(11)).await;
    let mut passed = open.len();
    while agents[1].chat(World::MODEL).await.status == 200 {
        passed += 1;
    }
    if started.elapsed() < Duration::from_secs(50) {
        assert!(passed <= 10, "{passed} of 10 in the minute");
    }
}

#[tokio::test]
async fn two_servers_share_a_budget_and_one_that_is_killed_leaves_nobody_more() {
    const CALLERS: usize = 4;
    let pair = Pair::start().await;
    let path = pair.world.agent_key_path();
    let budget = json!([{ "period": "month", "unit": "tokens", "amount": 21 * 200 }]);
    pair.first.api().patch(&path, json!({ "limits": { "budgets": budget } })).await.expect(200);
    let agents = [&pair.first, &pair.second].map(|server| server.agent(pair.world.agent.secret()));
    until("the budget at the second", async || agents[1].chat(World::MODEL).await.header("ratelimit").is_some()).await;
    let before = pair.provider.calls().len();
    for _ in 0..20 {
        agents[1].chat(World::MODEL).await.expect(200);
    }
    let Pair { first, second, provider, .. } = pair;
    let second = second.kill().await.serve().start().await;
    used_up(&agents, CALLERS).await;
    let passed = provider.calls().len() - before;
    assert!((150..=200 + 2 * CALLERS).contains(&passed), "{passed} calls of 200");
    first.stop().await;
    second.stop().await;
}
