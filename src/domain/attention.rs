//! What asks for attention: keys in use that end soon, ended ones that are still called, general keys that a provider
//! refuses, budgets that are almost used up, rows that were changed outside Keyward.

use store::{callers::Caller, general_keys::GeneralKey};

use super::{
    Core,
    access::owner_filter,
    actor::Actor,
    agent_key_defaults, agent_key_list,
    agent_keys::{self, Status},
    budgets::Budget,
    callers,
    clock::DAY_MS,
    general_keys,
    key_budgets::{self, Spent},
    key_health::Health,
    key_limits::KeyLimits,
    paging::ListQuery,
    roles::Permission,
    taken::Taken,
};
use crate::error::{Code, Result};

/// The most things of a kind that are told one by one.
pub const TOLD: usize = 5;
/// From how much of a budget it is told of, in hundredths.
pub const BUDGET_PERCENT: i64 = 80;
/// The most keys whose spending is looked at.
const SPENDERS: i64 = 5_000;
/// How long a leak is told of, in days.
const LEAKED_DAYS: i64 = 14;
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

/// A budget to be told of.
#[derive(Debug, Clone)]
pub struct BudgetToTell {
    /// Whose: the agent key's id.
    pub id: String,
    /// The key's name.
    pub name: String,
    /// The budget, and how much of it is used.
    pub spent: Spent,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Attention {
    /// Keys in use that end soon, the first to end first.
    pub ending: Vec<KeyToTell>,
    /// Whether there are more of them.
    pub more_ending: bool,
    /// Keys that were reported as leaked lately, the newest first.
    pub leaked: Vec<KeyToTell>,
    /// Keys that are expired or disabled, and still called.
    pub refused: Vec<KeyToTell>,
    /// Budgets of which [`BUDGET_PERCENT`] or more are used, the most used first.
    pub budgets: Vec<BudgetToTell>,
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
    attention.budgets = budgets(core, actor).await?;
    attention.refused = refused(core, now).await?;
    attention.leaked = leaked(core, actor, now).await?;
    // Told once, with from where it is called.
    attention.leaked.retain(|key| !attention.refused.iter().any(|told| told.id == key.id));
    if actor.authority.may(Permission::ReadGeneralKeys) {
        let page = general_keys::list(core, &ListQuery::default(), Some(Health::Refused)).await?;
        attention.unhealthy = page.items.into_iter().map(|view| view.key).take(TOLD).collect();
    }
    Ok(attention)
}

/// What servers have taken says which keys to look at, and usage how much each has used.
async fn budgets(core: &Core, actor: &Actor) -> Result<Vec<BudgetToTell>> {
    let default = agent_key_defaults::get(core).await?.1;
    let times = core.clock.times();
    let member_id = owner_filter(actor, Permission::ReadAgentKeys);
    let rows = store::spending::of_keys(&mut core.store.read().await?, member_id, SPENDERS).await?;
    let mut likely: Vec<(i128, String)> = Vec::new();
    for row in rows {
        let (Ok(taken), Ok(limits)) = (Taken::of_column(&row.taken), KeyLimits::of_column(&row.limits)) else {
            continue;
        };
        let used = |budget: &Budget| {
            let quota = budget.quota();
            let taken = taken.in_slot(&quota, quota.slot(times)).unwrap_or(0);
            i128::from(taken) * 100 / i128::from(quota.most.max(1))
        };
        let most = Budget::merged(limits.budgets, &default.budgets).iter().map(used).max().unwrap_or(0);
        if most >= i128::from(BUDGET_PERCENT) {
            likely.push((most, row.agent_key_id));
        }
    }
    likely.sort_by(|one, other| other.cmp(one));
    let mut told = Vec::new();
    for (_, id) in likely {
        if told.len() >= TOLD {
            break;
        }
        let key = match agent_keys::get(core, &id).await {
            Ok(key) => key,
            Err(error) if matches!(error.code, Code::NotFound | Code::Damaged) => continue,
            Err(error) => return Err(error),
        };
        if Status::of(&key, core.clock.now_ms()) != Status::Active {
            continue;
        }
        let spent = key_budgets::of_key(core, &key.id, &KeyLimits::of_column(&key.limits)?).await?;
        let most = spent.into_iter().filter(|spent| spent.percent() >= BUDGET_PERCENT).max_by_key(Spent::percent);
        told.extend(most.map(|spent| BudgetToTell { id: key.id, name: key.name, spent }));
    }
    Ok(told)
}

async fn leaked(core: &Core, actor: &Actor, now: i64) -> Result<Vec<KeyToTell>> {
    let member_id = owner_filter(actor, Permission::ReadAgentKeys);
    let since = now - LEAKED_DAYS * DAY_MS;
    let limit = i64::try_from(TOLD).unwrap_or(i64::MAX);
    let rows = store::agent_keys::leaked_since(&mut core.store.read().await?, since, member_id, limit).await?;
    let keys = rows.into_iter().filter(|key| !key.is_damaged).map(|key| KeyToTell {
        id: key.row.id,
        name: key.row.name,
        expires_at: key.row.leaked_at,
        is_leaked: true,
        is_disabled: false,
        callers: Vec::new(),
    });
    Ok(keys.collect())
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
