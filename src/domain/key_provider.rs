//! What wraps the keys that do the work: the master key, or a key in a transit engine that never leaves it. They are
//! unwrapped once, at the start; a running server asks again only for a key that is new.

use base64::{Engine, engine::general_purpose::STANDARD};
use store::installation::{Installation, StoredKey};
use vault::{CHECK_TEXT, Entropy, KeyPlace, Keyring, LiveKey, MasterKey, PurposeKey, check_associated_data};

use crate::egress::Transit;

/// What the text of a key that a transit engine wrapped begins with; the engine's own text follows.
const TRANSIT: &str = "transit1.";

/// What wraps the keys.
pub enum KeyProvider {
    /// The master key.
    MasterKey(MasterKey),
    /// A key in a transit engine.
    Transit(Box<Transit>),
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// The master key.
    MasterKey,
    /// A key in a transit engine.
    Transit,
}

impl ProviderKind {
    /// Which one a wrapped text or check value is from.
    pub fn of(text: &str) -> ProviderKind {
        if text.starts_with(TRANSIT) { ProviderKind::Transit } else { ProviderKind::MasterKey }
    }

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            ProviderKind::MasterKey => "master_key",
            ProviderKind::Transit => "transit",
        }
    }
}

/// Why keys cannot be wrapped or unwrapped; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ProviderError(String);

impl ProviderError {
    fn new(error: impl std::fmt::Display) -> ProviderError {
        ProviderError(error.to_string())
    }
}

impl KeyProvider {
    /// Which kind it is.
    pub fn kind(&self) -> ProviderKind {
        match self {
            KeyProvider::MasterKey(_) => ProviderKind::MasterKey,
            KeyProvider::Transit(_) => ProviderKind::Transit,
        }
    }

    /// In words: 'the master key', or which transit key.
    pub fn words(&self) -> String {
        match self {
            KeyProvider::MasterKey(_) => String::from("the master key"),
            KeyProvider::Transit(transit) => transit.words(),
        }
    }

    /// Makes sure, before anything is wrapped, that what is wrapped will be bound to its place.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn prepare(&self) -> Result<(), ProviderError> {
        match self {
            KeyProvider::MasterKey(_) => Ok(()),
            KeyProvider::Transit(transit) => transit.check_key().await.map_err(ProviderError::new),
        }
    }

    /// Wraps a key for its place.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn wrap(
        &self,
        place: &KeyPlace<'_>,
        key: &PurposeKey,
        entropy: &Entropy,
    ) -> Result<String, ProviderError> {
        match self {
            KeyProvider::MasterKey(master) => master.wrap(place, key, entropy).map_err(ProviderError::new),
            KeyProvider::Transit(transit) => {
                let text = transit.encrypt(&key.to_base64(), &place.associated_data()).await;
                text.map(|text| format!("{TRANSIT}{text}")).map_err(ProviderError::new)
            }
        }
    }

    /// Unwraps a key; `None` where the provider, the place or the text is not what it was.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn unwrap_key(&self, place: &KeyPlace<'_>, text: &str) -> Result<Option<PurposeKey>, ProviderError> {
        match (self, text.strip_prefix(TRANSIT)) {
            (KeyProvider::MasterKey(master), None) => Ok(master.unwrap_key(place, text)),
            (KeyProvider::Transit(transit), Some(text)) => {
                let opened = transit.decrypt(text, &place.associated_data()).await.map_err(ProviderError::new)?;
                Ok(opened.and_then(|text| PurposeKey::from_base64(&text)))
            }
            _ => Ok(None),
        }
    }

    /// A check value for an installation.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn seal_check(&self, installation: &str, entropy: &Entropy) -> Result<String, ProviderError> {
        match self {
            KeyProvider::MasterKey(master) => master.seal_check(installation, entropy).map_err(ProviderError::new),
            KeyProvider::Transit(transit) => {
                let text = transit.encrypt(&check_text(), &check_associated_data(installation)).await;
                text.map(|text| format!("{TRANSIT}{text}")).map_err(ProviderError::new)
            }
        }
    }

    /// Whether a check value was made with it.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn fits(&self, installation: &str, check: &str) -> Result<bool, ProviderError> {
        match (self, check.strip_prefix(TRANSIT)) {
            (KeyProvider::MasterKey(master), None) => Ok(master.fits(installation, check)),
            (KeyProvider::Transit(transit), Some(text)) => {
                let opened = transit.decrypt(text, &check_associated_data(installation)).await;
                Ok(opened.map_err(ProviderError::new)?.is_some_and(|opened| *opened == check_text()))
            }
            _ => Ok(false),
        }
    }

    /// Opens the stored keys of an installation; those that the keyring before has are taken over from it. `None` where
    /// they are not wrapped by this provider.
    ///
    /// # Errors
    /// [`ProviderError`], also for a key that was altered, or is missing.
    pub async fn open(
        &self,
        installation: &Installation,
        keys: &[StoredKey],
        before: Option<&Keyring>,
    ) -> Result<Option<Keyring>, ProviderError> {
        let id = &installation.id;
        let is_next = if self.fits(id, &installation.check_value).await? {
            false
        } else if self.fits(id, &installation.next_check_value).await? {
            true
        } else {
            return Ok(None);
        };
        let mut opened = Vec::with_capacity(keys.len());
        for stored in keys {
            let place = KeyPlace { installation: id, purpose: stored.purpose, id: &stored.id };
            let text = if is_next { &stored.next_wrapped } else { &stored.wrapped };
            opened.push(match before.is_some_and(|before| before.holds(stored.purpose, &stored.id)) {
                true => None,
                false => Some(self.unwrap_key(&place, text).await?.ok_or_else(|| damaged(&stored.id))?),
            });
        }
        proven(installation, keys, opened, before).map(Some)
    }

    /// The same keys, as `next` wraps them.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn rewrap(
        &self,
        next: &KeyProvider,
        installation: &Installation,
        keys: &[StoredKey],
        entropy: &Entropy,
    ) -> Result<Vec<String>, ProviderError> {
        next.prepare().await?;
        let mut wrapped = Vec::with_capacity(keys.len());
        for stored in keys {
            let place = KeyPlace { installation: &installation.id, purpose: stored.purpose, id: &stored.id };
            let key = self.unwrap_key(&place, &stored.wrapped).await?.ok_or_else(|| damaged(&stored.id))?;
            wrapped.push(next.wrap(&place, &key, entropy).await?);
        }
        Ok(wrapped)
    }
}

