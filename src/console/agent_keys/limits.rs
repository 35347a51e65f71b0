//! The limits of an agent key in its forms.

use serde::Deserialize;

use crate::{
    console::{State, forms::Refused, parts::Field},
    domain::{
        budgets::{Budget, Period, Unit},
        key_limits::{self, KeyLimits},
        prices,
    },
    error::{Error, Result},
};

/// What was typed: names and networks a line each, numbers; empty where nothing is limited.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    /// Models.
    pub allowed_models: String,
    /// Routes beyond inference.
    pub allowed_routes: String,
    /// Addresses.
    pub allowed_addresses: String,
    /// Requests a minute.
    pub requests_per_minute: String,
    /// Calls at once.
    pub calls_in_flight: String,
    /// Tokens a minute.
    pub tokens_per_minute: String,
    /// Money a day, decimal.
    pub day_cost: String,
    /// Tokens a day.
    pub day_tokens: String,
    /// Money a week, decimal.
    pub week_cost: String,
    /// Tokens a week.
    pub week_tokens: String,
    /// Money a month, decimal.
    pub month_cost: String,
    /// Tokens a month.
    pub month_tokens: String,
}

/// The fields of a form.
#[derive(Clone, Debug, Default)]
pub struct LimitFields {
    /// Models.
    pub allowed_models: Field,
    /// Routes beyond inference.
    pub allowed_routes: Field,
    /// Addresses.
    pub allowed_addresses: Field,
    /// Requests a minute.
    pub requests_per_minute: Field,
    /// Calls at once.
    pub calls_in_flight: Field,
    /// Tokens a minute.
    pub tokens_per_minute: Field,
    /// The budgets, money and tokens by turns, period by period.
    pub budgets: Vec<BudgetField>,
    /// What holds where a field is left empty, in words; empty where nothing does.
    pub default: String,
    /// These are the default limits themselves.
    pub is_default: bool,
    /// Something is set, or was refused: the part is unfolded.
    pub is_open: bool,
}

/// The field of a budget.
#[derive(Clone, Debug, Default)]
pub struct BudgetField {
    /// Its name in the form.
    pub name: &'static str,
    /// Its label.
    pub label: &'static str,
    /// What was typed.
    pub field: Field,
}

/// The names of the budgets' fields and their labels, and what they are.
const BUDGETS: [(&str, &str, Period, Unit); 6] = [
    ("day_cost", "Money a day", Period::Day, Unit::CostMicros),
    ("day_tokens", "Tokens a day", Period::Day, Unit::Tokens),
    ("week_cost", "Money a week", Period::Week, Unit::CostMicros),
    ("week_tokens", "Tokens a week", Period::Week, Unit::Tokens),
    ("month_cost", "Money a month", Period::Month, Unit::CostMicros),
    ("month_tokens", "Tokens a month", Period::Month, Unit::Tokens),
];

impl Typed {
    /// A form that holds these limits.
    pub fn of(limits: &KeyLimits) -> Typed {
        fn number<T: ToString>(limit: Option<T>) -> String {
            limit.map(|limit| limit.to_string()).unwrap_or_default()
        }
        let budget = |period, unit| {
            let found = limits.budgets.iter().find(|budget| (budget.period, budget.unit) == (period, unit));
            found.map(|budget| match unit {
                Unit::CostMicros => prices::decimal(budget.amount),
                Unit::Tokens => budget.amount.to_string(),
            })
        };
        let budget = |period, unit| budget(period, unit).unwrap_or_default();
        Typed {
            allowed_models: limits.allowed_models.join("\n"),
            allowed_routes: limits.allowed_routes.join("\n"),
            allowed_addresses: limits.addresses().join("\n"),
            requests_per_minute: number(limits.requests_per_minute),
            calls_in_flight: number(limits.calls_in_flight),
            tokens_per_minute: number(limits.tokens_per_minute),
            day_cost: budget(Period::Day, Unit::CostMicros),
            day_tokens: budget(Period::Day, Unit::Tokens),
            week_cost: budget(Period::Week, Unit::CostMicros),
            week_tokens: budget(Period::Week, Unit::Tokens),
            month_cost: budget(Period::Month, Unit::CostMicros),
            month_tokens: budget(Period::Month, Unit::Tokens),
        }
    }

