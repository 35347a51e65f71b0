//! Takes connections in and hands calls to whoever answers them. Each core of the gateway has a listener, a
//! single-threaded runtime and a pool of its own; everything but the gateway and verification is handed to the
//! control runtime, which owns the database's connections.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    thread::JoinHandle,
    time::Duration,
};

use axum::Router;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    forwarded::TrustedProxies,
    gateway::{self, Gateway, GatewayBody, Line, Streams, Taken, attend},
    metrics::Metrics,
    peers::{Peers, Place},
    request::{AtAdminAddress, OverHttps, Peer, RequestId, check_unambiguous},
    timely::Timely,
    tls::Tls,
    verify,
};

/// How long a caller may take to send the head of its next request on an open connection.
///
/// It bounds idle connections as well, so it is above the keep-alive of common clients and proxies (60 and 75 s).
const HEAD_PATIENCE: Duration = Duration::from_secs(80);
/// How long a caller may take for the whole body of a request to console or management API.
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// How long a caller may take to say anything on a new connection, or for its TLS handshake, and then again for the whole
/// of its first head.
const FIRST_BYTES_PATIENCE: Duration = Duration::from_secs(10);
/// The same for a connection that came as Keyward stopped: its first call may be on its way.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What one address may have of a core's connections, as a divisor: a proxy in front may bring nearly all there are, but
/// nobody alone takes those of all others.
const SHARE_OF_ONE: usize = 2;
/// How often it is logged at most that connections are refused.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_secs(10);
/// Files that are not connections of callers: the database, the log, listeners.
const OTHER_FILES: u64 = 128;
/// The most files that are counted on, where the system gives any number.
const MOST_FILES: u64 = 1 << 20;
/// How often connections to providers are looked at that nobody has used for a while.
const SWEEP: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// How many connections may wait to be accepted, for each core.
const BACKLOG: i32 = 4096;

