//! The settings of TLS.

use std::path::PathBuf;

use super::source::{ConfigError, Source};

/// The files of Keyward's own certificate.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The certificate and whatever leads from it to its root, as PEM.
    pub cert_file: PathBuf,
    /// Its private key, as PEM.
    pub key_file: PathBuf,
}

impl TlsConfig {
    /// Reads both settings, if they are set.
    ///
    /// # Errors
    /// [`ConfigError`] where only one of them is.
    pub fn load(source: &Source) -> Result<Option<TlsConfig>, ConfigError> {
        match (source.optional("tls_cert_file")?, source.optional("tls_key_file")?) {
            (Some(cert), Some(key)) => Ok(Some(TlsConfig { cert_file: cert.into(), key_file: key.into() })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(ConfigError::wrong("tls_key_file", "must be set beside KEYWARD_TLS_CERT_FILE")),
            (None, Some(_)) => Err(ConfigError::wrong("tls_cert_file", "must be set beside KEYWARD_TLS_KEY_FILE")),
        }
    }
}
