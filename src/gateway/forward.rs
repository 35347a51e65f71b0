//! Sends a call to its provider, with another key where one is refused, and turns the answer's head into ours.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use llm::Kind;

use super::{
    Gateway,
    body::Held,
    gunzip::Coding,
    headers,
    meter::{Form, Settlement},
    refusal::Refusal,
    relay::{GatewayBody, Relay},
    route::Plan,
    socket::{self, Handshake},
};
use crate::{
    domain::{catalog::OpenKey, key_cache::CachedKey, meter::Used, spending::Admission, spending_account::Left},
    egress::{Call, Credential, EgressError, Reply, RequestHead, Socket},
    error::{Code, Error, Result},
};

/// The types of answers that come event by event: everybody's, and the JSON a line of Ollama and of Cohere's first API.
const STREAMED: [&[u8]; 3] = [b"text/event-stream", b"application/x-ndjson", b"application/stream+json"];

/// A call about to be sent.
pub struct Forward<'a> {
    /// The core it runs on.
    pub gateway: &'a Arc<Gateway>,
    /// The agent key.
    pub key: &'a Arc<CachedKey>,
    /// Where it goes.
    pub plan: Plan,
    /// What the caller sent.
    pub head: Parts,
    /// Its body.
    pub held: Held<'a>,
    /// What it opens a WebSocket with, where it does.
    pub socket: Option<Handshake>,
    /// Its place among the calls its key may make at once.
    pub admission: Option<Admission>,
    /// What is left of its key's limit; told in the answer.
    pub left: Vec<Left>,
}

