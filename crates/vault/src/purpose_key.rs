//! The keys that do the work, and what each of them is for.

use crate::{
    Entropy, VaultError,
    aead::{self, KeyBytes},
    framing::Framed,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt::Write;
use zeroize::Zeroizing;

/// What a key is for. A key serves one purpose only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Seals general keys.
    Data,
    /// Keys the digests of agent keys, tokens and sessions.
    Pepper,
    /// MACs rows that grant or limit authority.
    RowMac,
    /// Chains audit events.
    Audit,
    /// MACs what sessions and API calls hand out: cursors, fingerprints of bodies.
    Session,
    /// Seals other secrets: webhook, SMTP, OIDC, TOTP.
    Other,
}

impl Purpose {
    /// Every purpose; a keyring needs a key of each.
    pub const ALL: [Purpose; 6] =
        [Purpose::Data, Purpose::Pepper, Purpose::RowMac, Purpose::Audit, Purpose::Session, Purpose::Other];

    /// The name in the database and in key ids.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Data => "data",
            Purpose::Pepper => "pepper",
            Purpose::RowMac => "row_mac",
            Purpose::Audit => "audit",
            Purpose::Session => "session",
            Purpose::Other => "other",
        }
    }

    /// The purpose of that name.
    pub fn parse(name: &str) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|p| p.as_str() == name)
    }

    /// The id of a new key of this purpose, the `ordinal`-th (from 1): `{purpose}-{ordinal, 6 digits}-{16 random bytes
    /// in hex}`. Within a purpose, ids sort by age. The id is part of the associated data, so the order cannot be changed
    /// in the database.
    ///
    /// # Errors
    /// [`VaultError::Randomness`].
    pub fn key_id(self, ordinal: u32, entropy: &Entropy) -> Result<String, VaultError> {
        let mut id = format!("{}-{ordinal:06}-", self.as_str());
        for byte in entropy.array::<16>()? {
            write!(id, "{byte:02x}").map_err(|_| VaultError::Encryption)?;
        }
        Ok(id)
    }

    /// The ordinal in the id of a key of this purpose.
    pub fn ordinal(self, id: &str) -> Option<u32> {
        id.strip_prefix(self.as_str())?.strip_prefix('-')?.split_once('-')?.0.parse().ok()
    }
}

/// A key of some purpose, on its way between its making or unwrapping and the keyring. Cannot be printed, cloned or
/// compared; zeroized on drop.
pub struct PurposeKey(pub(crate) KeyBytes);

impl PurposeKey {
    /// A fresh random one.
    ///
    /// # Errors
    /// [`VaultError::Randomness`].
    pub fn generate(entropy: &Entropy) -> Result<PurposeKey, VaultError> {
        aead::random_key(entropy).map(PurposeKey)
    }

    /// The key in standard base64, for a service that wraps it.
    pub fn to_base64(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(44));
        STANDARD.encode_string(&self.0[..], &mut text);
        text
    }

    /// Reads what [`PurposeKey::to_base64`] wrote; `None` for anything else.
    pub fn from_base64(text: &str) -> Option<PurposeKey> {
        let bytes = STANDARD.decode(text).map(Zeroizing::new).ok()?;
        PurposeKey::from_bytes(&bytes)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<PurposeKey> {
        let mut key: KeyBytes = Box::new(Zeroizing::new([0; 32]));
        if bytes.len() != key.len() {
            return None;
        }
        key.copy_from_slice(bytes);
        Some(PurposeKey(key))
    }
}

opaque_debug!(PurposeKey);

/// Which key of which installation. What wraps a key binds it to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPlace<'a> {
    /// The installation's id.
    pub installation: &'a str,
    /// What the key is for.
    pub purpose: Purpose,
    /// The key's id.
    pub id: &'a str,
}

impl KeyPlace<'_> {
    /// The associated data of the wrapping.
    pub fn associated_data(&self) -> Vec<u8> {
        let framed = Framed::new("keyward/wrapped-key/v1").text(self.installation);
        framed.text(self.purpose.as_str()).text(self.id).as_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_have_names() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::parse(purpose.as_str()), Some(purpose));
        }
        assert_eq!(Purpose::parse("Data"), None);
    }

    #[test]
    fn ids_tell_purpose_and_ordinal() {
        let id = Purpose::RowMac.key_id(12, &Entropy::seeded(1)).unwrap();
        assert!(id.starts_with("row_mac-000012-"));
        assert_eq!(Purpose::RowMac.ordinal(&id), Some(12));
        assert_eq!(Purpose::Data.ordinal(&id), None);
        assert_eq!(Purpose::RowMac.ordinal("row_mac-x-y"), None);
    }

    #[test]
    fn base64_round_trips_and_nothing_else_is_a_key() {
        let key = PurposeKey::generate(&Entropy::seeded(2)).unwrap();
        assert_eq!(*PurposeKey::from_base64(&key.to_base64()).unwrap().0, *key.0);
        for wrong in ["", "AA==", &key.to_base64()[..40], "!"] {
            assert!(PurposeKey::from_base64(wrong).is_none(), "{wrong}");
        }
    }
}
