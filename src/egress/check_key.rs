//! A kind's cheapest authenticated call, for 'test key'.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt, Limited};
use llm::{Kind, PathFrom};
use vault::ProviderSecret;

use super::{Call, Credential, Egress, EgressError, Pool, RequestHead, Target};

/// The most of an answer that is read, in bytes: enough for any error, and less than some lists of models.
const MAX_ANSWER: usize = 64 * 1024;

/// What a provider answered about a key.
pub struct KeyAnswer {
    /// Whether it took the key.
    pub accepted: bool,
    /// Its HTTP status.
    pub status: u16,
    /// Its words; empty where they were longer than 64 KiB.
    pub body: Bytes,
}

impl Egress {
    /// Makes the cheapest authenticated call of `kind` at `target` with `secret`.
    ///
    /// # Errors
    /// [`EgressError`].
    pub async fn check_key(
        &self,
        pool: &Arc<Pool>,
        kind: Kind,
        target: &Target,
        secret: &ProviderSecret,
    ) -> Result<KeyAnswer, EgressError> {
        let check = kind.key_check();
        let path = match check.from {
            PathFrom::Host => check.path.to_owned(),
            PathFrom::Base => format!("{}{}", target.base_path, check.path),
        };
        let method = check.method.parse().unwrap_or(Method::GET);
        let mut head = RequestHead::new(&method, &path).map_err(|error| EgressError::Invalid(error.to_string()))?;
        for (name, value) in kind.fixed_headers() {
            head.header(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
        let auth = kind.native_auth();
        let credential = Credential { secret, header: auth.header_name(), prefix: auth.prefix() };
        let call = Call {
            target,
            credential: Some(credential),
            head,
            body: Bytes::new(),
            patience: *self.patience(),
            returns: |_| false,
            wanted: &|| true,
        };
        let reply = self.send(pool, call).await?;
        let body = Limited::new(reply.body, MAX_ANSWER).collect().await.map(|body| body.to_bytes());
        Ok(KeyAnswer {
            accepted: reply.status.is_success(),
            status: reply.status.as_u16(),
            // A list of models may be longer, or break off: the status has said what matters.
            body: body.unwrap_or_default(),
        })
    }
}
