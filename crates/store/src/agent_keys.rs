//! Agent keys and the digests of their secrets.

use vault::MacField;

use crate::{
    Handle, Listing, StoreError, Write, agent_secrets,
    authentic::{Authentic, Standing, UNTOLD, checked, stamp, standing},
    db::{execute, page, query, search},
    listing::Count,
    spending,
};

/// An agent key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct AgentKey {
    pub id: String,
    pub name: String,
    pub name_key: String,
    pub masked_secret: String,
    pub member_id: String,
    pub created_by_id: String,
    pub created_by_name: String,
    /// What the key may do beyond the defaults, as JSON.
    pub limits: String,
    /// Its secrets, each with its end; `?` in rows from before the column.
    pub secrets: String,
    /// What it is for.
    pub description: String,
    /// Words to find it by, between spaces.
    pub tags: String,
    pub created_at: i64,
    pub expires_at: i64,
    /// 0 while the key is enabled.
    pub disabled_at: i64,
    /// When it was reported as leaked, which ended it for ever; 0 where it was not.
    pub leaked_at: i64,
    pub version: i64,
    pub mac: String,
    pub last_used_at: i64,
}

impl Authentic for AgentKey {
    const TABLE: &'static str = "agent_keys";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        let mut fields = vec![
            MacField::Text(&self.name),
            MacField::Text(&self.name_key),
            MacField::Text(&self.masked_secret),
            MacField::Text(&self.member_id),
            MacField::Text(&self.created_by_id),
            MacField::Text(&self.created_by_name),
            MacField::Text(&self.limits),
            MacField::Int(self.created_at),
            MacField::Int(self.expires_at),
            MacField::Int(self.disabled_at),
            MacField::Int(self.version),
        ];
        // The column came later: rows from before it carry a MAC without it.
        if self.secrets != UNTOLD {
            fields.push(MacField::Text(&self.secrets));
        }
        // So did these two.
        if !(self.description.is_empty() && self.tags.is_empty()) {
            fields.extend([MacField::Text("about"), MacField::Text(&self.description), MacField::Text(&self.tags)]);
        }
        if self.leaked_at > 0 {
            fields.extend([MacField::Text("leaked"), MacField::Int(self.leaked_at)]);
        }
        fields
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The digest of one secret of an agent key.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct AgentSecretRow {
    pub id: String,
    pub agent_key_id: String,
    pub pepper_id: String,
    pub digest: String,
    pub created_at: i64,
    /// When this secret ends before its key does; 0 when it ends with it.
    pub ends_at: i64,
    /// Empty in rows from before the column.
    pub masked_secret: String,
    pub version: i64,
    pub mac: String,
    pub last_used_at: i64,
}

impl Authentic for AgentSecretRow {
    const TABLE: &'static str = "agent_secrets";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        let mut fields = vec![
            MacField::Text(&self.agent_key_id),
            MacField::Text(&self.pepper_id),
            MacField::Text(&self.digest),
            MacField::Int(self.created_at),
            MacField::Int(self.ends_at),
            MacField::Int(self.version),
        ];
        // The column came later: rows from before it carry a MAC without it.
        if !self.masked_secret.is_empty() {
            fields.push(MacField::Text(&self.masked_secret));
        }
        fields
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// What agent keys can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named like the columns")]
pub enum AgentKeySort {
    Name,
    CreatedAt,
    LastUsedAt,
    ExpiresAt,
    /// What asks for attention first: keys that live, the soonest to end first, then those that ended, the latest first.
    Attention,
}

/// More than any time: keys that ended sort by what their end is short of it.
const BEYOND: i64 = 10_000_000_000_000_000;

impl AgentKeySort {
    /// A key's place in the order by attention, as of `now`.
    pub fn attention(expires_at: i64, now: i64) -> i64 {
        if expires_at > now { expires_at } else { BEYOND - expires_at }
    }
}

