//! The key in the transit engine of Vault or OpenBao that wraps the keys, where there is one.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{ConfigError, Source, parse_bool};

/// Which key, where, and how it is reached.
#[derive(Debug, Clone)]
pub struct TransitConfig {
    /// The service's URL.
    pub url: String,
    /// Where the engine is mounted.
    pub mount: String,
    /// The key's name.
    pub key: String,
    /// The namespace, where the service has them.
    pub namespace: Option<String>,
    /// What it is called with.
    pub token: TransitToken,
    /// A file with the authorities that its certificate may come from, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether it may be at a private address.
    pub allow_private: bool,
}

/// What the service is called with.
#[derive(Clone)]
pub enum TransitToken {
    /// The token itself.
    Value(Zeroizing<String>),
    /// A file that holds it.
    File(PathBuf),
}

impl std::fmt::Debug for TransitToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TransitToken::Value(_) => f.write_str("[token]"),
            TransitToken::File(path) => path.fmt(f),
        }
    }
}

impl TransitConfig {
    /// Reads the settings; `None` where the URL is not set.
    ///
    /// # Errors
    /// [`ConfigError`], also where another of these settings is set without the URL.
    pub fn load(source: &Source) -> Result<Option<TransitConfig>, ConfigError> {
        let key = source.optional("transit_key")?;
        let token = (source.optional("transit_token")?, source.optional("transit_token_file")?);
        let Some(url) = source.optional("transit_url")? else {
            let alone = [("transit_key", key.is_some()), ("transit_token", token.0.is_some())]
                .into_iter()
                .chain([("transit_token_file", token.1.is_some())])
                .find(|(_, is_set)| *is_set);
            return match alone {
                None => Ok(None),
                Some((name, _)) => Err(ConfigError::wrong(
                    name,
                    "is for a transit engine that wraps the keys; set KEYWARD_TRANSIT_URL as well",
                )),
            };
        };
        let token = match token {
            (Some(_), Some(_)) => {
                return Err(ConfigError::wrong(
                    "transit_token",
                    "both it and KEYWARD_TRANSIT_TOKEN_FILE are set; keep one",
                ));
            }
            (Some(text), None) => TransitToken::Value(Zeroizing::new(text)),
            (None, Some(path)) => TransitToken::File(PathBuf::from(path)),
            (None, None) => {
                return Err(ConfigError::wrong(
                    "transit_token_file",
                    "must name the file that holds the token for KEYWARD_TRANSIT_URL",
                ));
            }
        };
        let Some(key) = key else {
            return Err(ConfigError::wrong("transit_key", "must name the key at KEYWARD_TRANSIT_URL that wraps ours"));
        };
        Ok(Some(TransitConfig {
            url,
            mount: source.parsed("transit_mount", "transit", parse_path)?,
            key: parse_name(&key).ok_or_else(|| {
                ConfigError::wrong("transit_key", "must be letters, digits, dots, hyphens and underscores")
            })?,
            namespace: source.optional("transit_namespace")?,
            token,
            ca_file: source.optional("transit_ca_file")?.map(PathBuf::from),
            allow_private: source.parsed("transit_allow_private", "false", parse_bool)?,
        }))
    }
}

/// A part of a path that is the same to everybody who reads it.
fn parse_name(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (plain && !text.is_empty() && !text.starts_with('.')).then(|| text.to_owned())
}

fn parse_path(text: &str) -> Result<String, String> {
    let text = text.trim_matches('/');
    match text.split('/').all(|part| parse_name(part).is_some()) {
        true => Ok(text.to_owned()),
        false => Err(String::from("a path of letters, digits, dots, hyphens and underscores")),
    }
}
