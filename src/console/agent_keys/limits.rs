//! The limits of an agent key in its forms.

use serde::Deserialize;

use crate::{
    console::{forms::Refused, parts::Field},
    domain::key_limits::{self, KeyLimits},
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
    /// Something is set, or was refused: the part is unfolded.
    pub is_open: bool,
}

impl Typed {
    /// A form that holds these limits.
    pub fn of(limits: &KeyLimits) -> Typed {
        let number = |limit: Option<u32>| limit.map(|limit| limit.to_string()).unwrap_or_default();
        Typed {
            allowed_models: limits.allowed_models.join("\n"),
            allowed_routes: limits.allowed_routes.join("\n"),
            allowed_addresses: limits.addresses().join("\n"),
            requests_per_minute: number(limits.requests_per_minute),
            calls_in_flight: number(limits.calls_in_flight),
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
        let number = |name: &'static str, text: &str| match text.trim() {
            "" => Ok(None),
            text => {
                text.parse().map(Some).map_err(|_| Error::field(name, "must be a whole number from 1 to 1,000,000"))
            }
        };
        let addresses = key_limits::parse_addresses(&lines(&self.allowed_addresses));
        let numbers = Error::both(
            number("limits/requests_per_minute", &self.requests_per_minute),
            number("limits/calls_in_flight", &self.calls_in_flight),
        );
        let (allowed_addresses, (requests_per_minute, calls_in_flight)) = Error::both(addresses, numbers)?;
        let (allowed_models, allowed_routes) = (lines(&self.allowed_models), lines(&self.allowed_routes));
        KeyLimits { allowed_models, allowed_routes, allowed_addresses, requests_per_minute, calls_in_flight }.check()
    }

    /// In words, for a comparison.
    pub fn words(&self) -> String {
        self.parse().map(|limits| limits.words()).unwrap_or_default()
    }

    /// As the form's fields, by their names.
    pub fn fields(&self) -> [(&'static str, &str); 5] {
        [
            ("allowed_models", &self.allowed_models),
            ("allowed_routes", &self.allowed_routes),
            ("allowed_addresses", &self.allowed_addresses),
            ("requests_per_minute", &self.requests_per_minute),
            ("calls_in_flight", &self.calls_in_flight),
        ]
    }
}

impl LimitFields {
    /// The fields with what was typed, and why it was refused.
    pub fn new(typed: Typed, refused: &mut Refused) -> LimitFields {
        let is_set = typed.fields().iter().any(|(_, value)| !value.trim().is_empty());
        let fields = LimitFields {
            allowed_models: Field::new(typed.allowed_models, refused.take("limits/allowed_models")),
            allowed_routes: Field::new(typed.allowed_routes, refused.take("limits/allowed_routes")),
            allowed_addresses: Field::new(typed.allowed_addresses, refused.take("limits/allowed_addresses")),
            requests_per_minute: Field::new(typed.requests_per_minute, refused.take("limits/requests_per_minute")),
            calls_in_flight: Field::new(typed.calls_in_flight, refused.take("limits/calls_in_flight")),
            is_open: is_set,
        };
        let all = [
            &fields.allowed_models,
            &fields.allowed_routes,
            &fields.allowed_addresses,
            &fields.requests_per_minute,
            &fields.calls_in_flight,
        ];
        let is_open = is_set || all.iter().any(|field| field.error.is_some());
        LimitFields { is_open, ..fields }
    }
}
