//! Members: the people who administer Keyward.

use vault::MacField;

use crate::{
    Handle, Listing, StoreError, Write,
    authentic::{Authentic, Standing, checked, stamp, standing, untouched},
    db::{execute, page, query},
    listing::Count,
};

/// A member.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Member {
    pub id: String,
    pub email: String,
    pub email_key: String,
    pub name: String,
    pub role: String,
    /// Empty while the member is invited and has not joined; `!` where they joined without a password.
    pub password_hash: String,
    /// The id of the second factor; empty where there is none.
    pub second_factor: String,
    /// `off` where the member wants no e-mail about what asks for attention; else empty.
    pub mail_warnings: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub mac: String,
}

/// What members can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named like the columns")]
pub enum MemberSort {
    Email,
    Name,
    CreatedAt,
}

impl Authentic for Member {
    const TABLE: &'static str = "members";
    fn id(&self) -> &str {
        &self.id
    }
    fn fields(&self) -> Vec<MacField<'_>> {
        let mut fields = vec![
            MacField::Text(&self.email),
            MacField::Text(&self.email_key),
            MacField::Text(&self.name),
            MacField::Text(&self.role),
            MacField::Text(&self.password_hash),
            MacField::Int(self.created_at),
            MacField::Int(self.updated_at),
            MacField::Int(self.version),
        ];
        if !self.second_factor.is_empty() {
            fields.push(MacField::Text(&self.second_factor));
        }
        // The column came later: rows from before it carry a MAC without it.
        if !self.mail_warnings.is_empty() {
            fields.extend([MacField::Text("mail"), MacField::Text(&self.mail_warnings)]);
        }
        fields
    }
    fn mac(&self) -> &str {
        &self.mac
    }
}

/// The member with this id.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn get(db: &mut impl Handle, id: &str) -> Result<Option<Member>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Member,
        "SELECT id, email, email_key, name, role, password_hash, second_factor, mail_warnings, created_at, updated_at, \
         version, mac FROM members WHERE id = $1",
        id
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// The member who signs in with this e-mail (in its normal form).
///
/// # Errors
/// [`StoreError`]; [`StoreError::Tampered`] for a row changed outside Keyward.
pub async fn find_by_email(db: &mut impl Handle, email_key: &str) -> Result<Option<Member>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Member,
        "SELECT id, email, email_key, name, role, password_hash, second_factor, mail_warnings, created_at, updated_at, \
         version, mac FROM members WHERE email_key = $1",
        email_key
    )?;
    row.map(|row| checked(db.keyring(), row)).transpose()
}

/// How many members there are.
///
/// # Errors
/// [`StoreError`].
pub async fn count(db: &mut impl Handle) -> Result<i64, StoreError> {
    let count = query!(fetch_one, db, Count, "SELECT count(*) AS n FROM members")?;
    Ok(count.n)
}

/// Writes a new member.
///
/// # Errors
/// [`StoreError::Taken`] where the e-mail is in use.
pub async fn insert(tx: &mut Write, member: &Member) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), member);
    execute!(
        tx,
        "INSERT INTO members (id, email, email_key, name, role, password_hash, second_factor, mail_warnings, created_at, \
         updated_at, version, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        member.id.as_str(),
        member.email.as_str(),
        member.email_key.as_str(),
        member.name.as_str(),
        member.role.as_str(),
        member.password_hash.as_str(),
        member.second_factor.as_str(),
        member.mail_warnings.as_str(),
        member.created_at,
        member.updated_at,
        member.version,
        mac,
    )?;
    Ok(())
}

/// The member with this id as it stands, to be looked at or removed.
///
/// # Errors
/// [`StoreError`].
pub async fn get_standing(db: &mut impl Handle, id: &str) -> Result<Option<Standing<Member>>, StoreError> {
    let row = query!(
        fetch_optional,
        db,
        Member,
        "SELECT id, email, email_key, name, role, password_hash, second_factor, mail_warnings, created_at, updated_at, \
         version, mac FROM members WHERE id = $1",
        id
    )?;
    Ok(standing(db.keyring(), row.into_iter().collect()).pop())
}

/// A page of members as they stand; `status` is `active`, `invited`, or empty for all.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    db: &mut impl Handle,
    listing: &Listing<MemberSort>,
    status: &str,
) -> Result<Vec<Standing<Member>>, StoreError> {
    macro_rules! by {
        ($column:literal, $after:expr) => {
            page!(
                db,
                Member,
                "SELECT id, email, email_key, name, role, password_hash, second_factor, mail_warnings, created_at, updated_at, \
                 version, mac FROM members WHERE (email_key LIKE $2 ESCAPE '\\' OR lower(name) LIKE $2 ESCAPE '\\') \
                 AND ($3 = '' OR $3 = CASE WHEN password_hash = '' THEN 'invited' ELSE 'active' END)",
                $column,
                ["$4", "$5"],
                listing.descending,
                $after,
                listing.limit,
                listing.pattern(),
                status
            )
        };
    }
    let rows = match listing.sort {
        MemberSort::Email => by!("email_key", listing.after_text()),
        MemberSort::Name => by!("name", listing.after_text()),
        MemberSort::CreatedAt => by!("created_at", listing.after_int()),
    }?;
    Ok(standing(db.keyring(), rows))
}

