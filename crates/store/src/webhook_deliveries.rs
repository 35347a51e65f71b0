//! Messages to webhooks, e-mails to members, and what was told already.

use crate::{
    Handle, StoreError, Write,
    db::{execute, query},
    listing::Count,
};

/// A message to a webhook, or to a member by e-mail.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs, reason = "named like the columns of the schema, which tells their units")]
pub struct Delivery {
    pub id: String,
    /// Empty in an e-mail.
    pub webhook_id: String,
    /// Whom an e-mail goes to; empty in a message to a webhook.
    pub member_id: String,
    pub event: String,
    pub payload: String,
    pub created_at: i64,
    pub next_try_at: i64,
    pub tries: i64,
    pub delivered_at: i64,
    pub status: i64,
    pub detail: String,
}

/// Notes that something is told; false where it was told already.
///
/// # Errors
/// [`StoreError`].
pub async fn tell_once(tx: &mut Write, id: &str, now: i64) -> Result<bool, StoreError> {
    let sql = "INSERT INTO warnings (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    Ok(execute!(tx, sql, id, now)? > 0)
}

/// Writes a new message.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(tx: &mut Write, delivery: &Delivery) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO webhook_deliveries (id, webhook_id, member_id, event, payload, created_at, next_try_at, tries, \
         delivered_at, status, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        delivery.id.as_str(),
        delivery.webhook_id.as_str(),
        delivery.member_id.as_str(),
        delivery.event.as_str(),
        delivery.payload.as_str(),
        delivery.created_at,
        delivery.next_try_at,
        delivery.tries,
        delivery.delivered_at,
        delivery.status,
        delivery.detail.as_str(),
    )?;
    Ok(())
}

/// How a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To a webhook.
    Webhook,
    /// By e-mail.
    Mail,
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Way::Webhook => "webhook",
            Way::Mail => "mail",
        }
    }
}

/// The messages that are due and go this way, those due first first.
///
/// # Errors
/// [`StoreError`].
pub async fn due(db: &mut impl Handle, way: Way, now: i64, limit: i64) -> Result<Vec<Delivery>, StoreError> {
    query!(
        fetch_all,
        db,
        Delivery,
        "SELECT id, webhook_id, member_id, event, payload, created_at, next_try_at, tries, delivered_at, status, detail \
         FROM webhook_deliveries WHERE next_try_at > 0 AND next_try_at <= $1 \
         AND CASE WHEN webhook_id = '' THEN 'mail' ELSE 'webhook' END = $2 ORDER BY next_try_at, id LIMIT $3",
        now,
        way.as_str(),
        limit
    )
}

/// Takes a message that is due, to be tried by nobody else until `until`; false where somebody else has it.
///
/// # Errors
/// [`StoreError`].
pub async fn claim(tx: &mut Write, delivery: &Delivery, until: i64) -> Result<bool, StoreError> {
    let touched = execute!(
        tx,
        "UPDATE webhook_deliveries SET next_try_at = $1, tries = tries + 1 WHERE id = $2 AND next_try_at = $3",
        until,
        delivery.id.as_str(),
        delivery.next_try_at,
    )?;
    Ok(touched > 0)
}

/// Notes what came of a try.
///
/// # Errors
/// [`StoreError`].
pub async fn note(tx: &mut Write, delivery: &Delivery) -> Result<(), StoreError> {
    execute!(
        tx,
        "UPDATE webhook_deliveries SET next_try_at = $1, delivered_at = $2, status = $3, detail = $4 WHERE id = $5",
        delivery.next_try_at,
        delivery.delivered_at,
        delivery.status,
        delivery.detail.as_str(),
        delivery.id.as_str(),
    )?;
    Ok(())
}

/// The newest messages of a webhook, or of all where it is empty; at most `limit`.
///
/// # Errors
/// [`StoreError`].
pub async fn newest(db: &mut impl Handle, webhook_id: &str, limit: i64) -> Result<Vec<Delivery>, StoreError> {
    query!(
        fetch_all,
        db,
        Delivery,
        "SELECT id, webhook_id, member_id, event, payload, created_at, next_try_at, tries, delivered_at, status, detail \
         FROM webhook_deliveries WHERE ($1 = '' OR webhook_id = $1) ORDER BY created_at DESC, id DESC LIMIT $2",
        webhook_id,
        limit
    )
}

/// How many messages of a type wait for a webhook, or for a member by e-mail; of one that is given up none does.
///
/// # Errors
/// [`StoreError`].
pub async fn waiting(db: &mut impl Handle, webhook_id: &str, member_id: &str, event: &str) -> Result<i64, StoreError> {
    let count = query!(
        fetch_one,
        db,
        Count,
        "SELECT COUNT(*) AS n FROM webhook_deliveries \
         WHERE webhook_id = $1 AND member_id = $2 AND event = $3 AND delivered_at = 0 AND next_try_at > 0",
        webhook_id,
        member_id,
        event
    )?;
    Ok(count.n)
}

/// Deletes the e-mails to a member.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_of(tx: &mut Write, member_id: &str) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM webhook_deliveries WHERE member_id = $1", member_id)?;
    Ok(())
}

/// Forgets messages from before `messages`, those as well that nobody tried since (e-mails without a mail server), and what
/// was told before `warnings`, in milliseconds since 1970.
///
/// # Errors
/// [`StoreError`].
pub async fn forget_before(tx: &mut Write, messages: i64, warnings: i64) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM webhook_deliveries WHERE created_at < $1 AND next_try_at < $1", messages)?;
    execute!(tx, "DELETE FROM warnings WHERE created_at < $1", warnings)?;
    Ok(())
}
