//! Keys that another product issued, as it exports them: the SHA-256 of each secret, never the secret, with what it says of
//! their limits.

mod litellm;
mod plain;
mod unkey;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::{litellm::LiteLlm, plain::Plain, unkey::Unkey};
use super::{clock::parse_time, key_limits::KeyLimits, name::Name};
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(super) const HEX: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";

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
