//! The rows that authority rests on, looked through a few at a time: whether each fits its MAC, and what the chain of
//! audit events tells of it.

use crate::{
    Authentic, Handle, StoreError,
    agent_keys::AgentKey,
    authentic::{rows_with_mac, standing},
    db::query,
};

/// A part of a table that was looked through.
#[derive(Debug, Default)]
pub struct Part {
    /// How many rows.
    pub rows: usize,
    /// How many of them fail.
    pub failed: usize,
    /// The last row's id; `None` at the table's end.
    pub last: Option<String>,
}

/// Every table whose rows grant or limit authority.
pub const TABLES: &[&str] = {
    macro_rules! tables {
        ($($row:ty => $name:literal),+ $(,)?) => { &[$(<$row>::TABLE),+] };
    }
    rows_with_mac!(all => tables)
};

/// Checks the MACs of the rows of one of [`TABLES`] whose ids come after `after`; each that fails is logged.
///
/// # Errors
/// [`StoreError`].
pub async fn part(db: &mut impl Handle, table: &str, after: &str, limit: i64) -> Result<Part, StoreError> {
    macro_rules! check {
        ($($row:ty => $name:literal),+ $(,)?) => {
            match table {
                $(<$row>::TABLE => {
                    let sql = concat!("SELECT * FROM ", $name, " WHERE id > $1 ORDER BY id LIMIT $2");
                    let rows = query!(fetch_all, db, $row, sql, after, limit)?;
                    let is_last = i64::try_from(rows.len()).unwrap_or(i64::MAX) < limit;
                    let last = rows.last().filter(|_| !is_last).map(|row| row.id().to_owned());
                    let rows = standing(db.keyring(), rows);
                    let failed = rows.iter().filter(|row| row.is_damaged).count();
                    Ok(Part { rows: rows.len(), failed, last })
                })+
                _ => Ok(Part::default()),
            }
        };
    }
    rows_with_mac!(all => check)
}

/// A row that contradicts the chain.
#[derive(Debug, sqlx::FromRow)]
pub struct Contradiction {
    /// Its id.
    pub id: String,
    /// The event that tells otherwise.
    pub seq: i64,
    /// What that event did.
    pub action: String,
}

/// Rows that are there although the newest event about them deleted them, and agent keys that are enabled although it
/// disabled them, or that live on although they were reported as leaked: an old row that was put back, MAC and all.
///
/// # Errors
/// [`StoreError`].
pub async fn contradictions(db: &mut impl Handle, table: &str) -> Result<Vec<Contradiction>, StoreError> {
    macro_rules! deleted {
        ($($name:literal),+) => {
            match table {
                $($name => query!(
                    fetch_all,
                    db,
                    Contradiction,
                    concat!(
                        "SELECT e.target_id AS id, e.seq, e.action FROM audit_events e JOIN ", $name,
                        " t ON t.id = e.target_id WHERE (e.action LIKE '%.delete' OR e.action IN ('member.remove', 'management_token.revoke_leaked')) \
                         ORDER BY e.seq LIMIT 1000"
                    )
                ),)+
                _ => Ok(Vec::new()),
            }
        };
    }
    let mut found = deleted!(
        "members",
        "management_tokens",
        "general_keys",
        "agent_keys",
        "providers",
        "models",
        "policies",
        "webhooks"
    )?;
    if table == AgentKey::TABLE {
        found.extend(query!(
            fetch_all,
            db,
            Contradiction,
            "SELECT e.target_id AS id, e.seq, e.action FROM audit_events e JOIN agent_keys t ON t.id = e.target_id \
             WHERE e.action = 'agent_key.disable' AND t.disabled_at = 0 AND NOT EXISTS (SELECT 1 FROM audit_events l \
             WHERE l.target_id = e.target_id AND l.seq > e.seq AND l.action IN ('agent_key.enable', 'agent_key.delete')) \
             ORDER BY e.seq LIMIT 1000"
        )?);
        found.extend(query!(
            fetch_all,
            db,
            Contradiction,
            "SELECT e.target_id AS id, e.seq, e.action FROM audit_events e JOIN agent_keys t ON t.id = e.target_id \
             WHERE e.action = 'agent_key.revoke_leaked' AND t.expires_at > e.at ORDER BY e.seq LIMIT 1000"
        )?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_with_a_mac_is_looked_through() {
        let schema: String = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))
            .expect("a migration")
            .map(|file| std::fs::read_to_string(file.expect("a migration").path()).expect("a migration"))
            .collect();
        let with_mac = schema.split("CREATE TABLE ").skip(1).filter(|table| {
            let columns = table.split(");").next().unwrap_or_default();
            columns.contains("\n    mac TEXT")
        });
        for table in with_mac.map(|table| table.split_whitespace().next().unwrap_or_default()) {
            assert!(table == "audit_events" || TABLES.contains(&table), "{table} is not looked through");
        }
    }
}
