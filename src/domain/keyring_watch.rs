//! Takes up another set of keys while a server runs, and says so in the database, so that whoever changes the set can
//! wait for it.

use std::{sync::Arc, time::Duration};

use store::{Line, keyring};
use tokio::task::JoinHandle;
use vault::Keyring;

use super::Core;
use crate::error::{Code, Error, Result};

/// How long a replica waits for new keys with each look; its lease goes on meanwhile.
const PATIENCE: Duration = Duration::from_millis(300);

/// What a running server knows of the sets it had and has.
#[derive(Default)]
pub struct KeyringWatch {
    /// The set that the database says this server has.
    noted: Option<i64>,
    /// Sets that something begun with them still holds.
    before: Vec<Arc<Keyring>>,
    /// A set that is being taken up, where nobody waits for it.
    coming: Option<JoinHandle<Result<Arc<Keyring>>>>,
    /// What went wrong last, so that it is told once.
    failure: String,
}

impl KeyringWatch {
    /// Looks whether there is another set. A failure is told once, and tried again with the next look.
    pub async fn look(&mut self, core: &Core) {
        let looked = self.look_once(core).await;
        self.tell(looked);
    }

    /// The same on a replica, over the line for which it holds its lease.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`], also where others may make with keys already that this replica does not have: those
    /// who change the set wait for replicas, but not for one whose lease is over.
    pub async fn look_over(&mut self, core: &Arc<Core>, line: &mut Line) -> Result<()> {
        let version = keyring::version(line).await?;
        let taken = match version == core.store.keyring_version() {
            true => Ok(()),
            false => self.take_up_aside(core).await,
        };
        line.renew(&core.store);
        let behind = version - core.store.keyring_version();
        if behind > 1 || (behind > 0 && core.lease.remaining_ms() == 0) {
            return Err(taken.err().unwrap_or_else(|| {
                Error::new(Code::StorageUnavailable, "another set of keys has to be taken up first, which takes time")
            }));
        }
        self.tell(taken);
        if let Some(has) = self.what_to_note(core) {
            keyring::took_up(line, &core.replica_id, core.clock.now_ms(), has).await?;
            self.noted = Some(has);
        }
        Ok(())
    }

    /// Says again which set this server has, where the database may have forgotten it.
    pub fn note_again(&mut self) {
        self.noted = None;
    }

    /// Says that this server stops.
    pub async fn leave(self, core: &Core) {
        let forget = async {
            let mut tx = core.store.write_aside().await?;
            keyring::left(&mut tx, &core.replica_id).await?;
            tx.commit().await
        };
        if let Err(error) = forget.await {
            Error::from(error).log("");
        }
    }

    async fn look_once(&mut self, core: &Core) -> Result<()> {
        let version = keyring::version(&mut core.store.read().await?).await?;
        if version != core.store.keyring_version() {
            self.before.push(take_up(core).await?);
        }
        if let Some(has) = self.what_to_note(core) {
            let mut tx = core.store.write_aside().await?;
            keyring::forget_others(&mut tx, &core.replica_id).await?;
            keyring::took_up(&mut tx, &core.replica_id, core.clock.now_ms(), has).await?;
            tx.commit().await?;
            self.noted = Some(has);
        }
        Ok(())
    }

    /// Takes up another set, and leaves it to a later look where that takes long: what wraps the keys may be elsewhere.
    async fn take_up_aside(&mut self, core: &Arc<Core>) -> Result<()> {
        let core = Arc::clone(core);
        let coming = self.coming.get_or_insert_with(|| tokio::spawn(async move { take_up(&core).await }));
        let Ok(taken) = tokio::time::timeout(PATIENCE, coming).await else { return Ok(()) };
        self.coming = None;
        let taken =
            taken.map_err(|error| Error::new(Code::Internal, format!("taking up other keys failed: {error}")))?;
        self.before.push(taken?);
        Ok(())
    }

    /// The set to be noted; `None` where it is noted, or something begun with an older one could not read yet what is made
    /// with this one.
    fn what_to_note(&mut self, core: &Core) -> Option<i64> {
        self.before.retain(|keyring| Arc::strong_count(keyring) > 1);
        let has = core.store.keyring_version();
        (self.before.is_empty() && self.noted != Some(has)).then_some(has)
    }

    fn tell(&mut self, looked: Result<()>) {
        match looked {
            Ok(()) => self.failure.clear(),
            Err(error) => {
                let told = error.to_string();
                if told != self.failure {
                    error.log("");
                    self.failure = told;
                }
            }
        }
    }
}

/// Lets the store work with the set as it is now. Gives the one before.
async fn take_up(core: &Core) -> Result<Arc<Keyring>> {
    let before = core.key_source.renew(&core.store).await.map_err(|error| {
        Error::new(Code::StorageUnavailable, format!("another set of keys cannot be taken up: {error}"))
    })?;
    tracing::info!(version = core.store.keyring_version(), "another set of keys was taken up");
    Ok(before)
}
