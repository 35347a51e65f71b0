//! The key that wraps all others.

use crate::{
    Entropy, VaultError,
    aead::{self, KeyBytes},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// The master key: 32 bytes that stand in a file (or a systemd credential), never in the database.
///
/// Cannot be printed, cloned or compared; zeroized on drop.
pub struct MasterKey(KeyBytes);

impl MasterKey {
    /// A fresh random one.
    ///
    /// # Errors
    /// [`VaultError::Randomness`].
    pub fn generate(entropy: &Entropy) -> Result<MasterKey, VaultError> {
        aead::random_key(entropy).map(MasterKey)
    }

    /// Reads the text of a master-key file: standard base64 (RFC 4648, section 4) of exactly 32 bytes; whitespace
    /// around it is tolerated. The caller zeroizes the text it read.
    ///
    /// # Errors
    /// Says what is wrong with the text, never what stands in it.
    pub fn parse(text: &str) -> Result<MasterKey, MasterKeyError> {
        let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).map_err(|_| MasterKeyError::NotBase64)?;
        let mut key: KeyBytes = Box::new(Zeroizing::new([0; 32]));
        if bytes.len() != key.len() {
            return Err(MasterKeyError::WrongLength { bytes: bytes.len() });
        }
        key.copy_from_slice(&bytes);
        Ok(MasterKey(key))
    }

    /// What [`MasterKey::parse`] reads: 44 characters, no newline at the end.
    pub fn to_file_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(44));
        STANDARD.encode_string(&self.0[..], &mut text);
        text
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

opaque_debug!(MasterKey);

/// Why a text is no master key. Carries nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    /// Not standard base64.
    #[error(
        "the master key is not base64; it must be 32 bytes in standard base64, as `keyward master-key new` prints them"
    )]
    NotBase64,
    /// Base64 of another number of bytes.
    #[error(
        "the master key has {bytes} bytes instead of 32; make one with `keyward master-key new`, or restore the right file"
    )]
    WrongLength {
        /// How many bytes the text stands for.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_with_whitespace_around() {
        let key = MasterKey::generate(&Entropy::seeded(7)).unwrap();
        let text = key.to_file_text();
        assert_eq!(text.len(), 44);
        for form in [text.to_string(), format!("{}\n", *text), format!(" \t{}\r\n\n", *text)] {
            assert_eq!(MasterKey::parse(&form).unwrap().bytes(), key.bytes());
        }
    }

    #[test]
    fn errors_say_what_is_wrong_and_not_what_was_read() {
        let length = |n: usize| MasterKey::parse(&STANDARD.encode(vec![0x5a; n])).unwrap_err();
        assert_eq!(length(0), MasterKeyError::WrongLength { bytes: 0 });
        assert_eq!(length(31), MasterKeyError::WrongLength { bytes: 31 });
        assert_eq!(length(33), MasterKeyError::WrongLength { bytes: 33 });
        assert!(!length(31).to_string().contains("Wlpa"));
        let error = MasterKey::parse("not base64, SECRET!").unwrap_err();
        assert_eq!(error, MasterKeyError::NotBase64);
        assert!(!format!("{error} {error:?}").contains("SECRET"));
    }
}
