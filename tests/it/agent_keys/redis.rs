//! Limits a minute where a Redis counts them: one that cannot be asked is an outage for limited keys, and for nobody else.

use http::Method;
use serde_json::json;

use crate::harness::{FakeProvider, Home, Redis, TestServer, World, until};

/// A server with a limited key, and another key without a limit.
struct Limited {
    keyward: TestServer,
    world: World,
    unlimited: String,
    _provider: FakeProvider,
}

impl Limited {
    async fn start(redis: &Redis) -> Self {
        let keyward = Home::new().await.serve().with(&[redis.variable()]).start().await;
        let provider = FakeProvider::start().await;
        let world = keyward.with_linked_model(&provider).await;
        let limits = json!({ "limits": { "requests_per_minute": 100_000, "tokens_per_minute": 10_000_000 } });
        keyward.api().patch(&world.agent_key_path(), limits).await.expect(200);
        let unlimited = keyward.api().agent_key("unlimited").await["secret"].as_str().unwrap().to_owned();
        Self { keyward, world, unlimited, _provider: provider }
    }

    /// Waits until the limited key is answered so, with nothing else than 200 and 503 on the way and all others at ease.
    async fn until_answered(&self, status: u16) {
        until("that answer", async || {
            let answer = self.world.agent.chat(World::MODEL).await;
            assert!([200, 503].contains(&answer.status), "{answer}");
            self.keyward.agent(&self.unlimited).chat(World::MODEL).await.expect(200);
            let nobody = self.keyward.api_with(None);
            nobody.send(nobody.outside(Method::GET, "/readyz")).await.expect(200);
            answer.status == status
        })
        .await;
    }

    /// Where it is 503, what is said of it.
    async fn is_an_outage(&self) {
        self.until_answered(503).await;
        let refused = self.world.agent.chat(World::MODEL).await.refused(503, "storage_unavailable");
        assert!(refused.text().contains("try again"), "{refused}");
        let log = self.keyward.log();
        assert!(log.contains("agent keys with a limit a minute get 503"), "{log}");
        assert!(log.contains("KEYWARD_REDIS_URL leads to it"), "{log}");
        assert!(!log.contains(Redis::PASSWORD));
    }
}

#[tokio::test]
async fn a_redis_that_is_gone_is_an_outage_for_limited_keys_alone_and_it_heals_by_itself() {
    let mut redis = Redis::start().await;
    let limited = Limited::start(&redis).await;
    limited.world.agent.chat(World::MODEL).await.expect(200);
    redis.stop().await;
    limited.is_an_outage().await;
    redis.start_again().await;
    limited.until_answered(200).await;
    limited.keyward.stop().await;
}

#[tokio::test]
async fn a_redis_that_says_nothing_any_more_holds_nobody_for_ever() {
    let redis = Redis::start().await;
    let limited = Limited::start(&redis).await;
    limited.world.agent.chat(World::MODEL).await.expect(200);
    redis.stall();
    limited.is_an_outage().await;
    redis.go_on();
    limited.until_answered(200).await;
}

#[tokio::test]
async fn a_server_starts_without_its_redis_and_limits_hold_once_it_is_there() {
    let mut redis = Redis::stopped();
    let limited = Limited::start(&redis).await;
    limited.is_an_outage().await;
    redis.start_again().await;
    limited.until_answered(200).await;
    // Which that one call has used.
    let limits = json!({ "limits": { "requests_per_minute": 1 } });
    limited.keyward.api().patch(&limited.world.agent_key_path(), limits).await.expect(200);
    limited.world.agent.chat(World::MODEL).await.refused(429, "rate_limit_exceeded");
}

#[tokio::test]
async fn a_budget_ends_where_it_should_whatever_redis_forgets_or_fails() {
    // Each call takes 9 tokens and answers with 12.
    const CALLS: usize = 100;
    let mut redis = Redis::start().await;
    let keyward = Home::new().await.serve().with(&[redis.variable()]).start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let budget = json!([{ "period": "month", "unit": "tokens", "amount": CALLS * 21 }]);
    // Of whose minute the server takes no more than 30 at once, so that it soon asks again.
    let limits = json!({ "limits": { "requests_per_minute": 120, "budgets": budget } });
    keyward.api().patch(&world.agent_key_path(), limits).await.expect(200);
    for _ in 0..CALLS / 4 {
        world.agent.chat(World::MODEL).await.expect(200);
    }
    assert!(redis.asked("FLUSHALL").await.contains("OK"));
    for _ in 0..CALLS / 4 {
        world.agent.chat(World::MODEL).await.expect(200);
    }
    // What the database gave of the budget before Redis failed is not lost.
    redis.stop().await;
    until("an outage", async || world.agent.chat(World::MODEL).await.status == 503).await;
    for _ in 0..100 {
        world.agent.chat(World::MODEL).await.expect(503);
    }
    redis.start_again().await;
    until("the end of the budget", async || {
        let answer = world.agent.chat(World::MODEL).await;
        assert!([200, 429, 503].contains(&answer.status), "{answer}");
        answer.status == 429 && answer.text().contains("begins anew")
    })
    .await;
    assert_eq!(provider.calls().len(), CALLS);
}

#[tokio::test]
async fn check_says_whether_the_redis_can_be_asked_and_never_its_password() {
    let mut redis = Redis::start().await;
    let home = Home::new().await;
    let good = home.run_with(&[redis.variable()], &["check"]).await;
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(good.status.success() && said.contains("redis: good (127.0.0.1:"), "{said}");
    assert_eq!(redis.asked("DBSIZE").await.matches(":0").count(), 1, "it writes nothing");
    let file = home.path().join("redis-url");
    std::fs::write(&file, format!("{}\n", redis.url(Redis::PASSWORD))).unwrap();
    let by_file = (String::from("KEYWARD_REDIS_URL_FILE"), file.display().to_string());
    assert!(home.run_with(&[by_file], &["check"]).await.status.success());

    let wrong = [
        redis.url("Jx4nBm6yWs9pHf3t"),
        format!("unix:///run/{}", Redis::PASSWORD),
        format!("redis://:{}@127.0.0.1:1/nothing", Redis::PASSWORD),
        format!("rediss://:{}@127.0.0.1/#insecure", Redis::PASSWORD),
    ];
    for url in wrong {
        let refused = home.run_with(&[(String::from("KEYWARD_REDIS_URL"), url.clone())], &["check"]).await;
        let said = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
        assert!(!refused.status.success() && said.contains("KEYWARD_REDIS_URL"), "{url}: {said}");
        assert!(!said.contains(Redis::PASSWORD) && !said.contains("Jx4nBm6yWs9pHf3t"), "{said}");
    }
    redis.stop().await;
    let refused = home.run_with(&[redis.variable()], &["check"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("see that it runs"), "{said}");
    assert!(!said.contains(Redis::PASSWORD), "{said}");
}
