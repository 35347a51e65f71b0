//! Sends what is told, to webhooks and by e-mail: tried again with longer and longer pauses, a few at a time and fewer to one
//! receiver, so that one that hangs holds up nobody else's.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use store::{
    members::Member,
    webhook_deliveries::{Delivery, Way},
    webhooks::Webhook,
};
use tokio_util::sync::CancellationToken;

use super::{Core, clock::rfc3339, ids, mail, warnings, webhooks};
use crate::error::{Code, Error, Result};

/// How often it is looked what is due.
const EVERY: Duration = Duration::from_millis(500);
/// How often keys are looked through that end soon.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How many messages are looked at, of each way they go.
const DUE: i64 = 200;
/// How many are under way at once, to all webhooks and to one receiver; the mail server is one, with places of its own.
const AT_ONCE: usize = 16;
const AT_ONCE_TO_ONE: usize = 4;
/// How long nobody else tries a message that is being sent, in milliseconds: longer than a try can take.
const CLAIM_MS: i64 = 60_000;
/// How long after each try the next one comes, in seconds; after the last one it is given up. As Standard Webhooks advises.
const PAUSES: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// The most messages for trial that wait for one receiver.
const MAX_TESTS: i64 = 20;
/// How much is kept of why a try failed, in characters.
const MAX_DETAIL: usize = 300;

/// What came of messages since the start.
#[derive(Debug, Default)]
pub struct Sent {
    /// Those that were taken.
    pub delivered: AtomicI64,
    /// Tries that failed.
    pub failed: AtomicI64,
}

/// To whom a message goes.
pub(super) enum Receiver<'a> {
    /// To a webhook.
    Webhook(&'a Webhook),
    /// To a member, by e-mail.
    Member(&'a Member),
}

/// What came of a try.
pub(super) struct Outcome {
    status: u16,
    detail: String,
    fate: Fate,
}

enum Fate {
    Delivered,
    Again,
    Never,
}

impl Outcome {
    /// It was taken, with that status.
    pub(super) fn delivered(status: u16) -> Outcome {
        Outcome { status, detail: String::new(), fate: Fate::Delivered }
    }

    /// It was not taken, and is tried again; 0 is the status where there was no answer.
    pub(super) fn again(status: u16, detail: String) -> Outcome {
        Outcome { status, detail, fate: Fate::Again }
    }

    /// It is not taken, and will not be.
    pub(super) fn never(status: u16, detail: String) -> Outcome {
        Outcome { status, detail, fate: Fate::Never }
    }
}

/// A message that is still to be sent.
pub(super) fn message(core: &Core, to: &Receiver<'_>, event: &str, data: &Value, now: i64) -> Result<Delivery> {
    let (webhook_id, member_id) = match to {
        Receiver::Webhook(webhook) => (webhook.id.clone(), String::new()),
        Receiver::Member(member) => (String::new(), member.id.clone()),
    };
    Ok(Delivery {
        id: ids::mint("wd", now, &core.entropy)?,
        webhook_id,
        member_id,
        event: event.to_owned(),
        payload: json!({ "type": event, "timestamp": rfc3339(now), "data": data }).to_string(),
        created_at: now,
        next_try_at: now,
        tries: 0,
        delivered_at: 0,
        status: 0,
        detail: String::new(),
    })
}

/// Writes a message for trial, where not too many wait for this receiver already.
///
/// # Errors
/// [`Code::TooManyAttempts`]; a storage failure.
pub(super) async fn write_test(
    core: &Core,
    tx: &mut store::Write,
    to: &Receiver<'_>,
    event: &str,
    data: &Value,
) -> Result<Delivery> {
    let message = message(core, to, event, data, core.clock.now_ms())?;
    let waiting = store::webhook_deliveries::waiting(tx, &message.webhook_id, &message.member_id, event).await?;
    if waiting >= MAX_TESTS {
        let detail = format!("{waiting} tests wait for this receiver already; wait until they were taken or given up");
        return Err(Error::new(Code::TooManyAttempts, detail));
    }
    store::webhook_deliveries::insert(tx, &message).await?;
    Ok(message)
}

/// How many messages are under way, by webhook; e-mails stand under none.
type UnderWay = Arc<Mutex<HashMap<String, usize>>>;

/// Sends what is due until it is told to stop.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let under_way = UnderWay::default();
    let mut next_look = tokio::time::Instant::now();
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        if tokio::time::Instant::now() >= next_look {
            next_look += LOOK_EVERY;
            if let Err(error) = warnings::look(&core).await {
                error.log("");
            }
        }
        if let Err(error) = send_due(&core, &under_way).await {
            error.log("");
        }
    }
}

