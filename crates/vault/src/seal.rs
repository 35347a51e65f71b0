//! Secrets at rest: each sealed under a key of its own, in one place, for one origin.

use crate::{
    Binding, Entropy, Keyring, ProviderSecret, ProviderValue, Purpose, VaultError,
    aead::{self, KeyBytes, TAG_LEN},
    envelope,
    framing::Framed,
    keyring::Live,
};
use aws_lc_rs::{
    error::Unspecified,
    hkdf::{self, HKDF_SHA256, KeyType},
};
use zeroize::Zeroizing;

/// Where a sealed value stands. Moved to any other place, it does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The table's name.
    pub table: &'a str,
    /// The row's id.
    pub row: &'a str,
    /// The column's name.
    pub field: &'a str,
    /// The value's version, counted up when it is replaced.
    pub version: i64,
}

/// Sealed text is `v1.<key id>.<base64url>` of salt (32 bytes), ciphertext and tag (16).
///
/// Record key and nonce are HKDF-SHA256 (RFC 5869) of the key, the random salt, and purpose and place as info; the
/// cipher is AES-256-GCM (SP 800-38D). A record key serves one value, so its nonce never repeats. Associated data:
/// format, installation, purpose, place, binding, key id.
impl Keyring {
    /// Seals a general key's value: for one origin, or, before its first link, for none.
    ///
    /// # Errors
    /// [`VaultError`]; nothing is then to be stored.
    pub fn seal(
        &self,
        entropy: &Entropy,
        place: &Place<'_>,
        binding: Option<&Binding>,
        value: &ProviderValue,
    ) -> Result<String, VaultError> {
        let sealer = self.sealer(Purpose::Data, place, binding);
        sealer.seal(entropy, &self.data, value.as_str().as_bytes())
    }

    /// Opens a value that was sealed for `binding`.
    ///
    /// # Errors
    /// [`SealError`]; a value sealed for another origin, or for none, is [`SealError::Refused`].
    pub fn open_bound(&self, place: &Place<'_>, binding: &Binding, sealed: &str) -> Result<ProviderSecret, SealError> {
        let sealer = self.sealer(Purpose::Data, place, Some(binding));
        let opened = sealer.open(&self.data, sealed)?;
        let value = ProviderValue::from_opened(&opened).ok_or(SealError::Malformed)?;
        Ok(ProviderSecret::new(&value, binding.clone()))
    }

    /// Opens a value that was sealed for no origin, to be sealed again for that of its first link. There is no such
    /// function for a bound value.
    ///
    /// # Errors
    /// [`SealError`]; a bound value is [`SealError::Refused`].
    pub fn open_unbound(&self, place: &Place<'_>, sealed: &str) -> Result<ProviderValue, SealError> {
        let sealer = self.sealer(Purpose::Data, place, None);
        let opened = sealer.open(&self.data, sealed)?;
        ProviderValue::from_opened(&opened).ok_or(SealError::Malformed)
    }

    /// Seals a value anew, with the newest key, for the same place and binding; tells also what marks it as the value of
    /// its general key. The value does not leave this crate.
    ///
    /// # Errors
    /// [`ResealError`]; what is stored is then to stay as it is.
    pub fn reseal(
        &self,
        entropy: &Entropy,
        place: &Place<'_>,
        binding: Option<&Binding>,
        sealed: &str,
        general_key_id: &str,
    ) -> Result<Resealed, ResealError> {
        let opened = self.sealer(Purpose::Data, place, binding).open(&self.data, sealed)?;
        let value = ProviderValue::from_opened(&opened).ok_or(SealError::Malformed)?;
        let sealed = self.seal(entropy, place, binding, &value)?;
        Ok(Resealed { sealed, value_mark: self.value_mark(general_key_id, &value) })
    }

    /// Seals another small secret (webhook, SMTP, OIDC, TOTP) under [`Purpose::Other`].
    ///
    /// # Errors
    /// [`VaultError`]; nothing is then to be stored.
    pub fn seal_bytes(&self, entropy: &Entropy, place: &Place<'_>, bytes: &[u8]) -> Result<String, VaultError> {
        let sealer = self.sealer(Purpose::Other, place, None);
        sealer.seal(entropy, &self.other, bytes)
    }

    /// Opens what [`Keyring::seal_bytes`] sealed.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open_bytes(&self, place: &Place<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.sealer(Purpose::Other, place, None).open(&self.other, sealed)
    }

    fn sealer<'a>(&'a self, purpose: Purpose, place: &'a Place<'a>, binding: Option<&'a Binding>) -> Sealer<'a> {
        Sealer { installation: &self.installation, purpose, place, binding }
    }
}

