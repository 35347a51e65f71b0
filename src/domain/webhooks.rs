//! Webhooks: who is told of what asks for attention.

use serde_json::json;
use store::{Handle, Standing, webhook_deliveries::Delivery, webhooks::Webhook};
use vault::{Place, WebhookSecret};
use zeroize::Zeroizing;

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    change::{check_version, name_error},
    idempotency::{Idempotency, Outcome},
    ids,
    name::Name,
    warnings::{self, EVENTS, TEST},
};
use crate::error::{Code, Error, Result};

/// The most webhooks there may be.
const MAX_WEBHOOKS: usize = 20;
/// The newest messages that are listed.
const LISTED: i64 = 50;

/// A webhook to be made.
#[derive(Debug, Clone, Default)]
pub struct NewWebhook {
    /// Its name.
    pub name: String,
    /// Where messages go.
    pub url: String,
    /// Types of events; empty for all.
    pub events: Vec<String>,
}

/// A new webhook with its secret, which nobody can read again.
pub struct Created {
    /// The webhook.
    pub webhook: Webhook,
    /// What its messages are signed with.
    pub secret: Zeroizing<String>,
}

/// Creates a webhook.
///
/// # Errors
/// A refused field, a name that is taken, too many of them, a storage failure.
pub async fn create(
    core: &Core,
    actor: &Actor,
    new: NewWebhook,
    idempotency: Option<&Idempotency>,
) -> Result<Outcome<Created>> {
    let url = new.url.trim().to_owned();
    let judged = core.egress.judge(url.split('?').next().unwrap_or_default());
    let judged = judged.map_err(|why| Error::field("url", why));
    let known = |event: &String| EVENTS.contains(&event.as_str()) && event != TEST;
    let events = match new.events.iter().all(known) {
        true => Ok(new.events.join(",")),
        false => Err(Error::field("events", format!("must hold some of {}", EVENTS[..5].join(", ")))),
    };
    let (name, (_, events)) = Error::both(Name::parse(&new.name), Error::both(judged, events))?;
    let now = core.clock.now_ms();
    let id = ids::mint("wh", now, &core.entropy)?;
    let secret = WebhookSecret::generate(&core.entropy)?;
    let keyring = core.store.keyring();
    let webhook = Webhook {
        sealed: keyring.seal_bytes(&core.entropy, &place(&id), secret.as_bytes())?,
        id,
        name: name.text,
        name_key: name.key,
        url,
        events,
        created_by_id: actor.id.clone(),
        created_by_name: actor.name.clone(),
        created_at: now,
        updated_at: now,
        version: 1,
        mac: String::new(),
    };
    let mut tx = core.store.write().await?;
    if let Some(id) = Idempotency::replayed(idempotency, &mut tx, now).await? {
        return Ok(Outcome::Replay(id));
    }
    if store::webhooks::all(&mut tx).await?.len() >= MAX_WEBHOOKS {
        return Err(Error::new(
            Code::ValidationFailed,
            format!("there are {MAX_WEBHOOKS} webhooks, as many as may be"),
        ));
    }
    store::webhooks::insert(&mut tx, &webhook).await.map_err(|error| name_error(error, &webhook.name))?;
    Idempotency::note(idempotency, &mut tx, &webhook.id, now).await?;
    let events = Some(webhook.events.as_str()).filter(|events| !events.is_empty());
    // Of the URL its origin: what stands behind it may be a secret of the receiver's.
    let changes = Changes::default()
        .field("name", (), webhook.name.as_str())
        .field("url", (), origin_of(&webhook.url))
        .field("events", (), events);
    record(&mut tx, actor, now, "webhook.create", target(&webhook), changes).await?;
    tx.commit().await?;
    Ok(Outcome::Done(Created { webhook, secret: secret.expose_once() }))
}

/// Scheme and host of a URL.
pub fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}

/// Every webhook as it stands, by name.
///
/// # Errors
/// A storage failure.
pub async fn all(core: &Core) -> Result<Vec<Standing<Webhook>>> {
    Ok(store::webhooks::all(&mut core.store.read().await?).await?)
}

/// The webhook with this id.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get(core: &Core, id: &str) -> Result<Webhook> {
    found(&mut core.store.read().await?, id).await
}

/// Deletes a webhook, a damaged one as well, with its messages.
///
/// # Errors
/// [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn delete(core: &Core, actor: &Actor, id: &str, version: Option<i64>) -> Result<()> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let standing = store::webhooks::get_standing(&mut tx, id).await?.ok_or_else(|| Error::not_found("webhook", id))?;
    check_version(standing.row.version, version)?;
    store::webhooks::delete(&mut tx, id).await?;
    let changes = Changes::default().field("name", standing.row.name.as_str(), ());
    record(&mut tx, actor, now, "webhook.delete", target(&standing.row), changes).await?;
    Ok(tx.commit().await?)
}

/// Sends a message for trial.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn test(core: &Core, id: &str) -> Result<Delivery> {
    let now = core.clock.now_ms();
    let mut tx = core.store.write_aside().await?;
    let webhook = found(&mut tx, id).await?;
    let message =
        warnings::message(core, &webhook, TEST, &json!({ "webhook": { "id": id, "name": webhook.name } }), now)?;
    store::webhook_deliveries::insert(&mut tx, &message).await?;
    tx.commit().await?;
    Ok(message)
}

/// The newest messages to a webhook, or to all of them where `id` is empty, the newest first; at most 50.
///
/// # Errors
/// A storage failure.
pub async fn deliveries(core: &Core, id: &str) -> Result<Vec<Delivery>> {
    Ok(store::webhook_deliveries::newest(&mut core.store.read().await?, id, LISTED).await?)
}

/// The secret of a webhook.
///
/// # Errors
/// [`Code::Damaged`] where it cannot be opened.
pub(super) fn secret_of(core: &Core, webhook: &Webhook) -> Result<WebhookSecret> {
    let opened = core.store.keyring().open_bytes(&place(&webhook.id), &webhook.sealed).map_err(|error| {
        Error::new(Code::Damaged, format!("the secret of the webhook {} cannot be opened", webhook.name))
            .with_cause(error)
    })?;
    WebhookSecret::from_bytes(&opened)
        .ok_or_else(|| Error::new(Code::Internal, "a stored webhook secret has another length"))
}

async fn found(db: &mut impl Handle, id: &str) -> Result<Webhook> {
    store::webhooks::get(db, id).await?.ok_or_else(|| Error::not_found("webhook", id))
}

fn place(id: &str) -> Place<'_> {
    Place { table: "webhooks", row: id, field: "sealed", version: 1 }
}

fn target(webhook: &Webhook) -> ChangeTarget<'_> {
    ChangeTarget { kind: "webhook", id: &webhook.id, name: &webhook.name }
}
