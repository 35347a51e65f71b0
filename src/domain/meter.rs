//! Counts calls, tokens and last uses in memory, and writes them down in batches: never a write per call.

use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hashbrown::{Equivalent, HashMap};

use store::usage::{Cell, Counts};

use super::{Core, clock::HOUR_MS, use_mark::UseMark};
use crate::error::Result;

/// The most cells kept between two flushes; calls past it are counted under the model `(other)`.
const MAX_CELLS: usize = 20_000;

/// Last uses that are written in one transaction, where others wait for it.
const USES_AT_ONCE: usize = 32;

/// What a call is counted under, beside its hour: a cell of the roll-up, told without owning it, since most calls find
/// theirs there.
#[derive(Debug, Clone, Copy, Hash)]
pub struct Tally<'a> {
    /// The agent key's id.
    pub agent_key_id: &'a str,
    /// The member's id.
    pub member_id: &'a str,
    /// The provider's id; empty when the call never got that far.
    pub provider_id: &'a str,
    /// The model as the agent named it; empty when the call named none that exists.
    pub model_name: &'a str,
    /// The injected general key's id; empty when there was none.
    pub general_key_id: &'a str,
}

/// The cell a call belongs to. Hashed as [`Cell`] is: the hour first, then the same fields in the same order.
#[derive(Hash)]
struct Place<'a> {
    hour: i64,
    tally: Tally<'a>,
}

impl Equivalent<Cell> for Place<'_> {
    fn equivalent(&self, cell: &Cell) -> bool {
        self.hour == cell.hour
            && self.tally.agent_key_id == cell.agent_key_id
            && self.tally.member_id == cell.member_id
            && self.tally.provider_id == cell.provider_id
            && self.tally.model_name == cell.model_name
            && self.tally.general_key_id == cell.general_key_id
    }
}

impl Place<'_> {
    fn to_cell(&self) -> Cell {
        Cell {
            hour: self.hour,
            agent_key_id: self.tally.agent_key_id.to_owned(),
            member_id: self.tally.member_id.to_owned(),
            provider_id: self.tally.provider_id.to_owned(),
            model_name: self.tally.model_name.to_owned(),
            general_key_id: self.tally.general_key_id.to_owned(),
        }
    }
}

/// What a used thing is: the table that its last use stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Used {
    /// An agent key.
    AgentKey,
    /// A secret of an agent key: the part of the key that was used.
    AgentSecret,
    /// A general key.
    GeneralKey,
    /// A management token.
    ManagementToken,
    /// A member's session.
    Session,
}

/// Something that was used, and when last, in milliseconds since 1970.
type LastUse = (Used, i64, Arc<UseMark>);

type Cells = HashMap<Cell, Counts>;

/// What one core has counted.
#[derive(Default)]
struct Shard {
    /// Since the last flush.
    cells: Cells,
    /// Calls since the start.
    calls: i64,
}

/// The meter: one shard a core, so that its locks are not contended.
pub struct Meter {
    shards: Box<[Mutex<Shard>]>,
    used: Mutex<Vec<(Used, Arc<UseMark>)>>,
    flushing: tokio::sync::Mutex<Batches>,
}

impl Meter {
    /// A meter for this many cores.
    pub fn new(cores: usize) -> Meter {
        Meter {
            shards: (0..cores.max(1)).map(|_| Mutex::default()).collect(),
            used: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
        }
    }

    /// Calls that were counted since the start.
    pub fn calls(&self) -> i64 {
        self.shards.iter().map(|shard| lock(shard).calls).sum()
    }

    /// Notes that something was used now.
    pub fn touch(&self, what: Used, mark: &Arc<UseMark>, now: i64) {
        if mark.set(now) {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).push((what, Arc::clone(mark)));
        }
    }

    /// Counts calls, in the shard of the core that answered them.
    pub fn count(&self, core: usize, now: i64, tally: Tally<'_>, counts: Counts) {
        let place = Place { hour: now - now.rem_euclid(HOUR_MS), tally };
        let mut shard = lock(&self.shards[core % self.shards.len()]);
        shard.calls += counts.requests;
        add_bounded(&mut shard.cells, &place, counts);
    }

    /// Writes everything down that was counted.
    ///
    /// # Errors
    /// A storage failure; then what was to be written is kept, and written with the next flush under the same number,
    /// so that it is counted once also where it had been written all the same.
    pub async fn flush(&self, core: &Core) -> Result<()> {
        let mut kept = self.flushing.lock().await;
        if kept.waiting.is_some() {
            kept.write(core).await?;
        }
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let mut cells = Cells::new();
        for shard in &self.shards {
            let taken = std::mem::take(&mut lock(shard).cells);
            for (cell, counts) in taken {
                cells.entry(cell).or_default().add(counts);
            }
        }
        if used.is_empty() && cells.is_empty() {
            return Ok(());
        }
        let used: Vec<_> = used.into_iter().map(|(what, mark)| (what, mark.take(), mark)).collect();
        kept.number += 1;
        kept.waiting = Some((used, cells));
        kept.write(core).await
    }
}

