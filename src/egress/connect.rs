//! Resolve a target's name, check what it resolves to, connect, speak TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::{AddressPolicy, Target};

/// A connection to a provider.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The TLS settings of every outgoing connection: the system's roots (`SSL_CERT_FILE` is honoured), or Mozilla's
/// where the system has none.
pub(super) fn tls_config() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a root certificate of the system cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    trusting(roots)
}

/// The TLS settings of connections to a service whose certificate comes from the authorities in `pem`, and no other.
///
/// # Errors
/// What is wrong with `pem`.
pub(super) fn tls_config_of(pem: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("is no PEM: {error:?}"))?;
        roots.add(certificate).map_err(|error| format!("holds a certificate that cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err(String::from("holds no certificate"));
    }
    Ok(trusting(roots))
}

fn trusting(roots: RootCertStore) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Connects to `target`, if the address it resolves to may be called.
///
/// # Errors
/// What failed; [`io::ErrorKind::PermissionDenied`] for an address that may not be called.
pub(super) async fn connect(
    target: &Target,
    policy: &AddressPolicy,
    tls: &Arc<ClientConfig>,
    patience: Duration,
) -> io::Result<Stream> {
    match tokio::time::timeout(patience, connect_untimed(target, policy, tls)).await {
        Ok(result) => result,
        Err(_) => {
            let why = format!("connecting took longer than {} s", patience.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the place that may: behind the check of the address")]
async fn connect_untimed(target: &Target, policy: &AddressPolicy, tls: &Arc<ClientConfig>) -> io::Result<Stream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "its name resolves to no address");
    for address in resolve(target).await? {
        if let Err(why) = policy.check(address, target.loopback_named) {
            failure = io::Error::new(io::ErrorKind::PermissionDenied, why);
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                return speak(tcp, target, tls).await;
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn resolve(target: &Target) -> io::Result<Vec<SocketAddr>> {
    match target.host.parse::<IpAddr>() {
        Ok(ip) => Ok(vec![SocketAddr::new(ip, target.port)]),
        Err(_) => Ok(tokio::net::lookup_host((target.host.as_str(), target.port)).await?.collect()),
    }
}

async fn speak(tcp: TcpStream, target: &Target, tls: &Arc<ClientConfig>) -> io::Result<Stream> {
    if !target.https {
        return Ok(Stream::Plain(tcp));
    }
    let name = ServerName::try_from(target.host.clone())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "its host name cannot stand in a certificate"))?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?;
    Ok(Stream::Tls(Box::new(stream)))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
