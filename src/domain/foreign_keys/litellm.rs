//! Keys of LiteLLM: what `/key/list?return_full_object=true` lists, or rows of `LiteLLM_VerificationToken`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{ForeignKey, digest, least, mask, name, small, time};
use crate::{
    domain::{
        budgets::{Budget, Period, Unit},
        key_limits::KeyLimits,
        tags,
    },
    error::{Error, Result},
};

/// One of them.
#[derive(Deserialize)]
pub(super) struct LiteLlm {
    token: String,
    key_alias: Option<String>,
    key_name: Option<String>,
    expires: Option<String>,
    models: Option<Vec<String>>,
    tpm_limit: Option<i64>,
    rpm_limit: Option<i64>,
    max_parallel_requests: Option<i64>,
    max_budget: Option<f64>,
    budget_duration: Option<String>,
    blocked: Option<bool>,
    team_id: Option<String>,
    spend: Option<f64>,
    #[serde(default)]
    metadata: Value,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// What else narrows a key of LiteLLM, and is not taken over.
const NARROWING: [&str; 9] = [
    "allowed_routes",
    "budget_id",
    "budget_limits",
    "model_max_budget",
    "object_permission_id",
    "access_group_ids",
    "organization_id",
    "project_id",
    "user_id",
];
/// Whose keys are those of its own dashboard's sessions.
const DASHBOARD: &str = "litellm-dashboard";

impl LiteLlm {
    /// As it is taken over.
    pub(super) fn key(self) -> Result<ForeignKey> {
        let expires_at = self.expires.as_deref().map(|text| time("expires", text)).transpose();
        let (sha256, expires_at) = Error::both(digest("token", &self.token), expires_at)?;
        let mut notes = Vec::new();
        let mut models = self.models.unwrap_or_default();
        let was_empty = models.is_empty();
        // All of the proxy's is no limit; what stands for a team's list matches no model here.
        models.retain(|model| model != "all-proxy-models");
        let is_of_team = self.team_id.as_ref().is_some_and(|team| !team.is_empty());
        if is_of_team && was_empty {
            models.push(String::from("all-team-models"));
        }
        if models.iter().any(|model| model == "all-team-models") {
            notes.push(String::from(
                "its models are its team's, which are not known here: it may call none until they are set",
            ));
        } else if is_of_team {
            notes.push(String::from("the limits of its team are not taken over"));
        }
        let says_something = |value: &Value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty() && text != "default_user_id",
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        let narrowing = NARROWING.into_iter().filter(|name| self.others.get(*name).is_some_and(says_something));
        let narrowing: Vec<_> = narrowing.collect();
        if !narrowing.is_empty() {
            notes.push(format!("not taken over is what these set: {}", narrowing.join(", ")));
        }
        if self.max_budget.is_some() && self.spend.is_some_and(|spent| spent > 0.0) {
            notes.push(String::from("what it has spent of its budget is not taken over"));
        }
        let limits = KeyLimits {
            allowed_models: models,
            requests_per_minute: small("requests a minute", self.rpm_limit, &mut notes),
            tokens_per_minute: self.tpm_limit.map(|tokens| least("tokens a minute", tokens, &mut notes)),
            calls_in_flight: small("calls at once", self.max_parallel_requests, &mut notes),
            budgets: budget(self.max_budget, self.budget_duration.as_deref(), &mut notes),
            ..KeyLimits::default()
        };
        let tags = self.metadata.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
        // Whoever made the key could choose them, and here policies let in by tags: so they are marked.
        let marked = tags.iter().filter_map(Value::as_str).map(|tag| format!("litellm:{}", tag.to_lowercase()));
        let tags = marked.filter(|tag| tags::is_tag(tag)).collect();
        Ok(ForeignKey {
            name: name([self.key_alias.as_deref(), self.key_name.as_deref()], "LiteLLM", &sha256),
            sha256,
            masked_secret: mask(self.key_name.as_deref().unwrap_or_default()),
            expires_at,
            is_disabled: self.blocked.unwrap_or(false),
            description: String::from("Imported from LiteLLM"),
            tags,
            owner_id: None,
            limits,
            notes,
            left_out: (self.team_id.as_deref() == Some(DASHBOARD))
                .then_some("it is of a session of LiteLLM's dashboard"),
        })
    }
}

/// LiteLLM's budget is counted from the key's creation on; here it is the calendar's.
fn budget(most: Option<f64>, duration: Option<&str>, notes: &mut Vec<String>) -> Vec<Budget> {
    let Some(most) = most else { return Vec::new() };
    // The next longer period there is, so that a key is never let do more in it.
    let period = match duration.and_then(hours) {
        Some(0..=24) => Period::Day,
        Some(25..=168) => Period::Week,
        _ => Period::Month,
    };
    if !matches!(duration, Some("24h" | "1d" | "7d" | "1w" | "30d" | "31d" | "1mo")) {
        let of = duration.map_or_else(|| String::from("for good"), |duration| format!("for {duration}"));
        notes.push(format!("its budget of {most} {of} is taken over as one a {}", period.as_str()));
    }
    let micros = (most * 1e6).round();
    // A float that is no amount becomes the least there is: a budget that is used up at once.
    let amount = if micros.is_finite() && micros >= 1.0 { micros as i64 } else { 1 };
    vec![Budget { period, unit: Unit::CostMicros, amount }]
}

/// How many hours `12h` or `2w` are, rounded up; months have 31 days.
fn hours(duration: &str) -> Option<u64> {
    let digits = duration.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = duration.split_at(digits);
    let number = number.parse::<u64>().ok()?;
    Some(match unit {
        "s" => number.div_ceil(3600),
        "m" => number.div_ceil(60),
        "h" => number,
        "d" => number.saturating_mul(24),
        "w" => number.saturating_mul(7 * 24),
        "mo" => number.saturating_mul(31 * 24),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{
        clock::parse_time,
        foreign_keys::{Issuer, parse, tests::HEX},
    };

    #[test]
    fn a_key_of_litellm_brings_its_limits() {
        let key = parse(
            Issuer::LiteLlm,
            json!({
                "token": HEX, "key_alias": "Search", "key_name": "sk-...wXyz", "expires": "2027-01-31T12:00:00.5+00:00",
                "models": ["gpt-5", "claude-*"], "tpm_limit": 1000, "rpm_limit": 60, "max_parallel_requests": 4,
                "max_budget": 12.5, "budget_duration": "30d", "blocked": true, "spend": 1.0, "user_id": "u",
                "metadata": { "tags": ["Prod", "not a tag"] },
            }),
        )
        .expect("a key");
        assert_eq!((key.name.as_str(), key.masked_secret.as_str()), ("Search", "sk-******wXyz"));
        assert!(key.is_disabled, "{key:?}");
        assert_eq!(
            key.notes,
            ["not taken over is what these set: user_id", "what it has spent of its budget is not taken over"]
        );
        assert_eq!(key.tags, ["litellm:prod"]);
        assert_eq!(key.expires_at, parse_time("2027-01-31T12:00:00.500Z"));
        let limits = &key.limits;
        assert_eq!(
            (limits.requests_per_minute, limits.tokens_per_minute, limits.calls_in_flight),
            (Some(60), Some(1000), Some(4))
        );
        assert_eq!(limits.budgets, [Budget { period: Period::Month, unit: Unit::CostMicros, amount: 12_500_000 }]);
    }

    #[test]
    fn what_is_not_known_makes_a_key_narrower_and_is_told() {
        let key = |row| parse(Issuer::LiteLlm, row).expect("a key");
        let all = key(json!({ "token": HEX, "models": ["all-proxy-models"], "expires": null }));
        assert!(all.limits.allowed_models.is_empty() && all.notes.is_empty() && all.expires_at.is_none());
        assert_eq!((all.name.as_str(), all.masked_secret.as_str()), ("LiteLLM 5e884898", "imported"));
        let row = json!({
            "token": HEX, "models": [], "team_id": "t", "rpm_limit": 0, "tpm_limit": -1, "max_budget": 0.0,
            "allowed_routes": ["info_routes"], "budget_id": "", "model_max_budget": {}, "something_new": 1,
        });
        let team = key(row);
        assert_eq!(team.limits.allowed_models, ["all-team-models"]);
        assert_eq!((team.limits.requests_per_minute, team.limits.tokens_per_minute), (Some(1), Some(1)));
        assert_eq!(team.limits.budgets[0].amount, 1);
        assert_eq!(team.notes.len(), 5, "{:?}", team.notes);
        assert!(team.notes.iter().any(|note| note.ends_with(": allowed_routes")), "{:?}", team.notes);
        assert!(key(json!({ "token": HEX, "team_id": "litellm-dashboard" })).left_out.is_some());
    }
}