/// What is being written down: batches, numbered from 1.
#[derive(Default)]
struct Batches {
    number: i64,
    waiting: Option<(Vec<LastUse>, Cells)>,
}

impl Batches {
    /// Writes the batch that waits, its counts in one transaction with its number.
    async fn write(&mut self, core: &Core) -> Result<()> {
        let Some((used, cells)) = &self.waiting else { return Ok(()) };
        let mut tx = core.store.write_aside().await?;
        if store::replicas::begin_batch(&mut tx, &core.replica_id, self.number, core.clock.now_ms()).await? {
            add_cells(&mut tx, cells).await?;
            tx.commit().await?;
        } else {
            // On SQLite there is no other one to write with.
            drop(tx);
        }
        let uses = by_table(used);
        let groups: Vec<&[RowUse<'_>]> = match core.store.db().is_shared() {
            // Apart, and few at a time where others write as well: whoever deletes a key waits for these. And never two
            // tables in one: a rotation writes the same ones in its own order, and each would wait for the other.
            true => uses.chunk_by(|a, b| a.0 == b.0).flat_map(|table| table.chunks(USES_AT_ONCE)).collect(),
            false => uses.chunks(usize::MAX).collect(),
        };
        for group in groups {
            let mut tx = core.store.write_aside().await?;
            note_uses(&mut tx, group).await?;
            tx.commit().await?;
        }
        self.waiting = None;
        Ok(())
    }
}

/// The row that a use is noted in, and when it was used.
type RowUse<'a> = (Used, &'a str, i64);

/// Every row that a use is noted in: table by table, and in each in the order of the ids.
fn by_table(used: &[LastUse]) -> Vec<RowUse<'_>> {
    let parts = used.iter().filter_map(|(_, at, mark)| Some((Used::AgentSecret, mark.part.as_deref()?, *at)));
    let mut uses: Vec<_> = used.iter().map(|(what, at, mark)| (*what, &*mark.id, *at)).chain(parts).collect();
    uses.sort_unstable();
    uses
}

async fn note_uses(tx: &mut store::Write, uses: &[RowUse<'_>]) -> Result<()> {
    for (what, id, at) in uses {
        match what {
            Used::AgentKey => store::agent_keys::note_use(tx, id, *at).await?,
            Used::AgentSecret => store::agent_secrets::note_use(tx, id, *at).await?,
            Used::GeneralKey => store::general_keys::note_use(tx, id, *at).await?,
            Used::ManagementToken => store::management_tokens::note_use(tx, id, *at).await?,
            Used::Session => store::sessions::note_use(tx, id, *at).await?,
        }
    }
    Ok(())
}

async fn add_cells(tx: &mut store::Write, cells: &Cells) -> Result<()> {
    // In one order, so that replicas that flush at the same time wait for each other and never in a circle.
    let mut cells: Vec<_> = cells.iter().collect();
    cells.sort_by_key(|(cell, _)| *cell);
    for (cell, counts) in cells {
        store::usage::add(tx, cell, *counts).await?;
    }
    Ok(())
}

/// Adds to a cell; once there are too many, to the one that stands for all other models.
fn add_bounded(cells: &mut Cells, place: &Place<'_>, counts: Counts) {
    if let Some(sum) = cells.get_mut(place) {
        return sum.add(counts);
    }
    let mut cell = place.to_cell();
    if cells.len() >= MAX_CELLS {
        cell.model_name = String::from("(other)");
    }
    cells.entry(cell).or_default().add(counts);
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_one_cell_meet_in_it_and_others_do_not() {
        let meter = Meter::new(1);
        let tally =
            Tally { agent_key_id: "ak_a", member_id: "mb", provider_id: "pr", model_name: "m", general_key_id: "gk" };
        let one = Counts { requests: 1, ..Counts::default() };
        for (now, model_name) in [(1, "m"), (2, "m"), (HOUR_MS, "m"), (3, "n")] {
            meter.count(0, now, Tally { model_name, ..tally }, one);
        }
        let shard = lock(&meter.shards[0]);
        let mut seen: Vec<_> =
            shard.cells.iter().map(|(cell, sum)| (cell.hour, cell.model_name.as_str(), sum.requests)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [(0, "m", 2), (0, "n", 1), (HOUR_MS, "m", 1)]);
        drop(shard);
        assert_eq!(meter.calls(), 4);
    }

    #[test]
    fn past_the_bound_calls_are_counted_under_one_model() {
        let mut cells = Cells::new();
        let count = |cells: &mut Cells, model_name: &str| {
            let tally = Tally { agent_key_id: "ak", member_id: "", provider_id: "", model_name, general_key_id: "" };
            add_bounded(cells, &Place { hour: 0, tally }, Counts { requests: 1, ..Counts::default() });
        };
        for number in 0..MAX_CELLS + 7 {
            count(&mut cells, &format!("m{number}"));
        }
        count(&mut cells, "m0");
        let sum = |model: &str| cells.iter().find(|(cell, _)| cell.model_name == model).map(|(_, sum)| sum.requests);
        assert_eq!((sum("(other)"), sum("m0"), cells.len()), (Some(7), Some(2), MAX_CELLS + 1));
    }
}
