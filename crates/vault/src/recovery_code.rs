//! Recovery codes: what a member signs in with, once each, who has lost their authenticator app.

use zeroize::Zeroizing;

use crate::{Entropy, VaultError, token::sha256};

/// 12 characters of an alphabet of 32, 60 bits, in three groups: `k7wm-2hqx-9tfe`. Cannot be printed, cloned or compared;
/// zeroized on drop. Stored only as a keyed hash of [`RecoveryCode::sha256`].
pub struct RecoveryCode {
    text: Zeroizing<String>,
    sha256: [u8; 32],
}

impl RecoveryCode {
    /// A fresh one.
    ///
    /// # Errors
    /// [`VaultError::Randomness`].
    pub fn mint(entropy: &Entropy) -> Result<RecoveryCode, VaultError> {
        let mut bytes = Zeroizing::new([0_u8; CHARACTERS]);
        entropy.fill(&mut bytes[..])?;
        let characters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
        Ok(RecoveryCode::of(Zeroizing::new(characters.collect())))
    }

    /// Reads a presented one, in any case, with or without its hyphens or spaces. `None` for what was never one.
    pub fn parse(text: &str) -> Option<RecoveryCode> {
        let plain = text.chars().filter(|letter| !matches!(letter, '-' | ' '));
        let plain: Zeroizing<String> =
            Zeroizing::new(plain.take(CHARACTERS + 1).collect::<String>().to_ascii_lowercase());
        let whole = plain.len() == CHARACTERS && plain.bytes().all(|byte| ALPHABET.contains(&byte));
        whole.then(|| RecoveryCode::of(plain))
    }

    /// SHA-256 of the characters.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Gives the code away, in its groups: onto the page that shows it, once.
    pub fn expose_once(self) -> Zeroizing<String> {
        let groups: Vec<&str> = (0..CHARACTERS).step_by(4).map(|at| &self.text[at..at + 4]).collect();
        Zeroizing::new(groups.join("-"))
    }

    fn of(text: Zeroizing<String>) -> RecoveryCode {
        let sha256 = sha256(text.as_bytes());
        RecoveryCode { text, sha256 }
    }
}

opaque_debug!(RecoveryCode);

const CHARACTERS: usize = 12;
/// Without what is easily taken for another character: i, l, o and u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let code = RecoveryCode::mint(&Entropy::system()).unwrap();
        let hash = *code.sha256();
        let text = code.expose_once();
        assert_eq!((text.len(), text.matches('-').count()), (14, 2));
        for typed in [text.to_string(), text.replace('-', ""), text.replace('-', " "), text.to_uppercase()] {
            assert_eq!(RecoveryCode::parse(&typed).map(|code| *code.sha256()), Some(hash), "{typed}");
        }
        for other in ["", "123456", &text[..13], &format!("{}x", *text), "aaaa-aaaa-aaau", "aaaa-aaaa-aaaé"] {
            assert!(RecoveryCode::parse(other).is_none(), "{other}");
        }
        assert_eq!(format!("{:?}", RecoveryCode::mint(&Entropy::seeded(1)).unwrap()), "[RecoveryCode]");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_as_a_code(text: String, near in "[0-9a-zA-Z -]{10,16}") {
            let _ = RecoveryCode::parse(&text);
            let _ = RecoveryCode::parse(&near);
        }
    }
}
