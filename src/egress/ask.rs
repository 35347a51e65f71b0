//! What a provider is asked by Keyward itself: whether it takes a key, and which models it has.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt, Limited};
use llm::{Kind, PathFrom};
use vault::ProviderSecret;

use super::{Call, Credential, Egress, EgressError, Pool, RequestHead, Target};

/// The most of an answer about a key that is read, in bytes: enough for any error, and less than some lists of models.
const MAX_ANSWER: usize = 64 * 1024;
/// The most of a list of models that is read, in bytes: the longest lists have some hundred models at some KiB each.
const MAX_LIST: usize = 8 * 1024 * 1024;

/// What a provider answered.
pub struct Answer {
    /// Whether it did what it was asked for.
    pub accepted: bool,
    /// Its HTTP status.
    pub status: u16,
    /// Its words; empty where they were longer than is read.
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
    ) -> Result<Answer, EgressError> {
        let check = kind.key_check();
        let method = check.method.parse().unwrap_or(Method::GET);
        self.ask(pool, kind, target, Some(secret), (&method, check.path, check.from), MAX_ANSWER).await
    }

    /// Asks a provider for its models; `None` where its kind lists none.
    ///
    /// # Errors
    /// [`EgressError`].
    pub async fn list_models(
        &self,
        pool: &Arc<Pool>,
        kind: Kind,
        target: &Target,
        secret: Option<&ProviderSecret>,
    ) -> Result<Option<Answer>, EgressError> {
        let Some((path, from)) = kind.model_list() else { return Ok(None) };
        self.ask(pool, kind, target, secret, (&Method::GET, path, from), MAX_LIST).await.map(Some)
    }

    async fn ask(
        &self,
        pool: &Arc<Pool>,
        kind: Kind,
        target: &Target,
        secret: Option<&ProviderSecret>,
        (method, path, from): (&Method, &str, PathFrom),
        most: usize,
    ) -> Result<Answer, EgressError> {
        let path = match from {
            PathFrom::Host => path.to_owned(),
            PathFrom::Base if path.is_empty() && target.base_path.is_empty() => String::from("/"),
            PathFrom::Base => format!("{}{path}", target.base_path),
        };
        let mut head = RequestHead::new(method, &path).map_err(|error| EgressError::Invalid(error.to_string()))?;
        for (name, value) in kind.fixed_headers() {
            head.header(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
        let auth = kind.native_auth();
        let (header, prefix) = match &target.credential_header {
            Some(header) => (&**header, ""),
            None => (auth.header_name(), auth.prefix()),
        };
        let call = Call {
            target,
            credential: secret.map(|secret| Credential { secret, header, prefix }),
            head,
            body: Bytes::new(),
            patience: *self.patience(),
            returns: |_| false,
            wanted: &|| true,
        };
        let reply = self.send(pool, call).await?;
        let body = Limited::new(reply.body, most).collect().await.map(|body| body.to_bytes());
        Ok(Answer {
            accepted: reply.status.is_success(),
            status: reply.status.as_u16(),
            // It may be longer, or break off: the status has said what matters about a key, and half a list is none.
            body: body.unwrap_or_default(),
        })
    }
}
