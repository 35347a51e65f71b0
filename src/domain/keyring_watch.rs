//! Takes up another set of keys while a server runs, and says so in the database, so that whoever changes the set can
//! wait for it.

use std::sync::Arc;

use store::keyring;
use vault::Keyring;

use super::{Core, ids};
use crate::error::{Code, Error, Result};

/// What a running server knows of the sets it had and has.
#[derive(Default)]
pub struct KeyringWatch {
    /// Empty until it is needed: a server that has just begun to listen draws no randomness before it says so.
    server_id: String,
    started_at: i64,
    /// The set that the database says this server has.
    noted: Option<i64>,
    /// Sets that something begun with them still holds.
    before: Vec<Arc<Keyring>>,
    /// What went wrong last, so that it is told once.
    failure: String,
}

impl KeyringWatch {
    /// Looks whether there is another set. A failure is told once, and tried again with the next look.
    pub async fn look(&mut self, core: &Core) {
        match self.take_up(core).await {
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

    async fn take_up(&mut self, core: &Core) -> Result<()> {
        let version = keyring::version(&mut core.store.read().await?).await?;
        if version != core.store.keyring_version() {
            let before = core.key_source.renew(&core.store).await.map_err(|error| {
                Error::new(Code::StorageUnavailable, format!("another set of keys cannot be taken up: {error}"))
            })?;
            self.before.push(before);
            tracing::info!(version = core.store.keyring_version(), "another set of keys was taken up");
        }
        // Whatever was begun with an older set could not read what is made with the newer one.
        self.before.retain(|keyring| Arc::strong_count(keyring) > 1);
        let has = core.store.keyring_version();
        if self.before.is_empty() && self.noted != Some(has) {
            if self.server_id.is_empty() {
                self.started_at = core.clock.now_ms();
                self.server_id = ids::mint("sv", self.started_at, &core.entropy)?;
            }
            let mut tx = core.store.write().await?;
            keyring::took_up(&mut tx, &self.server_id, self.started_at, has).await?;
            tx.commit().await?;
            self.noted = Some(has);
        }
        Ok(())
    }

    /// Says that this server stops.
    pub async fn leave(self, core: &Core) {
        let forget = async {
            let mut tx = core.store.write().await?;
            keyring::left(&mut tx, &self.server_id).await?;
            tx.commit().await
        };
        if let Err(error) = forget.await {
            Error::from(error).log("");
        }
    }
}
