//! Moves the rollback mark on after each commit, and writes down what was revoked before it.

use std::{sync::Arc, time::Duration};

use store::chain;
use tokio_util::sync::CancellationToken;

use super::{
    Core,
    mark::Mark,
    revocations::{self, Line},
};
use crate::error::{Code, Error, Result};

/// The longest time from a commit to its mark.
const EVERY: Duration = Duration::from_millis(50);
/// How often it is looked for what other processes committed, and how far the clock came.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the clock's time is written down where nothing else is.
const CLOCK_EVERY_MS: i64 = 60_000;
/// How many events are read at a time.
const BATCH: i64 = 500;

/// Keeps the mark up with the database until it is told to stop.
pub async fn keep(core: Arc<Core>, stop: CancellationToken) {
    let mut committed = core.store.committed();
    let mut is_failing = false;
    while !stop.is_cancelled() {
        let next = async {
            tokio::select! {
                changed = committed.changed() => drop(changed),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            tokio::time::sleep(EVERY).await;
        };
        if stop.run_until_cancelled(next).await.is_none() {
            return;
        }
        committed.mark_unchanged();
        match advance(&core).await {
            Ok(()) => is_failing = false,
            // Once: it is tried again each second.
            Err(error) if !is_failing => {
                error.log("");
                is_failing = true;
            }
            Err(_) => {}
        }
    }
}

/// Moves the mark on to where the database is: first the journal of revocations, then the mark itself.
///
/// # Errors
/// A storage failure, or a database that went back under the running process.
pub async fn advance(core: &Core) -> Result<()> {
    let mut kept = core.mark.0.lock().await;
    let Some(mark) = kept.as_ref() else { return Ok(()) };
    let now = core.clock.now_ms();
    core.clock.raise_to(now);
    let mut db = core.store.read().await?;
    let head = chain::head(&mut db).await?;
    if head.seq < mark.seq {
        return Err(Error::new(
            Code::Damaged,
            format!("the database went back from event {} to event {} under the running process", mark.seq, head.seq),
        ));
    }
    let is_written = core.state_dir.join(super::mark::FILE).exists();
    if head.seq == mark.seq && now - mark.clock < CLOCK_EVERY_MS && is_written {
        return Ok(());
    }
    let mut lines = Vec::new();
    let mut seq = mark.seq;
    while seq < head.seq {
        let events = chain::after(&mut db, seq, BATCH.min(head.seq - seq)).await?;
        let Some(last) = events.last() else { break };
        seq = last.seq;
        lines.extend(events.iter().filter_map(|event| Line::of(mark.epoch, event)));
    }
    drop(db);
    let next = Mark { seq: head.seq, head: head.head, clock: now, ..mark.clone() };
    let (dir, keyring) = (core.state_dir.clone(), core.store.keyring());
    let written = tokio::task::spawn_blocking(move || write(&dir, &keyring, next, lines)).await;
    *kept = Some(written.map_err(|error| {
        Error::new(Code::StorageUnavailable, "the rollback mark cannot be written").with_cause(error)
    })??);
    Ok(())
}

fn write(dir: &std::path::Path, keyring: &vault::Keyring, mut mark: Mark, lines: Vec<Line>) -> Result<Mark> {
    if !lines.is_empty() {
        let (journal, is_new) = revocations::append(dir, keyring, lines)?;
        mark.journal = journal;
        if is_new {
            mark.journal_from = (mark.epoch, mark.seq);
        }
    }
    mark.clone().write(dir, keyring)?;
    Ok(mark)
}
