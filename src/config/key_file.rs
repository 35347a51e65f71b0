//! Where the master key is.

use std::path::{Path, PathBuf};

use super::{ConfigError, Source};

/// The file that holds the master key.
#[derive(Debug, Clone)]
pub struct MasterKeyFile {
    /// Where it is.
    pub path: PathBuf,
    /// Who put it there.
    pub origin: KeyFileOrigin,
}

/// Who put the master key's file where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFileOrigin {
    /// Nobody named it: it stands in the data directory, and may be made there.
    DataDir,
    /// The setting names it.
    Named,
    /// systemd, as the credential [`MASTER_KEY_CREDENTIAL`].
    Credential,
}

/// The name of the systemd credential that holds the master key.
pub const MASTER_KEY_CREDENTIAL: &str = "keyward.master-key";

impl MasterKeyFile {
    /// The file that the setting names, else systemd's credential, else `master.key` in the data directory.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(source: &Source, data_dir: &Path) -> Result<MasterKeyFile, ConfigError> {
        if let Some(named) = source.optional("master_key_file")? {
            return Ok(MasterKeyFile { path: PathBuf::from(named), origin: KeyFileOrigin::Named });
        }
        Ok(match source.credential(MASTER_KEY_CREDENTIAL) {
            Some(path) => MasterKeyFile { path, origin: KeyFileOrigin::Credential },
            None => MasterKeyFile::in_directory(data_dir),
        })
    }

    /// The file that is made where nobody named one.
    pub fn in_directory(data_dir: &Path) -> MasterKeyFile {
        MasterKeyFile { path: data_dir.join("master.key"), origin: KeyFileOrigin::DataDir }
    }
}
