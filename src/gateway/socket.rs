//! A WebSocket: what opens it, and then both of its directions, byte for byte, until either side or the agent key ends.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{meter::Settlement, relay::End};
use crate::{
    auth,
    domain::key_cache::CachedKey,
    egress::{Connection, Offer, Socket},
    error::{Code, Error, Result},
};

/// The bytes that may be on their way in each direction.
const BUFFER: usize = 16 * 1024;
/// How long a caller may take to take the answer that opens its WebSocket.
const OPENING: Duration = Duration::from_secs(10);
/// How long a provider may go on once the caller has said that nothing more comes from it.
const LINGER: Duration = Duration::from_secs(5);
/// How long an answer under way may go on once Keyward is told to stop; less than other calls get, so that it can still
/// be said why the connection closes.
const GRACE: Duration = Duration::from_secs(8);
/// How long that may take to say.
const FAREWELL: Duration = Duration::from_millis(500);

/// RFC 6455's codes for why a connection is closed.
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;

/// A caller's request for a WebSocket.
pub struct Handshake {
    agent: OnUpgrade,
    /// What a provider is asked for it with.
    pub offer: Offer,
}

impl Handshake {
    /// Takes it out of a call, and with it the subprotocol that may have carried the agent key.
    ///
    /// # Errors
    /// [`Code::RouteNotAllowed`] where the call asks for none, [`Code::InvalidBody`] where it asks wrongly.
    pub fn take(request: &mut Request<Incoming>) -> Result<Handshake> {
        let headers = request.headers();
        let asks = names(headers, header::CONNECTION, b"upgrade") && names(headers, header::UPGRADE, b"websocket");
        if !asks || request.method() != Method::GET || request.version() != Version::HTTP_11 {
            return Err(Error::new(
                Code::RouteNotAllowed,
                format!(
                    "{} is a WebSocket: call it with GET, over HTTP/1.1, with Connection: Upgrade and Upgrade: websocket \
                     (a proxy in between has to pass both on)",
                    request.uri().path()
                ),
            ));
        }
        let wrong = |what: &str| Error::new(Code::InvalidBody, format!("this opens no WebSocket: {what}"));
        if only(headers, header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(wrong("Sec-WebSocket-Version must be 13"));
        }
        let key = only(headers, header::SEC_WEBSOCKET_KEY)
            .filter(|key| STANDARD.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == 16))
            .ok_or_else(|| wrong("Sec-WebSocket-Key must be 16 bytes in base64"))?
            .clone();
        let protocols = auth::subprotocols_without_key(headers);
        let protocols =
            HeaderValue::try_from(protocols).map_err(|_| wrong("its subprotocols cannot stand in a header"))?;
        let protocols = Some(protocols).filter(|protocols| !protocols.is_empty());
        request.headers_mut().remove(header::SEC_WEBSOCKET_PROTOCOL);
        if let Some(protocols) = &protocols {
            request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocols.clone());
        }
        Ok(Handshake { agent: hyper::upgrade::on(request), offer: Offer { key, protocols } })
    }
}

fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a header that is a list names that.
fn names(headers: &HeaderMap, name: HeaderName, what: &[u8]) -> bool {
    let items = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    items.map(<[u8]>::trim_ascii).any(|item| item.eq_ignore_ascii_case(what))
}

/// The headers by which a caller is told that its WebSocket is open.
pub fn opened(headers: &mut HeaderMap, socket: &Socket) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, socket.accept.clone());
    if let Some(protocol) = &socket.protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
    }
}

/// Joins a caller with its provider until one of them ends, the agent key does, or the time is up, and counts the call.
pub async fn join(
    handshake: Handshake,
    socket: Socket,
    settlement: Settlement,
    key: Arc<CachedKey>,
    stop: CancellationToken,
) {
    let agent = match timeout(OPENING, handshake.agent).await {
        Ok(Ok(agent)) => TokioIo::new(agent),
        // The caller left, which is counted as the settlement is dropped.
        Ok(Err(_)) | Err(_) => return,
    };
    let limits = Limits {
        end: End::of(&key, settlement.now_ms(), i64::MAX),
        total: socket.end.map(|end| Box::pin(sleep_until(end))),
        idle: socket.idle,
        heard: Instant::now(),
        silent: Box::pin(sleep(socket.idle)),
        stop: Some(Box::pin(stop.cancelled_owned())),
        grace: None,
        linger: None,
    };
    let mut pair = Pair { agent, provider: socket.io, up: Lane::new(), down: Lane::new(), settlement, limits };
    let ended = std::future::poll_fn(|cx| pair.poll(cx)).await;
    pair.end(ended).await;
}

/// A caller and its provider.
struct Pair {
    agent: TokioIo<Upgraded>,
    provider: Connection,
    up: Lane,
    down: Lane,
    settlement: Settlement,
    limits: Limits,
}

