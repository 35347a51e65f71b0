//! The opened set of keys of an installation.

use crate::{Entropy, Purpose, PurposeKey, aead::KeyBytes};
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

/// A key to be in a keyring.
#[derive(Debug)]
pub struct LiveKey {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether it makes. One that does not yet is there to read what others make with it.
    pub makes: bool,
    /// The key; `None` where the keyring before has it.
    pub key: Option<PurposeKey>,
}

impl Keyring {
    /// Assembles the keys of an installation, in whatever order they come; those that come without their key are taken
    /// over from the keyring before.
    ///
    /// # Errors
    /// A key that is missing.
    pub fn assemble(
        installation: &str,
        mut keys: Vec<LiveKey>,
        before: Option<&Keyring>,
    ) -> Result<Keyring, MissingKey> {
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Keyring {
            installation: installation.to_owned(),
            data: Live::gather(&keys, Purpose::Data, before.map(|keyring| &keyring.data), KeyBytes::clone)?,
            other: Live::gather(&keys, Purpose::Other, before.map(|keyring| &keyring.other), KeyBytes::clone)?,
            pepper: Live::gather(&keys, Purpose::Pepper, before.map(|keyring| &keyring.pepper), hmac_key)?,
            row_mac: Live::gather(&keys, Purpose::RowMac, before.map(|keyring| &keyring.row_mac), hmac_key)?,
            audit: Live::gather(&keys, Purpose::Audit, before.map(|keyring| &keyring.audit), hmac_key)?,
            session: Live::gather(&keys, Purpose::Session, before.map(|keyring| &keyring.session), hmac_key)?,
        })
    }

    /// **For tests only**: a keyring that nobody wrapped.
    ///
    /// # Panics
    /// Never, with a source of randomness.
    #[doc(hidden)]
    #[allow(clippy::unwrap_used, reason = "for tests only")]
    pub fn unwrapped(installation: &str, entropy: &Entropy) -> Keyring {
        let keys = Purpose::ALL.map(|purpose| LiveKey {
            id: purpose.key_id(1, entropy).unwrap(),
            purpose,
            makes: true,
            key: Some(PurposeKey::generate(entropy).unwrap()),
        });
        Keyring::assemble(installation, keys.into(), None).unwrap()
    }

    /// The same keyring with a second key of one purpose.
    #[cfg(test)]
    pub(crate) fn with_second(&self, purpose: Purpose, entropy: &Entropy) -> Keyring {
        let known = |purpose| LiveKey { id: self.newest(purpose).to_owned(), purpose, makes: true, key: None };
        let mut keys: Vec<LiveKey> = Purpose::ALL.map(known).into();
        let key = Some(PurposeKey::generate(entropy).unwrap());
        keys.push(LiveKey { id: purpose.key_id(2, entropy).unwrap(), purpose, makes: true, key });
        Keyring::assemble(&self.installation, keys, Some(self)).unwrap()
    }

    /// The installation's id, part of every associated data and MAC.
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// Whether the key of that id is in it.
    pub fn holds(&self, purpose: Purpose, id: &str) -> bool {
        match purpose {
            Purpose::Data => self.data.find(id).is_some(),
            Purpose::Other => self.other.find(id).is_some(),
            Purpose::Pepper => self.pepper.find(id).is_some(),
            Purpose::RowMac => self.row_mac.find(id).is_some(),
            Purpose::Audit => self.audit.find(id).is_some(),
            Purpose::Session => self.session.find(id).is_some(),
        }
    }

    /// The id of the key that makes.
    pub fn newest(&self, purpose: Purpose) -> &str {
        match purpose {
            Purpose::Data => self.data.newest().0,
            Purpose::Other => self.other.newest().0,
            Purpose::Pepper => self.pepper.newest().0,
            Purpose::RowMac => self.row_mac.newest().0,
            Purpose::Audit => self.audit.newest().0,
            Purpose::Session => self.session.newest().0,
        }
    }
}

opaque_debug!(Keyring);

/// A keyring lacks a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database holds no key for the purpose '{}'; restore it from a backup",
    .0.as_str()
)]
pub struct MissingKey(pub Purpose);

/// The live keys of one purpose: at least one.
pub(crate) struct Live<K> {
    /// The newest that makes.
    newest: (String, K),
    /// Those that only read, newest first: older ones, and any that does not make yet.
    older: Vec<(String, K)>,
}

impl<K> Live<K> {
    /// Id and key of the newest, the one that makes.
    pub(crate) fn newest(&self) -> (&str, &K) {
        (&self.newest.0, &self.newest.1)
    }

