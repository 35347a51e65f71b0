//! A freshly minted agent key or management token.

use crate::{
    Entropy, Token, TokenKind, VaultError,
    token::{BASE62, RANDOM_LEN, checksum},
};
use zeroize::Zeroizing;

/// A new secret of either kind, to be shown once. Cannot be printed, cloned, serialised or compared; zeroized on drop.
/// What is stored of it is its mask and a keyed hash of [`AgentSecret::token`].
pub struct AgentSecret {
    kind: TokenKind,
    text: Zeroizing<String>,
}

impl AgentSecret {
    /// Mints one: prefix, 43 base62 characters (256 bits), 6 characters of checksum.
    ///
    /// The characters are unbiased: of the 256 values of a random byte the last 8, which do not fill a whole round of
    /// the alphabet, are drawn again (rejection sampling).
    ///
    /// # Errors
    /// [`VaultError::Randomness`].
    pub fn mint(kind: TokenKind, entropy: &Entropy) -> Result<AgentSecret, VaultError> {
        let mut text = Zeroizing::new(String::with_capacity(kind.token_len()));
        text.push_str(kind.prefix());
        let wanted = text.len() + RANDOM_LEN;
        let mut pool = Zeroizing::new([0u8; 64]);
        while text.len() < wanted {
            entropy.fill(&mut pool[..])?;
            for &byte in pool.iter().filter(|byte| **byte < ROUNDS) {
                if text.len() == wanted {
                    break;
                }
                text.push(char::from(BASE62[usize::from(byte) % BASE62.len()]));
            }
        }
        for digit in checksum(text.as_bytes()) {
            text.push(char::from(digit));
        }
        Ok(AgentSecret { kind, text })
    }

    /// What the database will know it by.
    pub fn token(&self) -> Token {
        Token::of_checked(self.kind, self.text.as_bytes())
    }

    /// What a list shows: the first 4 characters, `******` and the last 4, for instance `kw_a******WXYZ`.
    pub fn mask(&self) -> String {
        let text = self.text.as_str();
        format!("{}******{}", &text[..4], &text[text.len() - 4..])
    }

    /// Gives the secret away, for the one time it is shown.
    pub fn expose_once(self) -> Zeroizing<String> {
        self.text
    }
}

opaque_debug!(AgentSecret);

/// The largest multiple of 62 that a byte can count to.
const ROUNDS: u8 = 248;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn minted_secret_parses_to_its_own_token() {
        for (kind, length) in [(TokenKind::Agent, 52), (TokenKind::Management, 53)] {
            let secret = AgentSecret::mint(kind, &Entropy::system()).unwrap();
            let (own, mask) = (secret.token(), secret.mask());
            let text = secret.expose_once();
            let parsed = Token::parse(text.as_bytes()).unwrap();
            assert_eq!((own.kind(), parsed.kind()), (kind, kind));
            assert_eq!(own.sha256(), parsed.sha256());
            assert_eq!(text.len(), length);
            assert_eq!(mask, format!("{}******{}", &text[..4], &text[length - 4..]));
            assert_eq!(text.capacity(), length, "grown text leaves a copy behind");
        }
    }

    #[test]
    fn characters_are_unbiased_and_secrets_differ() {
        let entropy = Entropy::seeded(3);
        let mut counts = [0u32; 128];
        let mut seen = HashSet::new();
        for _ in 0..2000 {
            let secret = AgentSecret::mint(TokenKind::Agent, &entropy).unwrap();
            let text = secret.expose_once().to_string();
            for byte in &text.as_bytes()[3..46] {
                counts[usize::from(*byte)] += 1;
            }
            assert!(seen.insert(text));
        }
        // 86,000 characters over 62: 1387 expected each, standard deviation 37; `byte % 62` alone would give the
        // first 8 a quarter more.
        for digit in BASE62 {
            let count = counts[usize::from(*digit)];
            assert!((1200..1575).contains(&count), "{}: {count}", *digit as char);
        }
    }
}
