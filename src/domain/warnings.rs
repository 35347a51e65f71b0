//! What is told of by itself: keys in use that end soon, budgets that are used up, ended keys that are still called,
//! general keys that a provider refuses. Noted in memory where it is seen, and written down in batches: each once for its
//! occasion, with a message for every webhook that wants it and an e-mail to whom it concerns.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};
use store::{Handle, agent_keys::AgentKey, webhooks::Webhook};

use super::{
    Core,
    agent_key_rules::printable,
    agent_keys::Status,
    clock::{DAY_MS, rfc3339},
    delivery::{Receiver, message},
    key_cache::CachedKey,
    mail,
    paging::MAX_LIMIT,
    quota::{Measure, Quota},
};
use crate::error::Result;

/// The types of events.
pub const EVENTS: [&str; 6] = [ENDING, BUDGET, ENDED_CALLED, LEAKED, REFUSED, TEST];
pub(super) const ENDING: &str = "agent_key.ending";
pub(super) const BUDGET: &str = "agent_key.budget_used";
pub(super) const ENDED_CALLED: &str = "agent_key.ended_called";
pub(super) const LEAKED: &str = "agent_key.leaked";
pub(super) const REFUSED: &str = "general_key.refused";
/// Sent where somebody asks for it.
pub const TEST: &str = "webhook.test";

/// How many days before its end a key is told of.
const DAYS: [i64; 5] = [1, 3, 7, 14, 30];
/// How much of a budget is told of, in hundredths.
pub const PERCENTS: [i64; 2] = [80, 100];
/// The most that waits to be written down; more is seen again.
const MAX_WAITING: usize = 10_000;
/// How long messages are kept once they were sent or given up, and how long it is remembered what was told.
const MESSAGES_MS: i64 = 30 * DAY_MS;
const TOLD_MS: i64 = 400 * DAY_MS;

/// Something to be told of.
#[derive(Debug, Clone)]
enum Warning {
    Budget { key: String, name: String, quota: Quota, percent: i64 },
    EndedCalled { key: String, address: String },
    Leaked { key: String, found_at: String },
    Refused { general_key: String, words: String },
}

/// What waits to be told.
#[derive(Debug, Default)]
pub struct Warnings {
    /// By what it is about and its occasion.
    waiting: Mutex<HashMap<String, Warning>>,
    /// What this process told already.
    told: Mutex<HashSet<String>>,
}

impl Warnings {
    /// A key has used so much of a budget, whose period began at `slot`.
    pub fn budget(&self, key: &CachedKey, quota: Quota, slot: i64, percent: i64) {
        let id = format!("{BUDGET} {} {} {slot} {percent} of {}", key.id, quota.name(), quota.most);
        self.note(id, || Warning::Budget { key: key.id.to_string(), name: key.name.clone(), quota, percent });
    }

    /// A key that is over was called at `now`; told once a day.
    pub fn ended_called(&self, key: &str, address: &str, now: i64) {
        let id = format!("{ENDED_CALLED} {key} {}", now.div_euclid(DAY_MS));
        self.note(id, || Warning::EndedCalled { key: key.to_owned(), address: address.to_owned() });
    }

    /// A key was reported as leaked, and ended.
    pub fn leaked(&self, key: &CachedKey, found_at: &str) {
        let id = format!("{LEAKED} {} {}", key.id, key.issued_at);
        self.note(id, || Warning::Leaked { key: key.id.to_string(), found_at: printable(found_at) });
    }

    /// A provider refused a general key at `now`, in these words; told once a day.
    pub fn refused(&self, general_key: &str, words: &str, now: i64) {
        let id = format!("{REFUSED} {general_key} {}", now.div_euclid(DAY_MS));
        self.note(id, || Warning::Refused { general_key: general_key.to_owned(), words: words.to_owned() });
    }

    fn note(&self, id: String, warning: impl FnOnce() -> Warning) {
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).contains(&id) {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING {
            waiting.entry(id).or_insert_with(warning);
        }
    }

    /// Writes down what waits, with a message to each webhook that wants it and an e-mail to whom it concerns. Where there is
    /// neither webhook nor mail server nothing is told, and so nothing counts as told.
    ///
    /// # Errors
    /// A storage failure; what waited waits on.
    pub async fn flush(&self, core: &Core) -> Result<()> {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.is_empty() {
            return Ok(());
        }
        let written = self.write(core, &waiting).await;
        if written.is_err() {
            // What was noted meanwhile is newer.
            let mut noted = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, warning) in waiting {
                noted.entry(id).or_insert(warning);
            }
        }
        written
    }

    async fn write(&self, core: &Core, waiting: &HashMap<String, Warning>) -> Result<()> {
        let receivers = Receivers::read(core).await?;
        if receivers.is_none() {
            return Ok(());
        }
        let now = core.clock.now_ms();
        let mut told = Vec::with_capacity(waiting.len());
        let mut tx = core.store.write_aside().await?;
        for (id, warning) in waiting {
            if let Some(told) = describe(&mut tx, warning, now).await?
                && store::webhook_deliveries::tell_once(&mut tx, id, now).await?
            {
                receivers.tell(core, &mut tx, &told, now).await?;
            }
            told.push(id.clone());
        }
        tx.commit().await?;
        let mut known = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_WAITING {
            known.clear();
        }
        known.extend(told);
        Ok(())
    }
}

/// Who may be told.
struct Receivers {
    /// The webhooks that can be relied on.
    webhooks: Vec<Webhook>,
    /// Whether there is a mail server.
    by_mail: bool,
}

