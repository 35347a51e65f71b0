//! Writes what is asked about the spending of keys: whatever came while the last was written, in one transaction, so that
//! many keys cost few.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{
    Core,
    quota::{Grant, Quota, Taken},
};
use crate::error::{Code, Error, Result};

/// The most keys that are written in one transaction.
const BATCH: usize = 256;
/// How often a row is read again that another server writes at the same time.
const TRIES: usize = 16;

/// What is asked about a key's row.
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

/// What waits to be written.
#[derive(Debug, Default)]
pub struct Bank {
    queue: Mutex<Vec<Waiting>>,
    writing: tokio::sync::Mutex<()>,
}

impl Bank {
    /// Writes what is asked, with what others ask; a grant for each part. To be called in a task that nobody ends.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`], where it may have been written all the same.
    pub async fn write(&self, core: &Core, ask: Ask) -> Result<Vec<Grant>> {
        let (sender, mut answer) = oneshot::channel();
        self.queue().push((ask, sender));
        let _turn = self.writing.lock().await;
        loop {
            // Whoever had the turn before may have written this as well.
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(TryRecvError::Closed) => return Err(unavailable()),
                Err(TryRecvError::Empty) => {}
            }
            let mut batch: Vec<Waiting> = {
                let mut queue = self.queue();
                let first = queue.len().min(BATCH);
                queue.drain(..first).collect()
            };
            // In one order, so that servers that write at the same time wait for each other and never in a circle.
            batch.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
            let written = write(core, &batch).await;
            match written {
                Ok(grants) => batch.into_iter().zip(grants).for_each(|((_, sender), grants)| {
                    let _ = sender.send(Ok(grants));
                }),
                Err(error) => {
                    error.log("");
                    batch.into_iter().for_each(|(_, sender)| {
                        let _ = sender.send(Err(unavailable()));
                    });
                }
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(core: &Core, batch: &[Waiting]) -> Result<Vec<Vec<Grant>>> {
    let mut tx = core.store.write_aside().await?;
    let mut grants = Vec::with_capacity(batch.len());
    for (ask, _) in batch {
        grants.push(write_one(&mut tx, ask).await?);
    }
    tx.commit().await?;
    Ok(grants)
}

async fn write_one(tx: &mut store::Write, ask: &Ask) -> Result<Vec<Grant>> {
    for _ in 0..TRIES {
        let row = store::spending::of_key(tx, &ask.id).await?;
        let before = Taken::of_column(&row.taken)?;
        let mut taken = before.clone();
        let mut grants = Vec::with_capacity(ask.parts.len());
        for part in &ask.parts {
            for (slot, by) in &part.owed {
                taken.set_right(&part.quota, *slot, *by);
            }
            grants.push(taken.take(&part.quota, part.slot, part.wanted));
        }
        if taken == before || store::spending::write(tx, &ask.id, &taken.to_column(), row.version).await? {
            return Ok(grants);
        }
        if row.version == 0 && store::agent_keys::get_standing(tx, &ask.id).await?.is_none() {
            // The key was deleted meanwhile, and its calls end.
            return Ok(grants);
        }
    }
    Err(Error::new(Code::StorageUnavailable, "other servers write what this agent key uses at the same time"))
}

fn unavailable() -> Error {
    let detail = "what the agent key has used cannot be written down at the moment; try again";
    Error::new(Code::StorageUnavailable, detail)
}
