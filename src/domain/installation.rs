//! The installation: its master key, its keys, its first start.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use store::{Db, Limits, Store, StoreError, relocate};
use vault::{Entropy, Keyring, MasterKey};

use super::{clock::Clock, ids, mark};
use crate::config::StorageConfig;

/// Why an installation cannot be opened; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InstallationError(String);

impl InstallationError {
    fn new(text: impl Into<String>) -> InstallationError {
        InstallationError(text.into())
    }
}

/// Opens the database and its keyring; a new database gets its keys here.
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
    let keyring = match open_keyring(config, &db).await? {
        Some(keyring) => keyring,
        None => {
            refuse_beside_mark(config)?;
            if relocate::is_under_way(&db).await.map_err(storage)? {
                return Err(InstallationError::new(
                    "an installation is being copied into this database; finish that first: keyward migrate-database",
                ));
            }
            let master = first_master_key(config, entropy)?;
            match create(&db, &master, entropy).await? {
                Some(keyring) => keyring,
                // Another process was first, on the same empty database.
                None => open_keyring(config, &db).await?.ok_or_else(|| {
                    InstallationError::new("another process made the installation and took it away again; start again")
                })?,
            }
        }
    };
    Ok(Store::new(db, Arc::new(keyring)))
}

/// The keys of the installation that is there.
async fn open_keyring(config: &StorageConfig, db: &Db) -> Result<Option<Keyring>, InstallationError> {
    let Some((installation, keys)) = store::installation::find(db).await.map_err(storage)? else { return Ok(None) };
    let master = read_master_key(&config.master_key_file)?;
    let is_next = !master.fits(&installation.id, &installation.check_value)
        && master.fits(&installation.id, &installation.next_check_value);
    let next = if is_next { store::installation::find_next(db).await.map_err(storage)? } else { None };
    let (check, keys) = match next {
        Some((installation, keys)) => (installation.next_check_value, keys),
        None => (installation.check_value, keys),
    };
    let keyring = Keyring::open(&master, &installation.id, &keys, &check);
    keyring
        .map(Some)
        .map_err(|error| InstallationError::new(format!("{error} (read from {})", config.master_key_file.display())))
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
async fn create(db: &Db, master: &MasterKey, entropy: &Entropy) -> Result<Option<Keyring>, InstallationError> {
    let now = Clock::default().now_ms();
    let failed = |error: vault::VaultError| InstallationError::new(error.to_string());
    let id = ids::mint("in", now, entropy).map_err(failed)?;
    let (keyring, keys, check) = Keyring::create(master, &id, entropy).map_err(failed)?;
    match store::installation::create(db, &id, &check, &keys, now).await {
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
pub fn read_master_key(path: &Path) -> Result<MasterKey, InstallationError> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => InstallationError::new(format!(
            "the master key {shown} is missing; put back the key this database was made with (without it, the stored \
             keys cannot be read), or point KEYWARD_MASTER_KEY_FILE at it"
        )),
        _ => InstallationError::new(format!("cannot read the master key {shown}: {error}")),
    })?;
    if metadata.mode() & 0o077 != 0 {
        return Err(InstallationError::new(format!(
            "the master key {shown} can be read by others (mode {:o}); run: chmod 600 {shown}",
            metadata.mode() & 0o777
        )));
    }
    let text = zeroize::Zeroizing::new(
        fs::read_to_string(path)
            .map_err(|error| InstallationError::new(format!("cannot read the master key {shown}: {error}")))?,
    );
    MasterKey::parse(&text)
        .map_err(|error| InstallationError::new(format!("the master key {shown} is no key: {error}")))
}

/// The master key that is there for a new database; `None` where one may be made, since nobody named a file.
fn check_first_master_key(config: &StorageConfig) -> Result<Option<MasterKey>, InstallationError> {
    let path = &config.master_key_file;
    if path.exists() {
        return read_master_key(path).map(Some);
    }
    if config.may_make_master_key {
        return Ok(None);
    }
    let shown = path.display();
    Err(InstallationError::new(format!(
        "the master key {shown} is missing; make one: keyward master-key new > {shown}; chmod 600 {shown}"
    )))
}

/// The master key of a new database: the one that is there, or a new one.
fn first_master_key(config: &StorageConfig, entropy: &Entropy) -> Result<MasterKey, InstallationError> {
    let path = &config.master_key_file;
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