/// The stored keys of an installation, where the keyring before has all of them; `None` where one is new.
///
/// # Errors
/// [`ProviderError`].
pub fn taken_over(
    installation: &Installation,
    keys: &[StoredKey],
    before: &Keyring,
) -> Result<Option<Keyring>, ProviderError> {
    if !keys.iter().all(|key| before.holds(key.purpose, &key.id)) {
        return Ok(None);
    }
    proven(installation, keys, keys.iter().map(|_| None).collect(), Some(before)).map(Some)
}

/// Assembles a set of keys; those that come without their key are taken over from the keyring before.
///
/// # Errors
/// [`ProviderError`], for a key that is missing.
pub fn assemble(
    installation: &str,
    keys: &[StoredKey],
    opened: Vec<Option<PurposeKey>>,
    before: Option<&Keyring>,
) -> Result<Keyring, ProviderError> {
    let live = keys.iter().zip(opened).map(|(stored, key)| LiveKey {
        id: stored.id.clone(),
        purpose: stored.purpose,
        makes: stored.makes(),
        key,
    });
    Keyring::assemble(installation, live.collect(), before).map_err(ProviderError::new)
}

/// The same of a set that is stored, which has to be the one that Keyward wrote.
fn proven(
    installation: &Installation,
    keys: &[StoredKey],
    opened: Vec<Option<PurposeKey>>,
    before: Option<&Keyring>,
) -> Result<Keyring, ProviderError> {
    let keyring = assemble(&installation.id, keys, opened, before)?;
    if store::keyring::is_proven(&keyring, installation, keys) {
        return Ok(keyring);
    }
    Err(ProviderError(String::from(
        "the set of stored keys was changed outside Keyward: a key was put there, taken away, or put back; restore the \
         database from a backup",
    )))
}

fn check_text() -> String {
    STANDARD.encode(CHECK_TEXT)
}

fn damaged(id: &str) -> ProviderError {
    ProviderError(format!("the stored key {id:?} is damaged or was altered; restore the database from a backup"))
}
