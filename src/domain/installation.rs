//! The installation: what wraps its keys, the keys, its first start.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use store::{
    Db, Limits, Store, StoreError,
    installation::{Installation, StoredKey},
    relocate,
};
use vault::{Entropy, KeyPlace, Keyring, MasterKey, Purpose, PurposeKey};

use super::{
    clock::Clock,
    ids,
    key_provider::{self, KeyProvider, ProviderError, ProviderKind},
    mark,
    secret_file::{self, PutBy, Unreadable},
};
use crate::{
    config::{self, KeyFileOrigin, MasterKeyFile, StorageConfig, TransitConfig},
    egress::{self, Transit, TransitSettings},
};

/// The number of an installation's first set of keys.
const FIRST_SET: i64 = 1;

/// Why an installation cannot be opened; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InstallationError(String);

impl InstallationError {
    fn new(text: impl Into<String>) -> InstallationError {
        InstallationError(text.into())
    }
}

/// Opens the database and its keyring with what the settings name; a new database gets its keys here.
///
/// # Errors
/// [`InstallationError`]. A master key that is missing, wrong or readable by others is never overwritten.
pub async fn open(config: &StorageConfig, entropy: &Entropy) -> Result<Store, InstallationError> {
    make_data_dir(&config.data_dir)?;
    make_data_dir(&config.state_dir)?;
    if !has_file(config) {
        // Before anything is made.
        refuse_beside_mark(config)?;
        check_first_master_key(config)?;
    }
    let db = open_database(config).await?;
    let (keyring, version) = match open_present(config, &db).await? {
        Some(opened) => opened,
        None => {
            refuse_beside_mark(config)?;
            if relocate::is_under_way(&db).await.map_err(storage)? {
                return Err(InstallationError::new(
                    "an installation is being copied into this database; finish that first: keyward migrate-database",
                ));
            }
            let provider = first_provider(config, entropy)?;
            match create(&db, &provider, entropy).await? {
                Some(keyring) => (keyring, FIRST_SET),
                // Another process was first, on the same empty database.
                None => open_present(config, &db).await?.ok_or_else(|| {
                    InstallationError::new("another process made the installation and took it away again; start again")
                })?,
            }
        }
    };
    Ok(Store::new(db, Arc::new(keyring), version))
}

/// As [`open`], for whoever changes what wraps the keys: also with what wraps them now, where the settings name what is
/// to wrap them next. Makes nothing.
///
/// # Errors
/// [`InstallationError`].
pub async fn open_to_rewrap(config: &StorageConfig, entropy: &Entropy) -> Result<Store, InstallationError> {
    let present = match has_file(config) {
        true => {
            let db = open_database(config).await?;
            let found = store::installation::find(&db).await.map_err(storage);
            db.close().await;
            found?.map(|(installation, _)| installation)
        }
        false => None,
    };
    let Some(installation) = present else { return open(config, entropy).await };
    let (named, kind) = (named(config), ProviderKind::of(&installation.check_value));
    if named == kind || named == ProviderKind::of(&installation.next_check_value) {
        return open(config, entropy).await;
    }
    let db = open_database(config).await?;
    let Some((installation, keys)) = store::installation::find(&db).await.map_err(storage)? else {
        return Err(InstallationError::new("the installation's row is gone; restore the database from a backup"));
    };
    let keyring = open_keyring(config, &provider_of(config, kind)?, &installation, &keys, None).await?;
    Ok(Store::new(db, Arc::new(keyring), installation.keyring_version))
}

/// Where a running server gets keys from that are new.
pub struct KeySource(StorageConfig);

impl KeySource {
    /// As the settings say.
    pub fn new(config: &StorageConfig) -> KeySource {
        KeySource(config.clone())
    }

    /// Lets `store` work with the set of keys as it is now. What wraps the keys is asked for new ones alone. Gives the
    /// keyring before.
    ///
    /// # Errors
    /// [`InstallationError`]; the store goes on with the keys it has.
    pub async fn renew(&self, store: &Store) -> Result<Arc<Keyring>, InstallationError> {
        let found = store::installation::find(store.db()).await.map_err(storage)?;
        let Some((installation, keys)) = found else {
            return Err(InstallationError::new("the installation's row is gone; restore the database from a backup"));
        };
        let before = store.keyring();
        let known = key_provider::taken_over(&installation, &keys, &before);
        let keyring = match known.map_err(|error| InstallationError::new(error.to_string()))? {
            Some(keyring) => keyring,
            None => open_keyring(&self.0, &provider(&self.0)?, &installation, &keys, Some(&before)).await?,
        };
        drop(before);
        Ok(store.renew(keyring, installation.keyring_version))
    }
}

