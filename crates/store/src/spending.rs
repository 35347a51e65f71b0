//! How much was taken of the quotas of agent keys.

use crate::{
    Handle, StoreError, Write,
    db::{execute, query},
};

/// What was taken of a key's quotas.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Spending {
    /// JSON.
    pub taken: String,
    /// Counts the writes; 0 where there is no row.
    pub version: i64,
}

/// What was taken of the quotas of a key.
///
/// # Errors
/// [`StoreError`].
pub async fn of_key(db: &mut impl Handle, agent_key_id: &str) -> Result<Spending, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Spending,
        "SELECT taken, version FROM agent_key_spending WHERE agent_key_id = $1",
        agent_key_id
    )?;
    Ok(row.unwrap_or(Spending { taken: String::from("{}"), version: 0 }))
}

/// What was taken of the quotas of a key, and its limits; the latter are not checked against the key's MAC.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema")]
pub struct SpendingOfKey {
    pub agent_key_id: String,
    pub taken: String,
    pub limits: String,
}

/// What was taken of the quotas of keys, of at most `limit`; of the keys of `member_id`, or of everybody's where it is empty.
///
/// # Errors
/// [`StoreError`].
pub async fn of_keys(db: &mut impl Handle, member_id: &str, limit: i64) -> Result<Vec<SpendingOfKey>, StoreError> {
    query!(
        fetch_all,
        db,
        SpendingOfKey,
        "SELECT s.agent_key_id, s.taken, k.limits FROM agent_key_spending s JOIN agent_keys k ON k.id = s.agent_key_id \
         WHERE $1 = '' OR k.member_id = $1 LIMIT $2",
        member_id,
        limit
    )
}

/// Writes what was taken since `version` was read; false where somebody else wrote meanwhile. Of a key that is gone nothing is
/// kept.
///
/// # Errors
/// [`StoreError`].
pub async fn write(tx: &mut Write, agent_key_id: &str, taken: &str, version: i64) -> Result<bool, StoreError> {
    let touched = match version {
        0 => execute!(
            tx,
            "INSERT INTO agent_key_spending (agent_key_id, taken, version) SELECT $1, $2, 1 \
             WHERE EXISTS (SELECT 1 FROM agent_keys WHERE id = $1) ON CONFLICT (agent_key_id) DO NOTHING",
            agent_key_id,
            taken
        )?,
        version => execute!(
            tx,
            "UPDATE agent_key_spending SET taken = $1, version = version + 1 WHERE agent_key_id = $2 AND version = $3",
            taken,
            agent_key_id,
            version
        )?,
    };
    Ok(touched > 0)
}

/// Forgets what was taken of a key that is deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of_key(tx: &mut Write, agent_key_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM agent_key_spending WHERE agent_key_id = $1", agent_key_id)?;
    Ok(())
}
