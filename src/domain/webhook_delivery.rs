//! Sends messages to webhooks: signed, tried again with longer and longer pauses, a few at a time and fewer to one receiver,
//! so that one that hangs holds up nobody else's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use store::webhook_deliveries::Delivery;
use tokio_util::sync::CancellationToken;

use super::{Core, warnings, webhooks, webhooks::origin_of};
use crate::error::{Code, Error, Result};

/// How often it is looked what is due.
const EVERY: Duration = Duration::from_millis(500);
/// How often keys are looked through that end soon.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How many messages are looked at.
const DUE: i64 = 200;
/// How many are under way at once, in all and to one receiver.
const AT_ONCE: usize = 16;
const AT_ONCE_TO_ONE: usize = 4;
/// How long nobody else tries a message that is being sent, in milliseconds: longer than a try can take.
const CLAIM_MS: i64 = 60_000;
/// How long after each try the next one comes, in seconds; after the last one it is given up. As Standard Webhooks advises.
const PAUSES: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// How much is kept of why a try failed, in characters.
const MAX_DETAIL: usize = 300;

/// How many messages are under way, by webhook.
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
    let due = store::webhook_deliveries::due(&mut core.store.read().await?, now, DUE).await?;
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
        if counts.values().sum::<usize>() >= AT_ONCE || counts.get(webhook_id).is_some_and(|one| *one >= AT_ONCE_TO_ONE)
        {
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
    let answered = post(core, delivery).await;
    let now = core.clock.now_ms();
    (delivery.status, delivery.detail) = match answered {
        Ok(status) if (200..300).contains(&status) => {
            (delivery.delivered_at, delivery.next_try_at) = (now, 0);
            (i64::from(status), String::new())
        }
        Ok(status) => (i64::from(status), format!("it answered {status}")),
        Err(error) => (0, error.detail.chars().take(MAX_DETAIL).collect()),
    };
    if delivery.delivered_at == 0 {
        let tries = usize::try_from(delivery.tries).unwrap_or(usize::MAX).saturating_sub(1);
        delivery.next_try_at = PAUSES.get(tries).map_or(0, |seconds| now + seconds * 1000);
        tracing::warn!(
            webhook = delivery.webhook_id,
            message = delivery.id,
            tries = delivery.tries,
            detail = delivery.detail,
            "a message to a webhook was not delivered"
        );
    }
}

async fn post(core: &Core, delivery: &Delivery) -> Result<u16> {
    let webhook = webhooks::get(core, &delivery.webhook_id).await?;
    let secret = webhooks::secret_of(core, &webhook)?;
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
