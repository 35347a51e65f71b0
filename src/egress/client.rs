//! A call to a provider: the credential goes in here and nowhere else, the answer's head comes out.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep};
use tokio_rustls::rustls::ClientConfig;
use vault::ProviderSecret;

use super::{
    AddressPolicy, Socket, Target,
    connect::{Stream, connect, tls_config},
    pool::{Pool, Sender},
};

/// The largest head of an answer that is read, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long a kept connection may take to be ready for its next call.
const REUSE_PATIENCE: Duration = Duration::from_millis(50);

/// The way out, shared by all cores.
pub struct Egress {
    tls: Arc<ClientConfig>,
    policy: AddressPolicy,
    patience: Patience,
}

/// How long to wait for a provider.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection: name resolution and TLS included.
    pub connect: Duration,
    /// For the head of its answer, from when the call begins.
    pub head: Duration,
    /// For its next bytes within an answer.
    pub idle: Duration,
    /// For the whole call; `None` = as long as bytes come.
    pub total: Option<Duration>,
}

/// What a call authenticates with: a secret, the header it goes into, and what stands before it there.
#[derive(Clone, Copy)]
pub struct Credential<'a> {
    /// The opened secret; it gives its value only for the target it is bound to.
    pub secret: &'a ProviderSecret,
    /// The header's name, in lower case.
    pub header: &'static str,
    /// `Bearer ` or nothing.
    pub prefix: &'static str,
}

/// A call about to be made. Its headers carry no credential of the caller's any more.
pub struct Call<'a> {
    /// Where it goes.
    pub target: &'a Target,
    /// What it authenticates with.
    pub credential: Option<Credential<'a>>,
    /// The method.
    pub method: Method,
    /// Path and query, from the target's root.
    pub path: String,
    /// The headers, without Host, credentials and framing.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// How long to wait.
    pub patience: Patience,
}

/// The head of an answer, with its body still to come.
pub struct Reply {
    /// The status; never a redirect.
    pub status: StatusCode,
    /// All of the provider's headers.
    pub headers: HeaderMap,
    /// The rest.
    pub body: ReplyBody,
    /// The WebSocket that was opened, where one was asked for.
    pub socket: Option<Box<Socket>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The secret is bound to another place; nothing was sent.
    #[error("the secret is not bound to this origin")]
    NotBound,
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection broke before the answer's head.
    #[error("the connection broke before an answer came: {0}")]
    Broken(hyper::Error),
    /// The answer's head did not come in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another protocol, which nobody asked for.
    #[error("it answered {0} and nobody asked it to switch protocols")]
    Switched(StatusCode),
    /// Not what opens a WebSocket.
    #[error("it answered 101, and {0}")]
    Handshake(&'static str),
    /// A redirect, which is never followed.
    #[error("it answered with the redirect {0}, which is never followed")]
    Redirect(StatusCode),
    /// The call cannot be written down: a header value or path that is none.
    #[error("the call cannot be made: {0}")]
    Invalid(String),
}

impl Egress {
    /// A way out with these rules.
    pub fn new(policy: AddressPolicy, patience: Patience) -> Egress {
        Egress { tls: tls_config(), policy, patience }
    }

    /// How long to wait for a provider that sets nothing else.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Which addresses may be called.
    pub fn policy(&self) -> &AddressPolicy {
        &self.policy
    }

    /// Makes a call and waits for the answer's head. Dropping the future, or the reply's body, ends the call at the
    /// provider as well.
    ///
    /// # Errors
    /// [`EgressError`]; nothing is retried once a byte may have reached the provider.
    pub async fn send(&self, pool: &Arc<Pool>, call: Call<'_>) -> Result<Reply, EgressError> {
        let (target, patience) = (call.target, call.patience);
        let mut request = request(call)?;
        let begun = Instant::now();
        let head = patience.total.map_or(patience.head, |total| total.min(patience.head));
        let deadline = begun + head;
        loop {
            let origin = &target.pool_key;
            let (mut sender, reused) = match pool.take(origin) {
                Some(sender) => (sender, true),
                None => (self.open(target, patience.connect).await?, false),
            };
            if reused {
                // It may still be finishing its last call; where that takes longer than a new connection, leave it.
                match tokio::time::timeout(REUSE_PATIENCE, sender.ready()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => continue,
                }
            }
            let answer = tokio::time::timeout_at(deadline, sender.try_send_request(request)).await;
            match answer {
                Err(_) => return Err(EgressError::Timeout(head)),
                Ok(Ok(response)) => {
                    return reply(response, (Arc::clone(pool), Arc::clone(origin), sender), begun, patience);
                }
                // A kept connection that had been closed meanwhile took nothing: try another one.
                Ok(Err(mut failed)) => match failed.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(EgressError::Broken(failed.into_error())),
                },
            }
        }
    }