impl Forward<'_> {
    /// Sends it. A key that is refused, exhausted or met with a provider's failure is followed by the next one linked
    /// for the model, before the caller has seen a byte, and within the provider's budget of further tries.
    ///
    /// # Errors
    /// [`Code::ProviderBusy`], [`Code::UpstreamUnreachable`], [`Code::UpstreamTimeout`], [`Code::ProviderRefusedKey`].
    pub async fn send(mut self) -> Result<Response<GatewayBody>> {
        let mut settlement = Settlement::new(self.gateway, self.key, &self.plan);
        settlement.hold(self.admission.take());
        let provider = Arc::clone(&self.plan.provider);
        if !settlement.enter() {
            return Err(busy(&provider.name));
        }
        let body = self.plan.body.take().map_or_else(|| self.held.bytes.clone(), Bytes::from);
        let keys = self.plan.keys.take();
        let core = &self.gateway.core;
        let now = core.clock.now_ms();
        if keys.as_ref().is_some_and(|keys| keys.has_several()) {
            provider.traffic.begin();
        }
        let mut ranking = keys.as_ref().map(|keys| keys.ranking(&self.key.id, now));
        let mut next = || ranking.as_mut().and_then(Iterator::next);
        let mut key = next();
        loop {
            if let Some(key) = key {
                settlement.with_key(key);
                core.meter.touch(Used::GeneralKey, &key.used, now);
            }
            settlement.sent(true);
            let reply = match self.attempt(key, body.clone()).await {
                Ok(reply) => reply,
                Err(error) => {
                    // One that did not answer in time has the call.
                    settlement.sent(error.code == Code::UpstreamTimeout);
                    return Err(error);
                }
            };
            if reply.status.as_u16() < 400 {
                if let Some(key) = key {
                    key.health.accepted(now, core.clock.now_ms());
                }
                return Ok(self.relayed(reply, key, settlement));
            }
            let refusal = Refusal::read(&provider, key, reply).await;
            refusal.note(core.clock.now_ms());
            match next() {
                Some(other) if self.may_go_on(&refusal) && provider.traffic.may_try_again() => key = Some(other),
                _ => return refusal.answer(settlement),
            }
        }
    }

    async fn attempt(&self, key: Option<&Arc<OpenKey>>, body: Bytes) -> Result<Reply> {
        // The body, or a try before this one, may have taken long: what was decided about the agent key may be over.
        self.gateway.core.lease.check()?;
        if let Some(ended) = self.key_ended() {
            return Err(ended);
        }
        let plan = &self.plan;
        let target = plan.target()?;
        let (header, prefix) = match &target.credential_header {
            Some(header) => (&**header, ""),
            None => (plan.auth.header_name(), plan.auth.prefix()),
        };
        let credential = key.map(|key| Credential { secret: &key.secret, header, prefix });
        let mut head = RequestHead::new(&self.head.method, &plan.path)
            .map_err(|error| self.unreachable(EgressError::Invalid(error.to_string())))?;
        headers::outgoing(
            &self.head.headers,
            plan.provider.kind.fixed_headers(),
            target.credential_header.as_deref(),
            &mut head,
        );
        let call = Call {
            target,
            credential,
            head,
            body,
            patience: plan.provider.patience,
            returns: if self.is_to_service() { headers::returns_of_service } else { headers::returns },
            wanted: &|| self.key_ended().is_none(),
        };
        let (egress, pool) = (&self.gateway.egress, &self.gateway.pool);
        let sent = match &self.socket {
            None => egress.send(pool, call).await,
            // Boxed, so that other calls have no room to keep for it.
            Some(socket) => Box::pin(egress.open_socket(pool, call, &socket.offer)).await,
        };
        sent.map_err(|error| self.unreachable(error))
    }

    /// Why a key that was good is so no more.
    fn key_ended(&self) -> Option<Error> {
        if self.key.revocation.is_revoked() {
            return Some(ended(Code::InvalidApiKey, "revoked"));
        }
        let expired = self.key.ends_at <= self.gateway.core.clock.now_ms();
        expired.then(|| ended(Code::ExpiredApiKey, "expired"))
    }

    fn relayed(
        mut self,
        mut reply: Reply,
        key: Option<&Arc<OpenKey>>,
        mut settlement: Settlement,
    ) -> Response<GatewayBody> {
        let mut headers = headers::returned(std::mem::take(&mut reply.headers), key.map(|key| &key.secret));
        if let (Some(handshake), Some(socket)) = (self.socket.take(), reply.socket.take()) {
            return self.joined(handshake, *socket, headers, settlement);
        }
        let form = self.form(&headers);
        let streams = matches!(form, Form::Events { .. });
        // What a service says is its own: nothing is read in it.
        let form = if self.is_to_service() { Form::Other } else { form };
        if streams {
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        }
        let coding = Coding::of(&headers);
        settlement.answered(reply.status, form, coding);
        let rewrites = streams && coding == Coding::Plain && !self.is_to_service();
        let mut response = Response::new(GatewayBody::Relay(Relay::new(reply.body, settlement, rewrites)));
        *response.status_mut() = reply.status;
        *response.headers_mut() = headers;
        response
    }

    fn joined(
        self,
        handshake: Handshake,
        socket: Socket,
        mut headers: HeaderMap,
        mut settlement: Settlement,
    ) -> Response<GatewayBody> {
        settlement.answered(StatusCode::SWITCHING_PROTOCOLS, Form::Socket, Coding::Plain);
        socket::opened(&mut headers, &socket);
        let Gateway { open, stop, .. } = &**self.gateway;
        open.spawn(socket::join(handshake, socket, settlement, Arc::clone(self.key), stop.clone()));
        let mut response = Response::new(GatewayBody::Full(None));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        response
    }

    /// Whether another key might fare better. A service that failed may have done already what it was called for.
    fn may_go_on(&self, refusal: &Refusal<'_>) -> bool {
        refusal.may_be_of_the_key() && !(self.is_to_service() && refusal.is_failure())
    }

    fn is_to_service(&self) -> bool {
        self.plan.provider.kind == Kind::Service
    }

    fn form(&self, headers: &HeaderMap) -> Form {
        let is = |kind: &[u8], start: &[u8]| kind.get(..start.len()).is_some_and(|is| is.eq_ignore_ascii_case(start));
        match headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) {
            Some(kind) if STREAMED.iter().any(|streamed| is(kind, streamed)) => {
                Form::Events { drop_usage_chunk: self.plan.drop_usage_chunk }
            }
            Some(kind) if !kind.windows(4).any(|part| part.eq_ignore_ascii_case(b"json")) => Form::Other,
            _ => Form::Json,
        }
    }

    fn unreachable(&self, error: EgressError) -> Error {
        let name = &self.plan.provider.name;
        let (code, detail) = match &error {
            EgressError::Timeout(limit) => {
                (Code::UpstreamTimeout, format!("{name} did not answer within {} seconds", limit.as_secs()))
            }
            EgressError::Connect(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                (Code::UpstreamUnreachable, format!("{name} may not be called: {cause}"))
            }
            EgressError::Connect(_) => (Code::UpstreamUnreachable, format!("no connection to {name} can be made")),
            EgressError::Redirect(status) => (
                Code::UpstreamUnreachable,
                format!(
                    "{name} answered with the redirect {}, which is never followed; correct its base URL",
                    status.as_u16()
                ),
            ),
            EgressError::Switched(status) => (
                Code::UpstreamUnreachable,
                format!("{name} answered {} and would speak another protocol, which nobody asked for", status.as_u16()),
            ),
            EgressError::Handshake(why) => {
                (Code::UpstreamUnreachable, format!("{name} answered 101 and opened no WebSocket: {why}"))
            }
            EgressError::Unwanted => {
                return self.key_ended().unwrap_or_else(|| ended(Code::InvalidApiKey, "revoked"));
            }
            EgressError::Malformed(why) => (Code::UpstreamUnreachable, format!("{name} cannot be understood: {why}")),
            EgressError::Broken(_) => {
                (Code::UpstreamUnreachable, format!("{name} closed the connection before it answered"))
            }
            EgressError::NotBound => (
                Code::NoGeneralKey,
                format!("the general key linked for {name} was not saved for its origin; link it again"),
            ),
            EgressError::Invalid(why) => (Code::InvalidBody, format!("the call to {name} cannot be made: {why}")),
        };
        Error::new(code, detail).with_cause(error)
    }
}

fn ended(code: Code, how: &str) -> Error {
    Error::new(code, format!("the agent key was {how} while the call was under way"))
}

fn busy(name: &str) -> Error {
    Error::new(
        Code::ProviderBusy,
        format!("{name} has as many calls at once as it is given; try again in a moment, or raise its limit"),
    )
}

/// Whether a status tells of an error.
pub fn is_error(status: StatusCode) -> bool {
    status.as_u16() >= 400
}
