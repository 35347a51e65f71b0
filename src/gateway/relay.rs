//! The body of an answer: ours whole, the provider's as it arrives, or a page of the control runtime's.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::{line::Line, meter::Settlement};
use crate::{
    domain::{
        clock::DAY_MS,
        key_cache::{CachedKey, Revoked},
    },
    egress::ReplyBody,
};

/// The body of any answer.
#[allow(
    clippy::large_enum_variant,
    reason = "one for each answer, moved once: a box would cost every call an allocation"
)]
pub enum GatewayBody {
    /// Bytes of ours.
    Full(Option<Bytes>),
    /// A provider's answer on its way.
    Relay(Relay),
    /// An answer of console, management API or documentation.
    Page(axum::body::Body),
}

impl GatewayBody {
    /// Bytes of ours.
    pub fn full(bytes: Bytes) -> GatewayBody {
        GatewayBody::Full(Some(bytes))
    }
}

/// A provider's answer on its way. Dropped before its end, it ends the call at the provider.
pub struct Relay {
    reply: ReplyBody,
    settlement: Option<Settlement>,
    /// Made when the answer is first waited for, so that one which comes at once costs nothing.
    end: Option<End>,
    rewrites: bool,
    /// The HTTP/2 stream it goes out on.
    line: Option<Arc<Line>>,
}

/// What ends an answer on its way: its key's revocation, or its expiry.
pub struct End {
    revoked: Revoked,
    expired: Option<Pin<Box<Sleep>>>,
}

impl End {
    /// The end of an answer that takes `longest` milliseconds at most: past that there is no timer.
    pub fn of(key: &CachedKey, now: i64, longest: i64) -> End {
        let left = u64::try_from(key.ends_at - now).unwrap_or(0);
        let expired = (left < longest.unsigned_abs()).then(|| Box::pin(sleep(Duration::from_millis(left))));
        End { revoked: key.revocation.revoked(), expired }
    }

    /// Ready, and with why, when it has come.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        if Pin::new(&mut self.revoked).poll(cx).is_ready() {
            return Poll::Ready("the agent key was revoked");
        }
        match &mut self.expired {
            Some(expired) => expired.as_mut().poll(cx).map(|()| "the agent key expired"),
            None => Poll::Pending,
        }
    }
}

impl Relay {
    /// Begins to relay; what is still on its way ends with the key.
    pub fn new(reply: ReplyBody, settlement: Settlement, rewrites: bool) -> Relay {
        Relay { reply, settlement: Some(settlement), end: None, rewrites, line: None }
    }

    /// Whose answer it is; `None` once it has come whole.
    pub(super) fn key(&self) -> Option<&Arc<CachedKey>> {
        self.settlement.as_ref().map(Settlement::key)
    }

    /// Tells this line from now on what it hands over.
    pub(super) fn tell(&mut self, line: Arc<Line>) {
        self.line = Some(line);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(end) = &mut self.end
                && let Poll::Ready(why) = end.poll(cx)
            {
                self.settlement = None;
                return Poll::Ready(Some(Err(io::Error::other(why))));
            }
            match Pin::new(&mut self.reply).poll_frame(cx) {
                Poll::Pending if self.end.is_some() => return Poll::Pending,
                Poll::Pending => match &self.settlement {
                    Some(settlement) => self.end = Some(End::of(settlement.key(), settlement.now_ms(), DAY_MS)),
                    None => return Poll::Pending,
                },
                Poll::Ready(Some(Err(error))) => {
                    self.settlement = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let Some(settlement) = &mut self.settlement else { continue };
                    let data = settlement.observe(data);
                    if !self.rewrites && self.reply.is_end_stream() {
                        self.end();
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Poll::Ready(None) => {
                    let rest = self.settlement.as_mut().map(Settlement::rest).unwrap_or_default();
                    self.end();
                    return Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))));
                }
            }
        }
    }

    fn end(&mut self) {
        self.end = None;
        if let Some(settlement) = self.settlement.take() {
            settlement.end();
        }
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            GatewayBody::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            GatewayBody::Relay(relay) => {
                let polled = relay.poll(cx);
                if let Some(line) = &relay.line {
                    if polled.is_ready() { line.handed_over() } else { line.rests() }
                }
                polled
            }
            GatewayBody::Page(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            GatewayBody::Full(bytes) => bytes.is_none(),
            GatewayBody::Relay(relay) => relay.settlement.is_none() && relay.reply.is_end_stream(),
            GatewayBody::Page(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            GatewayBody::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            GatewayBody::Relay(relay) if relay.rewrites => SizeHint::default(),
            GatewayBody::Relay(relay) => relay.reply.size_hint(),
            GatewayBody::Page(body) => body.size_hint(),
        }
    }
}
