//! The limits of agent keys that have none of their own.

use vault::MacField;

use crate::{
    Handle, StoreError, Write,
    authentic::{Authentic, Standing, checked, stamp},
    db::{execute, query},
    listing::Count,
};

/// The id of the only row.
pub const ID: &str = "default";
/// The action of the audit event that tells of a change of it; from the first one on there is a row.
pub const EDITED: &str = "agent_key_defaults.edit";

/// The default limits.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct AgentKeyDefaults {
    pub id: String,
    pub limits: String,
    pub version: i64,
    pub mac: String,
}

impl Authentic for AgentKeyDefaults {
    const TABLE: &'static str = "agent_key_defaults";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![MacField::Text(&self.limits), MacField::Int(self.version)]
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The default limits; none, at version 0, where nobody set any.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward, or taken away.
pub async fn get(db: &mut impl Handle) -> Result<AgentKeyDefaults, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        AgentKeyDefaults,
        "SELECT id, limits, version, mac FROM agent_key_defaults WHERE id = $1",
        ID
    )?;
    if let Some(row) = row {
        return checked(db.keyring(), row);
    }
    let told = query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM (SELECT seq FROM audit_events WHERE target_id = $1 AND action = $2 LIMIT 1) AS told",
        ID,
        EDITED
    )?;
    if told.n > 0 {
        tracing::error!(table = AgentKeyDefaults::TABLE, row = ID, "row missing: it was deleted outside Keyward");
        return Err(StoreError::Tampered { table: AgentKeyDefaults::TABLE, id: String::from(ID) });
    }
    Ok(AgentKeyDefaults { id: String::from(ID), limits: String::from("{}"), version: 0, mac: String::new() })
}

/// The default limits as they stand, to be set anew, and whether they are damaged; none where the row is gone.
///
/// # Errors
/// [`StoreError`].
pub async fn get_standing(db: &mut impl Handle) -> Result<Standing<AgentKeyDefaults>, StoreError> {
    match get(db).await {
        Ok(row) => Ok(Standing { row, is_damaged: false }),
        Err(StoreError::Tampered { .. }) => {
            let row = query!(
                fetch_optional,
                db,
                AgentKeyDefaults,
                "SELECT id, limits, version, mac FROM agent_key_defaults WHERE id = $1",
                ID
            )?;
            let version = row.map_or(0, |row| row.version);
            let row =
                AgentKeyDefaults { id: String::from(ID), limits: String::from("{}"), version, mac: String::new() };
            Ok(Standing { row, is_damaged: true })
        }
        Err(error) => Err(error),
    }
}

/// Writes them; `defaults.version` is the version after the edit.
///
/// # Errors
/// [`StoreError::Stale`] where somebody else was first.
pub async fn put(tx: &mut Write, defaults: &AgentKeyDefaults) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), defaults);
    let touched = execute!(
        tx,
        "INSERT INTO agent_key_defaults (id, limits, version, mac) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET limits = excluded.limits, version = excluded.version, mac = excluded.mac \
         WHERE agent_key_defaults.version = $5",
        defaults.id.as_str(),
        defaults.limits.as_str(),
        defaults.version,
        mac,
        defaults.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "agent_key_defaults", id: defaults.id.clone() }),
        _ => Ok(()),
    }
}
