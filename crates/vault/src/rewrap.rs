//! A change of the master key: the same keys, wrapped by another one.

use crate::{
    Entropy, MasterKey, OpenError, VaultError, WrappedKey,
    wrapped_key::{check_opens, seal_check},
};

/// Keys wrapped by the next master key, and the check value that proves it.
pub struct Rewrapped {
    /// The keys, in the order they were given.
    pub keys: Vec<WrappedKey>,
    /// Opens with the next master key only.
    pub check: String,
}

/// Why the keys cannot be wrapped anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewrapError {
    /// They do not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The machinery failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl MasterKey {
    /// Whether this is the key that a check value was made with.
    pub fn fits(&self, installation: &str, check: &str) -> bool {
        check_opens(self, installation, check)
    }

    /// Wraps the stored keys of an installation with `next`. The keys never leave this crate.
    ///
    /// # Errors
    /// [`RewrapError`]; nothing is then to be stored.
    pub fn rewrap(
        &self,
        next: &MasterKey,
        installation: &str,
        wrapped: &[WrappedKey],
        entropy: &Entropy,
    ) -> Result<Rewrapped, RewrapError> {
        let mut keys = Vec::with_capacity(wrapped.len());
        for stored in wrapped {
            let key =
                stored.open(self, installation).ok_or_else(|| OpenError::Damaged { key_id: stored.id.clone() })?;
            keys.push(stored.wrapped_by(next, installation, &key, entropy)?);
        }
        Ok(Rewrapped { keys, check: seal_check(next, installation, entropy)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keyring;

    #[test]
    fn the_same_keys_open_with_the_next_master_key_and_no_longer_with_the_old_one() {
        let entropy = Entropy::seeded(1);
        let (old, next) = (MasterKey::generate(&entropy).unwrap(), MasterKey::generate(&entropy).unwrap());
        let (keyring, wrapped, check) = Keyring::create(&old, "in_1", &entropy).unwrap();
        let after = old.rewrap(&next, "in_1", &wrapped, &entropy).unwrap();
        let reopened = Keyring::open(&next, "in_1", &after.keys, &after.check).unwrap();
        let mac = keyring.row_mac("t", "r", &[]);
        assert!(reopened.verify_row_mac("t", "r", &[], &mac).is_ok());
        assert!(next.fits("in_1", &after.check) && !old.fits("in_1", &after.check) && old.fits("in_1", &check));
        assert_eq!(Keyring::open(&old, "in_1", &after.keys, &after.check).unwrap_err(), OpenError::WrongMasterKey);
        assert!(next.rewrap(&old, "in_1", &wrapped, &entropy).is_err());
        assert!(old.rewrap(&next, "in_2", &wrapped, &entropy).is_err());
    }
}
