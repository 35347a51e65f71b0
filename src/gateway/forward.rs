//! Sends a call to its provider and turns the answer's head into ours.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited};

use super::{
    Gateway,
    body::Held,
    headers,
    meter::{Form, Settlement},
    relay::{GatewayBody, Relay},
    route::Plan,
};
use crate::{
    domain::{key_cache::CachedKey, meter::Used},
    egress::{Call, Credential, EgressError, Reply},
    error::{Code, Error, Result},
};

/// The most of a provider's error that is read before it is passed on, in bytes; a longer one is cut.
const MAX_ERROR: usize = 256 * 1024;

/// A call about to be sent.
pub struct Forward<'a> {
    /// The core it runs on.
    pub gateway: &'a Gateway,
    /// The agent key.
    pub key: &'a Arc<CachedKey>,
    /// Where it goes.
    pub plan: Plan,
    /// What the caller sent.
    pub head: Parts,
    /// Its body.
    pub held: Held,
}

impl Forward<'_> {
    /// Sends it.
    ///
    /// # Errors
    /// [`Code::UpstreamUnreachable`], [`Code::UpstreamTimeout`], [`Code::ProviderRefusedKey`].
    pub async fn send(mut self) -> Result<Response<GatewayBody>> {
        let settlement = Settlement::new(self.gateway, self.key, &self.plan);
        let body = self.plan.body.take().map_or_else(|| self.held.bytes.clone(), Bytes::from);
        let path = std::mem::take(&mut self.plan.path);
        let plan = &self.plan;
        let credential = plan.key.as_ref().map(|key| Credential {
            secret: &key.secret,
            header: plan.auth.header_name(),
            prefix: plan.auth.prefix(),
        });
        let call = Call {
            target: plan.target()?,
            credential,
            method: self.head.method.clone(),
            path,
            headers: headers::outgoing(&self.head.headers, plan.provider.kind.fixed_headers()),
            body,
        };
        let core = &self.gateway.core;
        if let Some(key) = &self.plan.key {
            core.meter.touch(Used::GeneralKey, &key.used, core.clock.now_ms());
        }
        let reply =
            self.gateway.egress.send(&self.gateway.pool, call).await.map_err(|error| self.unreachable(error))?;
        if reply.status.as_u16() >= 400 {
            self.refused(reply, settlement).await
        } else {
            Ok(self.relayed(reply, settlement))
        }
    }

    fn relayed(self, reply: Reply, mut settlement: Settlement) -> Response<GatewayBody> {
        let secret = self.plan.key.as_ref().map(|key| &key.secret);
        let mut headers = headers::returned(&reply.headers, secret);
        let form = self.form(&headers);
        let streams = matches!(form, Form::Events { .. });
        if streams {
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        }
        settlement.answered(reply.status, form);
        let mut response = Response::new(GatewayBody::Relay(Relay::new(reply.body, settlement, self.key, streams)));
        *response.status_mut() = reply.status;
        *response.headers_mut() = headers;
        response
    }

    /// An error of the provider's: told as ours where it is about the key, else passed as it is.
    async fn refused(self, reply: Reply, mut settlement: Settlement) -> Result<Response<GatewayBody>> {
        let provider = &self.plan.provider;
        let secret = self.plan.key.as_ref().map(|key| &key.secret);
        let body = match Limited::new(reply.body, MAX_ERROR).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return Err(Error::new(
                    Code::UpstreamUnreachable,
                    format!(
                        "{} answered {} and broke off, or told more than 256 KiB about it",
                        provider.name, reply.status
                    ),
                )
                .with_cause(error));
            }
        };
        if llm::refuses_key(provider.kind, reply.status.as_u16(), &body) {
            let name = self.plan.key.as_ref().map_or("none", |key| key.name.as_str());
            return Err(Error::new(
                Code::ProviderRefusedKey,
                format!(
                    "{} refused the general key linked to it ({name}); the agent key is fine; an administrator of \
                     Keyward has to replace the general key's value",
                    provider.name
                ),
            ));
        }
        if secret.is_some_and(|secret| secret.occurs_in(&body)) {
            return Err(Error::new(
                Code::UpstreamUnreachable,
                format!(
                    "{} answered {} and repeated its key in it, so the answer is withheld",
                    provider.name, reply.status
                ),
            ));
        }
        settlement.answered(reply.status, Form::Other);
        settlement.end();
        let mut response = Response::new(GatewayBody::full(body));
        *response.status_mut() = reply.status;
        *response.headers_mut() = headers::returned(&reply.headers, secret);
        Ok(response)
    }

    fn form(&self, headers: &HeaderMap) -> Form {
        let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
        match kind.as_deref() {
            Some(kind) if kind.starts_with(b"text/event-stream") => {
                Form::Events { drop_usage_chunk: self.plan.drop_usage_chunk }
            }
            Some(kind) if !kind.windows(4).any(|part| part == b"json") => Form::Other,
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

/// Whether a status tells of an error.
pub fn is_error(status: StatusCode) -> bool {
    status.as_u16() >= 400
}
