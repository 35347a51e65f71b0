//! Who works on a data directory: one process at a time, and nobody once its database was moved away.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    assembly::StartError,
    config::{Config, StorageConfig},
    domain::{Core, installation},
};

/// One `serve` for each data directory: on SQLite two would answer from two different memories, and the rollback mark has
/// one writer.
///
/// # Errors
/// [`StartError`] where another process has it.
pub fn lock_data_dir(config: &Config) -> Result<File, StartError> {
    installation::make_data_dir(&config.storage.data_dir).map_err(|error| StartError(error.to_string()))?;
    lock(&config.storage.data_dir)
}

fn lock(dir: &Path) -> Result<File, StartError> {
    /// A look by [`is_served`] takes less.
    const LOOK: Duration = Duration::from_millis(20);
    let path = lock_file(dir);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|error| {
        StartError(format!("cannot open {}: {error}; is the data directory writable?", path.display()))
    })?;
    let attempt = || flock(&file, FlockOperation::NonBlockingLockExclusive);
    let taken = attempt().or_else(|_| {
        std::thread::sleep(LOOK);
        attempt()
    });
    taken.map_err(|error| {
        if error == rustix::io::Errno::WOULDBLOCK {
            StartError(format!(
                "another keyward serve runs on {}; stop it first, or give this one its own KEYWARD_DATA_DIR",
                dir.display()
            ))
        } else {
            StartError(format!("cannot lock {}: {error}", path.display()))
        }
    })?;
    Ok(file)
}

fn lock_file(dir: &Path) -> std::path::PathBuf {
    dir.join("keyward.lock")
}

/// Whether a `serve` runs on this installation.
///
/// # Errors
/// [`StartError`].
pub async fn is_served(config: &Config, core: &Core) -> Result<bool, StartError> {
    if core.store.db().is_shared() {
        return core.store.db().is_served().await.map_err(|error| StartError(error.to_string()));
    }
    match File::open(lock_file(&config.storage.data_dir)) {
        // Let go of with the file, at the end of this look.
        Ok(file) => Ok(flock(&file, FlockOperation::NonBlockingLockShared).is_err()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StartError(format!("cannot look for a running keyward serve: {error}"))),
    }
}

/// Stands in the data directory once its SQLite database was moved to PostgreSQL.
pub fn moved_file(storage: &StorageConfig) -> PathBuf {
    storage.data_dir.join("moved-to-postgresql")
}

/// Refuses to serve a database that was moved: what was revoked since, elsewhere, would be good here again.
///
/// # Errors
/// [`StartError`].
pub fn check_not_moved(storage: &StorageConfig) -> Result<(), StartError> {
    let moved = moved_file(storage);
    if !storage.database_url.starts_with("sqlite:") || !moved.exists() {
        return Ok(());
    }
    Err(StartError(format!(
        "this installation was moved to PostgreSQL: set KEYWARD_DATABASE_URL to it (and KEYWARD_MASTER_KEY_FILE); to serve \
         the old database all the same, without what was changed and revoked since, remove {}",
        moved.display()
    )))
}
