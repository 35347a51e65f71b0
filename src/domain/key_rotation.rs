//! Other keys inside: a new data key, row-MAC key and pepper, beside running servers, without a failed call.
//!
//! 1. *Announced*: the new keys are there, and only read. Servers take them up.
//! 2. *Active*: the new keys make. What older ones sealed and authenticated is made anew, row by row.
//! 3. *Settled*: nothing that is good names an older key, and the older ones are deleted. A pepper ends with the last
//!    secret that is kept under it, since nobody can make a secret's digest anew.
//!
//! Each step is a transaction; whoever is killed goes on from the stage that the keys tell.

use std::time::Duration;

use store::{
    Write,
    installation::{Installation, StoredKey},
    keyring, restamp,
};
use vault::{Binding, KeyPlace, Purpose, PurposeKey};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    catalog::sealed_place,
    key_provider::{KeyProvider, ProviderError, assemble},
    lease::SURELY_OVER_MS,
};
use crate::error::{Code, Error, Result};

/// The keys that an ordinary rotation replaces.
pub const ORDINARY: &[Purpose] = &[Purpose::Data, Purpose::RowMac, Purpose::Pepper];
/// Those whose older ones are deleted once nothing names them. Older audit keys go on proving older events, and nothing
/// that an older key for other secrets sealed is made anew.
const REPLACED: [Purpose; 3] = [Purpose::Data, Purpose::RowMac, Purpose::Session];
/// How many rows are made anew in one transaction.
const BATCH: i64 = 100;
/// The breath between two of them, in which others may write.
const BREATH: Duration = Duration::from_millis(5);
/// The tables that hold more than a MAC to be made anew.
const COPIES: &str = "general_key_secrets";
const GENERAL_KEYS: &str = "general_keys";

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// None is under way.
    Settled,
    /// The new keys are there, and do not make yet.
    Announced,
    /// The new keys make, and what older ones made is made anew.
    Active,
}

impl Stage {
    /// Of a set of keys.
    pub fn of(keys: &[StoredKey]) -> Stage {
        let count = |purpose| keys.iter().filter(|key| key.purpose == purpose).count();
        if keys.iter().any(|key| !key.makes()) {
            Stage::Announced
        } else if REPLACED.iter().any(|purpose| count(*purpose) > 1) {
            Stage::Active
        } else {
            Stage::Settled
        }
    }

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Settled => "settled",
            Stage::Announced => "announced",
            Stage::Active => "active",
        }
    }
}

/// How far a rotation is.
///
/// # Errors
/// A storage failure.
pub async fn stage(core: &Core) -> Result<Stage> {
    let (_, keys) = stored(core).await?;
    Ok(Stage::of(&keys))
}

/// Makes a new key for each of these purposes, which only reads as yet.
///
/// # Errors
/// [`Code::ValidationFailed`] while a rotation, or a change of the master key, is under way; a failure of the provider or
/// the storage.
pub async fn announce(core: &Core, provider: &KeyProvider, purposes: &[Purpose]) -> Result<()> {
    let (installation, mut keys) = stored(core).await?;
    if !installation.next_check_value.is_empty() {
        return Err(refused(
            "a change of the master key is under way; end it first, with keyward master-key rotate --finish or --abort",
        ));
    }
    if Stage::of(&keys) != Stage::Settled {
        return Err(refused("a rotation of the keys inside is under way already"));
    }
    provider.prepare().await.map_err(failed)?;
    let mut opened: Vec<Option<PurposeKey>> = keys.iter().map(|_| None).collect();
    let (now, mut made) = (core.clock.now_ms(), Vec::new());
    for &purpose in purposes {
        let newest = keys.iter().filter_map(|key| purpose.ordinal(&key.id)).max().unwrap_or(0);
        let id = purpose.key_id(newest + 1, &core.entropy)?;
        let place = KeyPlace { installation: &installation.id, purpose, id: &id };
        let key = PurposeKey::generate(&core.entropy)?;
        let wrapped = provider.wrap(&place, &key, &core.entropy).await.map_err(failed)?;
        made.push(id.clone());
        keys.push(StoredKey { id, purpose, wrapped, next_wrapped: String::new(), created_at: now, active_at: 0 });
        opened.push(Some(key));
    }
    let next = NextSet::of(core, installation, keys, opened)?;
    let mut tx = next.begin(core).await?;
    for key in next.keys.iter().filter(|key| made.contains(&key.id)) {
        keyring::add(&mut tx, key).await?;
    }
    next.end(core, tx, "keyring.rotate", Changes::default().field("made", "", made.join(" "))).await
}

/// Lets the announced keys make. Call it once every running server has taken them up.
///
/// # Errors
/// [`Code::ValidationFailed`] where none are announced; a storage failure.
pub async fn activate(core: &Core) -> Result<()> {
    let (installation, mut keys) = stored(core).await?;
    if Stage::of(&keys) != Stage::Announced {
        return Err(refused("no new keys are announced"));
    }
    let now = core.clock.now_ms();
    let waiting = keys.iter_mut().filter(|key| !key.makes());
    waiting.for_each(|key| key.active_at = now);
    let next = NextSet::known(core, installation, keys)?;
    let mut tx = next.begin(core).await?;
    keyring::activate(&mut tx, now).await?;
    next.end(core, tx, "keyring.activate", Changes::default()).await
}

