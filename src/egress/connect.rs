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
    task::JoinSet,
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

/// How long one address of a name may take before the next one is tried beside it (RFC 8305, section 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// A connection to another machine.
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

async fn connect_untimed(target: &Target, policy: &AddressPolicy, tls: &Arc<ClientConfig>) -> io::Result<Stream> {
    let tcp = dial(target, policy).await?;
    match target.https {
        true => secure(tcp, &target.host, tls).await,
        false => Ok(Stream::Plain(tcp)),
    }
}

/// Connects to `target` as far as TCP goes, if the address it resolves to may be called.
///
/// # Errors
/// As [`connect`].
pub(super) async fn dial(target: &Target, policy: &AddressPolicy) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "its name resolves to no address");
    let mut allowed = Vec::new();
    for address in resolve(target).await? {
        match policy.check(address, target.loopback_named) {
            Ok(()) => allowed.push(address),
            Err(why) => failure = io::Error::new(io::ErrorKind::PermissionDenied, why),
        }
    }
    if allowed.is_empty() {
        return Err(failure);
    }
    let tcp = reach(interleaved(allowed)).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Connects to the first of these addresses that answers. Each has a head start before the next one is tried beside it
/// (RFC 8305), so that one that answers nothing does not use up the time of all.
async fn reach(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "there is no address to connect to");
    let mut left = addresses.into_iter();
    let mut tries = JoinSet::new();
    loop {
        let next = left.next();
        let is_last = next.is_none();
        if let Some(address) = next {
            tries.spawn(try_one(address));
        }
        // The next one's turn comes with the head start's end, or as soon as a try has failed.
        let ended = tokio::select! {
            ended = tries.join_next() => ended,
            () = tokio::time::sleep(HEAD_START), if !is_last => continue,
        };
        match ended {
            Some(Ok(Ok(tcp))) => return Ok(tcp),
            Some(Ok(Err(error))) => failure = error,
            Some(Err(error)) => failure = io::Error::other(error),
            None if is_last => return Err(failure),
            None => {}
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the place that may: behind the check of the address")]
async fn try_one(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}

/// The addresses in the order they were given, but the two versions of IP in turn.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair.iter().all(Option::is_none) {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

async fn resolve(target: &Target) -> io::Result<Vec<SocketAddr>> {
    match target.host.parse::<IpAddr>() {
        Ok(ip) => Ok(vec![SocketAddr::new(ip, target.port)]),
        Err(_) => Ok(tokio::net::lookup_host((target.host.as_str(), target.port)).await?.collect()),
    }
}

/// Speaks TLS with whoever proves to be `host`.
///
/// # Errors
/// What failed; a certificate that proves nothing.
pub(super) async fn secure(tcp: TcpStream, host: &str, tls: &Arc<ClientConfig>) -> io::Result<Stream> {
    let name = ServerName::try_from(host.to_owned())
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

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests connect to listeners of their own")]
mod tests {
    use super::*;

    fn at(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn the_versions_of_ip_take_turns() {
        let given = at(&["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "[2001:db8::3]:1"]);
        let wanted = at(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "[2001:db8::3]:1"]);
        assert_eq!(interleaved(given), wanted);
        assert_eq!(interleaved(Vec::new()), Vec::new());
    }

    #[tokio::test]
    async fn an_address_that_answers_nothing_does_not_use_up_the_time_of_the_others() {
        // A listener that accepts nothing and whose queue is full: a connection to it is neither taken nor refused.
        let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        silent.listen(0).expect("to listen");
        let silent_at = silent.local_addr().ok().and_then(|address| address.as_socket()).expect("its address");
        let mut fillers = Vec::new();
        for _ in 0..4 {
            let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("to be asked");
            let _ = filler.connect(&silent_at.into());
            fillers.push(filler);
        }
        let good = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let good_at = good.local_addr().expect("its address");
        let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        for addresses in [vec![silent_at, good_at], vec![gone, silent_at, good_at], vec![good_at, silent_at]] {
            // As long as a provider may take by default.
            let reached = tokio::time::timeout(Duration::from_secs(10), reach(addresses)).await;
            let reached = reached.expect("in time").expect("the one that answers");
            assert_eq!(reached.peer_addr().ok(), Some(good_at));
        }
        assert!(reach(vec![gone]).await.is_err());
    }
}
