//! What one agent key may call, from where and how often.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    budgets::{self, Budget},
    quota::{Measure, Quota, Span},
};
use crate::error::{Code, Error, Result};

/// The most models or addresses that are named.
const MAX_NAMED: usize = 100;
/// The longest pattern for a model, in bytes.
const MAX_PATTERN: usize = 256;
/// The most calls a minute, or at once, that can be set.
const MAX_CALLS: u32 = 1_000_000;

/// The limits of an agent key. An empty list, and `None`, is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    /// Patterns: a model is allowed that one of them matches, by its name or as `provider-name/upstream-model`; `*` stands for
    /// any text.
    pub allowed_models: Vec<String>,
    /// Patterns: what `provider-name/path` has one that matches may be called at `/providers/…` beyond the inference routes.
    pub allowed_routes: Vec<String>,
    /// Networks that calls come from.
    pub allowed_addresses: Vec<IpNet>,
    /// Calls in any minute.
    pub requests_per_minute: Option<u32>,
    /// Calls at once.
    pub calls_in_flight: Option<u32>,
    /// Tokens in any minute, those sent and those answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<i64>,
    /// Money and tokens a day, a week, a month; each at most once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
}

impl KeyLimits {
    /// From the column of the store.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`] for limits that this version does not know: whoever has them is limited more than it could tell.
    pub fn of_column(text: &str) -> Result<KeyLimits> {
        serde_json::from_str(text).map_err(|error| {
            let detail = "the agent key has limits that this version of Keyward does not know; run the newer one";
            Error::new(Code::StorageUnavailable, detail).with_cause(error)
        })
    }

