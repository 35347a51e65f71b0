//! Writes what is asked about the spending of keys: whatever came while the last was written, in one transaction, so that
//! many keys cost few. Minutes go to [`Minutes`] instead, where there are some: in one pipeline, by the same rule.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::{self, error::TryRecvError};

use store::usage::Counts;

use super::{
    Core,
    minutes::Minutes,
    quota::{Measure, Quota, Span},
    taken::{Grant, Taken},
};
use crate::error::{Code, Error, Result};

/// The most keys that are written in one transaction.
const BATCH: usize = 256;
/// How often a row is read again that another server writes at the same time.
const TRIES: usize = 16;

/// What is asked about a key: only of minutes, or only of what its row tells.
#[derive(Debug)]
pub struct Ask {
    /// The key.
    pub id: Arc<str>,
    /// Each of its quotas that something is asked about.
    pub parts: Vec<Part>,
}

/// What is asked about one quota.
#[derive(Debug, Clone)]
pub struct Part {
    /// The quota.
    pub quota: Quota,
    /// The part of its span that something is taken for.
    pub slot: i64,
    /// How much has to be taken; 0 for nothing.
    pub wanted: i64,
    /// Slots, and by how much more was used in them than taken; less where it is negative.
    pub owed: Vec<(i64, i64)>,
}

type Waiting = (Ask, oneshot::Sender<Result<Vec<Grant>>>);

/// Where what is asked is written.
#[derive(Default)]
pub struct Bank {
    /// Where minutes are counted, if not in the database.
    minutes: Option<Minutes>,
    /// One for each place, so that neither waits for the other.
    of_minutes: Lane,
    of_rows: Lane,
}

/// What waits to be written at one place.
#[derive(Debug, Default)]
struct Lane {
    queue: Mutex<Vec<Waiting>>,
    writing: tokio::sync::Mutex<()>,
}

impl Bank {
    /// With another place for minutes than the database, or without.
    pub fn new(minutes: Option<Minutes>) -> Bank {
        Bank { minutes, ..Bank::default() }
    }

    /// What is to be asked for apart: the parts of minutes, where these have a place of their own, and all others.
    pub fn apart(&self, parts: Vec<Part>) -> (Vec<Part>, Vec<Part>) {
        parts.into_iter().partition(|part| self.minutes.is_some() && part.quota.span == Span::Minute)
    }

    /// Writes what is asked, with what others ask; a grant for each part. To be called in a task that nobody ends.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`], where it may have been written all the same.
    pub async fn write(&self, core: &Core, ask: Ask) -> Result<Vec<Grant>> {
        let is_of_minutes = ask.parts.iter().all(|part| part.quota.span == Span::Minute);
        let minutes = self.minutes.as_ref().filter(|_| is_of_minutes);
        let lane = if minutes.is_some() { &self.of_minutes } else { &self.of_rows };
        let (sender, mut answer) = oneshot::channel();
        lane.queue().push((ask, sender));
        let _turn = lane.writing.lock().await;
        loop {
            // Whoever had the turn before may have written this as well.
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(TryRecvError::Closed) => return Err(unavailable()),
                Err(TryRecvError::Empty) => {}
            }
            let mut batch: Vec<Waiting> = {
                let mut queue = lane.queue();
                let first = queue.len().min(BATCH);
                queue.drain(..first).collect()
            };
            // In one order, so that servers that write at the same time wait for each other and never in a circle.
            batch.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
            let answers = match minutes {
                Some(minutes) => {
                    let asks: Vec<&Ask> = batch.iter().map(|(ask, _)| ask).collect();
                    minutes.write(&core.clock, &asks).await
                }
                None => write(core, &batch).await.unwrap_or_else(|error| {
                    error.log("");
                    batch.iter().map(|_| Err(unavailable())).collect()
                }),
            };
            batch.into_iter().zip(answers).for_each(|((_, sender), answer)| {
                let _ = sender.send(answer);
            });
        }
    }
}

impl Lane {
    fn queue(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer to each of them. What is wrong with one row is told to whoever asked about it, and the others are written.
async fn write(core: &Core, batch: &[Waiting]) -> Result<Vec<Result<Vec<Grant>>>> {
    let mut tx = core.store.write_aside().await?;
    let mut answers = Vec::with_capacity(batch.len());
    for (ask, _) in batch {
        answers.push(write_one(&mut tx, ask).await?);
    }
    tx.commit().await?;
    Ok(answers)
}

async fn write_one(tx: &mut store::Write, ask: &Ask) -> Result<Result<Vec<Grant>>> {
    for _ in 0..TRIES {
        let row = store::spending::of_key(tx, &ask.id).await?;
        let before = match Taken::of_column(&row.taken) {
            Ok(taken) => taken,
            Err(error) => return Ok(Err(error)),
        };
        let mut taken = before.clone();
        let mut grants = Vec::with_capacity(ask.parts.len());
        for part in &ask.parts {
            for (slot, by) in &part.owed {
                taken.set_right(&part.quota, *slot, *by);
            }
            if part.wanted > 0 && part.quota.span != Span::Minute && !taken.knows(&part.quota, part.slot) {
                // A budget that is new counts what its period has seen already.
                let used = used_in(tx, &ask.id, &part.quota, part.slot).await?;
                taken.set_right(&part.quota, part.slot, used);
            }
            grants.push(taken.take(&part.quota, part.slot, part.wanted));
        }
        if taken == before || store::spending::write(tx, &ask.id, &taken.to_column(), row.version).await? {
            return Ok(Ok(grants));
        }
        if row.version == 0 && store::agent_keys::get_standing(tx, &ask.id).await?.is_none() {
            // The key was deleted meanwhile, and its calls end.
            return Ok(Ok(grants));
        }
    }
    let detail = "other servers write what this agent key uses at the same time; try again";
    Ok(Err(Error::new(Code::StorageUnavailable, detail)))
}

/// What the usage of a key comes to since a period began.
async fn used_in(tx: &mut store::Write, id: &str, quota: &Quota, slot: i64) -> Result<i64> {
    let mut counts = Counts::default();
    for day in store::usage::days_of_agent_key(tx, id, slot, i64::MAX).await? {
        counts.add(day.counts);
    }
    Ok(match quota.measure {
        Measure::Requests => counts.requests,
        Measure::Tokens => counts.input_tokens.saturating_add(counts.output_tokens),
        Measure::Cost => counts.cost_nanos,
    })
}

/// What cannot be written down, or read.
pub(super) fn unavailable() -> Error {
    let detail = "what the agent key has used cannot be written down at the moment; try again";
    Error::new(Code::StorageUnavailable, detail)
}
