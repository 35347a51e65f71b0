//! A server that is cut off from the database decides from memory for a while, and then not at all.

use http::Method;

use super::Pair;
use crate::harness::{Answer, Database, TestServer, World, until};

async fn ready(keyward: &TestServer) -> u16 {
    let nobody = keyward.api_with(None);
    nobody.send(nobody.outside(Method::GET, "/readyz")).await.status
}

/// Calls until the answer is 503; before, the key is good.
async fn until_cut_off(call: impl AsyncFn() -> Answer) {
    until("503 from the server that is cut off", async || {
        let answer = call().await;
        assert!([200, 503].contains(&answer.status), "{answer}");
        answer.status == 503
    })
    .await;
}

#[tokio::test]
async fn cut_off_it_refuses_with_503_and_connected_again_it_knows_what_was_revoked() {
    let pair = Pair::start().await;
    let other = pair.first.api().agent_key("another").await;
    let revoked = pair.second.agent(pair.world.agent.secret());
    let good = pair.second.agent(other["secret"].as_str().unwrap());
    good.chat(World::MODEL).await.expect(200);
    for cut in [crate::harness::Proxy::cut, crate::harness::Proxy::stall] {
        cut(&pair.proxy);
        if revoked.chat(World::MODEL).await.status == 200 {
            pair.first.api().act(&format!("{}/disable", pair.world.agent_key_path())).await.expect(200);
        }
        until_cut_off(async || revoked.chat(World::MODEL).await).await;
        until_cut_off(async || good.chat(World::MODEL).await).await;
        until_cut_off(async || good.get("/auth/verify").await).await;
        assert_eq!(ready(&pair.second).await, 503);
        assert_eq!(ready(&pair.first).await, 200, "the other one is not cut off");

        pair.proxy.heal();
        until("good answers again", async || {
            let answer = good.chat(World::MODEL).await;
            assert!([200, 503].contains(&answer.status), "{answer}");
            answer.status == 200
        })
        .await;
        revoked.chat(World::MODEL).await.refused(401, "disabled_api_key");
        assert_eq!(ready(&pair.second).await, 200);
        pair.first.api().act(&format!("{}/enable", pair.world.agent_key_path())).await.expect(200);
        pair.second_is_good().await;
    }
}

#[tokio::test]
async fn stopped_and_resumed_a_process_does_not_go_on_from_what_it_knew() {
    let pair = Pair::start().await;
    let revoked = pair.second.agent(pair.world.agent.secret());
    let pid = rustix::process::Pid::from_raw(i32::try_from(pair.second.pid()).unwrap()).unwrap();
    pair.proxy.stall();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    pair.first.api().delete(&pair.world.agent_key_path()).await.expect(204);
    // Its lease ends while it sleeps: the other server's clock tells when.
    let started = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
    until("the lease's end", async || {
        rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec > started + 5
    })
    .await;
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    revoked.chat(World::MODEL).await.expect(503);
    pair.proxy.heal();
    until("the refusal", async || {
        let answer = revoked.chat(World::MODEL).await;
        assert!([401, 503].contains(&answer.status), "{answer}");
        answer.status == 401
    })
    .await;
}

#[tokio::test]
async fn a_database_that_goes_back_under_it_is_not_decided_from() {
    let pair = Pair::start().await;
    let agent = pair.second.agent(pair.world.agent.secret());
    let mut database = Database::open(pair.first.home()).await;
    database.execute("UPDATE chain_head SET seq = 1").await;
    until_cut_off(async || agent.chat(World::MODEL).await).await;
    until_cut_off(async || pair.world.agent.chat(World::MODEL).await).await;
    assert!(pair.second.log().contains("another one than before"), "{}", pair.second.log());
}

#[tokio::test]
async fn the_metrics_tell_of_it() {
    let pair = Pair::start().await;
    let api = pair.second.api();
    let figure = async |name: &str| {
        let text = api.send(api.outside(Method::GET, "/metrics")).await.expect(200).text();
        let line = text.lines().find(|line| line.starts_with(&format!("keyward_{name} "))).map(str::to_owned);
        let line = line.unwrap_or_else(|| panic!("no {name}: {text}"));
        line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()
    };
    assert!(figure("lease_remaining_milliseconds").await > 0);
    let newest = pair.first.api().audit_events().await[0]["seq"].as_i64().unwrap();
    until("the newest change", async || figure("changes_applied").await >= newest).await;
}

#[tokio::test]
async fn the_installation_tells_of_every_server_and_its_lease() {
    let pair = Pair::start().await;
    let api = pair.first.api();
    let servers = async || api.get("/installation").await.expect(200).json()["replicas"].as_array().unwrap().clone();
    until("both with a lease, and nothing to take over", async || {
        let servers = servers().await;
        assert_eq!(servers.iter().filter(|server| server["is_this"] == true).count(), 1, "{servers:?}");
        servers.len() == 2 && servers.iter().all(|server| server["has_lease"] == true && server["behind"] == 0)
    })
    .await;
    pair.proxy.cut();
    until("the other one without a lease", async || {
        let servers = servers().await;
        servers.iter().any(|server| server["is_this"] == false && server["has_lease"] == false)
    })
    .await;
    api.agent_key("made meanwhile").await;
    until("a change that it did not take over", async || {
        servers().await.iter().any(|server| server["is_this"] == false && server["behind"].as_i64() > Some(0))
    })
    .await;
    pair.proxy.heal();
    until("both with a lease again", async || {
        servers().await.iter().all(|server| server["has_lease"] == true && server["behind"] == 0)
    })
    .await;
    // One that stops is no longer told of.
    let Pair { first, second, .. } = pair;
    second.stop().await;
    assert_eq!(first.api().get("/installation").await.expect(200).json()["replicas"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_restore_waits_until_no_server_runs() {
    let pair = Pair::start().await;
    let first = pair.first.stop().await;
    let done = first.run(&["restore", "accept"], "").await;
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("stop every one of them"), "{said}");
    pair.second.stop().await;
    let done = first.run(&["restore", "accept"], "").await;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("nothing to accept"), "{said}");
}
