//! What asks for attention: keys in use that end soon, ended ones that are still called, general keys that a provider
//! refuses, rows that were changed outside Keyward.

use store::{callers::Caller, general_keys::GeneralKey};

use super::{
    Core,
    actor::Actor,
    agent_key_list,
    agent_keys::{self, Status},
    callers,
    clock::DAY_MS,
    general_keys,
    key_health::Health,
    paging::ListQuery,
    roles::Permission,
};
use crate::error::{Code, Result};

/// The most things of a kind that are told one by one.
pub const TOLD: usize = 5;
/// How long a refused call is remembered, in days.
const REFUSED_DAYS: i64 = 7;
/// The newest refused calls that are looked through.
const REFUSED_CALLS: i64 = 100;

/// An agent key to be told of.
#[derive(Debug, Clone)]
pub struct KeyToTell {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it ends or ended, in milliseconds since 1970.
    pub expires_at: i64,
    /// Whether it was reported as leaked.
    pub is_leaked: bool,
    /// Whether it is disabled, and not ended.
    pub is_disabled: bool,
    /// From where it is still called, the newest call first; of keys that are good none.
    pub callers: Vec<Caller>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Attention {
    /// Keys in use that end soon, the first to end first.
    pub ending: Vec<KeyToTell>,
    /// Whether there are more of them.
    pub more_ending: bool,
    /// Keys that are expired or disabled, and still called.
    pub refused: Vec<KeyToTell>,
    /// General keys that a provider refused.
    pub unhealthy: Vec<GeneralKey>,
    /// Rows that failed in the last look through all of them.
    pub damaged_rows: i64,
}

/// What asks for the attention of somebody who may see it.
///
/// # Errors
/// A storage failure.
pub async fn of(core: &Core, actor: &Actor) -> Result<Attention> {
    let now = core.clock.now_ms();
    let mut attention =
        Attention { damaged_rows: core.findings.last().map_or(0, |(_, failed)| failed), ..Attention::default() };
    let query = ListQuery { sort: Some(String::from("expires_at")), ..ListQuery::default() };
    let mut ending = agent_key_list::list_standing(core, actor, &query, "ending", "").await?.untouched().items;
    attention.more_ending = ending.len() > TOLD;
    ending.truncate(TOLD);
    attention.ending = ending
        .into_iter()
        .map(|key| KeyToTell {
            id: key.id,
            name: key.name,
            expires_at: key.expires_at,
            is_leaked: false,
            is_disabled: false,
            callers: Vec::new(),
        })
        .collect();
    attention.refused = refused(core, now).await?;
    if actor.authority.may(Permission::ReadGeneralKeys) {
        let page = general_keys::list(core, &ListQuery::default(), Some(Health::Refused)).await?;
        attention.unhealthy = page.items.into_iter().map(|view| view.key).take(TOLD).collect();
    }
    Ok(attention)
}

async fn refused(core: &Core, now: i64) -> Result<Vec<KeyToTell>> {
    callers::write_down(core).await;
    let since = now - REFUSED_DAYS * DAY_MS;
    let calls = store::callers::refused_since(&mut core.store.read().await?, since, REFUSED_CALLS).await?;
    let mut told: Vec<KeyToTell> = Vec::new();
    for call in calls {
        if let Some(known) = told.iter_mut().find(|known| known.id == call.agent_key_id) {
            known.callers.push(call);
            continue;
        }
        let key = match agent_keys::get(core, &call.agent_key_id).await {
            Ok(key) => key,
            Err(error) if matches!(error.code, Code::NotFound | Code::Damaged) => continue,
            Err(error) => return Err(error),
        };
        let status = Status::of(&key, now);
        if status == Status::Active || told.len() == TOLD {
            continue;
        }
        let is_disabled = status == Status::Disabled;
        told.push(KeyToTell {
            id: key.id,
            name: key.name,
            expires_at: key.expires_at,
            is_leaked: key.leaked_at > 0,
            is_disabled,
            callers: vec![call],
        });
    }
    Ok(told)
}