async fn send_due(core: &Arc<Core>, under_way: &UnderWay) -> Result<()> {
    let now = core.clock.now_ms();
    let mut due = store::webhook_deliveries::due(&mut core.store.read().await?, Way::Webhook, now, DUE).await?;
    // Without a mail server they are left to one that has it.
    if core.mailer.is_some() {
        due.extend(store::webhook_deliveries::due(&mut core.store.read().await?, Way::Mail, now, DUE).await?);
    }
    for mut delivery in due {
        let Some(place) = Place::take(under_way, &delivery.webhook_id) else { continue };
        let mut tx = core.store.write_aside().await?;
        let is_ours = store::webhook_deliveries::claim(&mut tx, &delivery, now + CLAIM_MS).await?;
        tx.commit().await?;
        if !is_ours {
            continue;
        }
        delivery.tries += 1;
        let core = Arc::clone(core);
        tokio::spawn(async move {
            let _place = place;
            send(&core, &mut delivery).await;
            if let Err(error) = note(&core, &delivery).await {
                // It is tried again then, and its receiver tells it by its id.
                error.log("");
            }
        });
    }
    Ok(())
}

async fn note(core: &Core, delivery: &Delivery) -> Result<()> {
    let mut tx = core.store.write_aside().await?;
    store::webhook_deliveries::note(&mut tx, delivery).await?;
    Ok(tx.commit().await?)
}

/// A message's place among those under way.
struct Place {
    under_way: UnderWay,
    webhook_id: String,
}

impl Place {
    fn take(under_way: &UnderWay, webhook_id: &str) -> Option<Place> {
        let mut counts = under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let to_webhooks: usize = counts.iter().filter(|(id, _)| !id.is_empty()).map(|(_, count)| count).sum();
        let is_full = !webhook_id.is_empty() && to_webhooks >= AT_ONCE;
        if is_full || counts.get(webhook_id).is_some_and(|one| *one >= AT_ONCE_TO_ONE) {
            return None;
        }
        *counts.entry(webhook_id.to_owned()).or_default() += 1;
        Some(Place { under_way: Arc::clone(under_way), webhook_id: webhook_id.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = counts.get_mut(&self.webhook_id) {
            *one -= 1;
            if *one == 0 {
                counts.remove(&self.webhook_id);
            }
        }
    }
}

/// Tries a message once, and notes in it what came of that.
async fn send(core: &Core, delivery: &mut Delivery) {
    let outcome = match delivery.member_id.is_empty() {
        true => webhooks::post(core, delivery).await,
        false => mail::post(core, delivery).await,
    };
    let now = core.clock.now_ms();
    delivery.status = i64::from(outcome.status);
    delivery.detail = outcome.detail.chars().take(MAX_DETAIL).collect();
    delivery.next_try_at = match outcome.fate {
        Fate::Delivered => 0,
        Fate::Again => {
            let tries = usize::try_from(delivery.tries).unwrap_or(usize::MAX).saturating_sub(1);
            PAUSES.get(tries).map_or(0, |seconds| now + seconds * 1000)
        }
        Fate::Never => 0,
    };
    if matches!(outcome.fate, Fate::Delivered) {
        delivery.delivered_at = now;
        core.sent.delivered.fetch_add(1, Ordering::Relaxed);
        return;
    }
    core.sent.failed.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(
        webhook = delivery.webhook_id,
        member = delivery.member_id,
        message = delivery.id,
        tries = delivery.tries,
        detail = delivery.detail,
        "a message was not delivered"
    );
}