/// A value, sealed anew.
#[derive(Debug)]
pub struct Resealed {
    /// The sealed text.
    pub sealed: String,
    /// As [`Keyring::value_mark`] makes it.
    pub value_mark: String,
}

/// Why a value cannot be sealed anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResealError {
    /// It does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The machinery failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Why a sealed text does not open. Carries nothing of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not the text of a sealed value.
    #[error("the stored secret is not in the sealed format; restore the row from a backup or enter the value again")]
    Malformed,
    /// Sealed under a key that is not live.
    #[error(
        "the stored secret names the key {key_id:?}, which this installation does not have; restore the database from a backup or enter the value again"
    )]
    UnknownKey {
        /// The id in the text.
        key_id: String,
    },
    /// Altered, moved, of another installation, or sealed for another origin.
    #[error(
        "the stored secret was altered, moved, or saved for another origin, and stays closed; enter the value again"
    )]
    Refused,
}

/// One value's context, from which its record key and associated data follow.
struct Sealer<'a> {
    installation: &'a str,
    purpose: Purpose,
    place: &'a Place<'a>,
    binding: Option<&'a Binding>,
}

const SALT_LEN: usize = 32;
const NONCE_LEN: usize = 12;

impl Sealer<'_> {
    fn seal(&self, entropy: &Entropy, keys: &Live<KeyBytes>, plaintext: &[u8]) -> Result<String, VaultError> {
        let (key_id, key) = keys.newest();
        let salt = entropy.array::<SALT_LEN>()?;
        let record = self.record_key(key, &salt).map_err(|_| VaultError::Encryption)?;
        let mut payload = Vec::with_capacity(SALT_LEN + plaintext.len() + TAG_LEN);
        payload.extend_from_slice(&salt);
        let associated = self.associated(key_id);
        aead::seal(&record.key, record.nonce, associated.as_bytes(), plaintext, &mut payload)?;
        Ok(envelope::write(key_id, &payload))
    }

    fn open(&self, keys: &Live<KeyBytes>, text: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (key_id, payload) = envelope::parse(text).ok_or(SealError::Malformed)?;
        let (salt, sealed) = payload.split_first_chunk::<SALT_LEN>().ok_or(SealError::Malformed)?;
        let key = keys.find(key_id).ok_or_else(|| SealError::UnknownKey { key_id: key_id.to_owned() })?;
        let record = self.record_key(key, salt).map_err(|_| SealError::Refused)?;
        let associated = self.associated(key_id);
        aead::open(&record.key, record.nonce, associated.as_bytes(), sealed).ok_or(SealError::Refused)
    }

    fn record_key(&self, key: &KeyBytes, salt: &[u8; SALT_LEN]) -> Result<RecordKey, Unspecified> {
        let info = self.place(Framed::new("keyward/record-key/v1").text(self.purpose.as_str()));
        let mut output = Zeroizing::new([0u8; RecordLen::BYTES]);
        hkdf::Salt::new(HKDF_SHA256, salt)
            .extract(&key[..])
            .expand(&[info.as_bytes()], RecordLen)?
            .fill(&mut output[..])?;
        let mut record = RecordKey { key: Zeroizing::new([0; 32]), nonce: [0; NONCE_LEN] };
        let (key, nonce) = output.split_at(record.key.len());
        record.key.copy_from_slice(key);
        record.nonce.copy_from_slice(nonce);
        Ok(record)
    }

    fn associated(&self, key_id: &str) -> Framed {
        let framed = Framed::new("keyward/sealed/v1").text(self.installation).text(self.purpose.as_str());
        let framed = self.place(framed).text(key_id);
        match self.binding {
            Some(binding) => binding.frame(framed.text("bound")),
            None => framed.text("unbound"),
        }
    }

    fn place(&self, framed: Framed) -> Framed {
        framed.text(self.place.table).text(self.place.row).text(self.place.field).int(self.place.version)
    }
}

/// Key and nonce of one sealed value.
struct RecordKey {
    key: Zeroizing<[u8; 32]>,
    nonce: [u8; NONCE_LEN],
}

/// How much HKDF is to give: key and nonce.
struct RecordLen;

impl RecordLen {
    const BYTES: usize = 32 + NONCE_LEN;
}

impl KeyType for RecordLen {
    fn len(&self) -> usize {
        Self::BYTES
    }
}

#[cfg(test)]
mod tests;