/// What the settings name to wrap the keys.
fn named(config: &StorageConfig) -> ProviderKind {
    if config.transit.is_some() { ProviderKind::Transit } else { ProviderKind::MasterKey }
}

/// What the settings name to wrap the keys, ready to be used.
///
/// # Errors
/// [`InstallationError`].
pub fn provider(config: &StorageConfig) -> Result<KeyProvider, InstallationError> {
    provider_of(config, named(config))
}

/// What of that kind is set, whichever the settings name.
///
/// # Errors
/// [`InstallationError`].
pub fn provider_of(config: &StorageConfig, kind: ProviderKind) -> Result<KeyProvider, InstallationError> {
    match (kind, &config.transit) {
        (ProviderKind::MasterKey, _) => read_master_key(&config.master_key).map(KeyProvider::MasterKey),
        (ProviderKind::Transit, Some(transit)) => open_transit(transit),
        (ProviderKind::Transit, None) => Err(InstallationError::new(
            "the keys of this database are wrapped by a transit key; set KEYWARD_TRANSIT_URL and the settings beside it",
        )),
    }
}

fn open_transit(config: &TransitConfig) -> Result<KeyProvider, InstallationError> {
    let ca_pem = config.ca_file.as_ref().map(|path| {
        let failed =
            |error| InstallationError::new(format!("KEYWARD_TRANSIT_CA_FILE: cannot read {}: {error}", path.display()));
        fs::read(path).map_err(failed)
    });
    let settings = TransitSettings {
        url: config.url.clone(),
        mount: config.mount.clone(),
        key: config.key.clone(),
        namespace: config.namespace.clone(),
        token: match &config.token {
            config::TransitToken::Value(text) => egress::TransitToken::Value(text.clone()),
            config::TransitToken::File(path) => egress::TransitToken::File(path.clone()),
        },
        ca_pem: ca_pem.transpose()?,
        allow_private: config.allow_private,
    };
    let transit = Transit::new(settings).map_err(|error| InstallationError::new(error.to_string()))?;
    Ok(KeyProvider::Transit(Box::new(transit)))
}

/// Opens the stored keys; those that the keyring before has are taken over from it.
async fn open_keyring(
    config: &StorageConfig,
    provider: &KeyProvider,
    installation: &Installation,
    keys: &[StoredKey],
    before: Option<&Keyring>,
) -> Result<Keyring, InstallationError> {
    let shown = || match provider.kind() {
        ProviderKind::MasterKey => format!(" (read from {})", config.master_key.path.display()),
        ProviderKind::Transit => String::new(),
    };
    match provider.open(installation, keys, before).await {
        Ok(Some(keyring)) => Ok(keyring),
        Ok(None) => Err(InstallationError::new(match (provider.kind(), ProviderKind::of(&installation.check_value)) {
            (ProviderKind::MasterKey, ProviderKind::MasterKey) => format!(
                "the master key does not belong to this database; point KEYWARD_MASTER_KEY_FILE at the key the database \
                 was made with{}",
                shown()
            ),
            (ProviderKind::MasterKey, ProviderKind::Transit) => String::from(
                "the keys of this database are wrapped by a transit key, and KEYWARD_TRANSIT_URL is not set; set it, with \
                 the settings beside it, or move them to a master key first: keyward master-key rotate \
                 --new-master-key-file FILE",
            ),
            (ProviderKind::Transit, ProviderKind::MasterKey) => String::from(
                "the keys of this database are wrapped by a master key, and KEYWARD_TRANSIT_URL is set; move them to the \
                 transit key first: keyward master-key rotate --to-transit",
            ),
            (ProviderKind::Transit, ProviderKind::Transit) => format!(
                "the keys of this database are not wrapped by {}; look whether KEYWARD_TRANSIT_URL, KEYWARD_TRANSIT_MOUNT \
                 and KEYWARD_TRANSIT_KEY are right",
                provider.words()
            ),
        })),
        Err(error) => Err(InstallationError::new(format!("{error}{}", shown()))),
    }
}