/// The status to list, as of a time in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct StatusFilter<'a> {
    /// `active`, `expired`, `disabled`; of the active ones only `soon`, those that end before [`StatusFilter::soon`],
    /// and `ending`, those of them that were used; `unused`, those never used; or empty for all.
    pub status: &'static str,
    /// The time that decides between active and expired.
    pub now: i64,
    /// Until when an end is soon.
    pub soon: i64,
    /// Only this member's; empty for everybody's.
    pub member_id: &'a str,
    /// Only those with this tag; empty for all.
    pub tag: &'a str,
}

impl StatusFilter<'_> {
    /// What the column of tags looks like where there is the one that is asked for; empty where any will do.
    fn tag_pattern(&self) -> String {
        match self.tag {
            "" => String::new(),
            // Of what a pattern has a meaning for, tags may hold but this.
            tag => format!("% {} %", tag.replace('_', "\\_")),
        }
    }
}

/// The key with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<AgentKey>, StoreError> {
    let row = read(db, id).await?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// The key with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn get_standing(db: &mut impl Handle, id: &str) -> Result<Option<Standing<AgentKey>>, StoreError> {
    let row = read(db, id).await?;
    Ok(standing(db.keyring(), row.into_iter().collect()).pop())
}

async fn read(db: &mut impl Handle, id: &str) -> Result<Option<AgentKey>, StoreError> {
    query!(
        fetch_optional,
        db,
        AgentKey,
        "SELECT id, name, name_key, masked_secret, member_id, created_by_id, created_by_name, limits, secrets, \
         description, tags, created_at, \
         expires_at, disabled_at, leaked_at, version, mac, last_used_at FROM agent_keys WHERE id = $1",
        id
    )
}

/// Whether a key has this name, in the form that must be unique.
///
/// # Errors
/// [`StoreError`].
pub async fn has_name(db: &mut impl Handle, name_key: &str) -> Result<bool, StoreError> {
    let found = query!(
        fetch_optional,
        db,
        Count,
        "SELECT CAST(1 AS BIGINT) AS n FROM agent_keys WHERE name_key = $1",
        name_key
    )?;
    Ok(found.is_some())
}

/// The secret with this digest.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn find_secret(db: &mut impl Handle, digest: &str) -> Result<Option<AgentSecretRow>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        AgentSecretRow,
        "SELECT id, agent_key_id, pepper_id, digest, created_at, ends_at, masked_secret, version, mac, last_used_at \
         FROM agent_secrets WHERE digest = $1",
        digest
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// A page of keys as they stand.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    db: &mut impl Handle,
    listing: &Listing<AgentKeySort>,
    filter: StatusFilter<'_>,
) -> Result<Vec<Standing<AgentKey>>, StoreError> {
    let phrase = search::rare_phrase(db, &listing.search).await?;
    let tag = &filter.tag_pattern();
    macro_rules! page_where {
        ($names:expr, $column:literal, $after:expr) => {
            page!(
                db,
                AgentKey,
                concat!(
                    "SELECT id, name, name_key, masked_secret, member_id, created_by_id, created_by_name, limits, \
                     secrets, description, tags, created_at, expires_at, disabled_at, leaked_at, version, mac, last_used_at FROM agent_keys WHERE ",
                    $names,
                    " AND ($8 = '' OR tags LIKE $8 ESCAPE '\\') AND ($6 = '' OR member_id = $6) AND ($3 = '' OR ($3 = 'unused' AND last_used_at = 0) \
                     OR ($3 IN ('soon', 'ending') AND expires_at > $4 AND expires_at < $5 AND disabled_at = 0 \
                     AND ($3 = 'soon' OR last_used_at > 0)) \
                     OR $3 = CASE WHEN expires_at <= $4 THEN 'expired' WHEN disabled_at > 0 THEN 'disabled' \
                     ELSE 'active' END)"
                ),
                $column,
                ["$9", "$10"],
                listing.descending,
                $after,
                listing.limit,
                listing.pattern(),
                filter.status,
                filter.now,
                filter.soon,
                filter.member_id,
                phrase.as_deref().unwrap_or_default(),
                tag.as_str()
            )
        };
    }
    macro_rules! by {
        ($column:literal, $after:expr) => {
            match &phrase {
                Some(_) => page_where!(search::by_index!(), $column, $after),
                None => page_where!(search::by_scan!(), $column, $after),
            }
        };
    }
    let rows = match listing.sort {
        AgentKeySort::Name => by!("name_key", listing.after_text()),
        AgentKeySort::CreatedAt => by!("created_at", listing.after_int()),
        AgentKeySort::LastUsedAt => by!("last_used_at", listing.after_int()),
        AgentKeySort::ExpiresAt => by!("expires_at", listing.after_int()),
        AgentKeySort::Attention => by!(
            "(CASE WHEN expires_at > $4 THEN expires_at ELSE 10000000000000000 - expires_at END)",
            listing.after_int()
        ),
    }?;
    Ok(standing(db.keyring(), rows))
}

