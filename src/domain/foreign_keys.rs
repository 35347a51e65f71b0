//! Keys that another product issued, as it exports them: the SHA-256 of each secret, never the secret, with what it says of
//! their limits.

use std::collections::BTreeMap;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    budgets::{Budget, Period, Unit},
    clock::parse_time,
    key_limits::KeyLimits,
    name::Name,
    tags,
};
use crate::error::{Error, Result};

/// Who issued the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issuer {
    /// Anybody: a name and the SHA-256 of the secret.
    Sha256,
    /// LiteLLM: what `/key/list?return_full_object=true` lists, or rows of `LiteLLM_VerificationToken`.
    LiteLlm,
    /// Unkey: rows of its table `keys`.
    Unkey,
}

impl Issuer {
    /// Every one.
    pub const ALL: [Issuer; 3] = [Issuer::LiteLlm, Issuer::Unkey, Issuer::Sha256];

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Issuer::Sha256 => "sha256",
            Issuer::LiteLlm => "litellm",
            Issuer::Unkey => "unkey",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Issuer> {
        Issuer::ALL.into_iter().find(|issuer| issuer.as_str() == text)
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name; another key may have the same.
    pub name: String,
    /// SHA-256 of its secret.
    pub sha256: [u8; 32],
    /// What is shown of the secret.
    pub masked_secret: String,
    /// When it ends, in milliseconds since 1970; `None` where never.
    pub expires_at: Option<i64>,
    /// Whether it is switched off.
    pub is_disabled: bool,
    /// What it is for.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The member whose it is; whoever imports it where `None`.
    pub owner_id: Option<String>,
    /// What it may call.
    pub limits: KeyLimits,
    /// What could not be taken over.
    pub notes: Vec<String>,
    /// Why it is none to be taken over.
    pub left_out: Option<&'static str>,
}

/// Reads one key.
///
/// # Errors
/// A refused field.
pub fn parse(issuer: Issuer, row: Value) -> Result<ForeignKey> {
    match issuer {
        Issuer::Sha256 => read::<Plain>(row)?.key(),
        Issuer::LiteLlm => read::<LiteLlm>(row)?.key(),
        Issuer::Unkey => read::<Unkey>(row)?.key(),
    }
}

fn read<T: DeserializeOwned>(row: Value) -> Result<T> {
    if !row.is_object() {
        return Err(row_error("must be an object"));
    }
    serde_path_to_error::deserialize(row).map_err(|error| {
        let path = error.path().to_string().trim_matches('.').replace('.', "/");
        // Serde's text may repeat a value, and that may be a secret that somebody put in the wrong place.
        let text = error.inner().to_string();
        let detail = match text.split_once('`') {
            Some((start, rest)) if start.starts_with("missing field") => {
                format!("must have the field {}", rest.split('`').next().unwrap_or_default())
            }
            Some((start, _)) if start.starts_with("unknown field") => String::from("is no field of a key"),
            _ => String::from("is of another type than it is exported with"),
        };
        if path.is_empty() { row_error(detail) } else { Error::field(&path, detail) }
    })
}

/// What is wrong with a key, and with no field of it alone.
fn row_error(detail: impl Into<String>) -> Error {
    let detail = detail.into();
    Error::refused(String::new(), detail.clone(), detail)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    name: String,
    sha256: String,
    #[serde(default)]
    start: String,
    expires_at: Option<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: Vec<String>,
    owner_id: Option<String>,
    #[serde(default)]
    limits: KeyLimits,
}

impl Plain {
    fn key(self) -> Result<ForeignKey> {
        let expires_at = self.expires_at.as_deref().map(|text| time("expires_at", text)).transpose();
        let (sha256, expires_at) = Error::both(digest("sha256", &self.sha256), expires_at)?;
        Name::parse(&self.name)?;
        Ok(ForeignKey {
            name: self.name,
            sha256,
            masked_secret: mask(&self.start),
            expires_at,
            is_disabled: self.disabled,
            description: self.description,
            tags: self.tags,
            owner_id: self.owner_id,
            limits: self.limits,
            notes: Vec::new(),
            left_out: None,
        })
    }
}

#[derive(Deserialize)]
struct LiteLlm {
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
    fn key(self) -> Result<ForeignKey> {
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

#[derive(Deserialize)]
struct Unkey {
    hash: String,
    start: Option<String>,
    name: Option<String>,
    /// Milliseconds since 1970, or a time.
    expires: Option<Value>,
    /// True or false, or 1 or 0 as MySQL writes them.
    enabled: Option<Value>,
    /// It deletes softly; the older name and the newer one.
    #[serde(alias = "deleted_at")]
    deleted_at_m: Option<Value>,
    /// Set in the keys that administer Unkey itself.
    for_workspace_id: Option<String>,
    #[serde(alias = "remaining")]
    remaining_requests: Option<i64>,
    ratelimit_limit: Option<i64>,
    /// In milliseconds.
    ratelimit_duration: Option<i64>,
}

impl Unkey {
    fn key(self) -> Result<ForeignKey> {
        let expires_at = match &self.expires {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(at)) if at.is_i64() => Ok(at.as_i64()),
            Some(Value::String(text)) => time("expires", text).map(Some),
            Some(_) => Err(Error::field("expires", "must be milliseconds since 1970, a time, or null")),
        };
        let is_enabled = match &self.enabled {
            None | Some(Value::Null) => Ok(true),
            Some(Value::Bool(is_enabled)) => Ok(*is_enabled),
            Some(Value::Number(number)) if matches!(number.as_i64(), Some(0 | 1)) => Ok(number.as_i64() == Some(1)),
            Some(_) => Err(Error::field("enabled", "must be true, false, 1, 0 or null")),
        };
        let (sha256, (expires_at, is_enabled)) =
            Error::both(digest("hash", &self.hash), Error::both(expires_at, is_enabled))?;
        let mut notes = vec![String::from("limits in Unkey's table ratelimits are not taken over")];
        let is_used_up = self.remaining_requests.is_some_and(|left| left <= 0);
        match self.remaining_requests {
            Some(left) if left > 0 => {
                notes.push(format!("that it has {left} calls left is not taken over; give it a budget"));
            }
            Some(_) => notes.push(String::from("it has no calls left, and is disabled here")),
            None => {}
        }
        let requests = match (self.ratelimit_limit, self.ratelimit_duration) {
            (Some(limit), Some(60_000)) => small("requests a minute", Some(limit), &mut notes),
            (Some(limit), duration) => {
                let of = duration.map_or_else(String::new, |duration| format!(" in {duration} ms"));
                notes.push(format!("its limit of {limit} calls{of} is not taken over; only those of 60 s are"));
                None
            }
            (None, _) => None,
        };
        let is_deleted = self.deleted_at_m.as_ref().is_some_and(|at| !at.is_null());
        let is_own = self.for_workspace_id.is_some_and(|id| !id.is_empty());
        let start = self.start.unwrap_or_default();
        Ok(ForeignKey {
            name: name([self.name.as_deref(), Some(&start)], "Unkey", &sha256),
            sha256,
            masked_secret: mask(&start),
            expires_at,
            is_disabled: !is_enabled || is_used_up,
            description: String::from("Imported from Unkey"),
            tags: Vec::new(),
            owner_id: None,
            limits: KeyLimits { requests_per_minute: requests, ..KeyLimits::default() },
            notes,
            left_out: match (is_deleted, is_own) {
                (true, _) => Some("it is deleted there"),
                (_, true) => Some("it administers Unkey itself"),
                _ => None,
            },
        })
    }
}

/// A SHA-256 as 64 hexadecimal digits, or as base64 of either alphabet.
fn digest(field: &str, text: &str) -> Result<[u8; 32]> {
    let text = text.trim();
    let text = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256_")).unwrap_or(text);
    let of_hex = || -> Option<Vec<u8>> {
        let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        (text.len() == 64).then(|| (0..64).step_by(2).map(pair).collect()).flatten()
    };
    let of_base64 =
        || [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD].into_iter().find_map(|engine| engine.decode(text).ok());
    let bytes = of_hex().or_else(of_base64).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or_else(|| {
        Error::field(field, "must be a SHA-256, in 64 hexadecimal digits or base64; never the secret itself")
    })
}

/// A time with its zone, or without one and in UTC, as databases write it.
fn time(field: &str, text: &str) -> Result<i64> {
    let text = text.trim();
    parse_time(text)
        .or_else(|| parse_time(&format!("{text}Z")))
        .ok_or_else(|| Error::field(field, "must be a time like 2027-01-31T12:00:00Z"))
}

/// What is shown of a secret whose first characters, or first and last ones, are known.
fn mask(hint: &str) -> String {
    let hint: Vec<char> = hint.chars().filter(char::is_ascii_graphic).collect();
    let first: String = hint.iter().take_while(|c| **c != '.' && **c != '*').take(4).collect();
    let last: String = match hint.iter().rposition(|c| *c == '.' || *c == '*') {
        Some(at) => hint[at + 1..].iter().take(4).collect(),
        None => String::new(),
    };
    // What begins like a key of ours would be taken for one.
    if first.is_empty() || first.starts_with("kw") { String::from("imported") } else { format!("{first}******{last}") }
}

/// The first of these that can be a name, or one that tells keys apart.
fn name<const N: usize>(some: [Option<&str>; N], issuer: &str, sha256: &[u8; 32]) -> String {
    let named = some.into_iter().flatten().find_map(|text| Name::parse(text).ok());
    named.map_or_else(
        || format!("{issuer} {:02x}{:02x}{:02x}{:02x}", sha256[0], sha256[1], sha256[2], sha256[3]),
        |name| name.text,
    )
}

fn small(what: &str, value: Option<i64>, notes: &mut Vec<String>) -> Option<u32> {
    value.map(|value| u32::try_from(least(what, value, notes)).unwrap_or(u32::MAX).min(1_000_000))
}

/// A limit that lets nothing through becomes the least there is.
fn least(what: &str, value: i64, notes: &mut Vec<String>) -> i64 {
    if value < 1 {
        notes.push(format!("its limit of {value} {what} is set to 1, the least there is"));
    }
    value.max(1)
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

    const HEX: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";

    #[test]
    fn digests_are_read_in_each_spelling() {
        let sha256 = digest("x", HEX).expect("hexadecimal");
        for text in [
            HEX.to_uppercase(),
            format!("sha256:{HEX}"),
            STANDARD.encode(sha256),
            STANDARD_NO_PAD.encode(sha256),
            URL_SAFE_NO_PAD.encode(sha256),
        ] {
            assert_eq!(digest("x", &text).expect("a spelling"), sha256, "{text}");
        }
        for bad in ["", "sk-1234567890", &HEX[1..], &STANDARD.encode([1; 31]), &"é".repeat(32)] {
            let error = digest("token", bad).expect_err("no digest");
            assert!(bad.is_empty() || !error.to_string().contains(bad), "{error}");
        }
    }

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

    #[test]
    fn a_key_of_unkey_brings_its_rate_limit_and_none_that_is_over_there() {
        let row = |changes: Value| {
            let mut row = json!({
                "id": "key_1", "hash": STANDARD.encode(digest("x", HEX).expect("a digest")), "start": "prod_3Zx",
                "name": null, "expires": "2027-01-15 08:00:00.000000", "enabled": 1, "remaining_requests": null,
                "deleted_at_m": null, "for_workspace_id": null, "ratelimit_limit": 10, "ratelimit_duration": 60000,
            });
            for (name, value) in changes.as_object().expect("changes") {
                row[name] = value.clone();
            }
            parse(Issuer::Unkey, row)
        };
        let key = row(json!({})).expect("a key");
        assert_eq!((key.name.as_str(), key.masked_secret.as_str()), ("prod_3Zx", "prod******"));
        assert_eq!((key.expires_at, key.is_disabled, key.left_out), (Some(1_800_000_000_000), false, None));
        assert_eq!((key.limits.requests_per_minute, key.notes.len()), (Some(10), 1));
        assert!(row(json!({ "deleted_at_m": 1_700_000_000_000_i64 })).expect("a key").left_out.is_some());
        assert!(row(json!({ "for_workspace_id": "ws_1" })).expect("a key").left_out.is_some());
        for off in [json!({ "enabled": 0 }), json!({ "enabled": false }), json!({ "remaining_requests": 0 })] {
            assert!(row(off.clone()).expect("a key").is_disabled, "{off}");
        }
        assert!(row(json!({ "enabled": "0" })).is_err());
        assert_eq!(row(json!({ "ratelimit_duration": 1000 })).expect("a key").notes.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_told_by_field_and_never_repeated() {
        for (issuer, row, field) in [
            (Issuer::Sha256, json!({ "name": "a" }), ""),
            (Issuer::Sha256, json!({ "name": "a", "sha256": "sk-secret-1" }), "/sha256"),
            (Issuer::Sha256, json!({ "name": "", "sha256": HEX }), "/name"),
            (Issuer::Sha256, json!({ "name": "a", "sha256": HEX, "secret": "sk-secret-1" }), "/secret"),
            (Issuer::Sha256, json!({ "name": "a", "sha256": HEX, "expires_at": "soon" }), "/expires_at"),
            (Issuer::LiteLlm, json!({ "token": { "is": "sk-secret-1" } }), "/token"),
            (Issuer::Unkey, json!({ "hash": HEX, "expires": true }), "/expires"),
            (Issuer::Unkey, json!("sk-secret-1"), ""),
        ] {
            let error = parse(issuer, row.clone()).expect_err("refused");
            assert!(!error.to_string().contains("sk-secret-1"), "{error}");
            assert!(error.fields[0].pointer == field, "{row}: {:?}", error.fields);
        }
    }

    #[test]
    fn nothing_that_is_shown_of_a_secret_passes_for_one_of_ours() {
        for (hint, shown) in [
            ("kw_abcdef", "imported"),
            ("", "imported"),
            ("sk-abcdefghijklmnop", "sk-a******"),
            ("sk-...wXyz", "sk-******wXyz"),
            ("sk-...waytoolong", "sk-******wayt"),
        ] {
            assert_eq!(mask(hint), shown, "{hint}");
        }
    }
}
