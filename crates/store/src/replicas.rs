//! The processes that serve one database, and the leases for which they may trust what they keep in memory.

use crate::{
    Handle, StoreError, Write,
    db::{execute, query},
};

/// How long a replica that is not heard of is remembered, in milliseconds.
const KEPT_MS: i64 = 7 * 86_400_000;

/// How long a replica that is not heard of still counts as one that serves, in milliseconds.
const HEARD_MS: i64 = 30_000;

/// What a renewal was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Renewal {
    /// The newest number of the sequence when it was renewed.
    pub seq: i64,
    /// The epoch.
    pub epoch: i64,
    /// How many replicas were heard of lately, this one included.
    pub replicas: i64,
}

/// Makes a replica known, and forgets those that were not heard of for a week.
///
/// # Errors
/// [`StoreError`].
pub async fn join(db: &mut impl Handle, id: &str, now: i64) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM replicas WHERE renewed_at < $1", now - KEPT_MS)?;
    execute!(db, "DELETE FROM servers WHERE id NOT IN (SELECT id FROM replicas)")?;
    execute!(
        db,
        "INSERT INTO replicas (id, started_at, renewed_at, applied_seq) VALUES ($1, $2, $2, 0) \
         ON CONFLICT (id) DO UPDATE SET renewed_at = excluded.renewed_at",
        id,
        now
    )?;
    Ok(())
}

/// Renews a lease: a write, so that only the database that takes writes can answer it, which tells in the same
/// statement how far the sequence has come. `None` where the replica is not known.
///
/// # Errors
/// [`StoreError`].
pub async fn renew(db: &mut impl Handle, id: &str, applied_seq: i64, now: i64) -> Result<Option<Renewal>, StoreError> {
    query!(
        fetch_optional,
        db,
        Renewal,
        "UPDATE replicas SET renewed_at = $1, applied_seq = $2 WHERE id = $3 \
         RETURNING (SELECT seq FROM chain_head WHERE id = 1) AS seq, (SELECT epoch FROM installation) AS epoch, \
         (SELECT count(*) FROM replicas WHERE renewed_at > $4 OR id = $3) AS replicas",
        now,
        applied_seq,
        id,
        now - HEARD_MS
    )
}

/// A replica, as the database last heard of it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// When it started, by its clock, in milliseconds since 1970.
    pub started_at: i64,
    /// When it renewed its lease last, by its clock.
    pub renewed_at: i64,
    /// The number up to which it had taken changes over then.
    pub applied_seq: i64,
}

/// All of them, the longest running first.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &mut impl Handle) -> Result<Vec<Seen>, StoreError> {
    query!(fetch_all, db, Seen, "SELECT id, started_at, renewed_at, applied_seq FROM replicas ORDER BY started_at, id")
}

/// Makes a replica unknown that stops.
///
/// # Errors
/// [`StoreError`].
pub async fn leave(db: &mut impl Handle, id: &str) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM replicas WHERE id = $1", id)?;
    Ok(())
}

/// Whether a replica's batch of counted usage is to be written in this transaction: `false` where one with its number
/// or a later one was written before, although nobody could tell then.
///
/// # Errors
/// [`StoreError`].
pub async fn begin_batch(tx: &mut Write, id: &str, number: i64, now: i64) -> Result<bool, StoreError> {
    if number == 1 {
        execute!(tx, "DELETE FROM usage_batches WHERE written_at < $1", now - KEPT_MS)?;
    }
    let written = execute!(
        tx,
        "INSERT INTO usage_batches (replica_id, number, written_at) VALUES ($1, $2, $3) ON CONFLICT (replica_id) \
         DO UPDATE SET number = excluded.number, written_at = excluded.written_at \
         WHERE usage_batches.number < excluded.number",
        id,
        number,
        now
    )?;
    Ok(written > 0)
}