    async fn open(&self, target: &Target, patience: Duration) -> Result<Sender, EgressError> {
        let (sender, connection) = self.handshake(target, patience).await?;
        tokio::spawn(carry(connection));
        Ok(sender)
    }

    /// A connection to `target`, still to be carried.
    pub(super) async fn handshake(
        &self,
        target: &Target,
        patience: Duration,
    ) -> Result<(Sender, Connection), EgressError> {
        let stream = connect(target, &self.policy, &self.tls, patience).await.map_err(EgressError::Connect)?;
        hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(EgressError::Broken)
    }
}

/// A connection to a provider.
pub(super) type Connection = hyper::client::conn::http1::Connection<TokioIo<Stream>, Full<Bytes>>;

/// Carries a connection to its end.
pub(super) async fn carry(connection: impl Future<Output = hyper::Result<()>>) {
    // The call that uses this connection learns of its end; there is nobody else to tell.
    if let Err(error) = connection.await {
        tracing::trace!(%error, "a connection to a provider ended");
    }
}

/// Takes an answer in; `kept` is where its connection is kept once the answer was read.
pub(super) fn reply(
    response: Response<Incoming>,
    kept: (Arc<Pool>, Arc<str>, Sender),
    begun: Instant,
    patience: Patience,
) -> Result<Reply, EgressError> {
    let (head, body) = response.into_parts();
    if head.status.is_informational() {
        return Err(EgressError::Switched(head.status));
    }
    if head.status.is_redirection() && head.status != StatusCode::NOT_MODIFIED {
        return Err(EgressError::Redirect(head.status));
    }
    let end = patience.total.map(|total| Box::pin(tokio::time::sleep_until(begun + total)));
    let body = ReplyBody { body, keep: Some(kept), idle: patience.idle, sleep: None, end };
    Ok(Reply { status: head.status, headers: head.headers, body, socket: None })
}

/// Writes a call down; the credential goes in last, over whatever stands there.
pub(super) fn request(call: Call<'_>) -> Result<Request<Full<Bytes>>, EgressError> {
    let invalid = |what: &str| EgressError::Invalid(what.to_owned());
    let uri: http::Uri = call.path.parse().map_err(|_| invalid("its path is not one of a URL"))?;
    let mut request = Request::new(Full::new(call.body));
    *request.method_mut() = call.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = call.headers;
    let host = HeaderValue::from_str(&call.target.authority).map_err(|_| invalid("its host is not one"))?;
    request.headers_mut().insert(header::HOST, host);
    if let Some(credential) = call.credential {
        let bytes =
            credential.secret.expose_secret(call.target.binding(), credential.prefix).ok_or(EgressError::NotBound)?;
        let mut value =
            HeaderValue::from_maybe_shared(bytes).map_err(|_| invalid("the general key cannot stand in a header"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(HeaderName::from_static(credential.header), value);
    }
    Ok(request)
}

/// The body of an answer. Read to its end, it gives the connection back to its pool; dropped before, it closes it.
pub struct ReplyBody {
    body: Incoming,
    keep: Option<(Arc<Pool>, Arc<str>, Sender)>,
    idle: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    end: Option<Pin<Box<Sleep>>>,
}

impl ReplyBody {
    /// The body of an answer that has none, and whose connection is no longer one of calls.
    pub(super) fn none(body: Incoming) -> ReplyBody {
        ReplyBody { body, keep: None, idle: Duration::MAX, sleep: None, end: None }
    }

    fn done(&mut self) {
        if let Some((pool, origin, sender)) = self.keep.take() {
            pool.put(&origin, sender);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if let Some(end) = &mut this.end
            && end.as_mut().poll(cx).is_ready()
        {
            this.keep = None;
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the call took longer than it may"))));
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.sleep = None;
                if this.body.is_end_stream() {
                    this.done();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.keep = None;
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
            Poll::Ready(None) => {
                this.done();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let idle = this.idle;
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                ready!(sleep.as_mut().poll(cx));
                this.keep = None;
                Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the provider fell silent"))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
