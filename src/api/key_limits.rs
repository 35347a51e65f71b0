//! The limits of an agent key, as the API takes and tells them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::types::{present, present_objects};
use crate::{
    domain::{
        budgets::{Budget, Period, Unit},
        key_limits::{self, KeyLimits},
    },
    error::Error,
};

/// What an agent key may call, from where and how often. An empty list, and null, is no limit.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentKeyLimits)]
pub struct Limits {
    /// Patterns: a model is allowed that one of them matches, by its name or as `provider-name/upstream-model`; `*` stands
    /// for any text.
    #[schema(example = json!(["gpt-5*"]))]
    allowed_models: Vec<String>,
    /// Patterns of `provider-name/path`: routes at `/providers/…` that it may call beyond those for inference.
    #[schema(example = json!(["OpenAI/files*"]))]
    allowed_routes: Vec<String>,
    /// Addresses and networks that calls come from.
    #[schema(example = json!(["10.0.0.0/8"]))]
    allowed_addresses: Vec<String>,
    /// Calls in any minute.
    requests_per_minute: Option<u32>,
    /// Calls at once; of several servers each takes its share of them.
    calls_in_flight: Option<u32>,
    /// Tokens in any minute, those sent and those answered.
    tokens_per_minute: Option<i64>,
    /// What it may use a day, a week and a month.
    budgets: Vec<BudgetBody>,
}

impl Limits {
    /// As the API tells them.
    pub(super) fn new(limits: KeyLimits) -> Limits {
        Limits {
            allowed_addresses: limits.addresses(),
            allowed_models: limits.allowed_models,
            allowed_routes: limits.allowed_routes,
            requests_per_minute: limits.requests_per_minute,
            calls_in_flight: limits.calls_in_flight,
            tokens_per_minute: limits.tokens_per_minute,
            budgets: limits.budgets.iter().map(BudgetBody::new).collect(),
        }
    }
}

/// What an agent key may use in a period by the calendar, in UTC. A call is let through while anything is left, so that calls
/// under way may go beyond it, and no others.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Budget)]
pub struct BudgetBody {
    /// `day`, from midnight; `week`, from Monday; `month`, from the first.
    #[schema(example = "month")]
    period: String,
    /// `tokens`, those sent and those answered; `cost_micros`, millionths of the currency of the models' prices. With a budget
    /// in money only models with both prices can be called.
    #[schema(example = "cost_micros")]
    unit: String,
    /// How much: to 1,000,000,000,000 tokens or 1,000,000,000,000,000 micros.
    #[schema(minimum = 1, example = 50_000_000)]
    amount: i64,
}

impl BudgetBody {
    fn new(budget: &Budget) -> BudgetBody {
        BudgetBody {
            period: budget.period.as_str().to_owned(),
            unit: budget.unit.as_str().to_owned(),
            amount: budget.amount,
        }
    }

    fn parse(&self) -> Result<Budget, Error> {
        let refused = |detail: &str| Error::field("limits/budgets", detail);
        let period = Period::ALL.into_iter().find(|period| period.as_str() == self.period);
        let unit = Unit::ALL.into_iter().find(|unit| unit.as_str() == self.unit);
        Ok(Budget {
            period: period.ok_or_else(|| refused("must hold periods of day, week or month"))?,
            unit: unit.ok_or_else(|| refused("must hold amounts in tokens or cost_micros"))?,
            amount: self.amount,
        })
    }
}

/// Limits to set: what is absent stays (or is none, for a new key), null or an empty list takes a limit away.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AgentKeyLimitsEdit)]
pub struct LimitsPatch {
    /// At most 100 patterns of 1 to 256 bytes.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_models: Option<Option<Vec<String>>>,
    /// At most 100 patterns with a slash. Only who may change providers can add any.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_routes: Option<Option<Vec<String>>>,
    /// At most 100 addresses or networks.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_addresses: Option<Option<Vec<String>>>,
    /// From 1 to 1,000,000.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    requests_per_minute: Option<Option<u32>>,
    /// From 1 to 1,000,000.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    calls_in_flight: Option<Option<u32>>,
    /// From 1 to 1,000,000,000,000.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 1_000_000_000_000_i64)]
    tokens_per_minute: Option<Option<i64>>,
    /// All of them; one for each period and unit.
    #[serde(default, deserialize_with = "present_objects")]
    #[schema(value_type = Option<Vec<BudgetBody>>)]
    budgets: Option<Option<Vec<BudgetBody>>>,
}

impl LimitsPatch {
    /// What becomes of limits.
    ///
    /// # Errors
    /// A refused limit.
    pub(super) fn apply(self, mut limits: KeyLimits) -> Result<KeyLimits, Error> {
        if let Some(models) = self.allowed_models {
            limits.allowed_models = models.unwrap_or_default();
        }
        if let Some(routes) = self.allowed_routes {
            limits.allowed_routes = routes.unwrap_or_default();
        }
        if let Some(addresses) = self.allowed_addresses {
            limits.allowed_addresses = key_limits::parse_addresses(&addresses.unwrap_or_default())?;
        }
        if let Some(calls) = self.requests_per_minute {
            limits.requests_per_minute = calls;
        }
        if let Some(calls) = self.calls_in_flight {
            limits.calls_in_flight = calls;
        }
        if let Some(tokens) = self.tokens_per_minute {
            limits.tokens_per_minute = tokens;
        }
        if let Some(budgets) = self.budgets {
            limits.budgets = budgets.unwrap_or_default().iter().map(BudgetBody::parse).collect::<Result<_, _>>()?;
        }
        Ok(limits)
    }
}
