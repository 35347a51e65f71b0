//! The keys inside are replaced beside several servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Pair;
use crate::harness::{Agent, Database, World, until};

/// Calls at one server until they are told to stop; each has to succeed.
fn calls(agent: Agent, stop: &Arc<AtomicBool>, count: &Arc<AtomicUsize>) -> tokio::task::JoinHandle<()> {
    let (stop, count) = (Arc::clone(stop), Arc::clone(count));
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            agent.chat(World::MODEL).await.expect(200);
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
}

#[tokio::test]
async fn both_take_the_new_keys_up_and_no_call_at_either_fails() {
    let pair = Pair::start().await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load: Vec<_> =
        [&pair.first, &pair.second].map(|server| calls(server.agent(pair.world.agent.secret()), &stop, &count)).into();
    // What one makes, the other reads at once, whichever keys it was made with.
    for (maker, user) in [(&pair.first, &pair.second), (&pair.second, &pair.first)] {
        let (api, user, stop) = (maker.api(), user.agent(pair.world.agent.secret()), Arc::clone(&stop));
        let name = maker.home().url();
        load.push(tokio::spawn(async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let key = api.agent_key(&format!("made at {name} {number}")).await;
                user.with_secret(key["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
            }
        }));
    }
    let done = pair.first.home().run(&["master-key", "rotate-data"], "").await;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains("finished: the older keys are deleted") && !said.contains("warning"), "{said}");
    let seen = count.load(Ordering::Relaxed);
    until("calls after the rotation", async || count.load(Ordering::Relaxed) > seen + 20).await;
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("no call failed");
    }
    let mut database = Database::open(pair.first.home()).await;
    until("both servers' notes", async || {
        database.count("servers", "keyring_version = (SELECT keyring_version FROM installation)").await == 2
    })
    .await;
    assert_eq!(database.count("agent_keys", "mac LIKE '%row_mac-000001%'").await, 0);
    let _homes = (pair.first.stop().await, pair.second.stop().await);
    assert_eq!(database.count("servers", "1 = 1").await, 0);
}

#[tokio::test]
async fn one_that_was_cut_off_meanwhile_takes_the_new_keys_up_before_it_answers_again() {
    let pair = Pair::start().await;
    let agent = pair.second.agent(pair.world.agent.secret());
    pair.proxy.stall();
    until("the end of its lease", async || agent.chat(World::MODEL).await.status == 503).await;
    // As if that were long ago, so that nobody waits for it.
    let mut database = Database::open(pair.first.home()).await;
    database
        .execute(
            "UPDATE replicas SET renewed_at = renewed_at - 3600000 WHERE renewed_at < (SELECT max(renewed_at) FROM replicas)",
        )
        .await;
    let done = pair.first.home().run(&["master-key", "rotate-data"], "").await;
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    pair.first.agent(pair.world.agent.secret()).chat(World::MODEL).await.expect(200);
    pair.proxy.heal();
    until("a good answer", async || {
        let answer = agent.chat(World::MODEL).await;
        assert!([200, 503].contains(&answer.status), "{answer}");
        answer.status == 200
    })
    .await;
    let made = pair.first.api().agent_key("made with the new keys").await;
    agent.with_secret(made["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
}
