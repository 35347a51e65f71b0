//! Reports of leaked secrets, signed, in the shape of GitHub's partner programme for secret scanning: an array of what was
//! found and where, and which of it was a secret of ours.
//!
//! The shape: <https://docs.github.com/en/code-security/secret-scanning/secret-scanning-partnership-program>.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use super::{Core, actor::Actor, leaks};
use crate::error::{Code, Error, Result};

/// The most findings of one report.
pub const MAX_FINDINGS: usize = 10_000;
/// How many reports are read at once, and how many of those that were signed are carried out.
const READ_AT_ONCE: usize = 16;
const TAKEN_AT_ONCE: usize = 2;
/// For how long the signers' keys are believed without a look, in milliseconds.
const FRESH_MS: i64 = 3_600_000;
/// How long they are not asked for again where a report names another, and where they could not be read, in milliseconds.
const ASK_AGAIN_MS: i64 = 60_000;
const TRY_AGAIN_MS: i64 = 10_000;

/// Whose reports are believed.
#[derive(Debug)]
pub struct LeakReports {
    /// Where the keys are that they are signed with.
    keys_url: String,
    known: Mutex<Signers>,
    asking: tokio::sync::Mutex<()>,
    reading: Semaphore,
    taking: Semaphore,
}

/// Times are by a clock that nobody sets, in milliseconds.
#[derive(Debug, Default)]
struct Signers {
    keys: Vec<Signer>,
    /// When they were read last.
    read_at: Option<i64>,
    /// When they are asked for again at the earliest.
    next_ask: i64,
    /// Whether they could not be read the last time.
    is_failing: bool,
}

impl Signers {
    fn key(&self, id: &str) -> Option<Vec<u8>> {
        self.keys.iter().find(|signer| signer.id == id).map(|signer| signer.key.clone())
    }
}

#[derive(Debug)]
struct Signer {
    id: String,
    /// SubjectPublicKeyInfo (RFC 5280), DER.
    key: Vec<u8>,
}

/// One thing that was found.
#[derive(Deserialize)]
pub struct Finding {
    /// The secret itself.
    pub token: Zeroizing<String>,
    /// What whoever found it takes it for.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Where it was found.
    #[serde(default)]
    pub url: String,
}

impl LeakReports {
    /// Believes whoever signs with a key of this list.
    pub fn new(keys_url: String) -> LeakReports {
        LeakReports {
            keys_url,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            reading: Semaphore::new(READ_AT_ONCE),
            taking: Semaphore::new(TAKEN_AT_ONCE),
        }
    }

    /// A place among those that are read.
    ///
    /// # Errors
    /// [`Code::TooManyAttempts`] where there is none.
    pub fn place(&self) -> Result<SemaphorePermit<'_>> {
        self.reading.try_acquire().map_err(|_| {
            Error::new(Code::TooManyAttempts, "other leak reports are being read; send this one again in a minute")
        })
    }

    /// Lets a report through that somebody signed who is believed.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`]; [`Code::StorageUnavailable`] where the signers' keys cannot be read.
    pub async fn check(&self, core: &Core, key_id: &str, signature: &str, body: &[u8]) -> Result<()> {
        let forged = |why: &str| {
            tracing::warn!(why, "a leak report was refused");
            Error::new(Code::Unauthenticated, format!("the leak report is refused: {why}"))
        };
        let signature = STANDARD.decode(signature).map_err(|_| forged("its signature is no base64"))?;
        let key = self.key(core, key_id).await?;
        let key = key.ok_or_else(|| forged("it is signed with a key that is not on the list of those believed"))?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(body, &signature)
            .map_err(|_| forged("its signature is not by the key that it names"))
    }

    /// The key with this id; asked for where it is not known, and not more often than once a minute.
    async fn key(&self, core: &Core, id: &str) -> Result<Option<Vec<u8>>> {
        let fresh = || {
            let now = core.clock.times().steady;
            let known = self.known();
            known.read_at.filter(|read| now - read < FRESH_MS).and_then(|_| known.key(id))
        };
        if let Some(key) = fresh() {
            return Ok(Some(key));
        }
        let _turn = self.asking.lock().await;
        if let Some(key) = fresh() {
            return Ok(Some(key));
        }
        let now = core.clock.times().steady;
        if now >= self.known().next_ask {
            let asked = self.ask(core).await;
            let mut known = self.known();
            known.is_failing = asked.is_err();
            match asked {
                Ok(keys) => (known.keys, known.read_at, known.next_ask) = (keys, Some(now), now + ASK_AGAIN_MS),
                Err(why) => {
                    known.next_ask = now + TRY_AGAIN_MS;
                    tracing::warn!(url = self.keys_url, %why, "the keys that leak reports are signed with cannot be read");
                }
            }
        }
        let known = self.known();
        match known.key(id) {
            None if known.is_failing => {
                let detail = "the keys that leak reports are signed with cannot be read at the moment; send it again";
                Err(Error::new(Code::StorageUnavailable, detail))
            }
            key => Ok(key),
        }
    }

    fn known(&self) -> MutexGuard<'_, Signers> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, core: &Core) -> std::result::Result<Vec<Signer>, String> {
        #[derive(Deserialize)]
        struct List {
            public_keys: Vec<Listed>,
        }
        #[derive(Deserialize)]
        struct Listed {
            key_identifier: String,
            key: String,
        }
        let (status, body) = core.egress.get(&core.pool, &self.keys_url).await.map_err(|error| error.to_string())?;
        if status != 200 {
            return Err(format!("it answered {status}"));
        }
        let list: List = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let signers = list
            .public_keys
            .into_iter()
            .map(|listed| Some(Signer { key: of_pem(&listed.key)?, id: listed.key_identifier }));
        signers.collect::<Option<_>>().ok_or_else(|| String::from("it lists a key that is no PEM"))
    }
}

/// What stands between the lines of a PEM.
fn of_pem(text: &str) -> Option<Vec<u8>> {
    let inner = text.split_once("-----BEGIN PUBLIC KEY-----")?.1.split_once("-----END PUBLIC KEY-----")?.0;
    STANDARD.decode(inner.split_ascii_whitespace().collect::<String>()).ok()
}

/// Ends every secret of ours among the findings. Which of them was one, in their order.
///
/// # Errors
/// More than [`MAX_FINDINGS`]; the first failure of any finding, once all were looked at: the report is to be sent again.
pub async fn take(core: &Arc<Core>, reports: &LeakReports, actor: &Actor, findings: &[Finding]) -> Result<Vec<bool>> {
    if findings.len() > MAX_FINDINGS {
        return Err(Error::new(Code::BodyTooLarge, format!("a leak report tells of {MAX_FINDINGS} findings at most")));
    }
    // The semaphore is never closed.
    let _place = reports.taking.acquire().await;
    let mut ours = Vec::with_capacity(findings.len());
    let mut failed = None;
    for finding in findings {
        match leaks::revoke_any(core, actor, &finding.token, &finding.url).await {
            Ok(outcome) => ours.push(outcome != leaks::Outcome::Unknown),
            // One that cannot be ended now keeps none behind it from being ended.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(ours), Err)
}
