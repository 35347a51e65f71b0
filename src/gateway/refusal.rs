//! An error of a provider's: whose fault it is, and what the caller is told.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};

use super::{
    gunzip::Coding,
    headers,
    meter::{Form, Settlement},
    relay::GatewayBody,
};
use crate::{
    domain::catalog::{OpenKey, ProviderEntry},
    egress::Reply,
    error::{Code, Error, Result},
};

/// The most of a provider's error that is read before it is passed on, in bytes; a longer one is withheld.
const MAX_ERROR: usize = 256 * 1024;
/// How long a key rests whose provider said 429 and not for how long, in milliseconds.
const REST_MS: i64 = 10_000;

/// An answer with a status of 400 or more, read whole.
pub struct Refusal<'a> {
    provider: &'a ProviderEntry,
    key: Option<&'a Arc<OpenKey>>,
    status: StatusCode,
    headers: HeaderMap,
    /// What it says; an error of ours where it cannot be read, which matters only where nobody else is tried.
    body: Result<Bytes>,
    refuses_key: bool,
}

impl<'a> Refusal<'a> {
    /// Reads it. What its status alone tells holds also where its body breaks off, or cannot be read.
    pub async fn read(provider: &'a ProviderEntry, key: Option<&'a Arc<OpenKey>>, reply: Reply) -> Refusal<'a> {
        let (status, headers) = (reply.status, reply.headers);
        let body = Limited::new(reply.body, MAX_ERROR).collect().await.map_err(|error| {
            Error::new(
                Code::UpstreamUnreachable,
                format!("{} answered {status} and broke off, or told more than 256 KiB about it", provider.name),
            )
            .with_cause(error)
        });
        // Nobody asked for an encoding, and what cannot be read cannot be searched for the key.
        let encoding = headers.get(header::CONTENT_ENCODING);
        let is_encoded = encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
        let body =
            body.map(http_body_util::Collected::to_bytes).and_then(|body| match is_encoded && !body.is_empty() {
                false => Ok(body),
                true => Err(Error::new(
                    Code::UpstreamUnreachable,
                    format!("{} answered {status} in an encoding that was not asked for", provider.name),
                )),
            });
        let said = body.as_ref().map_or(&[][..], |body| body);
        let refuses_key = llm::refuses_key(provider.kind, status.as_u16(), said);
        Refusal { provider, key, status, headers, body, refuses_key }
    }

    /// Notes what it says about the key: that it is no good, or that it is to rest.
    pub fn note(&self, now: i64) {
        let Some(key) = self.key else { return };
        if self.refuses_key {
            let said = self.body.as_ref().ok().and_then(|body| llm::error_message(body));
            let words = said.unwrap_or_else(|| format!("answered {}", self.status.as_u16()));
            key.health.refused(now, &key.secret.blot(&words));
        } else if self.status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = self.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            key.health.rest(now, seconds.map_or(REST_MS, |seconds: i64| seconds.saturating_mul(1000)));
        }
    }

    /// Whether the provider failed, which says nothing of the key.
    pub fn is_failure(&self) -> bool {
        !self.refuses_key && self.status.is_server_error()
    }

    /// Whether another key might fare better.
    pub fn may_be_of_the_key(&self) -> bool {
        self.refuses_key
            || self.status.is_server_error()
            || matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYMENT_REQUIRED)
    }

    /// Tells the caller: as our own error where it is about the key, else as it is.
    ///
    /// # Errors
    /// [`Code::ProviderRefusedKey`]; [`Code::UpstreamUnreachable`] where it cannot be read, or repeats the key.
    pub fn answer(self, mut settlement: Settlement) -> Result<Response<GatewayBody>> {
        let (name, status) = (&self.provider.name, self.status);
        if self.refuses_key {
            let key = self.key.map_or("none", |key| key.name.as_str());
            return Err(Error::new(
                Code::ProviderRefusedKey,
                format!(
                    "{name} refused the general key linked to it ({key}); the agent key is fine; an administrator of \
                     Keyward has to replace the general key's value"
                ),
            ));
        }
        let body = self.body?;
        let secret = self.key.map(|key| &key.secret);
        if secret.is_some_and(|secret| secret.occurs_in(&body)) {
            return Err(Error::new(
                Code::UpstreamUnreachable,
                format!("{name} answered {status} and repeated its key in it, so the answer is withheld"),
            ));
        }
        settlement.answered(status, Form::Other, Coding::Plain);
        settlement.end();
        let mut response = Response::new(GatewayBody::full(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers::returned(self.headers, secret);
        Ok(response)
    }
}
