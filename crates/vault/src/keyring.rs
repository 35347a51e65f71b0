//! The opened set of keys of an installation.

use crate::{
    Entropy, MasterKey, Purpose, VaultError, WrappedKey,
    aead::KeyBytes,
    wrapped_key::{check_opens, seal_check},
};
use aws_lc_rs::hmac;

/// Every live key of an installation, opened. Neither cloned nor printed; zeroized on drop.
///
/// Several keys of a purpose may be live: the newest makes, all of them read. What it does with them stands in `seal`
/// (sealed values) and `mac` (digests and MACs).
pub struct Keyring {
    pub(crate) installation: String,
    pub(crate) data: Live<KeyBytes>,
    pub(crate) other: Live<KeyBytes>,
    pub(crate) pepper: Live<hmac::Key>,
    pub(crate) row_mac: Live<hmac::Key>,
    pub(crate) audit: Live<hmac::Key>,
    pub(crate) session: Live<hmac::Key>,
}

impl Keyring {
    /// Makes the first keys of a new installation, one a purpose. Returns the keyring, the wrapped keys to be stored
    /// and the check value that later proves the master key to be the right one.
    ///
    /// # Errors
    /// [`VaultError`]; nothing is then to be stored.
    pub fn create(
        master: &MasterKey,
        installation: &str,
        entropy: &Entropy,
    ) -> Result<(Keyring, Vec<WrappedKey>, String), VaultError> {
        let wrapped = Purpose::ALL
            .into_iter()
            .map(|purpose| WrappedKey::generate(master, installation, purpose, 1, entropy))
            .collect::<Result<Vec<_>, _>>()?;
        let check = seal_check(master, installation, entropy)?;
        // Opened from what will be stored: a set that does not open is never handed out.
        let keyring = Keyring::open(master, installation, &wrapped, &check).map_err(|_| VaultError::Encryption)?;
        Ok((keyring, wrapped, check))
    }

    /// Opens the stored keys of an installation, in whatever order they come.
    ///
    /// # Errors
    /// A wrong master key is told apart from a damaged or missing key.
    pub fn open(
        master: &MasterKey,
        installation: &str,
        wrapped: &[WrappedKey],
        check: &str,
    ) -> Result<Keyring, OpenError> {
        if !check_opens(master, installation, check) {
            return Err(OpenError::WrongMasterKey);
        }
        let mut opened = Vec::with_capacity(wrapped.len());
        for stored in wrapped {
            let key =
                stored.open(master, installation).ok_or_else(|| OpenError::Damaged { key_id: stored.id.clone() })?;
            opened.push((stored, key));
        }
        opened.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        Ok(Keyring {
            installation: installation.to_owned(),
            data: Live::gather(&opened, Purpose::Data, KeyBytes::clone)?,
            other: Live::gather(&opened, Purpose::Other, KeyBytes::clone)?,
            pepper: Live::gather(&opened, Purpose::Pepper, hmac_key)?,
            row_mac: Live::gather(&opened, Purpose::RowMac, hmac_key)?,
            audit: Live::gather(&opened, Purpose::Audit, hmac_key)?,
            session: Live::gather(&opened, Purpose::Session, hmac_key)?,
        })
    }

    /// The installation's id, part of every associated data and MAC.
    pub fn installation(&self) -> &str {
        &self.installation
    }
}

opaque_debug!(Keyring);

/// Why the stored keys do not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The check value does not open.
    #[error(
        "the master key does not belong to this database; point KEYWARD_MASTER_KEY_FILE at the key the database was made with"
    )]
    WrongMasterKey,
    /// The master key is right, but this key was altered.
    #[error("the stored key {key_id:?} is damaged or was altered; restore the database from a backup")]
    Damaged {
        /// The id of the key's row.
        key_id: String,
    },
    /// There is no key of this purpose.
    #[error(
        "the database holds no key for the purpose '{}'; restore it from a backup",
        .0.as_str()
    )]
    Missing(Purpose),
}

/// The live keys of one purpose: at least one.
pub(crate) struct Live<K> {
    newest: (String, K),
    /// Newest first.
    older: Vec<(String, K)>,
}

impl<K> Live<K> {
    /// Id and key of the newest, the one that makes.
    pub(crate) fn newest(&self) -> (&str, &K) {
        (&self.newest.0, &self.newest.1)
    }

