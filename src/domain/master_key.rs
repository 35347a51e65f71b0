//! A change of what wraps the keys: of the master key, or from it to a transit key and back. It begins by wrapping all
//! keys with the next one as well, so that servers start with either; it ends when only the next one is left good. Each
//! step is one transaction.

use store::installation::{Installation, StoredKey};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    key_provider::{KeyProvider, ProviderError, ProviderKind},
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

/// Which kind of provider wraps the keys, and which is to wrap them next, while a change is under way.
///
/// # Errors
/// A storage failure.
pub async fn kinds(core: &Core) -> Result<(ProviderKind, Option<ProviderKind>)> {
    let (installation, _) = stored(core).await?;
    let next = Some(installation.next_check_value).filter(|check| !check.is_empty());
    Ok((ProviderKind::of(&installation.check_value), next.map(|check| ProviderKind::of(&check))))
}

/// Makes `next` good beside `present`. Begun once more with the same one, it is left as it is.
///
/// # Errors
/// [`Code::ValidationFailed`] for the present one, or while a change to another one is under way; a failure of either
/// provider, or of the storage.
pub async fn begin(core: &Core, present: &KeyProvider, next: &KeyProvider) -> Result<()> {
    let (installation, keys) = stored(core).await?;
    if fits(next, &installation.id, &installation.check_value).await? {
        return Err(refused(match next.kind() {
            ProviderKind::MasterKey => "the new master key is the present one; make another: keyward master-key new",
            ProviderKind::Transit => {
                "the keys are wrapped by this transit key already; to wrap them with its newest version, run: keyward \
                 master-key rotate --rewrap"
            }
        }));
    }
    if !installation.next_check_value.is_empty() {
        if fits(next, &installation.id, &installation.next_check_value).await? {
            return Ok(());
        }
        return Err(refused(
            "a change to another master key is under way; end it first, with keyward master-key rotate --finish or --abort",
        ));
    }
    let wrapped = present.rewrap(next, &installation, &keys, &core.entropy).await.map_err(failed)?;
    let check = next.seal_check(&installation.id, &core.entropy).await.map_err(failed)?;
    let keys: Vec<StoredKey> =
        keys.into_iter().zip(wrapped).map(|(key, next_wrapped)| StoredKey { next_wrapped, ..key }).collect();
    let mut tx = core.store.write().await?;
    store::master_key::begin(&mut tx, installation.keyring_version, &check, &keys).await?;
    let changes = Changes::default().field("wrapped_by", present.kind().as_str(), next.kind().as_str());
    note(core, &mut tx, &installation, "master_key.rotate", changes).await?;
    Ok(tx.commit().await?)
}

/// Wraps the keys with the newest version of the transit key that wraps them. `rewrap` of the engine itself cannot do
/// it: it takes no associated data.
///
/// # Errors
/// [`Code::ValidationFailed`] where a master key wraps them, or a change is under way; a failure of the provider or the
/// storage.
pub async fn rewrap(core: &Core, present: &KeyProvider) -> Result<()> {
    let (installation, keys) = stored(core).await?;
    if ProviderKind::of(&installation.check_value) != ProviderKind::Transit {
        return Err(refused(
            "the keys are wrapped by a master key, which has no versions; to change it, run: keyward master-key rotate \
             --new-master-key-file FILE",
        ));
    }
    if !installation.next_check_value.is_empty() {
        return Err(refused(
            "a change to another master key is under way; end it first, with keyward master-key rotate --finish or --abort",
        ));
    }
    let wrapped = present.rewrap(present, &installation, &keys, &core.entropy).await.map_err(failed)?;
    let check = present.seal_check(&installation.id, &core.entropy).await.map_err(failed)?;
    let keys: Vec<StoredKey> =
        keys.into_iter().zip(wrapped).map(|(key, wrapped)| StoredKey { wrapped, ..key }).collect();
    let mut tx = core.store.write().await?;
    let Installation { keyring_version, check_value, .. } = &installation;
    store::master_key::replace(&mut tx, *keyring_version, check_value, &check, &keys).await?;
    note(core, &mut tx, &installation, "master_key.rewrap", Changes::default()).await?;
    Ok(tx.commit().await?)
}

