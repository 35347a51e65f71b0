//! A small exchange, read whole, with somebody who is no provider: an identity provider.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use llm::Kind;

use super::{AddressPolicy, Call, Egress, EgressError, Patience, Pool, RequestHead, Target};

/// The most of an answer that is read, in bytes.
const MAX_ANSWER: usize = 512 * 1024;
/// Somebody waits for it in front of a page.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    head: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    total: Some(Duration::from_secs(15)),
};

impl Egress {
    /// The same way out with other rules about addresses.
    pub fn with_policy(&self, policy: AddressPolicy) -> Egress {
        Egress { tls: Arc::clone(&self.tls), policy, patience: PATIENCE }
    }

    /// Judges an address that will be fetched from.
    ///
    /// # Errors
    /// Why it may not be called.
    pub fn judge(&self, url: &str) -> Result<(), String> {
        Target::parse(url, Kind::OpenAiCompatible, &self.policy).map(drop).map_err(|error| error.to_string())
    }

    /// Posts JSON to somebody who waits for it, under these rules and with the patience of a page; gives the answer's status.
    ///
    /// # Errors
    /// As [`Egress::fetch`].
    pub async fn post(
        &self,
        pool: &Arc<Pool>,
        url: &str,
        headers: [(&'static str, &str); 3],
        body: &str,
    ) -> Result<u16, EgressError> {
        let mut request = Request::post(url).header("content-type", "application/json").header("user-agent", "Keyward");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body.into()).map_err(|error| EgressError::Invalid(error.to_string()))?;
        let way_out = self.with_policy(self.policy.clone());
        Ok(way_out.fetch(pool, request).await?.status().as_u16())
    }

    /// Gets what somebody publishes, under these rules and with the patience of a page: the answer's status and body.
    ///
    /// # Errors
    /// As [`Egress::fetch`].
    pub async fn get(&self, pool: &Arc<Pool>, url: &str) -> Result<(u16, Vec<u8>), EgressError> {
        let request = Request::get(url).header("accept", "application/json").header("user-agent", "Keyward");
        let request = request.body(Vec::new()).map_err(|error| EgressError::Invalid(error.to_string()))?;
        let answer = self.with_policy(self.policy.clone()).fetch(pool, request).await?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    /// Makes a request and reads the answer whole. The rules are those of a provider's call: the address is checked, no
    /// redirect is followed.
    ///
    /// # Errors
    /// [`EgressError`]; [`EgressError::Invalid`] also for a URL that may not be called.
    pub async fn fetch(&self, pool: &Arc<Pool>, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, EgressError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let without_query = url.split('?').next().unwrap_or_default();
        // The kind says what a credential is bound to, and none goes along.
        let target = Target::parse(without_query, Kind::OpenAiCompatible, &self.policy)
            .map_err(|error| EgressError::Invalid(format!("{without_query}: {error}")))?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut head =
            RequestHead::new(&parts.method, path).map_err(|error| EgressError::Invalid(error.to_string()))?;
        for (name, value) in &parts.headers {
            head.header(name, value);
        }
        let call = Call {
            target: &target,
            credential: None,
            head,
            body: Bytes::from(body),
            patience: self.patience,
            returns: |name| name == "content-type",
            wanted: &|| true,
        };
        let reply = self.send(pool, call).await?;
        let body = Limited::new(reply.body, MAX_ANSWER).collect().await.map_err(|error| {
            EgressError::Broken(io::Error::other(format!("its answer broke off, or is longer than 512 KiB: {error}")))
        })?;
        let mut response = Response::new(body.to_bytes().to_vec());
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        Ok(response)
    }
}
