//! PostgreSQL stopped, stalled or full: known keys go on for a while, nothing is called bad for it, and all heals.

use std::time::Duration;

use http::Method;
use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::{Alone, Pair};
use crate::harness::{TestServer, World, until, well_formed};

/// The statuses of: a known key, one that is good and not in memory, one that does not exist, the management API,
/// `/readyz`.
async fn statuses(alone: &Alone, unused: &str) -> [u16; 5] {
    let keyward = &alone.keyward;
    let known = alone.world.agent.chat(World::MODEL).await.status;
    let unused = keyward.agent(unused).chat(World::MODEL).await.status;
    let unknown = keyward.agent(&well_formed("kw_", 'x')).chat(World::MODEL).await.status;
    let managed = keyward.api().post("/agent-keys", json!({ "name": "" })).await.status;
    [known, unused, unknown, managed, ready(keyward).await]
}

async fn ready(keyward: &TestServer) -> u16 {
    let nobody = keyward.api_with(None);
    nobody.send(nobody.outside(Method::GET, "/readyz")).await.status
}

async fn unused_key(alone: &Alone) -> String {
    alone.keyward.api().agent_key("never used").await["secret"].as_str().unwrap().to_owned()
}

/// Waits until nothing is decided any more; on the way there nothing is called bad.
async fn until_nothing_is_decided(alone: &Alone, unused: &str) {
    until("503 from everything", async || {
        let seen = statuses(alone, unused).await;
        assert!(seen.iter().all(|status| [200, 503].contains(status)), "{seen:?}");
        seen == [503; 5]
    })
    .await;
}

/// Waits until all is as it was.
async fn until_healed(alone: &Alone, unused: &str) {
    until("everything as before", async || statuses(alone, unused).await == [200, 200, 401, 422, 200]).await;
}

#[tokio::test]
async fn stopped_known_keys_go_on_at_first_and_all_heals_without_a_restart() {
    let alone = Alone::start("").await;
    let unused = unused_key(&alone).await;
    alone.proxy.cut();
    alone.world.agent.chat(World::MODEL).await.expect(200);
    alone.keyward.agent(&unused).chat(World::MODEL).await.expect(503);
    until_nothing_is_decided(&alone, &unused).await;
    alone.proxy.heal();
    until_healed(&alone, &unused).await;

    alone.cluster.stop().unwrap();
    until_nothing_is_decided(&alone, &unused).await;
    alone.cluster.start().unwrap();
    until_healed(&alone, &unused).await;
}

#[tokio::test]
async fn that_says_nothing_any_more_holds_nobody_for_ever() {
    let alone = Alone::start("").await;
    let unused = unused_key(&alone).await;
    alone.proxy.stall();
    alone.world.agent.chat(World::MODEL).await.expect(200);
    until_nothing_is_decided(&alone, &unused).await;
    alone.proxy.heal();
    until_healed(&alone, &unused).await;
}

#[tokio::test]
async fn slow_by_two_seconds_it_is_an_outage_that_heals() {
    let alone = Alone::start("").await;
    let unused = unused_key(&alone).await;
    alone.proxy.slow_down(Duration::from_secs(2));
    alone.world.agent.chat(World::MODEL).await.expect(200);
    // What needs the database waits for it, and is answered; what goes by the lease is an outage once that is over.
    until("the end of the lease", async || {
        let known = alone.world.agent.chat(World::MODEL).await.status;
        assert!([200, 503].contains(&known), "{known}");
        known == 503
    })
    .await;
    assert_eq!(ready(&alone.keyward).await, 503);
    let unknown = alone.keyward.agent(&well_formed("kw_", 'x')).chat(World::MODEL).await.status;
    assert_eq!(unknown, 503, "nobody is called bad");
    alone.proxy.heal();
    until_healed(&alone, &unused).await;
}

#[tokio::test]
async fn that_only_reads_any_more_as_after_a_fail_over_is_an_outage_that_heals() {
    let alone = Alone::start("").await;
    let unused = unused_key(&alone).await;
    let name = alone.keyward.home().postgres().unwrap().name().to_owned();
    let only_reads = |only: bool| {
        let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = {only}");
        alone.cluster.sql("postgres", &sql).unwrap();
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'keyward'";
        alone.cluster.sql("postgres", end).unwrap();
    };
    only_reads(true);
    // As long as the lease runs it still tells good keys from bad ones.
    alone.world.agent.chat(World::MODEL).await.expect(200);
    until("503 from everything that goes by the lease", async || {
        let [known, unused, unknown, _, ready] = statuses(&alone, &unused).await;
        assert!([known, unused].iter().all(|status| [200, 503].contains(status)), "{known} {unused}");
        [known, unused, unknown, ready] == [503; 4]
    })
    .await;
    alone.keyward.api().post("/agent-keys", json!({ "name": "x" })).await.problem_called(503, "storage_unavailable");
    only_reads(false);
    until_healed(&alone, &unused).await;
}

#[tokio::test]
async fn without_a_free_connection_it_is_an_outage_until_there_is_one() {
    let alone = Alone::start("max_connections = 30").await;
    let unused = unused_key(&alone).await;
    let url = alone.keyward.home().postgres_url().unwrap();
    let mut taken = Vec::new();
    // Whatever the server gives up or loses, somebody else has at once.
    let mut first = PgConnection::connect(&url).await.unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'keyward'";
    until("every connection in other hands", async || {
        while let Ok(connection) = PgConnection::connect(&url).await {
            taken.push(connection);
        }
        sqlx::query(end).execute(&mut first).await.unwrap();
        while let Ok(connection) = PgConnection::connect(&url).await {
            taken.push(connection);
        }
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keyward'";
        sqlx::query_scalar::<_, i64>(count).fetch_one(&mut first).await.unwrap() == 0
    })
    .await;
    until_nothing_is_decided(&alone, &unused).await;
    drop((taken, first));
    until_healed(&alone, &unused).await;
}

#[tokio::test]
async fn a_server_that_falls_silent_while_it_writes_holds_up_no_revocation_at_another() {
    let pair = Pair::start().await;
    let agent = pair.second.agent(pair.world.agent.secret());
    // The last parameter of the note of its last use; what follows says that rows are to come in binary.
    let mut note = pair.world.agent_key["id"].as_str().unwrap().as_bytes().to_vec();
    note.extend([0, 1, 0, 1]);
    agent.chat(World::MODEL).await.expect(200);
    pair.proxy.stall_after(&note);
    until("a silence in the middle of a transaction", async || {
        agent.chat(World::MODEL).await;
        pair.proxy.has_stalled()
    })
    .await;
    pair.first.api().delete(&pair.world.agent_key_path()).await.expect(204);
}

#[tokio::test]
async fn a_lock_held_by_somebody_else_ends_in_503_and_hurts_no_call() {
    let alone = Alone::start("").await;
    let mut database = alone.keyward.database().await;
    database.lock().await;
    let answer = alone.keyward.api().post("/agent-keys", json!({ "name": "x" })).await;
    answer.problem_called(503, "storage_unavailable");
    database.release().await;
    until_healed(&alone, &unused_key(&alone).await).await;
}
