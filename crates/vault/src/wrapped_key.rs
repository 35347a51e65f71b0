//! The keys that do the work, as the database holds them: wrapped by the master key.

use crate::{
    Entropy, MasterKey, VaultError,
    aead::{self, KeyBytes, TAG_LEN},
    framing::Framed,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
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
}

/// A wrapped key, ready to be stored; without the master key it is noise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// `{purpose}-{ordinal, 6 digits}-{16 random bytes in hex}`: within a purpose, ids sort by age. The id is part of
    /// the associated data, so the order cannot be changed in the database.
    pub id: String,
    /// What the key is for; part of the associated data too.
    pub purpose: Purpose,
    /// `v1.` and base64url of nonce (12 bytes), ciphertext (32) and tag (16).
    pub wrapped: String,
}

impl WrappedKey {
    /// A fresh random key, the `ordinal`-th of its purpose (from 1).
    pub(crate) fn generate(
        master: &MasterKey,
        installation: &str,
        purpose: Purpose,
        ordinal: u32,
        entropy: &Entropy,
    ) -> Result<WrappedKey, VaultError> {
        let key = aead::random_key(entropy)?;
        let mut id = format!("{}-{ordinal:06}-", purpose.as_str());
        for byte in entropy.array::<16>()? {
            write!(id, "{byte:02x}").map_err(|_| VaultError::Encryption)?;
        }
        let associated = wrapping(installation, purpose, &id);
        let wrapped = seal(master, &associated, &key[..], entropy)?;
        Ok(WrappedKey { id, purpose, wrapped })
    }

    /// The same key, wrapped by another master key.
    pub(crate) fn wrapped_by(
        &self,
        master: &MasterKey,
        installation: &str,
        key: &KeyBytes,
        entropy: &Entropy,
    ) -> Result<WrappedKey, VaultError> {
        let associated = wrapping(installation, self.purpose, &self.id);
        let wrapped = seal(master, &associated, &key[..], entropy)?;
        Ok(WrappedKey { wrapped, ..self.clone() })
    }

    /// The key, or `None` if master key, installation, purpose, id or text is not what it was.
    pub(crate) fn open(&self, master: &MasterKey, installation: &str) -> Option<KeyBytes> {
        let associated = wrapping(installation, self.purpose, &self.id);
        let opened = open(master, &associated, &self.wrapped)?;
        let mut key: KeyBytes = Box::new(Zeroizing::new([0; 32]));
        if opened.len() != key.len() {
            return None;
        }
        key.copy_from_slice(&opened);
        Some(key)
    }
}

/// The check value: a known text sealed under the master key, to tell a wrong master key from damage.
pub(crate) fn seal_check(master: &MasterKey, installation: &str, entropy: &Entropy) -> Result<String, VaultError> {
    seal(master, &checking(installation), CHECK_TEXT, entropy)
}

/// Whether the check value was made with this master key for this installation.
pub(crate) fn check_opens(master: &MasterKey, installation: &str, check: &str) -> bool {
    open(master, &checking(installation), check).is_some_and(|text| text[..] == *CHECK_TEXT)
}

const CHECK_TEXT: &[u8] = b"keyward master key check";
const FORMAT: &str = "v1.";
const NONCE_LEN: usize = 12;

fn wrapping(installation: &str, purpose: Purpose, id: &str) -> Framed {
    Framed::new("keyward/wrapped-key/v1").text(installation).text(purpose.as_str()).text(id)
}

fn checking(installation: &str) -> Framed {
    Framed::new("keyward/master-key-check/v1").text(installation)
}

/// Random 96-bit nonces under one key: SP 800-38D, section 8.3, allows 2^32 of them; a master key wraps a handful.
fn seal(master: &MasterKey, associated: &Framed, plaintext: &[u8], entropy: &Entropy) -> Result<String, VaultError> {
    let nonce = entropy.array::<NONCE_LEN>()?;
    let mut payload = Vec::with_capacity(NONCE_LEN + plaintext.len() + TAG_LEN);
    payload.extend_from_slice(&nonce);
    aead::seal(master.bytes(), nonce, associated.as_bytes(), plaintext, &mut payload)?;
    Ok(format!("{FORMAT}{}", URL_SAFE_NO_PAD.encode(payload)))
}

fn open(master: &MasterKey, associated: &Framed, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let payload = URL_SAFE_NO_PAD.decode(text.strip_prefix(FORMAT)?).ok()?;
    let (nonce, sealed) = payload.split_first_chunk::<NONCE_LEN>()?;
    aead::open(master.bytes(), *nonce, associated.as_bytes(), sealed)
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
    fn opens_only_as_it_was_wrapped() {
        let entropy = Entropy::seeded(5);
        let master = MasterKey::generate(&entropy).unwrap();
        let key = WrappedKey::generate(&master, "in_1", Purpose::Pepper, 1, &entropy).unwrap();
        assert!(key.id.starts_with("pepper-000001-"));
        assert!(key.open(&master, "in_1").is_some());
        assert!(key.open(&master, "in_2").is_none());
        let other = MasterKey::generate(&entropy).unwrap();
        assert!(key.open(&other, "in_1").is_none());
        for purpose in Purpose::ALL.into_iter().filter(|p| *p != key.purpose) {
            let moved = WrappedKey { purpose, ..key.clone() };
            assert!(moved.open(&master, "in_1").is_none());
        }
        let id = key.id.replace("000001", "000002");
        assert!(WrappedKey { id, ..key }.open(&master, "in_1").is_none());
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let entropy = Entropy::seeded(6);
        let master = MasterKey::generate(&entropy).unwrap();
        let key = WrappedKey::generate(&master, "in_1", Purpose::Data, 1, &entropy).unwrap();
        for at in 0..key.wrapped.len() {
            for bit in 0..7 {
                let mut bytes = key.wrapped.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let wrapped = String::from_utf8(bytes).unwrap();
                let flipped = WrappedKey { wrapped, ..key.clone() };
                assert!(flipped.open(&master, "in_1").is_none(), "{at}.{bit}");
            }
        }
        for wrapped in ["", "v1.", "v1.AA", "v2.AA"] {
            let wrapped = wrapped.to_owned();
            assert!(WrappedKey { wrapped, ..key.clone() }.open(&master, "in_1").is_none());
        }
    }
}
