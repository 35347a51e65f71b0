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
    delivery::{Outcome as Sent, Receiver, write_test},
    idempotency::{Idempotency, Outcome},
    ids,
    name::Name,
    warnings::{EVENTS, TEST},
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
    let (name, (url, events)) =
        Error::both(Name::parse(&new.name), Error::both(judged(core, &new.url), wanted(&new.events)))?;
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
    // Of the URL its origin: what stands behind it may be a secret of the receiver's.
    let changes = Changes::default()
        .field("name", (), webhook.name.as_str())
        .field("url", (), origin_of(&webhook.url))
        .field("events", (), all_or(&webhook.events));
    record(&mut tx, actor, now, "webhook.create", target(&webhook), changes).await?;
    tx.commit().await?;
    Ok(Outcome::Done(Created { webhook, secret: secret.expose_once() }))
}

/// The types of events that may be wanted: all but the one that is sent for trial.
pub fn events() -> impl Iterator<Item = &'static str> {
    EVENTS.into_iter().filter(|event| *event != TEST)
}

/// A URL that messages may go to.
fn judged(core: &Core, url: &str) -> Result<String> {
    let url = url.trim();
    match core.egress.judge(url.split('?').next().unwrap_or_default()) {
        Ok(_) => Ok(url.to_owned()),
        Err(why) => Err(Error::field("url", why)),
    }
}

/// Types of events, for the column of the store.
fn wanted(types: &[String]) -> Result<String> {
    match types.iter().all(|wanted| events().any(|event| event == wanted)) {
        true => Ok(types.join(",")),
        false => {
            let known = events().collect::<Vec<_>>().join(", ");
            Err(Error::field("events", format!("must hold some of {known}")))
        }
    }
}

/// Scheme and host of a URL.
pub fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find(['/', '?', '#']).map_or(url, |end| &url[..host + end])
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

/// What is to change of a webhook; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Its name.
    pub name: Option<String>,
    /// Where messages go.
    pub url: Option<String>,
    /// Types of events; empty for all.
    pub events: Option<Vec<String>>,
}

/// Edits a webhook. Its secret stays; messages that are still to be sent go where it says now.
///
/// # Errors
/// A refused field, a name that is taken; [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn edit(core: &Core, actor: &Actor, id: &str, version: Option<i64>, edit: Edit) -> Result<Webhook> {
    let name = edit.name.as_deref().map(Name::parse).transpose();
    let url = edit.url.as_deref().map(|url| judged(core, url)).transpose();
    let events = edit.events.as_deref().map(wanted).transpose();
    let (name, (url, events)) = Error::both(name, Error::both(url, events))?;
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let before = found(&mut tx, id).await?;
    check_version(before.version, version)?;
    let mut webhook = before.clone();
    if let Some(name) = name {
        (webhook.name, webhook.name_key) = (name.text, name.key);
    }
    webhook.url = url.unwrap_or(webhook.url);
    webhook.events = events.unwrap_or(webhook.events);
    if webhook == before {
        return Ok(before);
    }
    webhook.updated_at = now;
    webhook.version += 1;
    store::webhooks::update(&mut tx, &webhook).await.map_err(|error| name_error(error, &webhook.name))?;
    let (from, to) = (origin_of(&before.url), origin_of(&webhook.url));
    let changes = Changes::default().field("name", before.name.as_str(), webhook.name.as_str());
    let changes = match from == to && before.url != webhook.url {
        true => changes.secret("url"),
        false => changes.field("url", from, to),
    };
    let changes = changes.field("events", all_or(&before.events), all_or(&webhook.events));
    record(&mut tx, actor, now, "webhook.edit", target(&webhook), changes).await?;
    tx.commit().await?;
    Ok(webhook)
}

/// The types of events of a column, for the audit log; `None` for all.
fn all_or(events: &str) -> Option<&str> {
    Some(events).filter(|events| !events.is_empty())
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
    let mut tx = core.store.write_aside().await?;
    let webhook = found(&mut tx, id).await?;
    let data = json!({ "webhook": { "id": id, "name": webhook.name } });
    let message = write_test(core, &mut tx, &Receiver::Webhook(&webhook), TEST, &data).await?;
    tx.commit().await?;
    Ok(message)
}

/// The newest messages to a webhook, or to all of them and by e-mail where `id` is empty, the newest first; at most 50.
///
/// # Errors
/// A storage failure.
pub async fn deliveries(core: &Core, id: &str) -> Result<Vec<Delivery>> {
    Ok(store::webhook_deliveries::newest(&mut core.store.read().await?, id, LISTED).await?)
}

/// Sends a message, signed; any status but 2xx has it sent again.
pub(super) async fn post(core: &Core, delivery: &Delivery) -> Sent {
    match posted(core, delivery).await {
        Ok(status) if (200..300).contains(&status) => Sent::delivered(status),
        Ok(status) => Sent::again(status, format!("it answered {status}")),
        Err(error) => Sent::again(0, error.detail),
    }
}

async fn posted(core: &Core, delivery: &Delivery) -> Result<u16> {
    let webhook = get(core, &delivery.webhook_id).await?;
    let secret = secret_of(core, &webhook)?;
    let seconds = core.clock.now_ms().div_euclid(1000);
    let signature = secret.sign(&delivery.id, seconds, delivery.payload.as_bytes());
    let headers = [
        ("webhook-id", delivery.id.as_str()),
        ("webhook-timestamp", &seconds.to_string()),
        ("webhook-signature", &signature),
    ];
    let answer = core.egress.post(&core.pool, &webhook.url, headers, &delivery.payload).await;
    // What stands behind the host may be a secret of the receiver's, and this is logged and listed.
    answer.map_err(|error| {
        let said =
            error.to_string().replace(webhook.url.split('?').next().unwrap_or_default(), origin_of(&webhook.url));
        Error::new(Code::UpstreamUnreachable, said)
    })
}

/// The secret of a webhook; [`Code::Damaged`] where it cannot be opened.
fn secret_of(core: &Core, webhook: &Webhook) -> Result<WebhookSecret> {
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