/// Sockets bound to one address, one for each core.
///
/// # Errors
/// What binding says; [`io::ErrorKind::AddrInUse`] also where the other listener would share the address with us.
pub fn bind(address: SocketAddr, cores: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // Sharing a port between cores also shares it with any other process of ours: see that nobody is there. Bound only, and
    // not listening, so that nobody is taken in who would then be cut off.
    let alone = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    alone.set_reuse_address(true)?;
    alone.bind(&address.into())?;
    drop(alone);
    let mut address = address;
    let mut sockets = Vec::with_capacity(cores);
    for _ in 0..cores {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = std::net::TcpListener::from(socket);
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Who is answered at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faces {
    /// Everybody.
    All,
    /// Agents and those who ask about their keys; administrators have an address of their own.
    Agents,
    /// Administrators: console and management API.
    Administrators,
}

/// What a core answers with.
pub struct Core {
    /// The gateway's part.
    pub gateway: Arc<Gateway>,
    /// Everything on the control runtime.
    pub control: Router,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who is answered.
    pub faces: Faces,
    /// The certificate that connections are accepted with; without one they are plain.
    pub tls: Option<Arc<Tls>>,
    /// The proxies whose word counts.
    pub proxies: Arc<TrustedProxies>,
    /// The most connections at once; more are closed as they come.
    pub max_connections: usize,
    /// How long a caller may take nothing of what waits for it.
    pub stall_timeout: Duration,
    /// Makes ids of requests.
    pub ids: RequestIds,
    /// Whether Keyward stops, set before the gateway's token is.
    pub stopping: Arc<AtomicBool>,
    /// How long open calls may go on then.
    pub stop_timeout: Duration,
}

/// How many connections each of `cores` may have at once: a call takes one from its caller and one to its provider.
pub fn max_connections(cores: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(MOST_FILES).min(MOST_FILES);
    let each = files.saturating_sub(OTHER_FILES) / 2 / cores.max(1) as u64;
    usize::try_from(each).unwrap_or(usize::MAX).max(16)
}

/// Starts a core's thread. It ends after the gateway's `stop`, when its calls have, or after `stop_timeout`.
///
/// # Errors
/// Where the system gives no thread.
pub fn spawn(core: Core, socket: std::net::TcpListener) -> io::Result<JoinHandle<()>> {
    let name = match core.faces {
        Faces::Administrators => String::from("administrators"),
        Faces::All | Faces::Agents => format!("gateway-{}", core.gateway.cpu),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name).spawn(move || {
        runtime.block_on(run(core, socket));
        // What is still open is cut here.
        runtime.shutdown_background();
    })
}

async fn run(core: Core, socket: std::net::TcpListener) {
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a core cannot listen");
            return;
        }
    };
    let core = Arc::new(core);
    let open = &core.gateway.open;
    let mut sweep = tokio::time::interval(SWEEP);
    let peers = Peers::new((core.max_connections / SHARE_OF_ONE).max(1));
    let mut logged: Option<Instant> = None;
    let mut take = |stream: TcpStream, peer: SocketAddr| {
        // A proxy that is named as one brings the connections of many.
        let is_proxy = core.proxies.trusts(peer.ip());
        let place = if is_proxy { None } else { peers.enter(peer.ip()) };
        if open.len() < core.max_connections && (is_proxy || place.is_some()) {
            open.spawn(serve(Arc::clone(&core), stream, peer, place));
            return;
        }
        core.metrics.refused_connection();
        if logged.is_none_or(|at| at.elapsed() >= REFUSALS_LOGGED_EVERY) {
            logged = Some(Instant::now());
            let (open, limit) = (open.len(), core.max_connections);
            tracing::warn!(%peer, open, limit, "connections are refused: there are as many as there may be, of this address or of all");
        }
    };
    loop {
        tokio::select! {
            () = core.gateway.stop.cancelled() => break,
            _ = sweep.tick() => core.gateway.pool.sweep(),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => take(stream, peer),
                Err(error) => {
                    // Out of file descriptors: those in use come back, so wait a moment instead of spinning.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
    // Whom the system took in already, with a call perhaps, would be cut off unheard with the listener. It leaves the runtime
    // first, so that as little as can be lies between the last look and its end.
    match listener.into_std() {
        Ok(listener) => {
            let waiting: Vec<_> = std::iter::from_fn(|| accept_waiting(&listener).ok()).collect();
            drop(listener);
            waiting.into_iter().for_each(|(stream, peer)| take(stream, peer));
        }
        Err(error) => tracing::warn!(%error, "connections that waited are cut off"),
    }
    open.close();
    if tokio::time::timeout(core.stop_timeout, open.wait()).await.is_err() {
        tracing::warn!(open = open.len(), "calls that are still open are cut");
    }
}

/// A connection that waits to be accepted.
fn accept_waiting(listener: &std::net::TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let socket = SockRef::from(listener);
    let (stream, peer) = socket.accept()?;
    stream.set_nonblocking(true)?;
    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((TcpStream::from_std(stream.into())?, peer))
}

/// Serves a connection, which gives its place back in the end.
async fn serve(core: Arc<Core>, stream: TcpStream, peer: SocketAddr, _place: Option<Place>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let line = Arc::new(Line::default());
    // Whoever connects and says nothing is not kept.
    let Some(tls) = &core.tls else {
        if let Some(Ok(is_http2)) = first_bytes(&core, is_http2(&stream)).await {
            converse(core, Taken::new(stream, Arc::clone(&line)), line, is_http2, peer).await;
        }
        return;
    };
    match first_bytes(&core, tls.acceptor().accept(Taken::new(stream, Arc::clone(&line)))).await {
        Some(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            converse(core, stream, line, is_http2, peer).await;
        }
        Some(Err(error)) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
        None => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

/// Waits for what a new connection says first, but not for long.
async fn first_bytes<T>(core: &Core, heard: impl Future<Output = T>) -> Option<T> {
    let stop = &core.gateway.stop;
    tokio::select! {
        heard = tokio::time::timeout(FIRST_BYTES_PATIENCE, heard) => heard.ok(),
        () = async { stop.cancelled().await; tokio::time::sleep(LAST_WORDS).await } => None,
    }
}

/// Answers the calls that come over a connection, which is generic so that a plain one costs what it always did.
async fn converse<S>(core: Arc<Core>, stream: S, line: Arc<Line>, is_http2: bool, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stop = Stop { token: core.gateway.stop.clone(), told: Arc::clone(&core.stopping) };
    let patience = core.stall_timeout;
    let told = Arc::clone(&line);
    let asked = Arc::new(AtomicBool::new(false));
    let has_asked = Arc::clone(&asked);
    let service = service_fn(move |request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let (core, line) = (Arc::clone(&core), Arc::clone(&told));
        async move {
            let is_stream = request.version() == Version::HTTP_2;
            let mut response = answer(&core, request, peer).await;
            if is_stream {
                Line::answers_on_stream(response.body_mut())
            } else {
                line.answers(response.body());
                if core.gateway.core.is_leaving() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    // Its next call is better made where somebody stays.
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
            }
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(stream);
    let ended = if is_http2 {
        let mut builder = http2::Builder::new(Streams { patience });
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .max_header_list_size(64 * 1024)
            .keep_alive_interval(Duration::from_secs(30));
        Some(carry(builder.serve_connection(io, service), |connection| connection.graceful_shutdown(), stop).await)
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(MAX_HEAD);
        let connection = builder.serve_connection(io, service).with_upgrades();
        let carried = attend(&line, patience, carry(connection, |connection| connection.graceful_shutdown(), stop));
        // Pinned here: a future that is handed on by value takes its memory twice.
        first_head(&asked, pin!(carried)).await.flatten()
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}

/// Carries a connection to its end, or to where its first head has taken too long; then it is dropped, and `None`.
async fn first_head<C: Future>(asked: &AtomicBool, mut connection: Pin<&mut C>) -> Option<C::Output> {
    match tokio::time::timeout(FIRST_BYTES_PATIENCE, connection.as_mut()).await {
        Ok(output) => Some(output),
        Err(_) if asked.load(Ordering::Relaxed) => Some(connection.await),
        Err(_) => None,
    }
}

/// The word that Keyward stops.
struct Stop {
    token: CancellationToken,
    told: Arc<AtomicBool>,
}

/// Carries a connection to its end, which `wind_up` brings about, after its open calls, once `stop` is told.
async fn carry<C: Future>(connection: C, wind_up: fn(Pin<&mut C>), stop: Stop) -> C::Output {
    let (mut connection, mut told) = (pin!(connection), pin!(stop.token.cancelled()));
    let (mut asked, mut winds_up) = (false, false);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = connection.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        // What is asked once wakes this task when it is told. From then on the flag will do, which costs no lock: this
        // is polled several times a call, and the lock would be one for all cores.
        let is_told = stop.told.load(Ordering::Acquire) || (!asked && told.as_mut().poll(cx).is_ready());
        asked = true;
        if !is_told || winds_up {
            return Poll::Pending;
        }
        winds_up = true;
        wind_up(connection.as_mut());
        connection.as_mut().poll(cx)
    })
    .await
}

/// Whether a connection begins with HTTP/2's preface; waits until that can be told.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0_u8; 3];
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[..seen] != b"PRI"[..seen] {
            return Ok(false);
        }
        if seen == first.len() {
            return Ok(true);
        }
        // The next bytes cannot be waited for, since the first ones are still there to be read.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn answer(core: &Core, request: Request<Incoming>, peer: SocketAddr) -> Response<GatewayBody> {
    let request_id = core.ids.next();
    let path = request.uri().path();
    if let Err(refusal) = check_unambiguous(&request) {
        let mut response =
            Response::new(GatewayBody::full(format!("{refusal}; send it as one plain request of HTTP\n").into()));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        // What follows on this connection might be another part of the same trick.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    if core.faces == Faces::Administrators {
        control(core, request, peer, request_id).await
    } else if let Some(claim) = gateway::claim(request.method(), path) {
        let from = caller(core, &request, peer);
        let response = gateway::handle(&core.gateway, claim, request, from, &request_id).await;
        core.metrics.answered(response.status());
        response
    } else if let Some(question) = verify::question(path) {
        core.metrics.verified();
        let from = caller(core, &request, peer);
        verify::handle(&core.gateway.core, question, request.headers(), from, &request_id).await.map(GatewayBody::full)
    } else if core.faces == Faces::Agents && !matches!(path, "/livez" | "/readyz" | "/leaks") {
        let mut response = Response::new(GatewayBody::full("there is nothing at this path\n".into()));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    } else {
        control(core, request, peer, request_id).await
    }
}

/// Whom a call came from, past the proxies in front.
fn caller(core: &Core, request: &Request<Incoming>, peer: SocketAddr) -> IpAddr {
    core.proxies.origin(peer.ip(), core.tls.is_some(), request.headers()).address
}

/// Hands a request to the control runtime. It is carried out to its end there even where the caller leaves, so that
/// what follows a commit always happens.
async fn control(
    core: &Core,
    request: Request<Incoming>,
    peer: SocketAddr,
    request_id: String,
) -> Response<GatewayBody> {
    let router = core.control.clone();
    let mut request = request.map(|body| axum::body::Body::new(Timely::new(body, BODY_PATIENCE)));
    note_host(&mut request);
    let origin = core.proxies.origin(peer.ip(), core.tls.is_some(), request.headers());
    request.extensions_mut().insert(Peer(origin.address));
    if origin.is_https {
        request.extensions_mut().insert(OverHttps);
    }
    request.extensions_mut().insert(RequestId(request_id.clone()));
    if core.faces == Faces::Administrators {
        request.extensions_mut().insert(AtAdminAddress);
    }
    let task = core.gateway.core.control.spawn(router.oneshot(request));
    let mut response = match task.await {
        Ok(Ok(response)) => response.map(GatewayBody::Page),
        Ok(Err(never)) => match never {},
        Err(error) => {
            tracing::error!(%error, request_id, "a request was not carried out");
            let mut response = Response::new(GatewayBody::full("Keyward failed; see its log\n".into()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    };
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("keyward-request-id", id);
    }
    response
}

/// HTTP/2 names the host otherwise; what is behind here looks for it where HTTP/1 has it.
fn note_host<B>(request: &mut Request<B>) {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// Makes a core's ids of requests: a part that differs from start to start and from core to core, and a number.
pub struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    /// The ids of core `cpu`; `start` differs from start to start.
    pub fn new(start: u64, cpu: usize) -> RequestIds {
        RequestIds { prefix: format!("req_{start:013x}{cpu:02x}"), next: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        format!("{}{:08x}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}
