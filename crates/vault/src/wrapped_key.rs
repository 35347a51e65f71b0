//! How the master key wraps the keys that do the work, and proves to be the right one.

use crate::{
    Entropy, KeyPlace, MasterKey, PurposeKey, VaultError,
    aead::{self, TAG_LEN},
    framing::Framed,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// What a check value holds. No secret: sealed under what wraps the keys, it tells a wrong master key from damage.
pub const CHECK_TEXT: &[u8] = b"keyward master key check";

/// The associated data of an installation's check value.
pub fn check_associated_data(installation: &str) -> Vec<u8> {
    Framed::new("keyward/master-key-check/v1").text(installation).as_bytes().to_vec()
}

/// Wrapped text is `v1.` and base64url of nonce (12 bytes), ciphertext and tag (16).
impl MasterKey {
    /// Wraps a key for its place.
    ///
    /// # Errors
    /// [`VaultError`]; nothing is then to be stored.
    pub fn wrap(&self, place: &KeyPlace<'_>, key: &PurposeKey, entropy: &Entropy) -> Result<String, VaultError> {
        seal(self, &place.associated_data(), &key.0[..], entropy)
    }

    /// The key, or `None` if master key, place or text is not what it was.
    pub fn unwrap_key(&self, place: &KeyPlace<'_>, wrapped: &str) -> Option<PurposeKey> {
        PurposeKey::from_bytes(&open(self, &place.associated_data(), wrapped)?)
    }

    /// A check value for an installation.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn seal_check(&self, installation: &str, entropy: &Entropy) -> Result<String, VaultError> {
        seal(self, &check_associated_data(installation), CHECK_TEXT, entropy)
    }

    /// Whether this is the key that a check value was made with.
    pub fn fits(&self, installation: &str, check: &str) -> bool {
        open(self, &check_associated_data(installation), check).is_some_and(|text| text[..] == *CHECK_TEXT)
    }
}

const FORMAT: &str = "v1.";
const NONCE_LEN: usize = 12;

/// Random 96-bit nonces under one key: SP 800-38D, section 8.3, allows 2^32 of them; a master key wraps a handful.
fn seal(master: &MasterKey, associated: &[u8], plaintext: &[u8], entropy: &Entropy) -> Result<String, VaultError> {
    let nonce = entropy.array::<NONCE_LEN>()?;
    let mut payload = Vec::with_capacity(NONCE_LEN + plaintext.len() + TAG_LEN);
    payload.extend_from_slice(&nonce);
    aead::seal(master.bytes(), nonce, associated, plaintext, &mut payload)?;
    Ok(format!("{FORMAT}{}", URL_SAFE_NO_PAD.encode(payload)))
}

fn open(master: &MasterKey, associated: &[u8], text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let payload = URL_SAFE_NO_PAD.decode(text.strip_prefix(FORMAT)?).ok()?;
    let (nonce, sealed) = payload.split_first_chunk::<NONCE_LEN>()?;
    aead::open(master.bytes(), *nonce, associated, sealed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Purpose;

    const PLACE: KeyPlace<'static> =
        KeyPlace { installation: "in_1", purpose: Purpose::Pepper, id: "pepper-000001-00ff" };

    /// A master key, and a key that it wrapped.
    fn wrapped() -> (MasterKey, PurposeKey, String) {
        let entropy = Entropy::seeded(5);
        let master = MasterKey::generate(&entropy).unwrap();
        let key = PurposeKey::generate(&entropy).unwrap();
        let text = master.wrap(&PLACE, &key, &entropy).unwrap();
        (master, key, text)
    }

    /// Every text that differs from `text` in one bit.
    fn flipped(text: &str) -> impl Iterator<Item = String> {
        (0..text.len() * 7).map(move |at| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at / 7] ^= 1 << (at % 7);
            String::from_utf8(bytes).unwrap()
        })
    }

    #[test]
    fn opens_only_as_it_was_wrapped() {
        let (master, key, text) = wrapped();
        assert_eq!(*master.unwrap_key(&PLACE, &text).unwrap().0, *key.0);
        let other = MasterKey::generate(&Entropy::system()).unwrap();
        assert!(other.unwrap_key(&PLACE, &text).is_none());
        for place in [
            KeyPlace { installation: "in_2", ..PLACE },
            KeyPlace { id: "pepper-000002-00ff", ..PLACE },
            KeyPlace { purpose: Purpose::Data, ..PLACE },
        ] {
            assert!(master.unwrap_key(&place, &text).is_none(), "{place:?}");
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let (master, _, text) = wrapped();
        assert!(flipped(&text).all(|text| master.unwrap_key(&PLACE, &text).is_none()));
        for text in ["", "v1.", "v1.AA", "v2.AA"] {
            assert!(master.unwrap_key(&PLACE, text).is_none());
        }
    }

    #[test]
    fn a_check_value_fits_its_master_key_and_installation_alone() {
        let entropy = Entropy::seeded(6);
        let (master, other) = (MasterKey::generate(&entropy).unwrap(), MasterKey::generate(&entropy).unwrap());
        let check = master.seal_check("in_1", &entropy).unwrap();
        assert!(master.fits("in_1", &check));
        assert!(!master.fits("in_2", &check) && !other.fits("in_1", &check) && !master.fits("in_1", ""));
        assert!(flipped(&check).all(|check| !master.fits("in_1", &check)));
    }
}