/// How many members match, counted up to `EXACT_TOTAL + 1`.
///
/// # Errors
/// [`StoreError`].
pub async fn count_listed(
    db: &mut impl Handle,
    listing: &Listing<MemberSort>,
    status: &str,
) -> Result<i64, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM (SELECT id FROM members WHERE (email_key LIKE $1 ESCAPE '\\' \
         OR lower(name) LIKE $1 ESCAPE '\\') \
         AND ($2 = '' OR $2 = CASE WHEN password_hash = '' THEN 'invited' ELSE 'active' END) LIMIT 10001) AS counted",
        listing.pattern(),
        status
    )?;
    Ok(count.n)
}

/// Everybody who has joined, by name; damaged rows are left out.
///
/// # Errors
/// [`StoreError`].
pub async fn active(db: &mut impl Handle) -> Result<Vec<Member>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        Member,
        "SELECT id, email, email_key, name, role, password_hash, second_factor, mail_warnings, created_at, updated_at, \
         version, mac FROM members WHERE password_hash <> '' ORDER BY name, id LIMIT 1000"
    )?;
    Ok(untouched(db.keyring(), rows))
}

/// The owners and admins who have joined, by name; damaged rows are left out.
///
/// # Errors
/// [`StoreError`].
pub async fn administrators(db: &mut impl Handle) -> Result<Vec<Member>, StoreError> {
    let rows = query!(
        fetch_all,
        db,
        Member,
        "SELECT id, email, email_key, name, role, password_hash, second_factor, mail_warnings, created_at, updated_at, \
         version, mac FROM members WHERE password_hash <> '' AND role IN ('owner', 'admin') ORDER BY name, id LIMIT 1000"
    )?;
    Ok(untouched(db.keyring(), rows))
}

/// The owners who can sign in, held in place until the commit: of two transactions that would each take one of the last
/// two away, the second sees what the first did. Damaged rows are left out.
///
/// # Errors
/// [`StoreError`].
pub async fn hold_owners(tx: &mut Write) -> Result<Vec<Member>, StoreError> {
    execute!(tx, "UPDATE members SET version = version WHERE role = 'owner'")?;
    let rows = query!(
        fetch_all,
        tx,
        Member,
        "SELECT id, email, email_key, name, role, password_hash, second_factor, mail_warnings, created_at, updated_at, \
         version, mac FROM members WHERE role = 'owner' AND password_hash <> ''"
    )?;
    Ok(untouched(tx.keyring(), rows))
}

/// Writes what may change; `member.version` is the version after the change.
///
/// # Errors
/// [`StoreError::Stale`] where somebody else was first; [`StoreError::Taken`] where the e-mail is in use.
pub async fn update(tx: &mut Write, member: &Member) -> Result<(), StoreError> {
    let mac = stamp(tx.keyring(), member);
    let touched = execute!(
        tx,
        "UPDATE members SET email = $1, email_key = $2, name = $3, role = $4, password_hash = $5, second_factor = $6, \
         mail_warnings = $7, updated_at = $8, version = $9, mac = $10 WHERE id = $11 AND version = $12",
        member.email.as_str(),
        member.email_key.as_str(),
        member.name.as_str(),
        member.role.as_str(),
        member.password_hash.as_str(),
        member.second_factor.as_str(),
        member.mail_warnings.as_str(),
        member.updated_at,
        member.version,
        mac,
        member.id.as_str(),
        member.version - 1,
    )?;
    match touched {
        0 => Err(StoreError::Stale { table: "members", id: member.id.clone() }),
        _ => Ok(()),
    }
}

/// Deletes a member with their sessions, second factor, identity, management tokens, invitation and e-mails.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM sessions WHERE member_id = $1", id)?;
    crate::pending_sign_ins::delete_of(tx, id).await?;
    crate::second_factors::delete_of(tx, id).await?;
    crate::identities::delete_of(tx, id).await?;
    execute!(tx, "DELETE FROM management_tokens WHERE member_id = $1", id)?;
    execute!(tx, "DELETE FROM invitations WHERE member_id = $1", id)?;
    crate::webhook_deliveries::delete_of(tx, id).await?;
    match execute!(tx, "DELETE FROM members WHERE id = $1", id)? {
        0 => Err(StoreError::Stale { table: "members", id: id.to_owned() }),
        _ => Ok(()),
    }
}
