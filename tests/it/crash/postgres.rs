//! PostgreSQL is killed below a Keyward that goes on.

use std::sync::Arc;

use super::{Ledger, counted, rounds};
use crate::harness::{Cluster, FakeProvider, Home, PostgresDatabase, World, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_below_it_while_it_writes_all_that_was_answered_is_there_when_it_is_back() {
    let (rounds, _) = rounds();
    let cluster = Arc::new(Cluster::private("").unwrap());
    let home = Home::new_on(PostgresDatabase::new(Arc::clone(&cluster))).await;
    let keyward = home.serve().env("KEYWARD_LOG", "error").start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let ledger = Arc::new(Ledger::default());
    ledger.value.lock().unwrap().0 = World::VALUE.to_owned();
    // Each costs a start of PostgreSQL.
    for round in 0..rounds.div_ceil(4) {
        let since = ledger.secrets.lock().unwrap().len();
        ledger.round(&keyward, &world, &round.to_string(), async { cluster.stop().unwrap() }).await;
        cluster.start().unwrap();
        until("a server that is ready again", async || {
            let ready = keyward.api().request(http::Method::GET, "/agent-keys?limit=1").send().await;
            let is_ready = world.agent.get("/readyz").await.status == 200;
            is_ready && ready.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        ledger.check(&keyward, &world, &provider, since).await;
        // Nothing is lost where Keyward lives on: what could not be written is written later, and once.
        let answered = ledger.answered.lock().unwrap().len();
        let sent = ledger.sent.load(std::sync::atomic::Ordering::Relaxed);
        until("every call that was answered being counted", async || {
            let counted = counted(&keyward).await;
            assert!(counted <= sent, "a call is counted twice");
            counted >= answered
        })
        .await;
        provider.forget();
    }
    println!("{} secrets answered", ledger.secrets.lock().unwrap().len());
}