    /// The limits that were typed.
    ///
    /// # Errors
    /// A refused field `limits/…`.
    pub fn parse(&self) -> Result<KeyLimits> {
        let lines = |text: &str| -> Vec<String> {
            text.split(['\n', ',']).map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        };
        let calls = |name: &'static str, text: &str| match text.trim() {
            "" => Ok(None),
            text => {
                text.parse().map(Some).map_err(|_| Error::field(name, "must be a whole number from 1 to 1,000,000"))
            }
        };
        let addresses = key_limits::parse_addresses(&lines(&self.allowed_addresses));
        let numbers = Error::both(
            calls("limits/requests_per_minute", &self.requests_per_minute),
            calls("limits/calls_in_flight", &self.calls_in_flight),
        );
        let amounts = Error::both(whole("limits/tokens_per_minute", &self.tokens_per_minute), self.budgets());
        let (allowed_addresses, (numbers, amounts)) = Error::both(addresses, Error::both(numbers, amounts))?;
        let (requests_per_minute, calls_in_flight) = numbers;
        let (tokens_per_minute, budgets) = amounts;
        let (allowed_models, allowed_routes) = (lines(&self.allowed_models), lines(&self.allowed_routes));
        KeyLimits {
            allowed_models,
            allowed_routes,
            allowed_addresses,
            requests_per_minute,
            calls_in_flight,
            tokens_per_minute,
            budgets,
        }
        .check()
    }

    fn budgets(&self) -> Result<Vec<Budget>> {
        let mut budgets = Ok(Vec::new());
        for (name, _, period, unit) in BUDGETS {
            let text = self.budget(name);
            let amount = match unit {
                Unit::Tokens => whole(name, text),
                Unit::CostMicros if text.trim().is_empty() => Ok(None),
                Unit::CostMicros => prices::parse_decimal(text.trim())
                    .filter(|micros| *micros > 0)
                    .map(Some)
                    .ok_or_else(|| Error::field(name, "must be an amount like 20 or 2.50")),
            };
            budgets = Error::both(budgets, amount).map(|(mut budgets, amount)| {
                budgets.extend(amount.map(|amount| Budget { period, unit, amount }));
                budgets
            });
        }
        budgets
    }

    fn budget(&self, name: &str) -> &str {
        self.fields().into_iter().find(|(field, _)| *field == name).map_or("", |(_, value)| value)
    }

    /// In words, for a comparison.
    pub fn words(&self) -> String {
        self.parse().map(|limits| limits.words()).unwrap_or_default()
    }

    /// As the form's fields, by their names.
    pub fn fields(&self) -> [(&'static str, &str); 12] {
        [
            ("allowed_models", &self.allowed_models),
            ("allowed_routes", &self.allowed_routes),
            ("allowed_addresses", &self.allowed_addresses),
            ("requests_per_minute", &self.requests_per_minute),
            ("calls_in_flight", &self.calls_in_flight),
            ("tokens_per_minute", &self.tokens_per_minute),
            ("day_cost", &self.day_cost),
            ("day_tokens", &self.day_tokens),
            ("week_cost", &self.week_cost),
            ("week_tokens", &self.week_tokens),
            ("month_cost", &self.month_cost),
            ("month_tokens", &self.month_tokens),
        ]
    }
}

fn whole(name: &'static str, text: &str) -> Result<Option<i64>> {
    match text.trim() {
        "" => Ok(None),
        text => text
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .map(Some)
            .ok_or_else(|| Error::field(name, "must be a whole number from 1 on")),
    }
}

impl LimitFields {
    /// What a field is for, and what holds where it is left empty.
    pub fn hint(&self, what: &str, when_empty: &str) -> String {
        let when_empty = if self.default.is_empty() { when_empty } else { "the default limit" };
        format!("{what} Left empty, {when_empty}.").trim_start().to_owned()
    }

    /// The fields with what was typed, and why it was refused; `default` holds where nothing was typed.
    pub fn new(typed: Typed, default: &KeyLimits, refused: &mut Refused) -> LimitFields {
        let is_set = typed.fields().iter().any(|(_, value)| !value.trim().is_empty());
        let budget = |(name, label, _, _): (&'static str, &'static str, Period, Unit)| BudgetField {
            name,
            label,
            field: Field::new(typed.budget(name), refused.take(name)),
        };
        let budgets: Vec<_> = BUDGETS.into_iter().map(budget).collect();
        let fields = LimitFields {
            allowed_models: Field::new(typed.allowed_models, refused.take("limits/allowed_models")),
            allowed_routes: Field::new(typed.allowed_routes, refused.take("limits/allowed_routes")),
            allowed_addresses: Field::new(typed.allowed_addresses, refused.take("limits/allowed_addresses")),
            requests_per_minute: Field::new(typed.requests_per_minute, refused.take("limits/requests_per_minute")),
            calls_in_flight: Field::new(typed.calls_in_flight, refused.take("limits/calls_in_flight")),
            tokens_per_minute: Field::new(typed.tokens_per_minute, refused.take("limits/tokens_per_minute")),
            budgets,
            default: default.words(),
            is_default: false,
            is_open: is_set,
        };
        let all = [
            &fields.allowed_models,
            &fields.allowed_routes,
            &fields.allowed_addresses,
            &fields.requests_per_minute,
            &fields.calls_in_flight,
            &fields.tokens_per_minute,
        ];
        let is_open = is_set
            || all
                .into_iter()
                .chain(fields.budgets.iter().map(|budget| &budget.field))
                .any(|field| field.error.is_some());
        LimitFields { is_open, ..fields }
    }
}

/// The models without prices, in words: some by name, and how many more.
pub fn unpriced(state: &State) -> String {
    /// So many are told by name.
    const TOLD: usize = 5;
    // While the catalog is unread nobody is called, and nothing is to be told.
    let names = state.core.catalog().unpriced().unwrap_or_default();
    match names.len() {
        0..=TOLD => names.join(", "),
        all => format!("{} and {} more", names[..TOLD].join(", "), all - TOLD),
    }
}
