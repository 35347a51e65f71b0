//! A call to a provider: the credential goes in here and nowhere else, the answer's head comes out.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::ClientConfig;
use vault::ProviderSecret;

use super::{
    AddressPolicy, Socket, Target,
    connect::{connect, tls_config, tls_config_of},
    http1::{
        connection::{Connection, Failure},
        request::RequestHead,
        response::Head,
    },
    pool::Pool,
    reply_body::ReplyBody,
};

/// How often a call that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);

/// The way out, shared by all cores.
pub struct Egress {
    pub(super) tls: Arc<ClientConfig>,
    pub(super) policy: AddressPolicy,
    pub(super) patience: Patience,
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
    pub header: &'a str,
    /// `Bearer ` or nothing.
    pub prefix: &'static str,
}

/// A call about to be made. Its head carries no credential of the caller's any more.
pub struct Call<'a> {
    /// Where it goes.
    pub target: &'a Target,
    /// What it authenticates with.
    pub credential: Option<Credential<'a>>,
    /// Its head, without Host, credential and framing.
    pub head: RequestHead,
    /// The whole body.
    pub body: Bytes,
    /// How long to wait.
    pub patience: Patience,
    /// Which headers of the answer are wanted, by their names in lower case.
    pub returns: fn(&str) -> bool,
    /// Whether the call is still wanted; asked each half second it waits.
    pub wanted: &'a (dyn Fn() -> bool + Sync),
}

/// The head of an answer, with its body still to come.
pub struct Reply {
    /// The status; never a redirect.
    pub status: StatusCode,
    /// Those of the provider's headers that were wanted.
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
    Broken(io::Error),
    /// What came is no answer, or one that could be understood in two ways.
    #[error("{0}")]
    Malformed(&'static str),
    /// Meanwhile nobody wants the answer any more.
    #[error("the call is not wanted any more")]
    Unwanted,
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

    /// A way out to a service whose certificate comes from the authorities in `pem`, and no other.
    ///
    /// # Errors
    /// What is wrong with `pem`.
    pub fn trusting(pem: &[u8], policy: AddressPolicy, patience: Patience) -> Result<Egress, String> {
        Ok(Egress { tls: tls_config_of(pem)?, policy, patience })
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
    pub async fn send(&self, pool: &Arc<Pool>, mut call: Call<'_>) -> Result<Reply, EgressError> {
        let begun = Instant::now();
        call.finish_head();
        let (connection, head) = call.in_time(begun, self.exchange(pool, &call)).await?;
        reply(connection, head, pool, &call, begun)
    }

    async fn exchange(&self, pool: &Pool, call: &Call<'_>) -> Result<(Connection, Head), EgressError> {
        loop {
            let (mut connection, reused) = match pool.take(&call.target.pool_key) {
                Some(connection) => (connection, true),
                None => (self.open(call).await?, false),
            };
            match call.exchange_on(&mut connection).await {
                Ok(head) => return Ok((connection, head)),
                // A kept connection that had been closed meanwhile took nothing: try another one.
                Err(failure) if reused && failure.unsent => {}
                Err(failure) => return Err(failure.error),
            }
        }
    }

    /// A new connection for a call.
    pub(super) async fn open(&self, call: &Call<'_>) -> Result<Connection, EgressError> {
        let stream = connect(call.target, &self.policy, &self.tls, call.patience.connect).await;
        stream.map(Connection::new).map_err(EgressError::Connect)
    }
}

impl Call<'_> {
    /// Waits for the answer's head: as long as the patience lasts, and the call is wanted.
    pub(super) async fn in_time<T>(
        &self,
        begun: Instant,
        answer: impl Future<Output = Result<T, EgressError>>,
    ) -> Result<T, EgressError> {
        let patience = self.patience.total.map_or(self.patience.head, |total| total.min(self.patience.head));
        let deadline = begun + patience;
        let mut look = begun + LOOK;
        tokio::pin!(answer);
        loop {
            if let Ok(done) = timeout_at(look.min(deadline), &mut answer).await {
                return done;
            }
            if look >= deadline {
                return Err(EgressError::Timeout(patience));
            }
            if !(self.wanted)() {
                return Err(EgressError::Unwanted);
            }
            look += LOOK;
        }
    }

    /// Writes down what comes last in its head.
    pub(super) fn finish_head(&mut self) {
        let name = self.credential.map(|credential| credential.header);
        self.head.finish(&self.target.authority, self.body.len(), name);
    }

    /// Sends the call, whose head is finished, on `connection`; the credential goes in last, straight from the memory that is zeroized.
    pub(super) async fn exchange_on(&self, connection: &mut Connection) -> Result<Head, Failure> {
        let secret = match &self.credential {
            None => None,
            Some(credential) => {
                let exposed = credential.secret.expose_secret(self.target.binding(), credential.prefix);
                Some(exposed.ok_or(Failure { error: EgressError::NotBound, unsent: false })?)
            }
        };
        let (value, end) = secret.as_ref().map_or((&b""[..], &b"\r\n"[..]), |value| (&value[..], b"\r\n\r\n"));
        connection.exchange([self.head.as_bytes(), value, end, &self.body], self.head.method(), self.returns).await
    }
}

/// Takes an answer in; its connection goes back to `pool` once it was read.
pub(super) fn reply(
    connection: Connection,
    head: Head,
    pool: &Arc<Pool>,
    call: &Call<'_>,
    begun: Instant,
) -> Result<Reply, EgressError> {
    let Head { status, headers, framing, keeps } = head;
    if status.is_informational() {
        return Err(EgressError::Switched(status));
    }
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        return Err(EgressError::Redirect(status));
    }
    let home = keeps.then(|| (Arc::clone(pool), Arc::clone(&call.target.pool_key)));
    let body = ReplyBody::new(connection, framing, home, &call.patience, begun);
    Ok(Reply { status, headers, body, socket: None })
}
