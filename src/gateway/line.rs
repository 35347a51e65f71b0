//! A caller's line: whether whoever asked takes what is sent. Neither a body nor its call is polled while nothing of it
//! can be written, so a caller that stops reading would hold both for as long as it likes: [`attend`] watches from
//! outside, cuts such a line after a while, and at once where its agent key ends.
//!
//! Over HTTP/1.1 a line is a connection, told by [`Taken`] what its writes come to. Over HTTP/2 it is a stream, started by
//! [`Streams`] and told by its answer's body, since a caller may take one stream of a connection and not another.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::Executor;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::{GatewayBody, relay::End};
use crate::domain::{
    clock::{Clock, DAY_MS},
    key_cache::CachedKey,
};

tokio::task_local! {
    /// The line of the HTTP/2 stream whose task this is.
    static STREAM: Arc<Line>;
}

/// What is known of a line.
#[derive(Default)]
pub struct Line {
    /// Whether something waits to be taken.
    waits: AtomicBool,
    /// How often something was.
    taken: AtomicU32,
    cut: AtomicBool,
    /// The agent key whose answer is on it.
    key: Mutex<Option<Arc<CachedKey>>>,
}

impl Line {
    /// Notes whose answer goes out on it from now on.
    pub fn answers(&self, body: &GatewayBody) {
        let key = match body {
            GatewayBody::Relay(relay) => relay.key().map(Arc::clone),
            GatewayBody::Full(_) | GatewayBody::Page(_) => None,
        };
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// Lets the body tell of the HTTP/2 stream it goes out on.
    pub fn answers_on_stream(body: &mut GatewayBody) {
        let Ok(line) = STREAM.try_with(Arc::clone) else { return };
        line.answers(body);
        if let GatewayBody::Relay(relay) = body {
            line.waits.store(true, Ordering::Relaxed);
            relay.tell(line);
        }
    }

    /// Something was handed over, and more may wait behind it.
    pub(super) fn handed_over(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.waits.store(true, Ordering::Relaxed);
    }

    /// All there was is taken.
    pub(super) fn rests(&self) {
        self.waits.store(false, Ordering::Relaxed);
    }

    fn end(&self) -> Option<End> {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        key.as_ref().map(|key| End::of(key, Clock::default().now_ms(), DAY_MS))
    }
}

/// Carries what goes out on a line to its end, or to where its caller has taken nothing for as long as `patience`, or
/// takes nothing and its agent key has ended; then it is dropped, and `None`.
pub async fn attend<F: Future>(line: &Line, patience: Duration, carried: F) -> Option<F::Output> {
    let mut carried = pin!(carried);
    let mut waiting: Option<Waiting> = None;
    let ended = std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = carried.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if !line.waits.load(Ordering::Relaxed) {
            waiting = None;
            return Poll::Pending;
        }
        let taken = line.taken.load(Ordering::Relaxed);
        let now = match waiting.take() {
            Some(before) if before.taken == taken => before,
            _ => Waiting { taken, end: line.end(), late: Box::pin(sleep(patience)) },
        };
        waiting.insert(now).poll(cx).map(Err)
    });
    match ended.await {
        Ok(output) => Some(output),
        Err(why) => {
            line.cut.store(true, Ordering::Relaxed);
            tracing::debug!(why, "an answer that its caller does not take is cut");
            None
        }
    }
}

/// Since something was taken last.
struct Waiting {
    taken: u32,
    end: Option<End>,
    late: Pin<Box<Sleep>>,
}

impl Waiting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        if let Some(end) = &mut self.end
            && let Poll::Ready(why) = end.poll(cx)
        {
            return Poll::Ready(why);
        }
        self.late.as_mut().poll(cx).map(|()| "nothing of it was taken for too long")
    }
}

/// Starts the streams of an HTTP/2 connection, each with a line of its own.
#[derive(Clone, Copy)]
pub struct Streams {
    /// How long a caller may take nothing.
    pub patience: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let patience = self.patience;
        let line = Arc::new(Line::default());
        // Whether it was cut is logged, and there is nobody else to tell.
        tokio::spawn(async move { attend(&line, patience, STREAM.scope(Arc::clone(&line), stream)).await });
    }
}

/// A connection that tells its line what is taken. Below TLS, where there is any.
pub struct Taken {
    stream: TcpStream,
    line: Arc<Line>,
}

impl Taken {
    /// `stream`, telling `line`.
    pub fn new(stream: TcpStream, line: Arc<Line>) -> Taken {
        Taken { stream, line }
    }

    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() {
            self.line.waits.store(true, Ordering::Relaxed);
        } else if self.line.waits.load(Ordering::Relaxed) {
            self.line.taken.fetch_add(1, Ordering::Relaxed);
            self.line.rests();
        }
        written
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.line.cut.load(Ordering::Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "what a caller did not take stays with the system for a while");
        }
    }
}

impl AsyncRead for Taken {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
