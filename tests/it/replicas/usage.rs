//! What several servers count is counted once.

use super::Pair;
use crate::harness::{TestServer, World, until};

async fn counted(keyward: &TestServer) -> i64 {
    let answer = keyward.api().get("/usage?group_by=agent_key").await.expect(200).json();
    let items = answer["items"].as_array().unwrap();
    items.iter().map(|item| item["requests"].as_i64().unwrap()).sum()
}

#[tokio::test]
async fn a_batch_whose_commit_was_not_answered_is_counted_once() {
    let pair = Pair::start().await;
    let agent = pair.second.agent(pair.world.agent.secret());
    let before = pair.provider.calls().len();
    until("what was counted so far", async || counted(&pair.first).await == i64::try_from(before).unwrap()).await;
    // Only the usage has a provider's id in a transaction of this server.
    pair.proxy.hide_commit_of(pair.world.provider["id"].as_str().unwrap().as_bytes());
    agent.chat(World::MODEL).await.expect(200);
    until("a commit that nobody was told of", async || pair.proxy.has_hidden()).await;
    agent.chat(World::MODEL).await.expect(200);
    let all = i64::try_from(pair.provider.calls().len()).unwrap();
    until("both calls", async || {
        let now = counted(&pair.first).await;
        assert!(now <= all, "{now} counted of {all}");
        now == all
    })
    .await;
    // All is written when it stops, and nothing twice.
    let Pair { first, second, .. } = pair;
    second.stop().await;
    assert_eq!(counted(&first).await, all);
}

#[tokio::test]
async fn a_server_killed_while_it_counts_loses_nothing_written_and_counts_nothing_twice() {
    let pair = Pair::start().await;
    let agent = pair.second.agent(pair.world.agent.secret());
    for _ in 0..20 {
        agent.chat(World::MODEL).await.expect(200);
    }
    let Pair { first, second, provider, .. } = pair;
    let written = counted(&first).await;
    let home = second.kill().await;
    let second = home.serve().start().await;
    agent.chat(World::MODEL).await.expect(200);
    second.stop().await;
    let (now, all) = (counted(&first).await, i64::try_from(provider.calls().len()).unwrap());
    assert!(written < now && now <= all, "{written} before, {now} after, of {all}");
}