/// How many keys match, counted up to `EXACT_TOTAL + 1`.
///
/// # Errors
/// [`StoreError`].
pub async fn count(
    db: &mut impl Handle,
    listing: &Listing<AgentKeySort>,
    filter: StatusFilter<'_>,
) -> Result<i64, StoreError> {
    let phrase = search::phrase(db, &listing.search);
    if let Some(phrase) = &phrase
        && filter.status.is_empty()
        && filter.member_id.is_empty()
        && filter.tag.is_empty()
    {
        return search::found(db, phrase, crate::EXACT_TOTAL + 1).await;
    }
    let tag = &filter.tag_pattern();
    macro_rules! count_where {
        ($from_names:expr) => {
            query!(
                fetch_one,
                db,
                Count,
                concat!(
                    "SELECT count(*) AS n FROM (SELECT id FROM ",
                    $from_names,
                    " AND ($8 = '' OR tags LIKE $8 ESCAPE '\\') AND ($6 = '' OR member_id = $6) AND ($3 = '' OR ($3 = 'unused' AND last_used_at = 0) \
                     OR ($3 IN ('soon', 'ending') AND expires_at > $4 AND expires_at < $5 AND disabled_at = 0 \
                     AND ($3 = 'soon' OR last_used_at > 0)) \
                     OR $3 = CASE WHEN expires_at <= $4 THEN 'expired' WHEN disabled_at > 0 THEN 'disabled' \
                     ELSE 'active' END) LIMIT $1) AS counted"
                ),
                crate::EXACT_TOTAL + 1,
                listing.pattern(),
                filter.status,
                filter.now,
                filter.soon,
                filter.member_id,
                phrase.as_deref().unwrap_or_default(),
                tag.as_str()
            )
        };
    }
    let count = match &phrase {
        Some(_) => count_where!(search::led_by_index!()),
        None => count_where!(concat!("agent_keys WHERE ", search::by_scan!())),
    }?;
    Ok(count.n)
}

/// Whether any key was ever used.
///
/// # Errors
/// [`StoreError`].
pub async fn any_used(db: &mut impl Handle) -> Result<bool, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM (SELECT id FROM agent_keys WHERE last_used_at > 0 LIMIT 1) AS used"
    )?;
    Ok(count.n > 0)
}

/// Writes a new key with its secret's digest.
///
/// # Errors
/// [`StoreError::Taken`] where the name is in use.
pub async fn insert(tx: &mut Write, key: &AgentKey, secret: &AgentSecretRow) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), key);
    execute!(
        tx,
        "INSERT INTO agent_keys (id, name, name_key, masked_secret, member_id, created_by_id, created_by_name, limits, \
         secrets, created_at, expires_at, disabled_at, version, mac, description, tags) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        key.id.as_str(),
        key.name.as_str(),
        key.name_key.as_str(),
        key.masked_secret.as_str(),
        key.member_id.as_str(),
        key.created_by_id.as_str(),
        key.created_by_name.as_str(),
        key.limits.as_str(),
        key.secrets.as_str(),
        key.created_at,
        key.expires_at,
        key.disabled_at,
        key.version,
        mac,
        key.description.as_str(),
        key.tags.as_str(),
    )?;
    agent_secrets::insert(tx, secret).await
}

