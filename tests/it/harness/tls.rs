//! Certificates, and a caller that trusts one of them.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Answer, in_time};

/// A self-signed certificate for the loopback address.
pub struct Certificate(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Certificate {
    /// A new one.
    pub fn new() -> Self {
        Self(rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap())
    }

    /// Writes it, and its key so that nobody else can read it, into `folder`; the names are `tls.crt` and `tls.key`.
    pub fn write_into(&self, folder: &Path) {
        let private = || std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).clone();
        for (name, text) in [("tls.key", self.0.signing_key.serialize_pem()), ("tls.crt", self.0.cert.pem())] {
            let mut file = private().open(folder.join(name)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        }
    }

    /// What a server of ours takes connections with.
    pub fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.0.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![self.0.cert.der().clone()], key).unwrap()))
    }

    /// Connects to a server, trusting this certificate and no other; `protocols` are offered to it.
    pub async fn connect(&self, address: &str, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.cert.der().clone()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        in_time("a TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
    }

    /// A caller over HTTP/1.1 whose connection stays open.
    pub async fn caller(&self, address: &str) -> TlsCaller {
        let stream = self.connect(address, &["http/1.1"]).await.expect("a connection over TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        TlsCaller { sender: Sender::Http1(sender), host: address.to_owned() }
    }

    /// A caller over HTTP/2.
    pub async fn http2_caller(&self, address: &str) -> TlsCaller {
        let stream = self.connect(address, &["h2", "http/1.1"]).await.expect("a connection over TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let executor = TokioExecutor::new();
        let (sender, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        TlsCaller { sender: Sender::Http2(sender), host: address.to_owned() }
    }
}

/// One connection over TLS.
#[derive(Debug)]
pub struct TlsCaller {
    sender: Sender,
    host: String,
}

#[derive(Debug)]
enum Sender {
    Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl TlsCaller {
    /// Sends a request and reads its answer whole.
    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let is_http2 = matches!(self.sender, Sender::Http2(_));
        let uri = if is_http2 { format!("https://{}{path}", self.host) } else { path.to_owned() };
        let mut request = Request::builder().method(method).uri(uri);
        if !is_http2 {
            request = request.header("host", &self.host);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let answering = async {
            let response = match &mut self.sender {
                Sender::Http1(sender) => sender.send_request(request).await,
                Sender::Http2(sender) => sender.send_request(request).await,
            };
            let (head, body) = response.expect("an answer over TLS").into_parts();
            let body = body.collect().await.expect("the answer's body comes whole").to_bytes();
            Answer { status: head.status.as_u16(), headers: head.headers, body }
        };
        in_time("an answer over TLS", answering).await
    }
}
