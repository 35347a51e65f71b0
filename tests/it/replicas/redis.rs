//! Several servers whose minutes a Redis counts.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Pair, limits::used_up};
use crate::harness::{Agent, Redis, World, until};

impl Pair {
    /// Both servers' agents, once both know these limits.
    async fn limited(&self, limits: serde_json::Value) -> [Agent; 2] {
        let path = self.world.agent_key_path();
        self.first.api().patch(&path, json!({ "limits": limits })).await.expect(200);
        let agents = [&self.first, &self.second].map(|server| server.agent(self.world.agent.secret()));
        until("the limit at the second", async || agents[1].chat(World::MODEL).await.header("ratelimit").is_some())
            .await;
        agents
    }
}

#[tokio::test]
async fn two_servers_share_a_minute_in_redis_and_one_that_is_killed_leaves_nobody_more() {
    let redis = Redis::start().await;
    let pair = Pair::start_with(&[redis.variable()]).await;
    let agents = pair.limited(json!({ "requests_per_minute": 100 })).await;
    let (started, before) = (Instant::now(), pair.provider.calls().len());
    used_up(&agents, 8).await;
    let keys = redis.asked("KEYS *").await;
    let id = pair.world.agent_key["id"].as_str().unwrap();
    assert!(keys.contains("keyward:{") && keys.contains(&format!("}}:minute:{id}:requests")), "{keys}");
    assert!(!keys.contains(pair.world.agent.secret()), "{keys}");
    let rows = pair.first.database().await.count("agent_key_spending", "1 = 1").await;
    assert_eq!(rows, 0, "a minute is not written to the database");

    let Pair { first, second, provider, world, .. } = pair;
    let second = second.kill().await.serve().with(&[redis.variable()]).start().await;
    let agents = [&first, &second].map(|server| server.agent(world.agent.secret()));
    used_up(&agents, 2).await;
    let passed = provider.calls().len() - before;
    // A machine that took longer than the minute has said nothing.
    if started.elapsed() < Duration::from_secs(50) {
        assert!((50..=100).contains(&passed), "{passed} of 100");
    }
    for server in [first, second] {
        assert!(!server.log().contains(Redis::PASSWORD));
        server.stop().await;
    }
}

#[tokio::test]
async fn two_servers_share_the_tokens_of_a_minute_in_redis_and_settle_them() {
    let redis = Redis::start().await;
    let pair = Pair::start_with(&[redis.variable()]).await;
    // Each call takes 9 tokens and answers with 12.
    let agents = pair.limited(json!({ "tokens_per_minute": 100 * 21 })).await;
    let (started, before) = (Instant::now(), pair.provider.calls().len());
    let mut refused = [false; 2];
    while refused != [true; 2] {
        for (agent, refused) in agents.iter().zip(&mut refused) {
            match agent.chat(World::MODEL).await.status {
                200 => {}
                429 => *refused = true,
                other => panic!("{other}"),
            }
        }
    }
    let passed = pair.provider.calls().len() - before;
    if started.elapsed() < Duration::from_secs(50) {
        // One at each server may go beyond it.
        assert!((50..=100 + 2).contains(&passed), "{passed} of 100");
    }
}

#[tokio::test]
async fn two_servers_share_a_budget_whatever_redis_forgets() {
    let redis = Redis::start().await;
    let pair = Pair::start_with(&[redis.variable()]).await;
    let budget = json!([{ "period": "month", "unit": "tokens", "amount": 21 * 100 }]);
    let agents = pair.limited(json!({ "budgets": budget, "requests_per_minute": 100_000 })).await;
    let before = pair.provider.calls().len();
    for agent in &agents {
        for _ in 0..20 {
            agent.chat(World::MODEL).await.expect(200);
        }
    }
    assert!(redis.asked("FLUSHALL").await.contains("OK"));
    used_up(&agents, 2).await;
    for agent in &agents {
        until("the end of the budget", async || agent.chat(World::MODEL).await.text().contains("begins anew")).await;
    }
    let passed = pair.provider.calls().len() - before;
    assert!((75..=100 + 2 * 2).contains(&passed), "{passed} of 100");
}
