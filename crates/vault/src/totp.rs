//! One-time codes from an authenticator app: TOTP (RFC 6238) with HMAC-SHA-1, 30 seconds, 6 digits, which is what every
//! such app knows.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::{Entropy, VaultError};

/// The secret that a member's app and Keyward share: 160 bits, as RFC 4226 recommends. Cannot be printed, cloned or
/// compared; zeroized on drop.
pub struct TotpSecret(Zeroizing<[u8; TotpSecret::BYTES]>);

impl TotpSecret {
    /// How long a code stands, in seconds.
    pub const PERIOD: i64 = 30;
    /// Bytes of a secret.
    pub const BYTES: usize = 20;
    /// Digits of a code.
    pub const DIGITS: usize = 6;

    /// A fresh one.
    ///
    /// # Errors
    /// [`VaultError::Randomness`].
    pub fn generate(entropy: &Entropy) -> Result<TotpSecret, VaultError> {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        entropy.fill(&mut bytes[..])?;
        Ok(TotpSecret(bytes))
    }

    /// One that was sealed; `None` where it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<TotpSecret> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        Some(TotpSecret(Zeroizing::new(*bytes)))
    }

    /// Its bytes, to be sealed.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// As people type it into an app: base32 (RFC 4648), 32 characters.
    pub fn to_base32(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(Self::BYTES * 8 / 5));
        for chunk in self.0.chunks_exact(5) {
            let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            for at in (0..8).rev() {
                text.push(char::from(BASE32[(bits >> (5 * at) & 31) as usize]));
            }
        }
        text
    }

    /// Which step of the time a code belongs to: the one of `at_seconds` (since 1970), the one before or the one after,
    /// for clocks that differ. `None` where it is not a code of these. The caller takes no step twice.
    pub fn step_of(&self, code: &str, at_seconds: i64) -> Option<i64> {
        if code.len() != Self::DIGITS || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let now = at_seconds.div_euclid(Self::PERIOD);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0[..]);
        // All three in any case, and each in constant time. Of two steps with the same code the newest counts.
        [now - 1, now, now + 1].into_iter().filter(|step| is_code_of(&key, *step, code)).max()
    }
}

opaque_debug!(TotpSecret);

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn is_code_of(key: &hmac::Key, step: i64, code: &str) -> bool {
    let expected = Zeroizing::new(format!("{:06}", hotp(key, step) % 1_000_000));
    aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), code.as_bytes()).is_ok()
}

/// RFC 4226, before it is cut to its digits: 31 bits.
fn hotp(key: &hmac::Key, counter: i64) -> u32 {
    let tag = hmac::sign(key, &counter.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[tag.len() - 1] & 15);
    u32::from_be_bytes([tag[at], tag[at + 1], tag[at + 2], tag[at + 3]]) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The secret of RFC 6238's and RFC 4226's vectors.
    fn secret() -> TotpSecret {
        TotpSecret::from_bytes(b"12345678901234567890").unwrap()
    }

    fn code_at(seconds: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret().as_bytes());
        format!("{:06}", hotp(&key, seconds / TotpSecret::PERIOD) % 1_000_000)
    }

    /// RFC 6238, appendix B, whose codes have 8 digits: ours are the last six of them.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret().as_bytes());
        for (seconds, expected) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(format!("{:08}", hotp(&key, seconds / 30) % 100_000_000), expected);
            assert_eq!(secret().step_of(&expected[2..], seconds), Some(seconds / 30));
        }
    }

    /// RFC 4226, appendix D.
    #[test]
    fn counters_give_the_codes_of_the_rfc() {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret().as_bytes());
        let codes: Vec<_> = (0..10).map(|counter| format!("{:06}", hotp(&key, counter) % 1_000_000)).collect();
        let expected = "755224 287082 359152 969429 338314 254676 287922 162583 399871 520489";
        assert_eq!(codes.join(" "), expected);
    }

    #[test]
    fn a_code_is_good_in_its_step_and_its_neighbours_and_at_no_other_time() {
        let at = 1_234_567_890;
        let code = code_at(at);
        for (seconds, is_good) in [(-60, false), (-30, true), (0, true), (30, true), (60, false)] {
            assert_eq!(secret().step_of(&code, at + seconds), is_good.then_some(at / 30), "{seconds}");
        }
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let code = code_at(59);
        for text in ["", "28708", "2870822", " 287082", "28708a", "２８７０８２", "-87082", "+87082"] {
            assert_eq!(secret().step_of(text, 59), None, "{text}");
        }
        assert!(secret().step_of(&code, 59).is_some());
    }

    #[test]
    fn a_secret_is_written_in_base32() {
        assert_eq!(*secret().to_base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert!(TotpSecret::from_bytes(b"short").is_none());
        let entropy = Entropy::seeded(7);
        let one = TotpSecret::generate(&entropy).unwrap();
        assert_ne!(*one.to_base32(), *TotpSecret::generate(&entropy).unwrap().to_base32());
        assert_eq!(format!("{one:?}"), "[TotpSecret]");
    }

    proptest! {
        #[test]
        fn any_text_at_any_time_is_judged_without_a_panic_by_the_clock(text: String, digits in "[0-9]{6}", seconds: i64) {
            let seconds = seconds.clamp(i64::MIN / 2, i64::MAX / 2);
            let _ = secret().step_of(&text, seconds);
            let _ = secret().step_of(&digits, seconds);
        }
    }
}
