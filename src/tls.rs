//! TLS for whoever calls Keyward: a certificate and its key, in files that are taken up again when they change.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// How often it is looked whether the files changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What others than the key file's owner and its group may do with it: nothing; nor may the group write it.
const TOO_OPEN: u32 = 0o027;

/// What connections are accepted with.
pub struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    current: ArcSwap<ServerConfig>,
    /// What was seen in the files last, so that each change is taken up, or complained of, once.
    seen: Mutex<Seen>,
}

/// A digest of what the files held, or why they could not be read.
type Seen = Result<Vec<u8>, String>;

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// What is wrong, with which of them, and what to do.
    pub fn open(cert_file: &Path, key_file: &Path) -> Result<Arc<Tls>, String> {
        let files = Files::read(cert_file, key_file)?;
        Ok(Arc::new(Tls {
            cert_file: cert_file.to_owned(),
            key_file: key_file.to_owned(),
            current: ArcSwap::from_pointee(files.config()?),
            seen: Mutex::new(Ok(files.digest())),
        }))
    }

    /// What the next connection is accepted with.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Takes up a renewed certificate, until `stop`. Open connections keep the one they began with; one that cannot
    /// be used changes nothing.
    pub async fn watch(self: Arc<Tls>, stop: CancellationToken) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            let tls = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || tls.look()).await.is_err() {
                tracing::error!("looking for a renewed certificate failed");
            }
        }
    }

    fn look(&self) {
        let files = Files::read(&self.cert_file, &self.key_file);
        let now: Seen = files.as_ref().map(Files::digest).map_err(Clone::clone);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        *seen = now;
        match files.and_then(|files| files.config()) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                tracing::info!(file = %self.cert_file.display(), "a renewed certificate is taken up");
            }
            Err(why) => tracing::error!("{why}; the certificate in use stays"),
        }
    }
}

/// What the files hold.
struct Files {
    cert_name: String,
    key_name: String,
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Files {
    fn read(cert_file: &Path, key_file: &Path) -> Result<Files, String> {
        let (cert_name, key_name) = (cert_file.display().to_string(), key_file.display().to_string());
        let unreadable = |setting, name: &str, error| format!("{setting}: cannot read {name}: {error}");
        let cert = fs::read(cert_file).map_err(|error| unreadable("KEYWARD_TLS_CERT_FILE", &cert_name, error))?;
        let metadata = fs::metadata(key_file).map_err(|error| unreadable("KEYWARD_TLS_KEY_FILE", &key_name, error))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & TOO_OPEN != 0 {
            return Err(format!(
                "KEYWARD_TLS_KEY_FILE: {key_name} is open to others (mode {mode:o}); run: chmod 600 {key_name}"
            ));
        }
        let key = fs::read(key_file).map_err(|error| unreadable("KEYWARD_TLS_KEY_FILE", &key_name, error))?;
        Ok(Files { cert_name, key_name, cert, key: Zeroizing::new(key) })
    }

    fn digest(&self) -> Vec<u8> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(digest::digest(&digest::SHA256, &self.cert).as_ref());
        context.update(&self.key);
        context.finish().as_ref().to_vec()
    }

    fn config(&self) -> Result<ServerConfig, String> {
        let Files { cert_name, key_name, .. } = self;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("KEYWARD_TLS_CERT_FILE: {cert_name} is not PEM: {error}"))?;
        if chain.is_empty() {
            return Err(format!("KEYWARD_TLS_CERT_FILE: there is no certificate in {cert_name}; it must be PEM"));
        }
        // Why a key cannot be read is not said: the reason might quote it.
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| format!("KEYWARD_TLS_KEY_FILE: there is no private key in {key_name}; it must be PEM"))?;
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let mut config = config.map_err(|error| {
            format!("KEYWARD_TLS_CERT_FILE: {cert_name} does not go with the key in {key_name}: {error}")
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}
