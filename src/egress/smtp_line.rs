//! The connection to a mail server: what is said in the clear before TLS, and TLS itself, by the settings of every other
//! connection. Whatever a mail client says comes after that.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use lettre::transport::smtp::{client::AsyncTokioStream, extension::ClientId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::rustls::ClientConfig;

use super::{
    AddressPolicy, Target,
    connect::{Stream, dial, secure},
    smtp::SmtpError,
};

/// The longest reply that is read before TLS, in bytes.
const MAX_REPLY: usize = 8 * 1024;
/// What a client is greeted with where the server's own greeting was taken before TLS.
const GREETING: &[u8] = b"220 ready\r\n";

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// With the connection's first byte.
    Tls,
    /// After STARTTLS, without which nothing is sent.
    StartTls,
    /// Never.
    Plain,
}

/// A connection on which a mail client can begin.
pub(super) struct Line {
    stream: Stream,
    peer: SocketAddr,
    /// What is left of the greeting that the client has to be told.
    greeting: &'static [u8],
}

impl Line {
    /// Connects to `target`, if the address it resolves to may be called, and speaks TLS.
    ///
    /// # Errors
    /// [`SmtpError`].
    pub(super) async fn open(
        target: &Target,
        security: Security,
        policy: &AddressPolicy,
        tls: &Arc<ClientConfig>,
        hello: &ClientId,
    ) -> Result<Line, SmtpError> {
        let mut tcp = dial(target, policy).await.map_err(|error| broken("cannot connect", &error))?;
        let peer = tcp.peer_addr().map_err(|error| broken("cannot connect", &error))?;
        let untrusted = |error: io::Error| broken("TLS with it failed", &error);
        match security {
            Security::Plain => Ok(Line { stream: Stream::Plain(tcp), peer, greeting: b"" }),
            Security::Tls => {
                let stream = secure(tcp, &target.host, tls).await.map_err(untrusted)?;
                Ok(Line { stream, peer, greeting: b"" })
            }
            Security::StartTls => {
                ask_for_tls(&mut tcp, hello).await?;
                let stream = secure(tcp, &target.host, tls).await.map_err(untrusted)?;
                Ok(Line { stream, peer, greeting: GREETING })
            }
        }
    }
}

/// Says what leads to TLS. Reads not a byte more than the replies: what somebody on the line appended to them becomes part of
/// the handshake, which it breaks, and never a reply within TLS.
async fn ask_for_tls(tcp: &mut (impl AsyncRead + AsyncWrite + Unpin), hello: &ClientId) -> Result<(), SmtpError> {
    reply(tcp).await?;
    let offered = ask(tcp, &format!("EHLO {hello}\r\n")).await?;
    if !offered.iter().any(|line| line.trim().eq_ignore_ascii_case("STARTTLS")) {
        return Err(SmtpError::broken("it offers no STARTTLS, and without TLS nothing is sent to it"));
    }
    ask(tcp, "STARTTLS\r\n").await.map(drop)
}

async fn ask(tcp: &mut (impl AsyncRead + AsyncWrite + Unpin), command: &str) -> Result<Vec<String>, SmtpError> {
    tcp.write_all(command.as_bytes()).await.map_err(|error| broken("the connection broke", &error))?;
    reply(tcp).await
}

/// The lines of a good reply, without their codes.
async fn reply(tcp: &mut (impl AsyncRead + Unpin)) -> Result<Vec<String>, SmtpError> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    for _ in 0..MAX_REPLY {
        match tcp.read_u8().await.map_err(|error| broken("the connection broke", &error))? {
            b'\n' => {}
            byte => {
                line.push(byte);
                continue;
            }
        }
        let text = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
        let status = text.get(..3).and_then(|code| code.parse::<u16>().ok());
        let status = status.ok_or_else(|| SmtpError::broken("what it answered is no reply of a mail server"))?;
        lines.push(text.get(4..).unwrap_or_default().trim().to_owned());
        if text.as_bytes().get(3) != Some(&b'-') {
            return if (200..300).contains(&status) {
                Ok(lines)
            } else {
                Err(SmtpError::refused(status, &lines.join(" ")))
            };
        }
    }
    Err(SmtpError::broken("its reply is longer than 8 KiB"))
}

fn broken(what: &str, error: &io::Error) -> SmtpError {
    SmtpError::broken(&format!("{what}: {error}"))
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AsyncTokioStream for Line {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        if line.greeting.is_empty() {
            return Pin::new(&mut line.stream).poll_read(cx, buf);
        }
        let (now, later) = line.greeting.split_at(line.greeting.len().min(buf.remaining()));
        buf.put_slice(now);
        line.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a server that says these lines, one after each command; and what is left unread.
    async fn asked(said: &str) -> (Result<(), SmtpError>, String) {
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(said.as_bytes()).await.expect("room");
        let answer = ask_for_tls(&mut ours, &ClientId::default()).await;
        drop(theirs);
        let mut left = String::new();
        ours.read_to_string(&mut left).await.expect("text");
        (answer, left)
    }

    #[tokio::test]
    async fn nothing_is_read_beyond_the_reply_to_starttls() {
        let (answer, left) = asked("220 hi\r\n250-mail\r\n250 STARTTLS\r\n220 go\r\n250 injected\r\n").await;
        assert!(answer.is_ok(), "{answer:?}");
        assert_eq!(left, "250 injected\r\n");
    }

    #[tokio::test]
    async fn a_server_without_starttls_gets_nothing() {
        let (answer, _) = asked("220 hi\r\n250-mail\r\n250 AUTH PLAIN\r\n").await;
        let error = answer.expect_err("no TLS");
        assert!(!error.is_final && error.words.contains("no STARTTLS"), "{error:?}");
        let (answer, _) = asked("220 hi\r\n250 STARTTLS\r\n454 not now\r\n").await;
        let error = answer.expect_err("not now");
        assert_eq!((error.status, error.is_final, error.words.as_str()), (454, false, "not now"));
        let (answer, _) = asked("554 go away\r\n").await;
        assert_eq!(answer.map_err(|error| (error.status, error.is_final)).err(), Some((554, false)));
        assert!(asked("HTTP/1.1 400 Bad Request\r\n").await.0.is_err());
    }
}
