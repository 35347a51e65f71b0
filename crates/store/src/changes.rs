//! Change records: what each event changed, in the order of the commits, for replicas that keep it in memory.

use crate::{Handle, StoreError, db::query};

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Change {
    /// Its number, the event's.
    pub seq: i64,
    /// What kind of thing was changed.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// What was done, for example `agent_key.disable`.
    pub action: String,
}

/// The oldest changes after a number, in their order. A number that is missing was taken out outside Keyward.
///
/// # Errors
/// [`StoreError`].
pub async fn after(db: &mut impl Handle, seq: i64, limit: i64) -> Result<Vec<Change>, StoreError> {
    query!(
        fetch_all,
        db,
        Change,
        "SELECT c.seq, c.kind, c.id, e.action FROM changes c JOIN audit_events e ON e.seq = c.seq WHERE c.seq > $1 \
         ORDER BY c.seq LIMIT $2",
        seq,
        limit
    )
}
