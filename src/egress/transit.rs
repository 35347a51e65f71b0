//! A key in the transit engine of HashiCorp Vault or OpenBao, which encrypts and decrypts without giving itself away.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde_json::{Value, json};
use vault::{ProviderSecret, ProviderValue};
use zeroize::{Zeroize, Zeroizing};

use super::{AddressPolicy, Call, Credential, Egress, EgressError, Patience, Pool, RequestHead, Target};

const TOKEN_HEADER: &str = "x-vault-token";
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// How much of the service's own words is repeated, in characters.
const MAX_WORDS: usize = 300;
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    head: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    total: Some(Duration::from_secs(15)),
};

/// Which key, where, and how it is reached.
#[derive(Debug)]
pub struct TransitSettings {
    /// The service's URL.
    pub url: String,
    /// Where the engine is mounted.
    pub mount: String,
    /// The key's name.
    pub key: String,
    /// The namespace, where the service has them.
    pub namespace: Option<String>,
    /// What it is called with.
    pub token: TransitToken,
    /// The certificate authorities that are trusted instead of the system's, as PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether it may be at a private address.
    pub allow_private: bool,
}

/// What the service is called with.
pub enum TransitToken {
    /// The token itself.
    Value(Zeroizing<String>),
    /// A file that holds it, read anew for each call: an agent may renew it.
    File(PathBuf),
}

impl std::fmt::Debug for TransitToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TransitToken::Value(_) => f.write_str("[token]"),
            TransitToken::File(path) => path.fmt(f),
        }
    }
}

/// The key, ready to be used.
pub struct Transit {
    target: Target,
    egress: Egress,
    pool: Arc<Pool>,
    mount: String,
    key: String,
    namespace: Option<HeaderValue>,
    token: TransitToken,
}

/// Why the service did not do what it was asked for; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransitError(String);

impl Transit {
    /// Judges the settings; calls nobody yet.
    ///
    /// # Errors
    /// [`TransitError`], naming the setting.
    pub fn new(settings: TransitSettings) -> Result<Transit, TransitError> {
        let TransitSettings { url, mount, key, namespace, token, ca_pem, allow_private } = settings;
        // An agent beside Keyward is reached over loopback, whatever Keyward's own URL is.
        let policy = AddressPolicy { allow_private, allow_loopback: true, own: Vec::new() };
        let target = Target::parse_service(&url, TOKEN_HEADER, &policy)
            .map_err(|error| TransitError(format!("KEYWARD_TRANSIT_URL: {}", own_setting(&error.to_string()))))?;
        if !target.https && !target.loopback_named {
            return Err(TransitError(String::from(
                "KEYWARD_TRANSIT_URL: it must start with https://, since keys go over that line; plain http is for an \
                 agent at a loopback address",
            )));
        }
        let egress = match ca_pem {
            None => Egress::new(policy, PATIENCE),
            Some(pem) => Egress::trusting(&pem, policy, PATIENCE)
                .map_err(|why| TransitError(format!("KEYWARD_TRANSIT_CA_FILE: the file {why}")))?,
        };
        let namespace = namespace
            .map(|name| HeaderValue::from_str(&name))
            .transpose()
            .map_err(|_| TransitError(String::from("KEYWARD_TRANSIT_NAMESPACE: it cannot stand in a header")))?;
        Ok(Transit { target, egress, pool: Arc::new(Pool::default()), mount, key, namespace, token })
    }

    /// The key in words: engine, name and service.
    pub fn words(&self) -> String {
        format!("the transit key {}/{} at {}", self.mount, self.key, self.target.url())
    }

    /// Encrypts what stands in `plaintext` as base64, for `associated` alone, under the newest version of the key.
    ///
    /// # Errors
    /// [`TransitError`].
    pub async fn encrypt(&self, plaintext: &str, associated: &[u8]) -> Result<String, TransitError> {
        let answer = self.ask("encrypt", &Question::of(associated).with_plaintext(plaintext)).await?;
        match answer.text("ciphertext") {
            Some(text) if answer.status.is_success() => Ok(text.to_owned()),
            _ => Err(self.refused("encrypt", &answer)),
        }
    }

