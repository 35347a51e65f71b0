//! The set of keys: which there are, which of them make, what proves that nobody changed the set, and which servers have
//! taken it up.

use vault::{Keyring, Purpose};

use crate::{
    Handle, StoreError, Write,
    db::{execute, query},
    installation::{Installation, StoredKey},
    listing::Count,
};

/// What stands before the MAC of a set of keys instead of an event's predecessor.
const KEYRINGS: &str = "keyward/keyring/v1";

/// The MAC of a set of keys, made with the set itself.
pub fn proof(keyring: &Keyring, version: i64, keys: &[StoredKey]) -> String {
    keyring.audit_mac(KEYRINGS, &canonical(version, keys))
}

/// Whether a stored set of keys is the one that Keyward wrote: a key that was deleted and put back would count again.
pub fn is_proven(keyring: &Keyring, installation: &Installation, keys: &[StoredKey]) -> bool {
    let mac = &installation.keyring_mac;
    if mac.is_empty() {
        let is_first = |key: &StoredKey| key.purpose.ordinal(&key.id) == Some(1);
        return installation.keyring_version == 1 && keys.len() == Purpose::ALL.len() && keys.iter().all(is_first);
    }
    // By the newest key: whoever had an older one may have been the reason to change it.
    vault::key_id_of(mac) == Some(keyring.newest(Purpose::Audit))
        && keyring.verify_audit_mac(KEYRINGS, &canonical(installation.keyring_version, keys), mac).is_ok()
}

fn canonical(version: i64, keys: &[StoredKey]) -> Vec<u8> {
    let mut lines: Vec<String> = keys.iter().map(|key| format!("{} {}", key.id, key.makes())).collect();
    lines.sort();
    format!("{version}\n{}", lines.join("\n")).into_bytes()
}

#[derive(sqlx::FromRow)]
struct Version {
    keyring_version: i64,
}

/// The number of the present set.
///
/// # Errors
/// [`StoreError`].
pub async fn version(db: &mut impl Handle) -> Result<i64, StoreError> {
    let row = query!(fetch_one, db, Version, "SELECT keyring_version FROM installation")?;
    Ok(row.keyring_version)
}

/// Whether the key that this process makes row MACs with is still one of the set.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn is_current(tx: &mut Write) -> Result<bool, StoreError> {
    let id = tx.keyring().newest(Purpose::RowMac).to_owned();
    let sql = "SELECT count(*) AS n FROM purpose_keys WHERE id = $1";
    Ok(query!(fetch_one, tx, Count, sql, id.as_str())?.n > 0)
}

/// Moves on from the set of number `before` to the next one, which `mac` proves. Call it first: the row stays locked
/// until the commit.
///
/// # Errors
/// [`StoreError::Stale`] where the set is another one already.
pub async fn advance(tx: &mut Write, before: i64, mac: &str) -> Result<(), StoreError> {
    let moved = execute!(
        tx,
        "UPDATE installation SET keyring_version = keyring_version + 1, keyring_mac = $1 WHERE keyring_version = $2",
        mac,
        before
    )?;
    if moved == 0 {
        return Err(StoreError::Stale { table: "installation", id: String::from("keyring") });
    }
    Ok(())
}

/// Adds a key.
///
/// # Errors
/// [`StoreError`].
pub async fn add(tx: &mut Write, key: &StoredKey) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO purpose_keys (id, purpose, wrapped, created_at, active_at) VALUES ($1, $2, $3, $4, $5)",
        key.id.as_str(),
        key.purpose.as_str(),
        key.wrapped.as_str(),
        key.created_at,
        key.active_at
    )?;
    Ok(())
}

/// Lets every key make that did not.
///
/// # Errors
/// [`StoreError`].
pub async fn activate(tx: &mut Write, now: i64) -> Result<(), StoreError> {
    execute!(tx, "UPDATE purpose_keys SET active_at = $1 WHERE active_at = 0", now)?;
    Ok(())
}

/// Deletes a key.
///
/// # Errors
/// [`StoreError`].
pub async fn remove(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM purpose_keys WHERE id = $1", id)?;
    Ok(())
}

/// How many secrets are kept under a pepper.
///
/// # Errors
/// [`StoreError`].
pub async fn peppered(db: &mut impl Handle, pepper_id: &str) -> Result<i64, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT (SELECT count(*) FROM agent_secrets WHERE pepper_id = $1) \
         + (SELECT count(*) FROM management_tokens WHERE pepper_id = $1) \
         + (SELECT count(*) FROM sessions WHERE pepper_id = $1) + (SELECT count(*) FROM invitations WHERE pepper_id = $1) \
         + (SELECT count(*) FROM setup_tokens WHERE pepper_id = $1) \
         + (SELECT count(*) FROM recovery_codes WHERE pepper_id = $1) \
         + (SELECT count(*) FROM pending_sign_ins WHERE pepper_id = $1) AS n",
        pepper_id
    )?;
    Ok(count.n)
}

/// Notes that a running server has this set.
///
/// # Errors
/// [`StoreError`].
pub async fn took_up(db: &mut impl Handle, server_id: &str, started_at: i64, version: i64) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO servers (id, started_at, keyring_version) VALUES ($1, $2, $3) \
         ON CONFLICT (id) DO UPDATE SET keyring_version = excluded.keyring_version",
        server_id,
        started_at,
        version
    )?;
    Ok(())
}

/// Forgets all servers but this one: to be called where it is the only one, so that the others run no more.
///
/// # Errors
/// [`StoreError`].
pub async fn forget_others(tx: &mut Write, server_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM servers WHERE id <> $1", server_id)?;
    Ok(())
}

/// Forgets a server that stops.
///
/// # Errors
/// [`StoreError`].
pub async fn left(tx: &mut Write, server_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM servers WHERE id = $1", server_id)?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Taken {
    n: i64,
    behind: i64,
}

/// Whether there is a note of a running server, and every one of them has this set or a newer one.
///
/// # Errors
/// [`StoreError`].
pub async fn is_taken_up(db: &mut impl Handle, version: i64) -> Result<bool, StoreError> {
    let taken = query!(
        fetch_one,
        db,
        Taken,
        "SELECT count(*) AS n, (SELECT count(*) FROM servers WHERE keyring_version < $1) AS behind FROM servers",
        version
    )?;
    Ok(taken.n > 0 && taken.behind == 0)
}

/// The same where replicas serve: whether there are any whose lease was renewed since `alive_since`, and every one of them
/// has noted this set or a newer one. One whose lease is over decides nothing, and takes the set up before it does again.
///
/// # Errors
/// [`StoreError`].
pub async fn is_taken_up_by_replicas(db: &mut impl Handle, version: i64, alive_since: i64) -> Result<bool, StoreError> {
    let taken = query!(
        fetch_one,
        db,
        Taken,
        "SELECT count(*) AS n, (SELECT count(*) FROM replicas WHERE renewed_at >= $2 \
         AND id NOT IN (SELECT id FROM servers WHERE keyring_version >= $1)) AS behind \
         FROM replicas WHERE renewed_at >= $2",
        version,
        alive_since
    )?;
    Ok(taken.n > 0 && taken.behind == 0)
}
