//! Keys of anybody: a name and the SHA-256 of the secret.

use serde::Deserialize;

use super::{ForeignKey, digest, mask, time};
use crate::{
    domain::{key_limits::KeyLimits, name::Name},
    error::{Error, Result},
};

/// One of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plain {
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
    /// As it is taken over.
    pub(super) fn key(self) -> Result<ForeignKey> {
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
