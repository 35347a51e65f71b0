//! Idempotency: a POST sent twice is carried out once.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use store::{
    Write,
    idempotency::{Record, RecordKey},
};
use vault::Keyring;

use super::{actor::Actor, clock::DAY_MS};
use crate::error::{Code, Error, Result};

/// A POST that is to be carried out once.
#[derive(Debug, Clone)]
pub struct Idempotency {
    key: RecordKey,
    body_mac: String,
}

/// What came of a POST.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It was carried out now.
    Done(T),
    /// It was carried out before, and made this id.
    Replay(String),
}

impl Idempotency {
    /// Takes in the `Idempotency-Key` of a POST to `route` by `actor`.
    ///
    /// # Errors
    /// A key that is empty, longer than 255 characters or not printable ASCII.
    pub fn new(key: &str, actor: &Actor, route: &str, body: &[u8], keyring: &Keyring) -> Result<Idempotency> {
        if key.is_empty() || key.len() > 255 || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::new(
                Code::ValidationFailed,
                "the header Idempotency-Key must hold 1 to 255 printable ASCII characters without spaces",
            ));
        }
        let mut text = format!("idempotency\n{route}\n").into_bytes();
        text.extend_from_slice(body);
        Ok(Idempotency {
            key: RecordKey {
                principal: format!("{}:{}", actor.kind.as_str(), actor.id),
                route: route.to_owned(),
                idempotency_key: key.to_owned(),
            },
            body_mac: URL_SAFE_NO_PAD.encode(keyring.session_mac(&text)),
        })
    }

    /// The id that the same POST made before, if it did within the last day.
    ///
    /// # Errors
    /// [`Code::IdempotencyMismatch`] where it had another body.
    pub async fn replayed(this: Option<&Idempotency>, tx: &mut Write, now: i64) -> Result<Option<String>> {
        let Some(this) = this else { return Ok(None) };
        match store::idempotency::find(tx, &this.key, now - DAY_MS).await? {
            Some(record) if record.body_mac == this.body_mac => Ok(Some(record.resource_id)),
            Some(_) => Err(Error::new(
                Code::IdempotencyMismatch,
                "this Idempotency-Key was used with another body in the last 24 hours; use a new one",
            )),
            None => Ok(None),
        }
    }

    /// Notes what the POST made, in the transaction that made it.
    ///
    /// # Errors
    /// A storage failure.
    pub async fn note(this: Option<&Idempotency>, tx: &mut Write, resource_id: &str, now: i64) -> Result<()> {
        if let Some(this) = this {
            let record = Record { body_mac: this.body_mac.clone(), resource_id: resource_id.to_owned() };
            store::idempotency::insert(tx, &this.key, &record, now, now - DAY_MS).await?;
        }
        Ok(())
    }
}