/// What was made anew.
#[derive(Debug, Default, Clone, Copy)]
pub struct Renewed {
    /// Rows.
    pub rows: usize,
    /// Rows that fail their integrity check, and stay as they are: refused.
    pub refused: usize,
}

/// Makes anew what older keys sealed and authenticated, a few rows at a time.
///
/// # Errors
/// A storage failure; what was done until then stays done.
pub async fn rewrite(core: &Core) -> Result<Renewed> {
    let mut all = Renewed::default();
    for table in tables() {
        let mut after = Some(String::new());
        while let Some(from) = after {
            let mut tx = core.store.write().await?;
            let (done, last) = part(core, &mut tx, table, &from, BATCH).await?;
            tx.commit().await?;
            (all.rows, all.refused) = (all.rows + done.renewed, all.refused + done.refused);
            after = last;
            tokio::time::sleep(BREATH).await;
        }
    }
    Ok(all)
}

/// Ends a rotation: what is left is made anew, and the older keys are deleted. Call it once every running server makes
/// with the new ones. Gives the number of rows that stay refused.
///
/// # Errors
/// [`Code::ValidationFailed`] where the new keys do not make yet, or none is under way; a storage failure.
pub async fn retire(core: &Core) -> Result<usize> {
    let (installation, keys) = stored(core).await?;
    if Stage::of(&keys) != Stage::Active {
        return Err(refused("no rotation of the keys inside has come to its end"));
    }
    let newest = core.store.keyring();
    let is_old = |key: &StoredKey| REPLACED.contains(&key.purpose) && key.id != newest.newest(key.purpose);
    let (old, kept): (Vec<_>, Vec<_>) = keys.into_iter().partition(is_old);
    drop(newest);
    let next = NextSet::known(core, installation, kept)?;
    let mut tx = next.begin(core).await?;
    let mut refused = 0;
    for table in tables() {
        let mut after = Some(String::new());
        while let Some(from) = after {
            let (done, last) = part(core, &mut tx, table, &from, BATCH).await?;
            refused += done.refused;
            after = last;
        }
    }
    let ids: Vec<&str> = old.iter().map(|key| key.id.as_str()).collect();
    for id in &ids {
        keyring::remove(&mut tx, id).await?;
    }
    let changes = Changes::default().field("deleted", "", ids.join(" ")).field("refused_rows", 0, refused);
    next.end(core, tx, "keyring.retire", changes).await?;
    Ok(refused)
}

/// Deletes the older peppers under which no secret is kept any more. Gives their number.
///
/// # Errors
/// A storage failure.
pub async fn retire_peppers(core: &Core) -> Result<usize> {
    let (installation, keys) = stored(core).await?;
    if Stage::of(&keys) != Stage::Settled || installation.keyring_version != core.store.keyring_version() {
        return Ok(0);
    }
    let newest = core.store.keyring().newest(Purpose::Pepper).to_owned();
    let mut ended = Vec::new();
    let mut db = core.store.read().await?;
    for key in keys.iter().filter(|key| key.purpose == Purpose::Pepper && key.id != newest) {
        if keyring::peppered(&mut db, &key.id).await? == 0 {
            ended.push(key.id.clone());
        }
    }
    drop(db);
    if ended.is_empty() {
        return Ok(0);
    }
    let kept = keys.into_iter().filter(|key| !ended.contains(&key.id)).collect();
    let next = NextSet::known(core, installation, kept)?;
    let mut tx = next.begin(core).await?;
    for id in &ended {
        keyring::remove(&mut tx, id).await?;
    }
    next.end(core, tx, "keyring.retire", Changes::default().field("deleted", "", ended.join(" "))).await?;
    Ok(ended.len())
}

/// Whether every running server that is known of has the set of keys that there is now.
///
/// # Errors
/// A storage failure.
pub async fn is_taken_up(core: &Core) -> Result<bool> {
    let mut db = core.store.read().await?;
    let version = keyring::version(&mut db).await?;
    if core.store.db().is_shared() {
        let alive_since = core.clock.now_ms() - SURELY_OVER_MS;
        return Ok(keyring::is_taken_up_by_replicas(&mut db, version, alive_since).await?);
    }
    Ok(keyring::is_taken_up(&mut db, version).await?)
}

fn tables() -> impl Iterator<Item = &'static str> {
    // Copies first: a general key's row is marked with what they hold.
    [COPIES, GENERAL_KEYS].into_iter().chain(restamp::TABLES.iter().copied())
}

async fn part(
    core: &Core,
    tx: &mut Write,
    table: &'static str,
    after: &str,
    limit: i64,
) -> Result<(restamp::Done, Option<String>)> {
    match table {
        COPIES => copies(core, tx, after, limit).await,
        GENERAL_KEYS => general_keys(core, tx, after, limit).await,
        other => Ok(restamp::part(tx, other, after, limit).await?),
    }
}