    /// For the column of the store.
    pub fn to_column(&self) -> String {
        match self.is_none() {
            true => String::from("{}"),
            false => serde_json::to_string(self).unwrap_or_default(),
        }
    }

    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == KeyLimits::default()
    }

    /// In words, for the audit log; empty where nothing is limited.
    pub fn words(&self) -> String {
        let mut parts = Vec::new();
        if !self.allowed_models.is_empty() {
            parts.push(format!("models {}", self.allowed_models.join(", ")));
        }
        if !self.allowed_routes.is_empty() {
            parts.push(format!("further routes {}", self.allowed_routes.join(", ")));
        }
        if !self.allowed_addresses.is_empty() {
            parts.push(format!("addresses {}", self.addresses().join(", ")));
        }
        if let Some(calls) = self.requests_per_minute {
            parts.push(format!("{calls} requests a minute"));
        }
        if let Some(calls) = self.calls_in_flight {
            parts.push(format!("{calls} calls at once"));
        }
        if let Some(tokens) = self.tokens_per_minute {
            parts.push(format!("{tokens} tokens a minute"));
        }
        parts.extend(self.budgets.iter().map(Budget::words));
        parts.join("; ")
    }

    /// What is counted of its calls.
    pub fn quotas(&self) -> Vec<Quota> {
        let minute = |measure, most| Quota { measure, span: Span::Minute, most };
        let requests = self.requests_per_minute.map(|most| minute(Measure::Requests, i64::from(most)));
        let tokens = self.tokens_per_minute.map(|most| minute(Measure::Tokens, most));
        requests.into_iter().chain(tokens).chain(self.budgets.iter().map(Budget::quota)).collect()
    }

    /// These limits, and where one is absent or empty, the default.
    #[must_use]
    pub fn or(self, default: &KeyLimits) -> KeyLimits {
        fn list<T: Clone>(own: Vec<T>, default: &[T]) -> Vec<T> {
            if own.is_empty() { default.to_vec() } else { own }
        }
        let budgets = Budget::merged(self.budgets, &default.budgets);
        KeyLimits {
            allowed_models: list(self.allowed_models, &default.allowed_models),
            // Nobody is given more by default.
            allowed_routes: self.allowed_routes,
            allowed_addresses: list(self.allowed_addresses, &default.allowed_addresses),
            requests_per_minute: self.requests_per_minute.or(default.requests_per_minute),
            calls_in_flight: self.calls_in_flight.or(default.calls_in_flight),
            tokens_per_minute: self.tokens_per_minute.or(default.tokens_per_minute),
            budgets,
        }
    }

    /// The networks, as people write them: an address alone without the length of its prefix.
    pub fn addresses(&self) -> Vec<String> {
        let word = |net: &IpNet| match net.prefix_len() == net.max_prefix_len() {
            true => net.addr().to_string(),
            false => net.to_string(),
        };
        self.allowed_addresses.iter().map(word).collect()
    }

    /// Lets limits through that can be some.
    ///
    /// # Errors
    /// A refused field `limits/…`.
    pub fn check(self) -> Result<KeyLimits> {
        let calls = |name: &'static str, value: Option<u32>| match value {
            Some(value) if value == 0 || value > MAX_CALLS => {
                Err(Error::field(name, format!("must be from 1 to {MAX_CALLS}, or absent for no limit")))
            }
            _ => Ok(()),
        };
        let long = |name: &'static str, count: usize| match count > MAX_NAMED {
            true => Err(Error::field(name, format!("must name at most {MAX_NAMED}"))),
            false => Ok(()),
        };
        let is_pattern =
            |text: &String| !text.trim().is_empty() && text.len() <= MAX_PATTERN && !text.chars().any(char::is_control);
        let patterns = match self.allowed_models.iter().all(is_pattern) {
            true => long("limits/allowed_models", self.allowed_models.len()),
            false => Err(Error::field(
                "limits/allowed_models",
                "must hold names or patterns like gpt-5* or OpenAI/*, of 1 to 256 bytes each",
            )),
        };
        let routes = match self.allowed_routes.iter().all(|text| is_pattern(text) && text.contains('/')) {
            true => long("limits/allowed_routes", self.allowed_routes.len()),
            false => Err(Error::field(
                "limits/allowed_routes",
                "must hold patterns of a provider and a path, like OpenAI/files*, of 1 to 256 bytes each",
            )),
        };
        let addresses = long("limits/allowed_addresses", self.allowed_addresses.len());
        let lists = Error::both(Error::both(patterns, routes), addresses);
        let numbers = Error::both(
            calls("limits/requests_per_minute", self.requests_per_minute),
            calls("limits/calls_in_flight", self.calls_in_flight),
        );
        let tokens = match self.tokens_per_minute {
            Some(tokens) if !(1..=budgets::MAX_TOKENS).contains(&tokens) => Err(Error::field(
                "limits/tokens_per_minute",
                format!("must be from 1 to {}, or absent for no limit", budgets::MAX_TOKENS),
            )),
            _ => Ok(()),
        };
        let amounts = Error::both(tokens, budgets::check(&self.budgets));
        Error::both(Error::both(lists, numbers), amounts)?;
        Ok(self)
    }

    /// Lets a call through from an address it may come from.
    ///
    /// # Errors
    /// [`Code::IpNotAllowed`].
    pub fn check_address(&self, address: IpAddr) -> Result<()> {
        let address = address.to_canonical();
        if self.allowed_addresses.is_empty() || self.allowed_addresses.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        Err(Error::new(
            Code::IpNotAllowed,
            format!("the agent key may not be used from {address}; an administrator of Keyward can allow it"),
        ))
    }

    /// Whether a model may be called: by the name it was called by, or as `provider/upstream`.
    pub fn allows_model(&self, name: &str, provider: &str, upstream: &str) -> bool {
        self.allowed_models.is_empty()
            || self.allowed_models.iter().any(|pattern| {
                let pattern = pattern.trim();
                matches(pattern, name) || matches(pattern, &format!("{provider}/{upstream}"))
            })
    }

    /// Whether a route is opened that is not one of those for inference. What climbs, or hides a slash, is not.
    pub fn opens_route(&self, provider: &str, path: &str) -> bool {
        !self.allowed_routes.is_empty()
            && llm::plain_path(path)
            && !path.is_empty()
            && self.allowed_routes.iter().any(|pattern| matches(pattern.trim(), &format!("{provider}/{path}")))
    }

    /// The first of these limits, as they hold, that is wider than the other ones, by its field; `None` where none is.
    pub fn wider_than(&self, others: &KeyLimits) -> Option<&'static str> {
        fn is_wider_list<T: PartialEq>(own: &[T], other: &[T]) -> bool {
            !other.is_empty() && (own.is_empty() || own.iter().any(|entry| !other.contains(entry)))
        }
        fn is_wider<T: PartialOrd>(own: Option<T>, other: Option<T>) -> bool {
            other.is_some_and(|other| own.is_none_or(|own| own > other))
        }
        let budgets = others.budgets.iter().any(|other| {
            let own = self.budgets.iter().find(|own| own.is_like(other)).map(|own| own.amount);
            is_wider(own, Some(other.amount))
        });
        let wider = [
            ("limits/allowed_models", is_wider_list(&self.allowed_models, &others.allowed_models)),
            ("limits/allowed_addresses", is_wider_list(&self.allowed_addresses, &others.allowed_addresses)),
            ("limits/requests_per_minute", is_wider(self.requests_per_minute, others.requests_per_minute)),
            ("limits/calls_in_flight", is_wider(self.calls_in_flight, others.calls_in_flight)),
            ("limits/tokens_per_minute", is_wider(self.tokens_per_minute, others.tokens_per_minute)),
            ("limits/budgets", budgets),
        ];
        wider.into_iter().find_map(|(name, is_wider)| is_wider.then_some(name))
    }

    /// Whether money is limited, so that what costs nothing known cannot be called.
    pub fn counts_money(&self) -> bool {
        self.budgets.iter().any(|budget| budget.unit == budgets::Unit::CostMicros)
    }

    /// Whether these limits open routes that the others do not.
    pub fn opens_more_than(&self, others: &KeyLimits) -> bool {
        self.allowed_routes.iter().any(|pattern| !others.allowed_routes.contains(pattern))
    }

    /// Lets a call through to a model it may name.
    ///
    /// # Errors
    /// [`Code::ModelNotAllowed`].
    pub fn check_model(&self, name: &str, provider: &str, upstream: &str) -> Result<()> {
        if self.allows_model(name, provider, upstream) {
            return Ok(());
        }
        let detail = match name.is_empty() {
            true => format!(
                "the agent key may not use what names no model at {provider}: {provider}/* is not among its allowed models; an \
                 administrator of Keyward can add it"
            ),
            false => {
                format!("the agent key may not use the model {name:?}; GET /v1/models lists the models it may use")
            }
        };
        Err(Error::new(Code::ModelNotAllowed, detail))
    }
}