/// Leaves only the next one good, which `present`, as the settings name it, has to be: whoever could not start again is
/// not let on.
///
/// # Errors
/// [`Code::ValidationFailed`] where none is under way, or `present` is still the old one; a failure of the provider or
/// the storage.
pub async fn finish(core: &Core, present: &KeyProvider) -> Result<()> {
    let (installation, keys) = under_way(core).await?;
    if !fits(present, &installation.id, &installation.next_check_value).await? {
        return Err(refused(match ProviderKind::of(&installation.next_check_value) {
            ProviderKind::MasterKey if present.kind() == ProviderKind::MasterKey => {
                "KEYWARD_MASTER_KEY_FILE still names the old master key; put the new one there, restart the servers, and \
                 finish then"
            }
            ProviderKind::MasterKey => {
                "KEYWARD_TRANSIT_URL is still set; unset it, put the new master key in place, restart the servers, and \
                 finish then"
            }
            ProviderKind::Transit => {
                "KEYWARD_TRANSIT_URL does not name the transit key yet; set it, with the settings beside it, restart the \
                 servers, and finish then"
            }
        }));
    }
    let mut tx = core.store.write().await?;
    store::master_key::finish(&mut tx, &installation.next_check_value, &keys).await?;
    note(core, &mut tx, &installation, "master_key.rotate_finish", Changes::default()).await?;
    Ok(tx.commit().await?)
}

/// Leaves only the old one good, which `present`, as the settings name it, has to be.
///
/// # Errors
/// As [`finish`].
pub async fn abort(core: &Core, present: &KeyProvider) -> Result<()> {
    let (installation, _) = under_way(core).await?;
    if !fits(present, &installation.id, &installation.check_value).await? {
        return Err(refused(match ProviderKind::of(&installation.check_value) {
            ProviderKind::MasterKey if present.kind() == ProviderKind::MasterKey => {
                "KEYWARD_MASTER_KEY_FILE names the new master key already; put the old one back there, and abort then"
            }
            ProviderKind::MasterKey => {
                "KEYWARD_TRANSIT_URL is set already; unset it, restart the servers, and abort then"
            }
            ProviderKind::Transit => {
                "KEYWARD_TRANSIT_URL does not name the transit key any more; set it again, restart the servers, and abort \
                 then"
            }
        }));
    }
    let mut tx = core.store.write().await?;
    store::master_key::abort(&mut tx).await?;
    note(core, &mut tx, &installation, "master_key.rotate_abort", Changes::default()).await?;
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

async fn stored(core: &Core) -> Result<(Installation, Vec<StoredKey>)> {
    let found = store::installation::find(core.store.db()).await?;
    found.ok_or_else(|| Error::new(Code::Damaged, "the installation's row is gone; restore the database from a backup"))
}

async fn under_way(core: &Core) -> Result<(Installation, Vec<StoredKey>)> {
    let found = stored(core).await?;
    if found.0.next_check_value.is_empty() {
        return Err(refused("no change of the master key is under way"));
    }
    Ok(found)
}

async fn note(
    core: &Core,
    tx: &mut store::Write,
    installation: &Installation,
    action: &str,
    changes: Changes,
) -> Result<()> {
    let target = ChangeTarget { kind: "installation", id: &installation.id, name: "" };
    let actor = Actor::command("master-key rotate");
    record(tx, &actor, core.clock.now_ms(), action, target, changes).await?;
    Ok(())
}

fn refused(why: &str) -> Error {
    Error::new(Code::ValidationFailed, why)
}

async fn fits(provider: &KeyProvider, installation: &str, check: &str) -> Result<bool> {
    provider.fits(installation, check).await.map_err(failed)
}

/// The keys stay as they are where a provider fails.
fn failed(error: ProviderError) -> Error {
    Error::new(Code::StorageUnavailable, error.to_string())
}
