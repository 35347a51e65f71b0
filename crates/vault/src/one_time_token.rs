//! Secrets of setup links, invitations and sessions.

use crate::{Entropy, TokenError, VaultError, token::sha256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// 32 random bytes as 43 characters of base64url (RFC 4648, section 5, no padding). Cannot be printed, cloned or
/// compared; zeroized on drop. Stored only as a keyed hash of [`OneTimeToken::sha256`].
pub struct OneTimeToken {
    text: Zeroizing<String>,
    sha256: [u8; 32],
}

impl OneTimeToken {
    /// A fresh one.
    ///
    /// # Errors
    /// [`VaultError::Randomness`].
    pub fn mint(entropy: &Entropy) -> Result<OneTimeToken, VaultError> {
        let mut bytes = Zeroizing::new([0u8; BYTES]);
        entropy.fill(&mut bytes[..])?;
        let mut text = Zeroizing::new(String::with_capacity(CHARACTERS));
        URL_SAFE_NO_PAD.encode_string(&bytes[..], &mut text);
        Ok(OneTimeToken::of_text(text))
    }

    /// Reads a presented one. Tolerates nothing around it.
    ///
    /// # Errors
    /// [`TokenError::Length`] or [`TokenError::Alphabet`]. Such a token was never issued.
    pub fn parse(text: &str) -> Result<OneTimeToken, TokenError> {
        if text.len() != CHARACTERS {
            return Err(TokenError::Length);
        }
        let mut bytes = Zeroizing::new([0u8; BYTES + 1]);
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes[..]) {
            Ok(BYTES) => Ok(OneTimeToken::of_text(Zeroizing::new(text.to_owned()))),
            _ => Err(TokenError::Alphabet),
        }
    }

    /// SHA-256 of the text.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Gives the token away: into the link or the cookie.
    pub fn expose_once(self) -> Zeroizing<String> {
        self.text
    }

    fn of_text(text: Zeroizing<String>) -> OneTimeToken {
        let sha256 = sha256(text.as_bytes());
        OneTimeToken { text, sha256 }
    }
}

opaque_debug!(OneTimeToken);

const BYTES: usize = 32;
const CHARACTERS: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn minted_token_parses_to_the_same_hash() {
        let token = OneTimeToken::mint(&Entropy::system()).unwrap();
        let hash = *token.sha256();
        let text = token.expose_once();
        assert_eq!(text.len(), 43);
        assert_eq!(OneTimeToken::parse(&text).unwrap().sha256(), &hash);
    }

    #[test]
    fn refuses_other_lengths_alphabets_and_loose_bits() {
        let error = |text: &str| OneTimeToken::parse(text).err();
        assert_eq!(error(""), Some(TokenError::Length));
        assert_eq!(error(&"A".repeat(42)), Some(TokenError::Length));
        assert_eq!(error(&"A".repeat(44)), Some(TokenError::Length));
        assert_eq!(error(&format!("{}+", "A".repeat(42))), Some(TokenError::Alphabet));
        assert_eq!(error(&format!("{}B", "A".repeat(42))), Some(TokenError::Alphabet));
        assert_eq!(error(&"A".repeat(43)), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String, near in "[A-Za-z0-9_=+/é-]{41,44}") {
            let _ = OneTimeToken::parse(&text);
            let _ = OneTimeToken::parse(&near);
        }
    }
}
