//! Keys of Unkey: rows of its table `keys`.

use serde::Deserialize;
use serde_json::Value;

use super::{ForeignKey, digest, mask, name, small, time};
use crate::{
    domain::key_limits::KeyLimits,
    error::{Error, Result},
};

/// One of them.
#[derive(Deserialize)]
pub(super) struct Unkey {
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
    /// As it is taken over.
    pub(super) fn key(self) -> Result<ForeignKey> {
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

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde_json::json;

    use super::*;
    use crate::domain::foreign_keys::{Issuer, parse, tests::HEX};

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
}
