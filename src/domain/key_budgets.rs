//! How much of its budgets an agent key has used, as its usage tells.

use super::{
    Core, agent_key_defaults,
    budgets::{Budget, Unit},
    key_limits::KeyLimits,
    usage,
};
use crate::error::Result;

/// A budget, and how much of it is used.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// The budget.
    pub budget: Budget,
    /// Whether it is the default one, of a key that has none of its own.
    pub is_default: bool,
    /// How much was used since the period began, in the budget's unit.
    pub used: i64,
    /// When the next period begins: milliseconds since 1970.
    pub resets_at: i64,
}

impl Spent {
    /// How much is left, in the budget's unit.
    pub fn left(&self) -> i64 {
        (self.budget.amount - self.used).max(0)
    }

    /// How much of it is used, in hundredths, rounded down.
    pub fn percent(&self) -> i64 {
        i64::try_from(i128::from(self.used) * 100 / i128::from(self.budget.amount.max(1))).unwrap_or(i64::MAX)
    }
}

/// The budgets of a key that has these limits of its own.
///
/// # Errors
/// A storage failure.
pub async fn of_key(core: &Core, id: &str, limits: &KeyLimits) -> Result<Vec<Spent>> {
    let (_, default) = agent_key_defaults::get(core).await?;
    let own = &limits.budgets;
    let times = core.clock.times();
    let mut all = Vec::new();
    for budget in Budget::merged(own.clone(), &default.budgets) {
        let quota = budget.quota();
        let (from, to) = quota.period(times);
        let counts = usage::of_agent_key_between(core, id, from, to).await?;
        let used = match budget.unit {
            Unit::Tokens => counts.input_tokens.saturating_add(counts.output_tokens),
            Unit::CostMicros => counts.cost_nanos / 1000,
        };
        let is_default = !own.iter().any(|held| held.is_like(&budget));
        all.push(Spent { budget, is_default, used, resets_at: to });
    }
    Ok(all)
}