async fn copies(core: &Core, tx: &mut Write, after: &str, limit: i64) -> Result<(restamp::Done, Option<String>)> {
    let copies = restamp::copies(tx, after, limit).await?;
    let last = copies.last().filter(|_| i64::try_from(copies.len()).is_ok_and(|count| count == limit));
    let last = last.map(|copy| copy.id.clone());
    let mut done = restamp::Done::default();
    for copy in copies {
        if !restamp::is_copy_untouched(tx, &copy) {
            done.refused += 1;
            continue;
        }
        match resealed(core, &copy) {
            Some(resealed) => {
                restamp::copy(tx, &copy, resealed.sealed).await?;
                done.renewed += 1;
            }
            None => done.refused += 1,
        }
    }
    Ok((done, last))
}

async fn general_keys(core: &Core, tx: &mut Write, after: &str, limit: i64) -> Result<(restamp::Done, Option<String>)> {
    let keys = restamp::general_keys(tx, after, limit).await?;
    let last = keys.last().filter(|_| i64::try_from(keys.len()).is_ok_and(|count| count == limit));
    let last = last.map(|key| key.id.clone());
    let mut done = restamp::Done::default();
    for key in keys {
        let copies = match store::general_keys::copies(tx, &key.id).await {
            Err(store::StoreError::Tampered { .. }) => Vec::new(),
            other => other?,
        };
        let mark = match key.value_mark.as_str() {
            "" => None,
            _ => copies.iter().find_map(|copy| resealed(core, copy)).map(|resealed| resealed.value_mark),
        };
        // A mark that cannot be made anew fits no value any more: the value has to be entered again then.
        let mark = mark.unwrap_or_else(|| key.value_mark.clone());
        match restamp::general_key(tx, &key, &mark).await? {
            true => done.renewed += 1,
            false => done.refused += 1,
        }
    }
    Ok((done, last))
}

/// A copy's value, sealed anew; `None`, which is logged, where it does not open.
fn resealed(core: &Core, copy: &store::general_keys::SealedCopy) -> Option<vault::Resealed> {
    let binding = Binding::parse(&copy.binding);
    if binding.is_none() && !copy.binding.is_empty() {
        tracing::error!(copy = %copy.id, "a sealed value is bound to what no version of Keyward binds to");
        return None;
    }
    let keyring = core.store.keyring();
    keyring
        .reseal(&core.entropy, &sealed_place(copy), binding.as_ref(), &copy.sealed, &copy.general_key_id)
        .inspect_err(|error| tracing::error!(copy = %copy.id, %error, "a sealed value stays as it is"))
        .ok()
}

/// The set of keys that is to follow the present one.
struct NextSet {
    installation: Installation,
    keys: Vec<StoredKey>,
    keyring: vault::Keyring,
    proof: String,
}

impl NextSet {
    /// Of keys that this process has.
    fn known(core: &Core, installation: Installation, keys: Vec<StoredKey>) -> Result<NextSet> {
        let opened = keys.iter().map(|_| None).collect();
        NextSet::of(core, installation, keys, opened)
    }

    fn of(
        core: &Core,
        installation: Installation,
        keys: Vec<StoredKey>,
        opened: Vec<Option<PurposeKey>>,
    ) -> Result<NextSet> {
        // Assembled before anything is stored: a set that does not open is never written.
        let keyring = assemble(&installation.id, &keys, opened, Some(&core.store.keyring())).map_err(failed)?;
        let proof = keyring::proof(&keyring, installation.keyring_version + 1, &keys);
        Ok(NextSet { installation, keys, keyring, proof })
    }

    async fn begin(&self, core: &Core) -> Result<Write> {
        let mut tx = core.store.write().await?;
        keyring::advance(&mut tx, self.installation.keyring_version, &self.proof).await?;
        Ok(tx)
    }

    /// Records the change, makes it durable, and works with the set from then on.
    async fn end(self, core: &Core, mut tx: Write, action: &str, changes: Changes) -> Result<()> {
        let version = self.installation.keyring_version + 1;
        let target = ChangeTarget { kind: "installation", id: &self.installation.id, name: "" };
        let changes = changes.field("keyring", self.installation.keyring_version, version);
        record(&mut tx, &Actor::command("master-key rotate-data"), core.clock.now_ms(), action, target, changes)
            .await?;
        tx.commit().await?;
        core.store.renew(self.keyring, version);
        Ok(())
    }
}

async fn stored(core: &Core) -> Result<(Installation, Vec<StoredKey>)> {
    let found = store::installation::find(core.store.db()).await?;
    found.ok_or_else(|| Error::new(Code::Damaged, "the installation's row is gone; restore the database from a backup"))
}

/// The keys stay as they are where a provider fails.
fn failed(error: ProviderError) -> Error {
    Error::new(Code::StorageUnavailable, error.to_string())
}

fn refused(why: &str) -> Error {
    Error::new(Code::ValidationFailed, why)
}