/// The networks that a person wrote.
///
/// # Errors
/// A refused field `limits/allowed_addresses`.
pub fn parse_addresses(texts: &[String]) -> Result<Vec<IpNet>> {
    let parse = |text: &String| {
        let text = text.trim();
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical())));
        net.map(|net| net.trunc()).map_err(|_| {
            Error::field(
                "limits/allowed_addresses",
                format!("holds {text:?}, which is neither an address nor a network like 10.0.0.0/8"),
            )
        })
    };
    texts.iter().map(parse).collect()
}

/// Whether a pattern, in which `*` stands for any text, matches a whole name.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.len() >= end.len() && left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, yes, no) in [
            ("gpt-5", &["gpt-5"][..], &["gpt-5-mini", "GPT-5", ""][..]),
            ("gpt-5*", &["gpt-5", "gpt-5-mini"], &["o-gpt-5"]),
            ("*", &["", "anything"], &[]),
            ("OpenAI/*", &["OpenAI/gpt-5", "OpenAI/"], &["OpenAI", "Other/OpenAI/x"]),
            ("*-mini", &["gpt-5-mini", "-mini"], &["mini", "gpt-5-mini-x"]),
            ("a*b*c", &["abc", "a1b2c", "abbc"], &["ac", "acb", "ab"]),
            ("aa*aa", &["aaaa"], &["aaa"]),
        ] {
            assert!(yes.iter().all(|name| matches(pattern, name)), "{pattern} {yes:?}");
            assert!(!no.iter().any(|name| matches(pattern, name)), "{pattern} {no:?}");
        }
    }

    #[test]
    fn what_a_key_does_not_say_is_the_default() {
        let budget = |span, amount| Budget { period: span, unit: budgets::Unit::Tokens, amount };
        let default = KeyLimits {
            allowed_models: vec![String::from("small*")],
            allowed_routes: vec![String::from("OpenAI/files")],
            requests_per_minute: Some(60),
            tokens_per_minute: Some(1000),
            budgets: vec![budget(budgets::Period::Day, 5), budget(budgets::Period::Month, 50)],
            ..KeyLimits::default()
        };
        let own = KeyLimits {
            allowed_models: vec![String::from("*")],
            requests_per_minute: Some(600),
            budgets: vec![budget(budgets::Period::Day, 7)],
            ..KeyLimits::default()
        };
        let effective = own.or(&default);
        assert_eq!(effective.allowed_models, ["*"]);
        assert!(effective.allowed_routes.is_empty(), "more is given by name only");
        assert_eq!((effective.requests_per_minute, effective.tokens_per_minute), (Some(600), Some(1000)));
        assert_eq!(effective.budgets, [budget(budgets::Period::Day, 7), budget(budgets::Period::Month, 50)]);
        assert_eq!(KeyLimits::default().or(&KeyLimits::default()), KeyLimits::default());
    }

    #[test]
    fn limits_are_checked_and_read_as_they_were_written() {
        let limits = KeyLimits {
            allowed_models: vec![String::from("gpt-5*")],
            allowed_routes: Vec::new(),
            allowed_addresses: parse_addresses(&["10.1.2.3/8".into(), " 2001:db8::1 ".into()]).expect("addresses"),
            requests_per_minute: Some(60),
            ..KeyLimits::default()
        };
        let read = |text: &str| KeyLimits::of_column(text).ok();
        assert_eq!(read(&limits.to_column()), Some(limits.clone()));
        assert_eq!(read("{}"), Some(KeyLimits::default()));
        assert!(
            [r#"{"a_newer_limit":1}"#, "", "[", r#"{"requests_per_minute":"many"}"#]
                .into_iter()
                .all(|text| read(text).is_none())
        );
        assert_eq!(KeyLimits::default().to_column(), "{}");
        // Whoever does not know of budgets reads limits without any.
        assert!(!limits.to_column().contains("budgets"), "{}", limits.to_column());
        assert_eq!(limits.words(), "models gpt-5*; addresses 10.0.0.0/8, 2001:db8::1; 60 requests a minute");
        let address = |text: &str| limits.check_address(text.parse().expect("an address"));
        assert!(address("10.9.9.9").is_ok() && address("::ffff:10.9.9.9").is_ok() && address("2001:db8::1").is_ok());
        assert!(address("11.0.0.1").is_err() && address("2001:db8::2").is_err());
        assert!(limits.check_model("OpenAI/gpt-5", "OpenAI", "gpt-5").is_err());
        assert!(limits.check_model("fast", "OpenAI", "gpt-5").is_err());
        let by_provider = KeyLimits { allowed_models: vec![String::from("OpenAI/*")], ..KeyLimits::default() };
        assert!(by_provider.check_model("fast", "OpenAI", "gpt-5").is_ok());
        assert!(by_provider.check_model("", "OpenAI", "").is_ok() && by_provider.check_model("", "Other", "").is_err());
        for bad in [
            KeyLimits { requests_per_minute: Some(0), ..KeyLimits::default() },
            KeyLimits { calls_in_flight: Some(MAX_CALLS + 1), ..KeyLimits::default() },
            KeyLimits { allowed_models: vec![String::from(" ")], ..KeyLimits::default() },
            KeyLimits { allowed_routes: vec![String::from("files")], ..KeyLimits::default() },
            KeyLimits { allowed_models: vec![String::from("x"); MAX_NAMED + 1], ..KeyLimits::default() },
        ] {
            assert!(bad.check().is_err());
        }
        let opened = KeyLimits { allowed_routes: vec![String::from("OpenAI/files*")], ..KeyLimits::default() };
        assert!(opened.opens_route("OpenAI", "files") && opened.opens_route("OpenAI", "files/file-1/content"));
        for (provider, path) in [
            ("Other", "files"),
            ("OpenAI", "batches"),
            ("OpenAI", "files/../organization"),
            ("OpenAI", "files/%2e%2e/organization"),
            ("OpenAI", "files%2f..%2forganization"),
            ("OpenAI", "files//x"),
            ("OpenAI", "files\\..\\x"),
            ("OpenAI", "files/."),
        ] {
            assert!(!opened.opens_route(provider, path), "{provider} {path}");
        }
        assert!(!KeyLimits::default().opens_route("OpenAI", "files"));
        assert!(parse_addresses(&["10.0.0.0/33".into()]).is_err() && parse_addresses(&["here".into()]).is_err());
    }
}
