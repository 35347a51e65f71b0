//! A change of the master key. It begins by wrapping all keys with the next one as well, so that servers start with
//! either; it ends when only the next one is left good. Each step is one transaction.

use store::installation::Installation;
use vault::{MasterKey, WrappedKey};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
};
use crate::error::{Code, Error, Result};

/// How far a change of the master key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// None is under way.
    Settled,
    /// Old and new one are good.
    UnderWay,
}

/// How far a change is.
///
/// # Errors
/// A storage failure.
pub async fn progress(core: &Core) -> Result<Progress> {
    let (installation, _) = stored(core).await?;
    Ok(if installation.next_check_value.is_empty() { Progress::Settled } else { Progress::UnderWay })
}

/// Makes `next` good beside the present master key. Begun once more with the same key, it is left as it is.
///
/// # Errors
/// [`Code::ValidationFailed`] for the present key, or while a change to another one is under way; a storage failure.
pub async fn begin(core: &Core, present: &MasterKey, next: &MasterKey) -> Result<()> {
    let (installation, keys) = stored(core).await?;
    if next.fits(&installation.id, &installation.check_value) {
        return Err(refused("the new master key is the present one; make another: keyward master-key new"));
    }
    if !installation.next_check_value.is_empty() {
        if next.fits(&installation.id, &installation.next_check_value) {
            return Ok(());
        }
        return Err(refused(
            "a change to another master key is under way; end it first, with keyward master-key rotate --finish or --abort",
        ));
    }
    let wrapped = present
        .rewrap(next, &installation.id, &keys, &core.entropy)
        .map_err(|error| Error::new(Code::Damaged, error.to_string()))?;
    let mut tx = core.store.write().await?;
    store::master_key::begin(&mut tx, &wrapped.check, &wrapped.keys).await?;
    note(core, &mut tx, &installation, "master_key.rotate").await?;
    Ok(tx.commit().await?)
}

/// Leaves only the next master key good, which `present` has to be: whoever could not start again is not let on.
///
/// # Errors
/// [`Code::ValidationFailed`] where none is under way, or `present` is still the old one; a storage failure.
pub async fn finish(core: &Core, present: &MasterKey) -> Result<()> {
    let (installation, keys) = under_way(core).await?;
    if !present.fits(&installation.id, &installation.next_check_value) {
        return Err(refused(
            "KEYWARD_MASTER_KEY_FILE still names the old master key; put the new one there, restart the servers, and \
             finish then",
        ));
    }
    let mut tx = core.store.write().await?;
    store::master_key::finish(&mut tx, &installation.next_check_value, &keys).await?;
    note(core, &mut tx, &installation, "master_key.rotate_finish").await?;
    Ok(tx.commit().await?)
}

/// Leaves only the old master key good, which `present` has to be.
///
/// # Errors
/// As [`finish`].
pub async fn abort(core: &Core, present: &MasterKey) -> Result<()> {
    let (installation, _) = under_way(core).await?;
    if !present.fits(&installation.id, &installation.check_value) {
        return Err(refused(
            "KEYWARD_MASTER_KEY_FILE names the new master key already; put the old one back there, and abort then",
        ));
    }
    let mut tx = core.store.write().await?;
    store::master_key::abort(&mut tx).await?;
    note(core, &mut tx, &installation, "master_key.rotate_abort").await?;
    Ok(tx.commit().await?)
}

/// The general keys to be replaced at their providers, where the master key got into other hands.
///
/// # Errors
/// A storage failure.
pub async fn to_replace(core: &Core) -> Result<Vec<String>> {
    let keys = super::general_keys::all(core).await?;
    Ok(keys.into_iter().map(|key| format!("{} {} ({})", key.name, key.masked_value, key.id)).collect())
}

async fn stored(core: &Core) -> Result<(Installation, Vec<WrappedKey>)> {
    let found = store::installation::find(core.store.db()).await?;
    found.ok_or_else(|| Error::new(Code::Damaged, "the installation's row is gone; restore the database from a backup"))
}

async fn under_way(core: &Core) -> Result<(Installation, Vec<WrappedKey>)> {
    let found = stored(core).await?;
    if found.0.next_check_value.is_empty() {
        return Err(refused("no change of the master key is under way"));
    }
    Ok(found)
}

async fn note(core: &Core, tx: &mut store::Write, installation: &Installation, action: &str) -> Result<()> {
    let target = ChangeTarget { kind: "installation", id: &installation.id, name: "" };
    let actor = Actor::command("master-key rotate");
    record(tx, &actor, core.clock.now_ms(), action, target, Changes::default()).await?;
    Ok(())
}

fn refused(why: &str) -> Error {
    Error::new(Code::ValidationFailed, why)
}
