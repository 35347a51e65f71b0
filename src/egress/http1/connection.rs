//! A connection to a provider: a request goes out, the head of its answer comes in, and then its body's bytes.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::response::{Head, MAX_HEAD, parse};
use crate::egress::{EgressError, connect::Stream};

/// How many interim answers (100 Continue, 103 Early Hints) may come before the one.
const MAX_INTERIM: usize = 16;
/// The most that is read at once, in bytes.
const READ: usize = 64 * 1024;

thread_local! {
    /// Where each core reads into: bytes are copied out of it in the size they come, so that a connection which waits
    /// holds no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// A connection to a provider.
pub struct Connection {
    stream: Stream,
    /// What was read and not yet taken.
    rest: Vec<u8>,
}

/// What goes out: the head up to the credential, the credential's value, the head's end, the body.
pub(in crate::egress) type Parts<'a> = [&'a [u8]; 4];

/// A request that got no answer.
pub(in crate::egress) struct Failure {
    /// Why.
    pub error: EgressError,
    /// Whether not a byte of it went out.
    pub unsent: bool,
}

impl Connection {
    /// A connection that nothing was sent on.
    pub(in crate::egress) fn new(stream: Stream) -> Connection {
        Connection { stream, rest: Vec::new() }
    }

    /// Whether another call may go out: it is open as far as is known, and nobody has said anything unasked.
    pub(in crate::egress) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.rest.is_empty() && self.poll_bytes(&mut cx, |_| ()).is_pending()
    }

    /// Sends a request and reads the head of its answer. The answer may come before all of the request is gone; then
    /// no other call follows on this connection.
    ///
    /// # Errors
    /// [`EgressError::Broken`], [`EgressError::Malformed`].
    pub(in crate::egress) async fn exchange(
        &mut self,
        parts: Parts<'_>,
        method: &Method,
        wanted: fn(&str) -> bool,
    ) -> Result<Head, Failure> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut out = Out { parts, written: 0, total, flushed: false, failed: None };
        let mut interim = 0;
        std::future::poll_fn(|cx| {
            out.poll(cx, &mut self.stream);
            loop {
                match parse(&self.rest, method, wanted) {
                    Err(why) => return Poll::Ready(Err(out.failure(EgressError::Malformed(why)))),
                    Ok(Some((head, length))) if is_interim(head.status) => {
                        self.rest.drain(..length);
                        interim += 1;
                        if interim > MAX_INTERIM {
                            let error = EgressError::Malformed("it announces an answer again and again");
                            return Poll::Ready(Err(out.failure(error)));
                        }
                        continue;
                    }
                    Ok(Some((mut head, length))) => {
                        self.rest.drain(..length);
                        head.keeps &= out.is_gone();
                        return Poll::Ready(Ok(head));
                    }
                    Ok(None) if self.rest.len() > MAX_HEAD => {
                        let error = EgressError::Malformed("the head of its answer is longer than 64 KiB");
                        return Poll::Ready(Err(out.failure(error)));
                    }
                    Ok(None) => {}
                }
                let mut rest = std::mem::take(&mut self.rest);
                let read = self.poll_bytes(cx, |bytes| {
                    rest.extend_from_slice(bytes);
                    bytes.len()
                });
                self.rest = rest;
                match ready!(read) {
                    Ok(0) => return Poll::Ready(Err(out.broken(io::ErrorKind::UnexpectedEof.into()))),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(out.broken(error))),
                }
            }
        })
        .await
    }

    /// Hands what comes next to `take`: nothing at the connection's end.
    pub(in crate::egress) fn poll_bytes<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(take(&std::mem::take(&mut self.rest))));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            Poll::Ready(Ok(take(read.filled())))
        })
    }
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// A request on its way out.
struct Out<'a> {
    parts: Parts<'a>,
    written: usize,
    total: usize,
    flushed: bool,
    /// Why no more can be written; the answer may be there nevertheless.
    failed: Option<io::Error>,
}

impl Out<'_> {
    /// Writes on as far as it goes. An error waits until it is known whether an answer has come.
    fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Stream) {
        while self.failed.is_none() && self.written < self.total {
            let mut slices = [IoSlice::new(&[]); 4];
            let mut skip = self.written;
            let mut count = 0;
            for part in self.parts {
                let rest = &part[skip.min(part.len())..];
                skip = skip.saturating_sub(part.len());
                if !rest.is_empty() {
                    slices[count] = IoSlice::new(rest);
                    count += 1;
                }
            }
            match Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..count]) {
                Poll::Ready(Ok(0)) => self.failed = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => return,
            }
        }
        if self.failed.is_none() && !self.flushed {
            match Pin::new(stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flushed = true,
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => {}
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.flushed && self.failed.is_none()
    }

    fn broken(&mut self, error: io::Error) -> Failure {
        let error = self.failed.take().unwrap_or(error);
        self.failure(EgressError::Broken(error))
    }

    fn failure(&self, error: EgressError) -> Failure {
        Failure { error, unsent: self.written == 0 }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let length = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..length]);
        this.rest.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
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
