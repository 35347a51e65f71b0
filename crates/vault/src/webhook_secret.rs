//! The secret that a webhook's messages are signed with, as Standard Webhooks has it
//! (<https://www.standardwebhooks.com>): `whsec_` and the base64 of random bytes; HMAC-SHA-256.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{Entropy, VaultError};

/// A webhook's secret: 256 bits. Cannot be printed, cloned or compared; zeroized on drop.
pub struct WebhookSecret(Zeroizing<[u8; WebhookSecret::BYTES]>);

impl WebhookSecret {
    /// Bytes of a secret.
    pub const BYTES: usize = 32;

    /// A fresh one.
    ///
    /// # Errors
    /// [`VaultError::Randomness`].
    pub fn generate(entropy: &Entropy) -> Result<WebhookSecret, VaultError> {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        entropy.fill(&mut bytes[..])?;
        Ok(WebhookSecret(bytes))
    }

    /// One that was sealed; `None` where it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<WebhookSecret> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        Some(WebhookSecret(Zeroizing::new(*bytes)))
    }

    /// Its bytes, to be sealed.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// As the receiver's library takes it. To be shown once.
    pub fn expose_once(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("whsec_{}", STANDARD.encode(&self.0[..])))
    }

    /// The signature of a message, for the header `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp_seconds: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0[..]));
        context.update(format!("{id}.{timestamp_seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

opaque_debug!(WebhookSecret);

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's `hmac` over the text that the specification describes.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = WebhookSecret::from_bytes(&[7; 32]).unwrap();
        let expected = "v1,deQjtU6SWD+q8pd+P+gXhZgACMXlQ+IzTmveKAvIX38=";
        assert_eq!(secret.sign("msg_1", 1_700_000_000, br#"{"type":"x"}"#), expected);
        assert_eq!(*secret.expose_once(), "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        assert!(WebhookSecret::from_bytes(b"short").is_none());
        assert_eq!(format!("{secret:?}"), "[WebhookSecret]");
    }
}
