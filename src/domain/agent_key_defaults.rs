//! The limits of agent keys that have none of their own.

use store::{Handle, agent_key_defaults::AgentKeyDefaults};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    change::check_version,
    key_limits::KeyLimits,
};
use crate::error::{Error, Result};

/// The default limits, as a key's look-up reads them.
///
/// # Errors
/// A storage failure; limits that this version does not know.
pub(super) async fn limits(db: &mut impl Handle) -> Result<KeyLimits> {
    KeyLimits::of_column(&store::agent_key_defaults::get(db).await?.limits)
}

/// The default limits, with their version: 0 where nobody set any.
///
/// # Errors
/// As [`limits`].
pub async fn get(core: &Core) -> Result<(i64, KeyLimits)> {
    let row = store::agent_key_defaults::get(&mut core.store.read().await?).await?;
    Ok((row.version, KeyLimits::of_column(&row.limits)?))
}

/// The same to be set anew, and whether they are damaged: then none are told, and no key is good until they are set.
///
/// # Errors
/// As [`limits`].
pub async fn get_standing(core: &Core) -> Result<(i64, KeyLimits, bool)> {
    let standing = store::agent_key_defaults::get_standing(&mut core.store.read().await?).await?;
    Ok((standing.row.version, KeyLimits::of_column(&standing.row.limits)?, standing.is_damaged))
}

/// Sets them, for the next call of every key on; where they are damaged, anew.
///
/// # Errors
/// [`Code::VersionMismatch`](crate::error::Code::VersionMismatch); a refused limit; a storage failure.
pub async fn edit(
    core: &Core,
    actor: &Actor,
    version: Option<i64>,
    limits: impl FnOnce(KeyLimits) -> Result<KeyLimits>,
) -> Result<(i64, KeyLimits)> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let standing = store::agent_key_defaults::get_standing(&mut tx).await?;
    let row = standing.row;
    let before = KeyLimits::of_column(&row.limits)?;
    let after = limits(before.clone())?.check()?;
    if !after.allowed_routes.is_empty() {
        return Err(Error::field("limits/allowed_routes", "are opened to single keys only"));
    }
    check_version(row.version, version)?;
    if after == before && !standing.is_damaged {
        return Ok((row.version, before));
    }
    let row = AgentKeyDefaults { limits: after.to_column(), version: row.version + 1, ..row };
    store::agent_key_defaults::put(&mut tx, &row).await?;
    let words = |limits: &KeyLimits| Some(limits.words()).filter(|words| !words.is_empty());
    let changes = Changes::default().field("limits", words(&before), words(&after));
    let target = ChangeTarget { kind: "agent_key_defaults", id: &row.id, name: "Default limits" };
    record(&mut tx, actor, now, store::agent_key_defaults::EDITED, target, changes).await?;
    let committed = tx.commit().await;
    // Every key is looked up anew, with what holds now.
    core.keys.clear();
    committed?;
    Ok((row.version, after))
}
