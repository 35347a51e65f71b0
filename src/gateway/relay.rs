//! The body of an answer: ours whole, the provider's as it arrives, or a page of the control runtime's.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::meter::Settlement;
use crate::{
    domain::key_cache::{CachedKey, Revoked},
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
    revoked: Option<Revoked>,
    rewrites: bool,
}

impl Relay {
    /// Begins to relay; a stream ends when the key is revoked.
    pub fn new(reply: ReplyBody, settlement: Settlement, key: &Arc<CachedKey>, streams: bool) -> Relay {
        let revoked = streams.then(|| key.revocation.revoked());
        Relay { reply, settlement: Some(settlement), revoked, rewrites: streams }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(revoked) = &mut self.revoked
                && Pin::new(revoked).poll(cx).is_ready()
            {
                self.settlement = None;
                return Poll::Ready(Some(Err(io::Error::other("the agent key was revoked"))));
            }
            match Pin::new(&mut self.reply).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
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
        self.revoked = None;
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
            GatewayBody::Relay(relay) => relay.poll(cx),
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
