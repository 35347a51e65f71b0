//! A WebSocket at a provider (RFC 6455): the handshake, with the credential as in any other call, and then the two
//! directions of its connection.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response::Parts};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::{
    Call, Egress, EgressError, Pool, Reply,
    client::{ReplyBody, carry, reply, request},
};

/// What RFC 6455 has a server put behind the caller's key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a WebSocket is asked for with.
pub struct Offer {
    /// The caller's `Sec-WebSocket-Key`: 16 bytes of its choice, in base64.
    pub key: HeaderValue,
    /// The subprotocols it speaks, none of which carries a credential.
    pub protocols: Option<HeaderValue>,
}

/// A WebSocket that a provider has opened.
pub struct Socket {
    /// Its bytes.
    pub io: TokioIo<Upgraded>,
    /// What proves to the caller that its key was read.
    pub accept: HeaderValue,
    /// The subprotocol that the provider chose.
    pub protocol: Option<HeaderValue>,
    /// How long it may be silent.
    pub idle: Duration,
    /// When the call has taken as long as it may.
    pub end: Option<Instant>,
}

impl Egress {
    /// Asks for a WebSocket, on a connection of its own. The reply has a socket where the provider opened one, else it
    /// is that of any call.
    ///
    /// # Errors
    /// [`EgressError`]; [`EgressError::Handshake`] where the provider's 101 does not open a WebSocket as asked for.
    pub async fn open_socket(&self, pool: &Arc<Pool>, call: Call<'_>, offer: &Offer) -> Result<Reply, EgressError> {
        let (target, patience) = (call.target, call.patience);
        let mut request = request(call)?;
        offer.write(request.headers_mut());
        let begun = Instant::now();
        let head = patience.total.map_or(patience.head, |total| total.min(patience.head));
        let (mut sender, connection) = self.handshake(target, patience.connect).await?;
        tokio::spawn(carry(connection.with_upgrades()));
        let answer = tokio::time::timeout_at(begun + head, sender.send_request(request)).await;
        let mut response = answer.map_err(|_| EgressError::Timeout(head))?.map_err(EgressError::Broken)?;
        let upgraded = hyper::upgrade::on(&mut response);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return reply(response, (Arc::clone(pool), Arc::clone(&target.pool_key), sender), begun, patience);
        }
        let (parts, body) = response.into_parts();
        let accept = accept(offer.key.as_bytes())?;
        let protocol = judge(&parts, offer, &accept).map_err(EgressError::Handshake)?;
        let io = TokioIo::new(upgraded.await.map_err(EgressError::Broken)?);
        let end = patience.total.map(|total| begun + total);
        let socket = Socket { io, accept, protocol, idle: patience.idle, end };
        let (status, headers, body) = (parts.status, parts.headers, ReplyBody::none(body));
        Ok(Reply { status, headers, body, socket: Some(Box::new(socket)) })
    }
}

impl Offer {
    fn write(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::SEC_WEBSOCKET_KEY, self.key.clone());
        if let Some(protocols) = &self.protocols {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols.clone());
        }
    }

    fn has(&self, protocol: &HeaderValue) -> bool {
        let offered = self.protocols.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        offered.split(|byte| *byte == b',').any(|one| one.trim_ascii() == protocol.as_bytes())
    }
}

/// Judges the head of a 101; gives the subprotocol that the provider chose.
fn judge(head: &Parts, offer: &Offer, accept: &HeaderValue) -> Result<Option<HeaderValue>, &'static str> {
    let only = |name: HeaderName| {
        let mut values = head.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    if !only(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Err("not to open a WebSocket");
    }
    if only(header::SEC_WEBSOCKET_ACCEPT) != Some(accept) {
        return Err("its Sec-WebSocket-Accept is not the one that the key asks for");
    }
    if head.headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err("it uses an extension, and none was offered");
    }
    match head.headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        Some(protocol) if only(header::SEC_WEBSOCKET_PROTOCOL).is_none() || !offer.has(protocol) => {
            Err("it speaks a subprotocol that was not offered")
        }
        protocol => Ok(protocol.cloned()),
    }
}

/// What a server answers to this key with.
fn accept(key: &[u8]) -> Result<HeaderValue, EgressError> {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    HeaderValue::try_from(STANDARD.encode(context.finish())).map_err(|error| EgressError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn judged(headers: &[(&str, &str)]) -> Result<Option<HeaderValue>, &'static str> {
        let mut response = Response::builder().status(101).header("connection", "Upgrade");
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let (head, ()) = response.body(()).expect("a response").into_parts();
        // RFC 6455's example.
        let offer = Offer {
            key: HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
            protocols: Some(HeaderValue::from_static("realtime, openai-beta.realtime-v1")),
        };
        judge(&head, &offer, &accept(offer.key.as_bytes()).expect("a header"))
    }

    #[test]
    fn a_provider_has_to_prove_that_it_opens_a_websocket_as_asked_for() {
        let right = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let upgrade = ("upgrade", "WebSocket");
        assert_eq!(judged(&[upgrade, right]), Ok(None));
        let chosen = ("sec-websocket-protocol", "realtime");
        assert_eq!(judged(&[upgrade, right, chosen]), Ok(Some(HeaderValue::from_static("realtime"))));
        for wrong in [
            &[right][..],
            &[upgrade],
            &[("upgrade", "h2c"), right],
            &[upgrade, ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOO=")],
            &[upgrade, right, right],
            &[upgrade, right, ("sec-websocket-extensions", "permessage-deflate")],
            &[upgrade, right, ("sec-websocket-protocol", "real")],
            &[upgrade, right, ("sec-websocket-protocol", "realtime, openai-beta.realtime-v1")],
            &[upgrade, right, chosen, chosen],
        ] {
            assert!(judged(wrong).is_err(), "{wrong:?}");
        }
    }
}
