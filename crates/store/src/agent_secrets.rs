//! The secrets of an agent key: the one that is handed out, and those that a rotation let live on.

use crate::{
    Handle, StoreError, Write,
    agent_keys::AgentSecretRow,
    authentic::{Standing, stamp, standing},
    db::{execute, query},
    listing::Count,
};

/// The secrets of one key as they stand, the oldest first.
///
/// # Errors
/// [`StoreError`].
pub async fn of_key(db: &mut impl Handle, agent_key_id: &str) -> Result<Vec<Standing<AgentSecretRow>>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        AgentSecretRow,
        "SELECT id, agent_key_id, pepper_id, digest, created_at, ends_at, masked_secret, version, mac, last_used_at \
         FROM agent_secrets WHERE agent_key_id = $1 ORDER BY created_at, id",
        agent_key_id
    )?;
    Ok(standing(db.keyring(), rows))
}

/// Whether another product issued some of the secrets: those have a mask that does not begin like ours.
///
/// # Errors
/// [`StoreError`].
pub async fn has_foreign(db: &mut impl Handle) -> Result<bool, StoreError> {
    let found = query!(
        fetch_optional,
        db,
        Count,
        "SELECT CAST(1 AS BIGINT) AS n FROM agent_secrets \
         WHERE masked_secret <> '' AND substr(masked_secret, 1, 3) <> 'kw_' LIMIT 1"
    )?;
    Ok(found.is_some())
}

/// Writes a new secret's digest.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(tx: &mut Write, secret: &AgentSecretRow) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), secret);
    execute!(
        tx,
        "INSERT INTO agent_secrets (id, agent_key_id, pepper_id, digest, created_at, ends_at, masked_secret, version, \
         mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        secret.id.as_str(),
        secret.agent_key_id.as_str(),
        secret.pepper_id.as_str(),
        secret.digest.as_str(),
        secret.created_at,
        secret.ends_at,
        secret.masked_secret.as_str(),
        secret.version,
        mac,
    )?;
    Ok(())
}

/// Writes when a secret ends; `secret.version` is the version after the change.
///
/// # Errors
/// [`StoreError::Stale`] where somebody else was first.
pub async fn set_end(tx: &mut Write, secret: &AgentSecretRow) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), secret);
    let touched = execute!(
        tx,
        "UPDATE agent_secrets SET ends_at = $1, masked_secret = $2, version = $3, mac = $4 \
         WHERE id = $5 AND version = $6",
        secret.ends_at,
        secret.masked_secret.as_str(),
        secret.version,
        mac,
        secret.id.as_str(),
        secret.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "agent_secrets", id: secret.id.clone() }),
        _ => Ok(()),
    }
}

/// Deletes a secret, at `now`; one that another product issued is remembered as over.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str, now: i64) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO ended_secrets (digest, ended_at) SELECT digest, $2 FROM agent_secrets \
         WHERE id = $1 AND masked_secret <> '' AND substr(masked_secret, 1, 3) <> 'kw_' ON CONFLICT (digest) DO NOTHING",
        id,
        now
    )?;
    execute!(tx, "DELETE FROM agent_secrets WHERE id = $1", id)?;
    Ok(())
}

/// The same of all secrets of a key.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of_key(tx: &mut Write, agent_key_id: &str, now: i64) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO ended_secrets (digest, ended_at) SELECT digest, $2 FROM agent_secrets \
         WHERE agent_key_id = $1 AND masked_secret <> '' AND substr(masked_secret, 1, 3) <> 'kw_' \
         ON CONFLICT (digest) DO NOTHING",
        agent_key_id,
        now
    )?;
    execute!(tx, "DELETE FROM agent_secrets WHERE agent_key_id = $1", agent_key_id)?;
    Ok(())
}

/// Whether a secret that another product issued is over here.
///
/// # Errors
/// [`StoreError`].
pub async fn has_ended(db: &mut impl Handle, digest: &str) -> Result<bool, StoreError> {
    let found = query!(
        fetch_optional,
        db,
        Count,
        "SELECT CAST(1 AS BIGINT) AS n FROM ended_secrets WHERE digest = $1",
        digest
    )?;
    Ok(found.is_some())
}

/// Notes the last use of a secret; outside the row's MAC, since it grants nothing.
///
/// # Errors
/// [`StoreError`].
pub async fn note_use(tx: &mut Write, id: &str, at: i64) -> Result<(), StoreError> {
    execute!(tx, "UPDATE agent_secrets SET last_used_at = $1 WHERE id = $2 AND last_used_at < $1", at, id)?;
    Ok(())
}
