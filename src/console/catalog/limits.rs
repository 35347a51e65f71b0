//! The limits of a provider in its form; what is left empty is Keyward's default.

use super::keys::Typed;
use crate::{
    console::{State, forms::Refused, parts::Field},
    domain::provider_limits::{DEFAULT_CALLS_IN_FLIGHT, ProviderLimits},
};

const FIELDS: [&str; 5] = ["calls_in_flight", "connect_seconds", "head_seconds", "idle_seconds", "total_seconds"];

/// The part of the form.
#[derive(Clone, Debug, Default)]
pub struct LimitFields {
    /// The most calls at once.
    pub calls_in_flight: Field,
    /// For a connection.
    pub connect_seconds: Field,
    /// For the head of an answer.
    pub head_seconds: Field,
    /// For silence within an answer.
    pub idle_seconds: Field,
    /// For a whole call.
    pub total_seconds: Field,
    /// What holds where a field is empty.
    pub default_calls: u32,
    /// In seconds.
    pub default_connect: u64,
    /// In seconds.
    pub default_head: u64,
    /// In seconds.
    pub default_idle: u64,
    /// Something is set or refused.
    pub is_open: bool,
}

impl LimitFields {
    /// The fields with what was typed.
    pub fn new(state: &State, typed: &Typed, refused: &mut Refused) -> LimitFields {
        let [calls_in_flight, connect_seconds, head_seconds, idle_seconds, total_seconds] = FIELDS.map(|name| {
            Field::new(typed.get(name).map(String::as_str).unwrap_or_default(), refused.take(&format!("limits/{name}")))
        });
        let all = [&calls_in_flight, &connect_seconds, &head_seconds, &idle_seconds, &total_seconds];
        let is_open = all.iter().any(|field| !field.value.is_empty() || field.error.is_some());
        let patience = state.core.egress.patience();
        LimitFields {
            is_open,
            calls_in_flight,
            connect_seconds,
            head_seconds,
            idle_seconds,
            total_seconds,
            default_calls: DEFAULT_CALLS_IN_FLIGHT,
            default_connect: patience.connect.as_secs(),
            default_head: patience.head.as_secs(),
            default_idle: patience.idle.as_secs(),
        }
    }
}

/// Adds what a form holds where these limits are set.
pub fn add_typed(typed: &mut Typed, limits: ProviderLimits) {
    for (name, value) in FIELDS.into_iter().zip(values(limits)) {
        typed.insert(name.to_owned(), value.map(|value| value.to_string()).unwrap_or_default());
    }
}

/// The limits that were typed; `None` where the form has no such fields, and what is set stays.
///
/// # Errors
/// What to tell on the form.
pub fn chosen(typed: &Typed) -> Result<Option<ProviderLimits>, Refused> {
    if !FIELDS.iter().any(|name| typed.contains_key(*name)) {
        return Ok(None);
    }
    let number = |name: &str| match typed.get(name).map(|text| text.trim()).unwrap_or_default() {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| Refused::field(&format!("limits/{name}"), "must be a whole number, or empty for the default")),
    };
    Ok(Some(ProviderLimits {
        calls_in_flight: number("calls_in_flight")?,
        connect_seconds: number("connect_seconds")?,
        head_seconds: number("head_seconds")?,
        idle_seconds: number("idle_seconds")?,
        total_seconds: number("total_seconds")?,
    }))
}

/// Whether a field is one of those here; a form is answered with no other that somebody sent.
pub fn is_ours(name: &str) -> bool {
    FIELDS.contains(&name)
}

/// Limits as words, for a comparison; empty where every default holds.
pub fn words(limits: ProviderLimits) -> String {
    let set = FIELDS.into_iter().zip(values(limits)).filter_map(|(name, value)| Some((name, value?)));
    set.map(|(name, value)| format!("{} {value}", name.replace('_', " "))).collect::<Vec<_>>().join(", ")
}

fn values(limits: ProviderLimits) -> [Option<u32>; 5] {
    let ProviderLimits { calls_in_flight, connect_seconds, head_seconds, idle_seconds, total_seconds } = limits;
    [calls_in_flight, connect_seconds, head_seconds, idle_seconds, total_seconds]
}
