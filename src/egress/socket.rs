//! A WebSocket at a provider (RFC 6455): the handshake, with the credential as in any other call, and then the two
//! directions of its connection.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::{Call, Connection, Egress, EgressError, Pool, Reply, ReplyBody, RequestHead, client::reply};

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
    pub io: Connection,
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
    pub async fn open_socket(&self, pool: &Arc<Pool>, mut call: Call<'_>, offer: &Offer) -> Result<Reply, EgressError> {
        offer.write(&mut call.head);
        call.finish_head();
        let returns = call.returns;
        call.returns = |_| true;
        let begun = Instant::now();
        let exchange = async {
            let mut connection = self.open(&call).await?;
            let head = call.exchange_on(&mut connection).await.map_err(|failure| failure.error)?;
            Ok((connection, head))
        };
        let (io, mut head) = call.in_time(begun, exchange).await?;
        let opened = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let accept = accept(offer.key.as_bytes())?;
        let protocol =
            if opened { judge(&head.headers, offer, &accept).map_err(EgressError::Handshake)? } else { None };
        head.headers = head
            .headers
            .iter()
            .filter(|(name, _)| returns(name.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        if !opened {
            return reply(io, head, pool, &call, begun);
        }
        let end = call.patience.total.map(|total| begun + total);
        let socket = Socket { io, accept, protocol, idle: call.patience.idle, end };
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body: ReplyBody::none(),
            socket: Some(Box::new(socket)),
        })
    }
}

impl Offer {
    fn write(&self, head: &mut RequestHead) {
        head.header(&header::CONNECTION, &HeaderValue::from_static("Upgrade"));
        head.header(&header::UPGRADE, &HeaderValue::from_static("websocket"));
        head.header(&header::SEC_WEBSOCKET_VERSION, &HeaderValue::from_static("13"));
        head.header(&header::SEC_WEBSOCKET_KEY, &self.key);
        if let Some(protocols) = &self.protocols {
            head.header(&header::SEC_WEBSOCKET_PROTOCOL, protocols);
        }
    }

    fn has(&self, protocol: &HeaderValue) -> bool {
        let offered = self.protocols.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        offered.split(|byte| *byte == b',').any(|one| one.trim_ascii() == protocol.as_bytes())
    }
}

/// Judges the head of a 101; gives the subprotocol that the provider chose.
fn judge(headers: &HeaderMap, offer: &Offer, accept: &HeaderValue) -> Result<Option<HeaderValue>, &'static str> {
    let only = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    if !only(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Err("not to open a WebSocket");
    }
    if only(header::SEC_WEBSOCKET_ACCEPT) != Some(accept) {
        return Err("its Sec-WebSocket-Accept is not the one that the key asks for");
    }
    if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err("it uses an extension, and none was offered");
    }
    match headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
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
        judge(&head.headers, &offer, &accept(offer.key.as_bytes()).expect("a header"))
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
