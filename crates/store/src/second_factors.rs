//! Second factors of members: the app's sealed secret, and the recovery codes that stand in for it.

use vault::MacField;

use crate::{
    Handle, StoreError, Write,
    authentic::{Authentic, checked, stamp, untouched},
    db::{execute, query},
};

/// What a member's authenticator app was set up with.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct SecondFactor {
    pub id: String,
    pub member_id: String,
    pub sealed: String,
    pub last_step: i64,
    pub created_at: i64,
    pub version: i64,
    pub mac: String,
}

impl Authentic for SecondFactor {
    const TABLE: &'static str = "second_factors";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
            MacField::Text(&self.member_id),
            MacField::Text(&self.sealed),
            MacField::Int(self.last_step),
            MacField::Int(self.created_at),
            MacField::Int(self.version),
        ]
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// A recovery code, without the code.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct RecoveryCodeRow {
    pub id: String,
    pub member_id: String,
    pub pepper_id: String,
    pub digest: String,
    pub created_at: i64,
    pub mac: String,
}

impl Authentic for RecoveryCodeRow {
    const TABLE: &'static str = "recovery_codes";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        vec![
            MacField::Text(&self.member_id),
            MacField::Text(&self.pepper_id),
            MacField::Text(&self.digest),
            MacField::Int(self.created_at),
        ]
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The factor with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<SecondFactor>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        SecondFactor,
        "SELECT id, member_id, sealed, last_step, created_at, version, mac FROM second_factors WHERE id = $1",
        id
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// Writes a new factor in place of whatever the member had.
///
/// # Errors
/// [`StoreError`].
pub async fn replace(tx: &mut Write, factor: &SecondFactor) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM second_factors WHERE member_id = $1", factor.member_id.as_str())?;
    let mac = stamp(tx.keyring(), factor);
    execute!(
        tx,
        "INSERT INTO second_factors (id, member_id, sealed, last_step, created_at, version, mac) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        factor.id.as_str(),
        factor.member_id.as_str(),
        factor.sealed.as_str(),
        factor.last_step,
        factor.created_at,
        factor.version,
        mac,
    )?;
    Ok(())
}

/// Notes the step of a code that is taken; `factor.version` is the version afterwards. False where another code was taken
/// since the row was read: of two at once, one is good.
///
/// # Errors
/// [`StoreError`].
pub async fn take_step(tx: &mut Write, factor: &SecondFactor) -> Result<bool, StoreError> {
    let mac = stamp(tx.keyring(), factor);
    let touched = execute!(
        tx,
        "UPDATE second_factors SET last_step = $1, version = $2, mac = $3 \
         WHERE id = $4 AND version = $5 AND last_step < $1",
        factor.last_step,
        factor.version,
        mac,
        factor.id.as_str(),
        factor.version - 1,
    )?;
    Ok(touched == 1)
}

/// Deletes a member's factor and recovery codes.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of(tx: &mut Write, member_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM second_factors WHERE member_id = $1", member_id)?;
    execute!(tx, "DELETE FROM recovery_codes WHERE member_id = $1", member_id)?;
    Ok(())
}

/// Writes recovery codes in place of those the member had.
///
/// # Errors
/// [`StoreError`].
pub async fn replace_codes(tx: &mut Write, member_id: &str, codes: &[RecoveryCodeRow]) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM recovery_codes WHERE member_id = $1", member_id)?;
    for code in codes {
        let mac = stamp(tx.keyring(), code);
        execute!(
            tx,
            "INSERT INTO recovery_codes (id, member_id, pepper_id, digest, created_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6)",
            code.id.as_str(),
            code.member_id.as_str(),
            code.pepper_id.as_str(),
            code.digest.as_str(),
            code.created_at,
            mac,
        )?;
    }
    Ok(())
}

/// The recovery codes that a member has left; damaged rows are left out.
///
/// # Errors
/// [`StoreError`].
pub async fn codes_of(db: &mut impl Handle, member_id: &str) -> Result<Vec<RecoveryCodeRow>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        RecoveryCodeRow,
        "SELECT id, member_id, pepper_id, digest, created_at, mac FROM recovery_codes WHERE member_id = $1 ORDER BY id",
        member_id
    )?;
    Ok(untouched(db.keyring(), rows))
}

/// Uses a recovery code up. False where it was used already: of two at once, one is good.
///
/// # Errors
/// [`StoreError`].
pub async fn take_code(tx: &mut Write, id: &str) -> Result<bool, StoreError> {
    Ok(execute!(tx, "DELETE FROM recovery_codes WHERE id = $1", id)? == 1)
}
