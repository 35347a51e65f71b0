//! Keyward itself is killed, on either database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Ledger, Losses, counted, rounds};
use crate::harness::{FakeProvider, Home, World};

/// What the README says that a crash costs of the usage at most.
const LOST_AT_MOST: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_is_written_to_it_has_all_that_was_answered() {
    let (rounds, is_proof) = rounds();
    let home = Home::new().await;
    let quiet = |home: Home| home.serve().env("KEYWARD_LOG", "warn");
    let mut keyward = quiet(home).start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let ledger = Arc::new(Ledger::default());
    ledger.value.lock().unwrap().0 = World::VALUE.to_owned();
    let mut losses = Losses::default();
    for round in 0..rounds {
        let since = ledger.secrets.lock().unwrap().len();
        let pid = keyward.pid();
        let killing = async {
            kill(pid);
            Instant::now()
        };
        let killed = ledger.round(&keyward, &world, &round.to_string(), killing).await;
        let home = keyward.kill().await;
        if (round + 1) % 20 == 0 {
            let done = home.run(&["audit", "verify"], "").await;
            assert!(done.status.success(), "round {round}: {}", String::from_utf8_lossy(&done.stderr));
        }
        keyward = quiet(home).start().await;
        losses.note(&ledger, counted(&keyward).await, killed);
        ledger.check(&keyward, &world, &provider, since).await;
        provider.forget();
        if is_proof && (round + 1) % 100 == 0 {
            println!("{} rounds", round + 1);
        }
    }
    let secrets = ledger.secrets.lock().unwrap().len();
    println!(
        "{rounds} times killed: {secrets} secrets and {} calls answered, all as answered; of the usage at most {} calls \
         lost in a crash, those of its last {} ms",
        ledger.answered.lock().unwrap().len(),
        losses.most,
        losses.longest.as_millis()
    );
    if is_proof {
        assert!(losses.longest <= LOST_AT_MOST, "a crash cost more of the usage than the README says");
        ledger.check(&keyward, &world, &provider, 0).await;
    }
}

/// As a power failure would, and at once.
fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
