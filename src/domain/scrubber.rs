//! Looks through all rows that authority rests on, at the start and each hour: whether each fits its MAC, and whether
//! the audit chain says otherwise of it. A little at a time, so that nobody waits for it. Then an older pepper ends that
//! no secret is kept under any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use store::scrub;
use tokio_util::sync::CancellationToken;

use super::{Core, key_rotation};
use crate::error::Result;

/// How often.
const EVERY: Duration = Duration::from_secs(3600);
/// How soon again after a failure of the storage.
const AGAIN: Duration = Duration::from_secs(60);
/// How many rows are read at a time.
const BATCH: i64 = 200;
/// The breath between two readings.
const BREATH: Duration = Duration::from_millis(10);

/// What the last whole round found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Rounds that came to their end since the start.
    pub rounds: AtomicI64,
    /// Rows looked at in the last round.
    pub rows: AtomicI64,
    /// Rows that failed in the last round.
    pub failed: AtomicI64,
}

impl Findings {
    /// Rows looked at and rows that failed, of the last round; `None` before the first one.
    pub fn last(&self) -> Option<(i64, i64)> {
        let load = |number: &AtomicI64| number.load(Ordering::Relaxed);
        (load(&self.rounds) > 0).then(|| (load(&self.rows), load(&self.failed)))
    }
}

/// Goes round until it is told to stop.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    loop {
        let Some(done) = stop.run_until_cancelled(round(&core, BREATH)).await else { return };
        if let Err(error) = key_rotation::retire_peppers(&core).await {
            error.log("");
        }
        let pause = match done {
            Ok(()) => EVERY,
            Err(error) => {
                error.log("");
                AGAIN
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Looks through all rows once; what fails is logged, and counted in [`Core::findings`].
///
/// # Errors
/// A storage failure.
pub async fn round(core: &Core, breath: Duration) -> Result<()> {
    let (mut rows, mut failed) = (0, 0);
    for &table in scrub::TABLES {
        let mut after = Some(String::new());
        while let Some(from) = after {
            let part = scrub::part(&mut core.store.read().await?, table, &from, BATCH).await?;
            (rows, failed) = (rows + part.rows, failed + part.failed);
            after = part.last;
            tokio::time::sleep(breath).await;
        }
        for found in scrub::contradictions(&mut core.store.read().await?, table).await? {
            failed += 1;
            tracing::error!(
                table, row = %found.id, seq = found.seq, action = %found.action,
                "a row contradicts the audit log: an old one was put back outside Keyward; delete it"
            );
        }
    }
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    core.findings.rows.store(count(rows), Ordering::Relaxed);
    core.findings.failed.store(count(failed), Ordering::Relaxed);
    core.findings.rounds.fetch_add(1, Ordering::Relaxed);
    tracing::debug!(rows, failed, "all rows were looked through");
    Ok(())
}