    /// Ids and keys, the one that makes first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &K)> {
        std::iter::once(&self.newest).chain(&self.older).map(|(id, key)| (id.as_str(), key))
    }

    /// The key of that id.
    pub(crate) fn find(&self, id: &str) -> Option<&K> {
        self.iter().find(|(own, _)| *own == id).map(|(_, key)| key)
    }

    /// Picks the keys of one purpose from all, which are sorted by id.
    fn gather(
        keys: &[LiveKey],
        purpose: Purpose,
        before: Option<&Live<K>>,
        convert: impl Fn(&KeyBytes) -> K,
    ) -> Result<Live<K>, MissingKey>
    where
        K: Clone,
    {
        let (mut newest, mut older) = (None, Vec::new());
        for stored in keys.iter().rev().filter(|stored| stored.purpose == purpose) {
            let taken_over = || before.and_then(|before| before.find(&stored.id)).cloned();
            let key = stored.key.as_ref().map(|key| convert(&key.0)).or_else(taken_over);
            let pair = (stored.id.clone(), key.ok_or(MissingKey(purpose))?);
            match &newest {
                None if stored.makes => newest = Some(pair),
                _ => older.push(pair),
            }
        }
        Ok(Live { newest: newest.ok_or(MissingKey(purpose))?, older })
    }
}

fn hmac_key(bytes: &KeyBytes) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &bytes[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(purpose: Purpose, ordinal: u32, makes: bool) -> LiveKey {
        let entropy = Entropy::seeded(u64::from(ordinal));
        let (id, key) = (purpose.key_id(ordinal, &entropy).unwrap(), PurposeKey::generate(&entropy).unwrap());
        LiveKey { id, purpose, makes, key: Some(key) }
    }

    fn first_of_each() -> Vec<LiveKey> {
        Purpose::ALL.map(|purpose| key(purpose, 1, true)).into()
    }

    #[test]
    fn missing_purpose_is_named() {
        assert!(Keyring::assemble("in_1", first_of_each(), None).is_ok());
        for purpose in Purpose::ALL {
            let fewer = first_of_each().into_iter().filter(|key| key.purpose != purpose).collect();
            let error = Keyring::assemble("in_1", fewer, None).unwrap_err();
            assert_eq!(error, MissingKey(purpose));
            assert!(error.to_string().contains(purpose.as_str()));
        }
    }

    #[test]
    fn newest_key_makes_and_all_are_found_in_whatever_order_they_come() {
        let mut keys = first_of_each();
        keys.extend([key(Purpose::Data, 3, true), key(Purpose::Data, 2, true)]);
        let keyring = Keyring::assemble("in_1", keys, None).unwrap();
        let ids: Vec<&str> = keyring.data.iter().map(|(id, _)| &id[..11]).collect();
        assert_eq!(ids, ["data-000003", "data-000002", "data-000001"]);
        assert_eq!(&keyring.newest(Purpose::Data)[..11], "data-000003");
        assert!(!keyring.holds(Purpose::Data, "data-000004"));
    }

    #[test]
    fn one_that_does_not_make_yet_reads_what_others_made_with_it() {
        let with = |makes| {
            let mut keys = first_of_each();
            keys.push(key(Purpose::RowMac, 2, makes));
            Keyring::assemble("in_1", keys, None).unwrap()
        };
        let (announced, active) = (with(false), with(true));
        assert!(announced.newest(Purpose::RowMac).starts_with("row_mac-000001-"));
        let mac = active.row_mac("t", "r", &[]);
        assert!(mac.starts_with("v1.row_mac-000002-"));
        assert!(announced.verify_row_mac("t", "r", &[], &mac).is_ok());
        assert!(active.verify_row_mac("t", "r", &[], &announced.row_mac("t", "r", &[])).is_ok());
    }

    #[test]
    fn keys_that_are_known_already_are_taken_over() {
        let before = Keyring::assemble("in_1", first_of_each(), None).unwrap();
        let mut keys: Vec<LiveKey> = first_of_each().into_iter().map(|key| LiveKey { key: None, ..key }).collect();
        keys.push(key(Purpose::Data, 2, true));
        let after = Keyring::assemble("in_1", keys, Some(&before)).unwrap();
        assert!(after.verify_row_mac("t", "r", &[], &before.row_mac("t", "r", &[])).is_ok());
        assert!(after.newest(Purpose::Data).starts_with("data-000002-"));
        let unknown = vec![LiveKey { key: None, ..key(Purpose::Data, 9, true) }];
        assert_eq!(Keyring::assemble("in_1", unknown, Some(&before)).unwrap_err(), MissingKey(Purpose::Data));
    }
}
