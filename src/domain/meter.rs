//! Counts calls, tokens and last uses in memory, and writes them down in batches: never a write per call.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use store::usage::{Cell, Counts};

use super::{Core, clock::HOUR_MS, key_cache::UseMark};
use crate::error::Result;

/// The most cells kept between two flushes; calls past it are counted under the model `(other)`.
const MAX_CELLS: usize = 20_000;

/// What is counted under one cell of the roll-up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tally {
    /// The agent key's id.
    pub agent_key_id: Arc<str>,
    /// The member's id.
    pub member_id: Arc<str>,
    /// The provider's id; empty when the call never got that far.
    pub provider_id: Arc<str>,
    /// The model as the agent named it; empty when the call named none that exists.
    pub model_name: Arc<str>,
    /// The injected general key's id; empty when there was none.
    pub general_key_id: Arc<str>,
}

/// What a used thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Used {
    /// An agent key.
    AgentKey,
    /// A general key.
    GeneralKey,
    /// A management token.
    ManagementToken,
    /// A member's session.
    Session,
}

/// Counted calls, by the start of their hour and what they are counted under.
type Cells = HashMap<(i64, Tally), Counts>;

/// The meter: one shard a core, so that its locks are not contended.
pub struct Meter {
    shards: Box<[Mutex<Cells>]>,
    used: Mutex<Vec<(Used, Arc<UseMark>)>>,
    flushing: tokio::sync::Mutex<()>,
    /// Calls that were counted since the start.
    pub counted: AtomicI64,
}

impl Meter {
    /// A meter for this many cores.
    pub fn new(cores: usize) -> Meter {
        Meter {
            shards: (0..cores.max(1)).map(|_| Mutex::default()).collect(),
            used: Mutex::default(),
            flushing: tokio::sync::Mutex::new(()),
            counted: AtomicI64::new(0),
        }
    }

    /// Notes that something was used now.
    pub fn touch(&self, what: Used, mark: &Arc<UseMark>, now: i64) {
        if mark.set(now) {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).push((what, Arc::clone(mark)));
        }
    }

    /// Counts a call on `core`.
    pub fn count(&self, core: usize, now: i64, tally: Tally, counts: Counts) {
        self.counted.fetch_add(counts.requests, Ordering::Relaxed);
        let hour = now - now.rem_euclid(HOUR_MS);
        let mut shard = self.shards[core % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner);
        add_bounded(&mut shard, (hour, tally), counts);
    }

    /// Writes everything down that was counted.
    ///
    /// # Errors
    /// A storage failure; then everything is kept and counted with the next flush.
    pub async fn flush(&self, core: &Core) -> Result<()> {
        let _one_at_a_time = self.flushing.lock().await;
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let mut cells = Cells::new();
        for shard in &self.shards {
            let taken = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            for (cell, counts) in taken {
                add(cells.entry(cell).or_default(), counts);
            }
        }
        if used.is_empty() && cells.is_empty() {
            return Ok(());
        }
        let mut used: Vec<_> = used.into_iter().map(|(what, mark)| (what, mark.take(), mark)).collect();
        used.sort_by(|(_, _, a), (_, _, b)| a.id.cmp(&b.id));
        let written = write(core, &used, &cells).await;
        if written.is_err() {
            let mut shard = self.shards[0].lock().unwrap_or_else(PoisonError::into_inner);
            for (cell, counts) in cells {
                add_bounded(&mut shard, cell, counts);
            }
            drop(shard);
            for (what, at, mark) in used {
                self.touch(what, &mark, at);
            }
        }
        written
    }
}

async fn write(core: &Core, used: &[(Used, i64, Arc<UseMark>)], cells: &Cells) -> Result<()> {
    let mut tx = core.store.write().await?;
    for (what, at, mark) in used {
        match what {
            Used::AgentKey => store::agent_keys::note_use(&mut tx, &mark.id, *at).await?,
            Used::GeneralKey => store::general_keys::note_use(&mut tx, &mark.id, *at).await?,
            Used::ManagementToken => store::management_tokens::note_use(&mut tx, &mark.id, *at).await?,
            Used::Session => store::sessions::note_use(&mut tx, &mark.id, *at).await?,
        }
    }
    // In one order, so that replicas that flush at the same time wait for each other and never in a circle.
    let mut cells: Vec<_> = cells.iter().collect();
    cells.sort_by_key(|(cell, _)| *cell);
    for ((hour, tally), counts) in cells {
        let cell = Cell {
            hour: *hour,
            agent_key_id: tally.agent_key_id.to_string(),
            member_id: tally.member_id.to_string(),
            provider_id: tally.provider_id.to_string(),
            model_name: tally.model_name.to_string(),
            general_key_id: tally.general_key_id.to_string(),
        };
        store::usage::add(&mut tx, &cell, *counts).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Adds to a cell; once there are too many, to the one that stands for all other models.
fn add_bounded(cells: &mut Cells, cell: (i64, Tally), counts: Counts) {
    let cell = if cells.len() >= MAX_CELLS && !cells.contains_key(&cell) {
        let (hour, tally) = cell;
        (hour, Tally { model_name: "(other)".into(), ..tally })
    } else {
        cell
    };
    add(cells.entry(cell).or_default(), counts);
}

fn add(sum: &mut Counts, counts: Counts) {
    sum.requests = sum.requests.saturating_add(counts.requests);
    sum.errors = sum.errors.saturating_add(counts.errors);
    sum.input_tokens = sum.input_tokens.saturating_add(counts.input_tokens);
    sum.output_tokens = sum.output_tokens.saturating_add(counts.output_tokens);
    sum.estimated = sum.estimated.saturating_add(counts.estimated);
}