    /// Decrypts; gives the plaintext as base64, or `None` where ciphertext or associated data are not what they were.
    ///
    /// # Errors
    /// [`TransitError`].
    pub async fn decrypt(
        &self,
        ciphertext: &str,
        associated: &[u8],
    ) -> Result<Option<Zeroizing<String>>, TransitError> {
        let answer = self.ask("decrypt", &Question::of(associated).with_ciphertext(ciphertext)).await?;
        match answer.text("plaintext") {
            Some(text) if answer.status.is_success() => Ok(Some(Zeroizing::new(text.to_owned()))),
            _ if answer.says_it_does_not_open() => Ok(None),
            _ => Err(self.refused("decrypt", &answer)),
        }
    }

    /// Makes sure that the key is there, and of a kind that authenticates associated data: an `encrypt` would make a
    /// missing one.
    ///
    /// # Errors
    /// [`TransitError`].
    pub async fn check_key(&self) -> Result<(), TransitError> {
        let answer = self.call(Method::GET, "keys", Zeroizing::new(Vec::new())).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(TransitError(format!(
                "{} is not there; make it (vault write -f {}/keys/{}), or look whether KEYWARD_TRANSIT_MOUNT, \
                 KEYWARD_TRANSIT_KEY and KEYWARD_TRANSIT_NAMESPACE are right",
                self.words(),
                self.mount,
                self.key
            )));
        }
        let kind = answer.text("type").filter(|_| answer.status.is_success());
        match kind {
            Some("aes256-gcm96" | "aes128-gcm96" | "chacha20-poly1305" | "xchacha20-poly1305") => Ok(()),
            Some(kind) => Err(TransitError(format!(
                "{} is of the type {kind}, which binds nothing to its place; make one of the type aes256-gcm96",
                self.words()
            ))),
            None => Err(self.refused("keys", &answer)),
        }
    }

    async fn ask(&self, verb: &str, question: &Question<'_>) -> Result<Answer, TransitError> {
        // Room first: growing later would leave a plaintext in the old allocation.
        let mut body = Zeroizing::new(Vec::with_capacity(8 * 1024));
        serde_json::to_writer(&mut *body, question).map_err(|error| self.unreachable(&error))?;
        self.call(Method::POST, verb, body).await
    }

    async fn call(&self, method: Method, verb: &str, body: Zeroizing<Vec<u8>>) -> Result<Answer, TransitError> {
        let secret = self.secret()?;
        let path = format!("{}/v1/{}/{verb}/{}", self.target.base_path, self.mount, self.key);
        let mut head = RequestHead::new(&method, &path).map_err(|error| self.unreachable(&error))?;
        head.header(&header::CONTENT_TYPE, &HeaderValue::from_static("application/json"));
        // What an agent asks for, so that it is not called through a browser.
        head.header(&HeaderName::from_static("x-vault-request"), &HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            head.header(&HeaderName::from_static("x-vault-namespace"), namespace);
        }
        let call = Call {
            target: &self.target,
            credential: Some(Credential { secret: &secret, header: TOKEN_HEADER, prefix: "" }),
            head,
            body: Bytes::from_owner(body),
            patience: PATIENCE,
            returns: |_| false,
            wanted: &|| true,
        };
        let reply = self.egress.send(&self.pool, call).await.map_err(|error| match error {
            EgressError::Redirect(_) => TransitError(format!(
                "{} answered with a redirect, which is never followed: name its active node in KEYWARD_TRANSIT_URL, or \
                 an address that leads there",
                self.words()
            )),
            other => self.unreachable(&other),
        })?;
        let status = reply.status;
        let body = Limited::new(reply.body, MAX_ANSWER).collect().await.map_err(|error| self.unreachable(&error))?;
        let body = serde_json::from_slice(&body.to_bytes()).unwrap_or_else(|_| json!({}));
        Ok(Answer { status, body })
    }

    fn secret(&self) -> Result<ProviderSecret, TransitError> {
        let (text, setting) = match &self.token {
            TransitToken::Value(text) => (text.to_string(), "KEYWARD_TRANSIT_TOKEN"),
            TransitToken::File(path) => {
                let text = fs::read_to_string(path).map_err(|error| {
                    TransitError(format!("KEYWARD_TRANSIT_TOKEN_FILE: cannot read {}: {error}", path.display()))
                })?;
                (text, "KEYWARD_TRANSIT_TOKEN_FILE")
            }
        };
        // `ValueError` speaks of a provider's key, which this is not.
        let value = ProviderValue::parse(text)
            .map_err(|_| TransitError(format!("{setting}: what it holds is no token of Vault or OpenBao")))?;
        Ok(ProviderSecret::of_service(&value, self.target.binding().clone()))
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> TransitError {
        TransitError(format!("{} cannot be reached: {}", self.words(), own_setting(&error.to_string())))
    }

    fn refused(&self, verb: &str, answer: &Answer) -> TransitError {
        let (what, status, said) = (self.words(), answer.status.as_u16(), answer.words());
        TransitError(match status {
            403 => format!(
                "{what} refused the token ({said}): it may have ended, or its policy does not allow {verb}; Keyward needs \
                 update on {mount}/encrypt/{key} and {mount}/decrypt/{key}, and read on {mount}/keys/{key}",
                mount = self.mount,
                key = self.key
            ),
            404 => format!(
                "{what} is not there ({said}): look whether KEYWARD_TRANSIT_URL, KEYWARD_TRANSIT_MOUNT and \
                 KEYWARD_TRANSIT_NAMESPACE are right"
            ),
            429 | 472 | 473 | 500..=599 => {
                format!("{what} cannot answer now ({status}: {said}): if it is sealed, unseal it, and try again")
            }
            _ => format!("{what} answered {status} to {verb}: {said}"),
        })
    }
}

