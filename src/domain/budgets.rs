//! Budgets: what an agent key may use in a day, a week or a month, in tokens or money.

use serde::{Deserialize, Serialize};

use super::quota::{Measure, Quota, Span};
use crate::error::{Error, Result};

/// The most tokens that a limit can be set to.
pub const MAX_TOKENS: i64 = 1_000_000_000_000;
/// The most money, in millionths of the currency: a thousand million.
const MAX_MICROS: i64 = 1_000_000_000_000_000;

/// A budget's period, by the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first.
    Month,
}

impl Period {
    /// Every one.
    pub const ALL: [Period; 3] = [Period::Day, Period::Week, Period::Month];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
        }
    }
}

/// What a budget is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tokens, those sent and those answered.
    Tokens,
    /// Millionths of the currency that the models' prices are in.
    CostMicros,
}

impl Unit {
    /// Every one.
    pub const ALL: [Unit; 2] = [Unit::CostMicros, Unit::Tokens];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Tokens => "tokens",
            Unit::CostMicros => "cost_micros",
        }
    }
}

/// What a key may use in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The period.
    pub period: Period,
    /// What the amount is in.
    pub unit: Unit,
    /// How much.
    pub amount: i64,
}

impl Budget {
    /// In words, for the audit log.
    pub fn words(&self) -> String {
        let Budget { period, unit, amount } = self;
        match unit {
            Unit::Tokens => format!("{amount} tokens a {}", period.as_str()),
            Unit::CostMicros => format!("{} of money a {}", money(*amount), period.as_str()),
        }
    }

    /// What is counted for it.
    pub fn quota(&self) -> Quota {
        let span = match self.period {
            Period::Day => Span::Day,
            Period::Week => Span::Week,
            Period::Month => Span::Month,
        };
        match self.unit {
            Unit::Tokens => Quota { measure: Measure::Tokens, span, most: self.amount },
            Unit::CostMicros => Quota { measure: Measure::Cost, span, most: self.amount.saturating_mul(1000) },
        }
    }

    /// These budgets, and of the default ones those for which there is none.
    pub fn merged(mut own: Vec<Budget>, default: &[Budget]) -> Vec<Budget> {
        for budget in default {
            if !own.iter().any(|held| held.is_like(budget)) {
                own.push(*budget);
            }
        }
        own
    }

    /// Whether it is for the same period and unit.
    pub fn is_like(&self, other: &Budget) -> bool {
        (self.period, self.unit) == (other.period, other.unit)
    }
}

/// Micros as a decimal number: 2500000 is 2.5.
pub(super) fn money(micros: i64) -> String {
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    match part {
        0 => whole.to_string(),
        part => format!("{whole}.{part:06}").trim_end_matches('0').to_owned(),
    }
}

/// Lets budgets through that can be some.
///
/// # Errors
/// A refused field `limits/budgets`.
pub fn check(budgets: &[Budget]) -> Result<()> {
    let refused = |detail: String| Err(Error::field("limits/budgets", detail));
    for (at, budget) in budgets.iter().enumerate() {
        let most = match budget.unit {
            Unit::Tokens => MAX_TOKENS,
            Unit::CostMicros => MAX_MICROS,
        };
        if !(1..=most).contains(&budget.amount) {
            return refused(format!("must hold amounts from 1 to {most} in {}", budget.unit.as_str()));
        }
        if budgets[..at].iter().any(|other| other.is_like(budget)) {
            let (unit, period) = (budget.unit.as_str(), budget.period.as_str());
            return refused(format!("must hold one amount of {unit} a {period}, and holds two"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_checked() {
        let budget = |unit, amount| Budget { period: Period::Day, unit, amount };
        assert!(check(&[budget(Unit::Tokens, 1), budget(Unit::CostMicros, MAX_MICROS)]).is_ok());
        for bad in [0, -1, i64::MAX] {
            assert!(check(&[budget(Unit::Tokens, bad)]).is_err(), "{bad}");
        }
        assert!(check(&[budget(Unit::Tokens, 1), budget(Unit::Tokens, 2)]).is_err());
        assert_eq!(budget(Unit::CostMicros, 2_500_000).words(), "2.5 of money a day");
    }
}