impl Receivers {
    async fn read(core: &Core) -> Result<Receivers> {
        let rows = store::webhooks::all(&mut core.store.read().await?).await?;
        let webhooks = rows.into_iter().filter(|row| !row.is_damaged).map(|row| row.row).collect();
        Ok(Receivers { webhooks, by_mail: core.mailer.is_some() })
    }

    fn is_none(&self) -> bool {
        self.webhooks.is_empty() && !self.by_mail
    }

    /// Writes a message to each webhook that wants this event, and an e-mail to each member whom it concerns.
    async fn tell(&self, core: &Core, tx: &mut store::Write, told: &Told, now: i64) -> Result<()> {
        let wants = |hook: &&Webhook| hook.events.is_empty() || hook.events.split(',').any(|event| event == told.event);
        let members = match self.by_mail {
            true => mail::recipients(tx, told.event, &told.owner_id).await?,
            false => Vec::new(),
        };
        let webhooks = self.webhooks.iter().filter(wants).map(Receiver::Webhook);
        for to in webhooks.chain(members.iter().map(Receiver::Member)) {
            let message = message(core, &to, told.event, &told.data, now)?;
            store::webhook_deliveries::insert(tx, &message).await?;
        }
        Ok(())
    }
}

/// What is told.
struct Told {
    event: &'static str,
    data: Value,
    /// Whose key it is about; empty where that is nobody's.
    owner_id: String,
}

/// What is told, where it still holds.
async fn describe(db: &mut impl Handle, warning: &Warning, now: i64) -> Result<Option<Told>> {
    Ok(match warning {
        Warning::Budget { key, name, quota, percent } => {
            let amount = match quota.measure {
                Measure::Cost => json!({ "unit": "cost_micros", "amount": quota.most / 1000 }),
                _ => json!({ "unit": "tokens", "amount": quota.most }),
            };
            let owner_id = match store::agent_keys::get(db, key).await {
                Ok(key) => key.map(|key| key.member_id).unwrap_or_default(),
                Err(store::StoreError::Tampered { .. }) => String::new(),
                Err(error) => return Err(error.into()),
            };
            let key = json!({ "id": key, "name": name });
            let data = json!({ "agent_key": key, "budget": amount, "period": quota.span.as_str(), "percent": percent });
            Some(Told { event: BUDGET, data, owner_id })
        }
        Warning::EndedCalled { key, address } => match store::agent_keys::get(db, key).await {
            Ok(Some(key)) if Status::of(&key, now) == Status::Expired => {
                let data = json!({ "agent_key": told_of(&key), "address": address });
                Some(Told { event: ENDED_CALLED, data, owner_id: key.member_id })
            }
            // It is gone, disabled, or good again.
            Ok(_) | Err(store::StoreError::Tampered { .. }) => None,
            Err(error) => return Err(error.into()),
        },
        Warning::Leaked { key, found_at } => match store::agent_keys::get(db, key).await {
            Ok(Some(key)) => {
                let data = json!({ "agent_key": told_of(&key), "found_at": found_at });
                Some(Told { event: LEAKED, data, owner_id: key.member_id })
            }
            Ok(None) | Err(store::StoreError::Tampered { .. }) => None,
            Err(error) => return Err(error.into()),
        },
        Warning::Refused { general_key, words } => match store::general_keys::get(db, general_key).await {
            Ok(Some(key)) => {
                let data = json!({ "general_key": { "id": key.id, "name": key.name }, "words": words });
                Some(Told { event: REFUSED, data, owner_id: String::new() })
            }
            Ok(None) | Err(store::StoreError::Tampered { .. }) => None,
            Err(error) => return Err(error.into()),
        },
    })
}

fn told_of(key: &AgentKey) -> Value {
    json!({ "id": key.id, "name": key.name, "owner_id": key.member_id, "expires_at": rfc3339(key.expires_at) })
}

/// Looks for keys in use that end soon, tells of each at its days, and forgets what is long over.
///
/// # Errors
/// A storage failure.
pub async fn look(core: &Core) -> Result<()> {
    let receivers = Receivers::read(core).await?;
    let now = core.clock.now_ms();
    let mut ending = Vec::new();
    if !receivers.is_none() {
        let mut db = core.store.read().await?;
        let filter = store::agent_keys::StatusFilter {
            status: "ending",
            now,
            soon: now + DAYS[DAYS.len() - 1] * DAY_MS,
            member_id: "",
            tag: "",
        };
        let mut after = None;
        loop {
            let listing = store::Listing {
                search: String::new(),
                sort: store::agent_keys::AgentKeySort::ExpiresAt,
                descending: false,
                after,
                limit: MAX_LIMIT,
            };
            let page = store::agent_keys::list(&mut db, &listing, filter).await?;
            after = page.last().map(|key| (store::SortValue::Int(key.row.expires_at), key.row.id.clone()));
            let is_last = page.len() < usize::try_from(MAX_LIMIT).unwrap_or(usize::MAX);
            ending.extend(page.into_iter().filter(|key| !key.is_damaged).map(|key| key.row));
            if is_last {
                break;
            }
        }
    }
    let mut tx = core.store.write_aside().await?;
    for key in ending {
        let left = key.expires_at - now;
        let Some(days) = DAYS.into_iter().find(|days| left <= days * DAY_MS) else { continue };
        let id = format!("{ENDING} {} {} {days}", key.id, key.expires_at);
        if store::webhook_deliveries::tell_once(&mut tx, &id, now).await? {
            let data = json!({ "agent_key": told_of(&key), "within_days": days });
            receivers.tell(core, &mut tx, &Told { event: ENDING, data, owner_id: key.member_id }, now).await?;
        }
    }
    store::webhook_deliveries::forget_before(&mut tx, now - MESSAGES_MS, now - TOLD_MS).await?;
    tx.commit().await?;
    Ok(())
}