/// The body of a request.
#[derive(Serialize)]
struct Question<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<&'a str>,
    associated_data: String,
    /// For keys that are derived; others take no notice of it.
    context: String,
}

impl<'a> Question<'a> {
    fn of(associated: &[u8]) -> Question<'a> {
        let text = STANDARD.encode(associated);
        Question { plaintext: None, ciphertext: None, associated_data: text.clone(), context: text }
    }

    fn with_plaintext(self, text: &'a str) -> Question<'a> {
        Question { plaintext: Some(text), ..self }
    }

    fn with_ciphertext(self, text: &'a str) -> Question<'a> {
        Question { ciphertext: Some(text), ..self }
    }
}

struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    fn text(&self, name: &str) -> Option<&str> {
        self.body["data"][name].as_str()
    }

    /// What the service says went wrong.
    fn words(&self) -> String {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let words = errors.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ");
        let clean: String = words.chars().filter(|letter| !letter.is_control()).take(MAX_WORDS).collect();
        if clean.is_empty() { String::from("it says no more") } else { clean }
    }

    /// Whether it tells that ciphertext or associated data are wrong. An older Vault answers 500 to some of it.
    fn says_it_does_not_open(&self) -> bool {
        let said = self.words();
        matches!(self.status.as_u16(), 400 | 500)
            && ["message authentication failed", "invalid ciphertext", "could not decode base64"]
                .iter()
                .any(|words| said.contains(words))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Value::String(text) = &mut self.body["data"]["plaintext"] {
            text.zeroize();
        }
    }
}

/// Names the setting that is this service's, where the rules for addresses name the one for providers.
fn own_setting(text: &str) -> String {
    text.replace("KEYWARD_ALLOW_PRIVATE_UPSTREAMS", "KEYWARD_TRANSIT_ALLOW_PRIVATE")
}