/// How it came to its end.
enum Ended {
    /// The caller left.
    ByAgent,
    /// The provider closed it.
    ByProvider,
    /// A connection broke.
    Broken(io::Error),
    /// Keyward closes it: RFC 6455's code, and why.
    Cut(u16, &'static str),
}

impl Pair {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let up = self.up.poll(cx, &mut self.agent, &mut self.provider, |_| ());
        let settlement = &mut self.settlement;
        let down = self.down.poll(cx, &mut self.provider, &mut self.agent, |bytes| settlement.watch(bytes));
        let moves = std::mem::take(&mut self.up.moves) | std::mem::take(&mut self.down.moves);
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(_)) => Poll::Ready(Ended::ByAgent),
            (_, Poll::Ready(Ok(()))) => Poll::Ready(Ended::ByProvider),
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Ended::Broken(error)),
            (up, Poll::Pending) => {
                let rests = self.is_between_frames() && !self.is_answering();
                self.limits.poll(cx, moves, up.is_ready(), rests)
            }
        }
    }

    fn is_answering(&self) -> bool {
        self.settlement.socket().is_some_and(llm::SocketReader::is_answering)
    }

    /// Whether what the caller was sent ends where a frame does, so that one of ours may follow.
    fn is_between_frames(&self) -> bool {
        self.down.is_empty() && self.settlement.socket().is_some_and(llm::SocketReader::is_between_frames)
    }

    async fn end(mut self, ended: Ended) {
        let is_closed = self.settlement.socket().is_some_and(llm::SocketReader::is_closed);
        let answering = self.is_answering();
        // What is not settled as a whole call here is counted as a broken one, when it is dropped.
        match ended {
            Ended::ByAgent => self.settlement.end(),
            Ended::ByProvider if is_closed => self.settlement.end(),
            Ended::ByProvider => tracing::debug!("a provider ended a WebSocket without closing it"),
            Ended::Broken(_) if is_closed => self.settlement.end(),
            Ended::Broken(error) => tracing::debug!(%error, "a WebSocket broke"),
            Ended::Cut(code, why) => {
                tracing::debug!(why, "a WebSocket is closed");
                let can_be_told = self.is_between_frames() && !is_closed;
                let frame = llm::close_frame(code, why);
                let farewell = async {
                    if can_be_told {
                        self.agent.write_all(&frame).await?;
                    }
                    self.agent.shutdown().await?;
                    self.provider.shutdown().await
                };
                if timeout(FAREWELL, farewell).await.is_err() {
                    tracing::debug!("a caller did not take why its WebSocket is closed");
                }
                if code == GOING_AWAY && !answering {
                    self.settlement.end();
                }
            }
        }
    }
}

/// What bounds a WebSocket in time.
struct Limits {
    end: End,
    total: Option<Pin<Box<Sleep>>>,
    idle: Duration,
    /// When a byte passed last.
    heard: Instant,
    silent: Pin<Box<Sleep>>,
    /// Until Keyward is told to stop.
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// From then on.
    grace: Option<Pin<Box<Sleep>>>,
    /// From when the caller has ended its side.
    linger: Option<Pin<Box<Sleep>>>,
}

impl Limits {
    /// `moves` is whether bytes passed just now, `left` whether the caller has ended its side, `rests` whether no
    /// answer is under way.
    fn poll(&mut self, cx: &mut Context<'_>, moves: bool, left: bool, rests: bool) -> Poll<Ended> {
        if let Poll::Ready(why) = self.end.poll(cx) {
            return Poll::Ready(Ended::Cut(POLICY, why));
        }
        if self.total.as_mut().is_some_and(|total| total.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Ended::Cut(POLICY, "it was open for as long as the provider's limit allows"));
        }
        if moves {
            self.heard = Instant::now();
        }
        while self.silent.as_mut().poll(cx).is_ready() {
            let until = self.heard + self.idle;
            if until <= Instant::now() {
                return Poll::Ready(Ended::Cut(POLICY, "both sides were silent for too long"));
            }
            self.silent.as_mut().reset(until);
        }
        if left {
            let linger = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
            linger.as_mut().poll(cx).map(|()| Ended::ByAgent)
        } else {
            self.poll_stop(cx, rests)
        }
    }

    /// Once Keyward is told to stop: as soon as no answer is under way, or the grace is over.
    fn poll_stop(&mut self, cx: &mut Context<'_>, rests: bool) -> Poll<Ended> {
        if let Some(stop) = &mut self.stop {
            ready!(stop.as_mut().poll(cx));
            self.stop = None;
        }
        let grace = self.grace.get_or_insert_with(|| Box::pin(sleep(GRACE)));
        let over = grace.as_mut().poll(cx).is_ready();
        if rests || over { Poll::Ready(Ended::Cut(GOING_AWAY, "Keyward is restarting")) } else { Poll::Pending }
    }
}

/// One direction.
struct Lane {
    buffer: Box<[u8]>,
    /// Where what is still to be passed on begins and ends.
    from: usize,
    to: usize,
    /// Whether bytes passed since it was asked last.
    moves: bool,
    unflushed: bool,
    ended: bool,
    done: bool,
}

impl Lane {
    fn new() -> Lane {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Lane { buffer, from: 0, to: 0, moves: false, unflushed: false, ended: false, done: false }
    }

    /// Whether all that was read was passed on.
    fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Passes on what comes; ready when the source has ended and the sink was told.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        sink: &mut (impl AsyncWrite + Unpin),
        mut watch: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        while !self.done {
            if !self.is_empty() {
                let waiting = &self.buffer[self.from..self.to];
                match ready!(Pin::new(&mut *sink).poll_write(cx, waiting))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.from += written,
                }
                (self.moves, self.unflushed) = (true, true);
                continue;
            }
            if self.ended {
                ready!(Pin::new(&mut *sink).poll_shutdown(cx))?;
                self.done = true;
                continue;
            }
            let mut read = ReadBuf::new(&mut self.buffer);
            if Pin::new(&mut *source).poll_read(cx, &mut read)?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *sink).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
            watch(read.filled());
            (self.from, self.to) = (0, read.filled().len());
            self.ended = self.is_empty();
        }
        Poll::Ready(Ok(()))
    }
}