/// Writes what an edit may change; `key.version` is the version after the edit.
///
/// # Errors
/// [`StoreError::Stale`] where somebody else was first; [`StoreError::Taken`] where the new name is in use.
pub async fn update(tx: &mut Write, key: &AgentKey) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), key);
    let touched = execute!(
        tx,
        "UPDATE agent_keys SET name = $1, name_key = $2, masked_secret = $3, limits = $4, secrets = $5, \
         expires_at = $6, disabled_at = $7, version = $8, mac = $9, description = $10, tags = $11, member_id = $12, \
         leaked_at = $13 WHERE id = $14 AND version = $15",
        key.name.as_str(),
        key.name_key.as_str(),
        key.masked_secret.as_str(),
        key.limits.as_str(),
        key.secrets.as_str(),
        key.expires_at,
        key.disabled_at,
        key.version,
        mac,
        key.description.as_str(),
        key.tags.as_str(),
        key.member_id.as_str(),
        key.leaked_at,
        key.id.as_str(),
        key.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "agent_keys", id: key.id.clone() }),
        _ => Ok(()),
    }
}

/// The keys that are enabled, or those that were disabled at a given time, in the order of their ids after `after`.
///
/// # Errors
/// [`StoreError`].
pub async fn disabled_at(
    db: &mut impl Handle,
    at: i64,
    after: &str,
    limit: i64,
) -> Result<Vec<Standing<AgentKey>>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        AgentKey,
        "SELECT id, name, name_key, masked_secret, member_id, created_by_id, created_by_name, limits, secrets, \
         description, tags, created_at, \
         expires_at, disabled_at, leaked_at, version, mac, last_used_at FROM agent_keys WHERE disabled_at = $1 AND id > $2 \
         ORDER BY id LIMIT $3",
        at,
        after,
        limit
    )?;
    Ok(standing(db.keyring(), rows))
}

/// The keys that were reported as leaked since then, the newest first; of `member_id`, or of everybody where it is empty.
///
/// # Errors
/// [`StoreError`].
pub async fn leaked_since(
    db: &mut impl Handle,
    since: i64,
    member_id: &str,
    limit: i64,
) -> Result<Vec<Standing<AgentKey>>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        AgentKey,
        "SELECT id, name, name_key, masked_secret, member_id, created_by_id, created_by_name, limits, secrets, \
         description, tags, created_at, \
         expires_at, disabled_at, leaked_at, version, mac, last_used_at FROM agent_keys \
         WHERE leaked_at > $1 AND ($2 = '' OR member_id = $2) ORDER BY leaked_at DESC, id LIMIT $3",
        since,
        member_id,
        limit
    )?;
    Ok(standing(db.keyring(), rows))
}

/// Deletes a key with all its secrets, at `now`.
///
/// # Errors
/// [`StoreError::Stale`] where the row stays: nobody is told that a key is gone which is not.
pub async fn delete(tx: &mut Write, id: &str, now: i64) -> Result<(), StoreError> {
    agent_secrets::delete_of_key(tx, id, now).await?;
    spending::delete_of_key(tx, id).await?;
    match execute!(tx, "DELETE FROM agent_keys WHERE id = $1", id)? {
        0 => Err(StoreError::Stale { table: "agent_keys", id: id.to_owned() }),
        _ => Ok(()),
    }
}

/// Notes the last use of a key; outside the row's MAC, since it grants nothing.
///
/// # Errors
/// [`StoreError`].
pub async fn note_use(tx: &mut Write, id: &str, at: i64) -> Result<(), StoreError> {
    execute!(tx, "UPDATE agent_keys SET last_used_at = $1 WHERE id = $2 AND last_used_at < $1", at, id)?;
    Ok(())
}