/// The keys of the installation that is there, and the number of their set.
async fn open_present(config: &StorageConfig, db: &Db) -> Result<Option<(Keyring, i64)>, InstallationError> {
    let Some((installation, keys)) = store::installation::find(db).await.map_err(storage)? else { return Ok(None) };
    let keyring = open_keyring(config, &provider(config)?, &installation, &keys, None).await?;
    Ok(Some((keyring, installation.keyring_version)))
}

/// Whether the next start would make this installation: there is no database, or nothing in it. Makes no database file
/// and no keys itself.
///
/// # Errors
/// [`InstallationError`], also where that start would fail for want of a master key.
pub async fn is_new(config: &StorageConfig) -> Result<bool, InstallationError> {
    if has_file(config) {
        let db = open_database(config).await?;
        let found = store::installation::find(&db).await.map_err(storage);
        db.close().await;
        if found?.is_some() {
            return Ok(false);
        }
    }
    refuse_beside_mark(config)?;
    check_first_master_key(config)?;
    Ok(true)
}

/// Refuses to make an installation where another one left its rollback mark: this one's database may have been deleted.
fn refuse_beside_mark(config: &StorageConfig) -> Result<(), InstallationError> {
    let Some(mark) = mark::find(&config.state_dir) else { return Ok(()) };
    Err(InstallationError::new(format!(
        "there is no installation in the database, but {} says that there was one; put its database back, or, if it is \
         gone for good, move that file away and start again",
        mark.display()
    )))
}

/// Whether the database may be opened without making its file.
fn has_file(config: &StorageConfig) -> bool {
    match config.database_url.strip_prefix("sqlite:") {
        Some(path) => Path::new(path.trim_start_matches("//")).exists(),
        None => true,
    }
}

/// Copies the installation to the database that `target` names; `told` hears of each table, its rows and its checksum.
///
/// # Errors
/// [`InstallationError`]; begun again, it goes on where it was interrupted.
pub async fn copy(from: &Db, target: &StorageConfig, told: impl Fn(&str, u64, &str)) -> Result<(), InstallationError> {
    let to = open_database(target).await?;
    let copied = relocate::copy(from, &to, |table| told(table.table, table.rows, &table.checksum)).await;
    to.close().await;
    copied.map_err(|error| match error {
        StoreError::Unsupported(why) => InstallationError::new(why),
        other => InstallationError::new(format!("{other}; begin again, and it goes on where it was interrupted")),
    })
}

async fn open_database(config: &StorageConfig) -> Result<Db, InstallationError> {
    let limits = Limits {
        max_connections: config.database.max_connections,
        acquire_timeout: config.database.acquire_timeout,
        statement_timeout: config.database.statement_timeout,
        lock_timeout: config.database.lock_timeout,
    };
    Db::open(&config.database_url, limits).await.map_err(|error| {
        InstallationError::new(format!("cannot open the database {}: {error}", without_password(&config.database_url)))
    })
}

/// Makes an installation; `None` where another process was first.
async fn create(db: &Db, provider: &KeyProvider, entropy: &Entropy) -> Result<Option<Keyring>, InstallationError> {
    let now = Clock::default().now_ms();
    let failed = |error: vault::VaultError| InstallationError::new(error.to_string());
    let unwrapped = |error: ProviderError| InstallationError::new(error.to_string());
    let id = ids::mint("in", now, entropy).map_err(failed)?;
    provider.prepare().await.map_err(unwrapped)?;
    let mut keys = Vec::with_capacity(Purpose::ALL.len());
    for purpose in Purpose::ALL {
        let key_id = purpose.key_id(1, entropy).map_err(failed)?;
        let place = KeyPlace { installation: &id, purpose, id: &key_id };
        let key = PurposeKey::generate(entropy).map_err(failed)?;
        let wrapped = provider.wrap(&place, &key, entropy).await.map_err(unwrapped)?;
        let next_wrapped = String::new();
        keys.push(StoredKey { id: key_id, purpose, wrapped, next_wrapped, created_at: now, active_at: now });
    }
    let check_value = provider.seal_check(&id, entropy).await.map_err(unwrapped)?;
    let installation = Installation {
        id,
        check_value,
        epoch: 1,
        next_check_value: String::new(),
        created_at: now,
        keyring_version: FIRST_SET,
        keyring_mac: String::new(),
    };
    // Opened from what will be stored: a set that does not open is never stored.
    let opened = provider.open(&installation, &keys, None).await.map_err(unwrapped)?;
    let keyring = opened.ok_or_else(|| failed(vault::VaultError::Encryption))?;
    match store::installation::create(db, &installation.id, &installation.check_value, &keys, now).await {
        Ok(()) => Ok(Some(keyring)),
        Err(StoreError::Taken(_)) => Ok(None),
        Err(error) => Err(storage(error)),
    }
}