    /// Ids and keys, newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &K)> {
        std::iter::once(&self.newest).chain(&self.older).map(|(id, key)| (id.as_str(), key))
    }

    /// The key of that id.
    pub(crate) fn find(&self, id: &str) -> Option<&K> {
        self.iter().find(|(own, _)| *own == id).map(|(_, key)| key)
    }

    /// Picks the keys of one purpose from all, which are sorted by id.
    fn gather(
        opened: &[(&WrappedKey, KeyBytes)],
        purpose: Purpose,
        convert: impl Fn(&KeyBytes) -> K,
    ) -> Result<Live<K>, OpenError> {
        let mut keys = opened
            .iter()
            .rev()
            .filter(|(stored, _)| stored.purpose == purpose)
            .map(|(stored, key)| (stored.id.clone(), convert(key)));
        let newest = keys.next().ok_or(OpenError::Missing(purpose))?;
        Ok(Live { newest, older: keys.collect() })
    }
}

fn hmac_key(bytes: &KeyBytes) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &bytes[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created() -> (MasterKey, Vec<WrappedKey>, String) {
        let entropy = Entropy::seeded(11);
        let master = MasterKey::generate(&entropy).unwrap();
        let (keyring, wrapped, check) = Keyring::create(&master, "in_1", &entropy).unwrap();
        assert_eq!(keyring.installation(), "in_1");
        (master, wrapped, check)
    }

    #[test]
    fn opens_in_any_order() {
        let (master, mut wrapped, check) = created();
        assert_eq!(wrapped.len(), Purpose::ALL.len());
        wrapped.reverse();
        assert!(Keyring::open(&master, "in_1", &wrapped, &check).is_ok());
    }

    #[test]
    fn wrong_master_key_is_told_apart() {
        let (_, wrapped, check) = created();
        let other = MasterKey::generate(&Entropy::system()).unwrap();
        let error = Keyring::open(&other, "in_1", &wrapped, &check).unwrap_err();
        assert_eq!(error, OpenError::WrongMasterKey);
    }

    #[test]
    fn other_installation_is_refused() {
        let (master, wrapped, check) = created();
        assert!(Keyring::open(&master, "in_2", &wrapped, &check).is_err());
    }

    #[test]
    fn altered_check_value_is_refused() {
        let (master, wrapped, check) = created();
        for at in 0..check.len() {
            let mut bytes = check.clone().into_bytes();
            bytes[at] ^= 1;
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(Keyring::open(&master, "in_1", &wrapped, &flipped).is_err());
        }
    }

    #[test]
    fn damaged_key_is_named() {
        let (master, wrapped, check) = created();
        for at in 0..wrapped.len() {
            let mut damaged = wrapped.clone();
            damaged[at].wrapped = wrapped[(at + 1) % wrapped.len()].wrapped.clone();
            let key_id = wrapped[at].id.clone();
            let error = Keyring::open(&master, "in_1", &damaged, &check).unwrap_err();
            assert_eq!(error, OpenError::Damaged { key_id });
        }
    }

    #[test]
    fn missing_purpose_is_named() {
        let (master, wrapped, check) = created();
        for at in 0..wrapped.len() {
            let mut fewer = wrapped.clone();
            let removed = fewer.remove(at);
            let error = Keyring::open(&master, "in_1", &fewer, &check).unwrap_err();
            assert_eq!(error, OpenError::Missing(removed.purpose));
            assert!(error.to_string().contains(removed.purpose.as_str()));
        }
    }

    #[test]
    fn newest_key_makes_and_all_are_found() {
        let (master, mut wrapped, check) = created();
        let entropy = Entropy::seeded(12);
        for ordinal in [3, 2] {
            let key = WrappedKey::generate(&master, "in_1", Purpose::Data, ordinal, &entropy);
            wrapped.push(key.unwrap());
        }
        let keyring = Keyring::open(&master, "in_1", &wrapped, &check).unwrap();
        let ids: Vec<&str> = keyring.data.iter().map(|(id, _)| &id[..11]).collect();
        assert_eq!(ids, ["data-000003", "data-000002", "data-000001"]);
        assert_eq!(&keyring.data.newest().0[..11], "data-000003");
        assert!(wrapped[6..].iter().all(|k| keyring.data.find(&k.id).is_some()));
        assert!(keyring.data.find("data-000004").is_none());
    }
}
