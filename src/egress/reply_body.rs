//! The body of an answer, as it comes.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    Patience,
    http1::{connection::Connection, response::Framing},
    pool::Pool,
};

/// The body of an answer. Read to its end, it gives the connection back to its pool; dropped before, it closes it.
pub struct ReplyBody {
    /// `None` once all was read, or the connection broke.
    connection: Option<Connection>,
    framing: Framing,
    /// Where the connection goes afterwards, where it may be used again.
    home: Option<(Arc<Pool>, Arc<str>)>,
    silence: Silence,
    end: Option<Pin<Box<Sleep>>>,
}

impl ReplyBody {
    /// A body whose call began at `begun`.
    pub(super) fn new(
        connection: Connection,
        framing: Framing,
        home: Option<(Arc<Pool>, Arc<str>)>,
        patience: &Patience,
        begun: Instant,
    ) -> ReplyBody {
        let end = patience.total.map(|total| Box::pin(sleep_until(begun + total)));
        // The head came just now, however long it took.
        let silence = Silence { patience: patience.idle, heard: Instant::now(), alarm: None };
        let mut body = ReplyBody { connection: Some(connection), framing, home, silence, end };
        if body.is_whole() {
            body.done();
        }
        body
    }

    /// The body of an answer that has none, and whose connection is no longer one of calls.
    pub(super) fn none() -> ReplyBody {
        let silence = Silence { patience: Duration::MAX, heard: Instant::now(), alarm: None };
        ReplyBody { connection: None, framing: Framing::Length(0), home: None, silence, end: None }
    }

    fn is_whole(&self) -> bool {
        match &self.framing {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(chunks) => chunks.is_done(),
            Framing::UntilClose => false,
        }
    }

    fn done(&mut self) {
        if let (Some(connection), Some((pool, origin))) = (self.connection.take(), self.home.take()) {
            pool.put(&origin, connection);
        }
    }

    fn broken(&mut self, kind: io::ErrorKind, why: &str) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.connection = None;
        Poll::Ready(Some(Err(io::Error::new(kind, why))))
    }

    /// Takes the body's data out of what came; the connection has nowhere to go where more came than that.
    fn take_in(&mut self, bytes: &[u8]) -> Result<Bytes, &'static str> {
        let (data, taken) = match &mut self.framing {
            Framing::UntilClose => (Bytes::copy_from_slice(bytes), bytes.len()),
            Framing::Length(left) => {
                let length = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= length as u64;
                (Bytes::copy_from_slice(&bytes[..length]), length)
            }
            Framing::Chunked(chunks) => {
                let mut data = Vec::with_capacity(bytes.len());
                let taken = chunks.decode(bytes, &mut data)?;
                (Bytes::from(data), taken)
            }
        };
        if taken < bytes.len() {
            self.home = None;
        }
        Ok(data)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let Some(mut connection) = this.connection.take() else { return Poll::Ready(None) };
        if this.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            return this.broken(io::ErrorKind::TimedOut, "the call took longer than it may");
        }
        loop {
            let came = connection.poll_bytes(cx, |bytes| (!bytes.is_empty()).then(|| this.take_in(bytes)));
            match came {
                Poll::Pending => {
                    this.connection = Some(connection);
                    ready!(this.silence.poll(cx));
                    return this.broken(io::ErrorKind::TimedOut, "the provider fell silent");
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Ok(Some(Err(why)))) => return this.broken(io::ErrorKind::InvalidData, why),
                // The connection has ended.
                Poll::Ready(Ok(None)) => {
                    return match this.framing {
                        Framing::UntilClose => Poll::Ready(None),
                        _ => this.broken(io::ErrorKind::UnexpectedEof, "the answer broke off before its end"),
                    };
                }
                Poll::Ready(Ok(Some(Ok(data)))) => {
                    this.silence.heard = Instant::now();
                    let whole = this.is_whole();
                    if data.is_empty() && !whole {
                        continue;
                    }
                    this.connection = Some(connection);
                    if whole {
                        this.done();
                    }
                    return Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.framing {
            Framing::Length(left) => SizeHint::with_exact(*left),
            Framing::Chunked(_) | Framing::UntilClose => SizeHint::default(),
        }
    }
}

/// How long nothing came.
struct Silence {
    patience: Duration,
    heard: Instant,
    /// Set when a body is first waited for, and again only when it goes off.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    /// Ready once nothing came for as long as the patience lasts.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(end) = self.heard.checked_add(self.patience) else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(end)));
        loop {
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() >= end {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(end);
        }
    }
}