fn storage(error: store::StoreError) -> InstallationError {
    InstallationError::new(format!("{error}; check the disk, its permissions and other users of the database"))
}

/// A database URL that may be shown.
fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // A URL with a password has a host, so this cannot fail; and if it did, nothing is shown.
            if parsed.set_password(Some("***")).is_ok() { parsed.to_string() } else { String::from("postgres://…") }
        }
        _ => url.to_owned(),
    }
}

/// Makes the data directory with mode 0700.
///
/// # Errors
/// [`InstallationError`].
pub fn make_data_dir(dir: &Path) -> Result<(), InstallationError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
        .map_err(|error| InstallationError::new(format!("cannot make the data directory {}: {error}", dir.display())))
}

/// Reads the master key.
///
/// # Errors
/// [`InstallationError`] where it is missing, readable by others, or not 32 bytes in base64.
pub fn read_master_key(file: &MasterKeyFile) -> Result<MasterKey, InstallationError> {
    let shown = file.path.display();
    let put_by = match file.origin {
        KeyFileOrigin::DataDir => PutBy::Keyward,
        KeyFileOrigin::Named => PutBy::Operator,
        KeyFileOrigin::Credential => PutBy::Systemd,
    };
    let text = secret_file::read(&file.path, put_by).map_err(|error| match error {
        Unreadable::Io(error) if error.kind() == io::ErrorKind::NotFound => InstallationError::new(format!(
            "the master key {shown} is missing; put back the key this database was made with (without it, the stored \
             keys cannot be read), or point KEYWARD_MASTER_KEY_FILE at it"
        )),
        Unreadable::Io(error) => InstallationError::new(format!("cannot read the master key {shown}: {error}")),
        Unreadable::Open(why) => InstallationError::new(format!("the master key {shown} {why}")),
    })?;
    MasterKey::parse(&text)
        .map_err(|error| InstallationError::new(format!("the master key {shown} is no key: {error}")))
}

/// The master key that is there for a new database; `None` where one may be made, since nobody named a file,
/// or where none is needed.
fn check_first_master_key(config: &StorageConfig) -> Result<Option<MasterKey>, InstallationError> {
    let path = &config.master_key.path;
    if config.transit.is_some() {
        return Ok(None);
    }
    if path.exists() {
        return read_master_key(&config.master_key).map(Some);
    }
    if config.master_key.origin == KeyFileOrigin::DataDir {
        return Ok(None);
    }
    let shown = path.display();
    Err(InstallationError::new(format!(
        "the master key {shown} is missing; make one: keyward master-key new > {shown}; chmod 600 {shown}"
    )))
}

/// What wraps the keys of a new database: what is set, or a new master key.
fn first_provider(config: &StorageConfig, entropy: &Entropy) -> Result<KeyProvider, InstallationError> {
    match &config.transit {
        Some(transit) => open_transit(transit),
        None => first_master_key(config, entropy).map(KeyProvider::MasterKey),
    }
}

/// The master key of a new database: the one that is there, or a new one.
fn first_master_key(config: &StorageConfig, entropy: &Entropy) -> Result<MasterKey, InstallationError> {
    let path = &config.master_key.path;
    if let Some(key) = check_first_master_key(config)? {
        return Ok(key);
    }
    let key = MasterKey::generate(entropy).map_err(|error| InstallationError::new(error.to_string()))?;
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(key.to_file_text().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write()
        .map_err(|error| InstallationError::new(format!("cannot write the master key {}: {error}", path.display())))?;
    Ok(key)
}
