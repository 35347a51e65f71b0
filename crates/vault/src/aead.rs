//! AES-256-GCM (NIST SP 800-38D) and random keys, in zeroizing memory.

use crate::{Entropy, VaultError};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

/// A 256-bit key. On the heap, so that moving it leaves no copy behind.
pub(crate) type KeyBytes = Box<Zeroizing<[u8; 32]>>;

/// Bytes of the authentication tag.
pub(crate) const TAG_LEN: usize = 16;

/// A fresh random key.
pub(crate) fn random_key(entropy: &Entropy) -> Result<KeyBytes, VaultError> {
    let mut key: KeyBytes = Box::new(Zeroizing::new([0; 32]));
    entropy.fill(&mut key[..])?;
    Ok(key)
}

/// Appends ciphertext and tag of `plaintext` to `out`. The caller never repeats a pair of key and nonce.
pub(crate) fn seal(
    key: &[u8; 32],
    nonce: [u8; NONCE_LEN],
    associated: &[u8],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), VaultError> {
    let cipher = cipher(key).ok_or(VaultError::Encryption)?;
    let start = out.len();
    // Room first: growing later would leave the plaintext in the old allocation.
    out.reserve_exact(plaintext.len() + TAG_LEN);
    out.extend_from_slice(plaintext);
    let nonce = Nonce::assume_unique_for_key(nonce);
    match cipher.seal_in_place_separate_tag(nonce, Aad::from(associated), &mut out[start..]) {
        Ok(tag) => {
            out.extend_from_slice(tag.as_ref());
            Ok(())
        }
        Err(_) => {
            out.zeroize();
            Err(VaultError::Encryption)
        }
    }
}

/// The plaintext, or `None` if key, nonce, associated data or a single bit of `sealed` is not what it was.
pub(crate) fn open(
    key: &[u8; 32],
    nonce: [u8; NONCE_LEN],
    associated: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = cipher(key)?.open_in_place(nonce, Aad::from(associated), &mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

fn cipher(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 14 of McGrew and Viega, "The Galois/Counter Mode of Operation".
    #[test]
    fn known_answer() {
        let mut out = vec![9];
        seal(&[0; 32], [0; 12], b"", &[0; 16], &mut out).unwrap();
        let hex: String = out[1..].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
        assert_eq!(*open(&[0; 32], [0; 12], b"", &out[1..]).unwrap(), [0; 16]);
    }

    #[test]
    fn refuses_other_key_nonce_associated_data_and_short_input() {
        let mut out = Vec::new();
        seal(&[1; 32], [2; 12], b"a", b"text", &mut out).unwrap();
        assert!(open(&[0; 32], [2; 12], b"a", &out).is_none());
        assert!(open(&[1; 32], [0; 12], b"a", &out).is_none());
        assert!(open(&[1; 32], [2; 12], b"b", &out).is_none());
        assert!(open(&[1; 32], [2; 12], b"a", &out[..TAG_LEN - 1]).is_none());
        assert!(open(&[1; 32], [2; 12], b"a", b"").is_none());
    }
}
