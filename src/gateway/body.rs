//! A call's body, read whole: bounded in size, in time, and over all calls together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Gateway;
use crate::{
    domain::key_cache::CachedKey,
    error::{Code, Error, Result},
};

/// The largest body, in bytes.
pub const MAX_BODY: usize = 32 * 1024 * 1024;
/// The most bytes of bodies held at once, over all calls.
const MAX_HELD: usize = 256 * 1024 * 1024;
/// The most bytes of bodies held at once for one agent key.
const MAX_HELD_BY_KEY: usize = 64 * 1024 * 1024;
/// How long a body may take in any case, and how much longer for each of so many bytes of it: whoever trickles cannot
/// hold memory for long.
const PATIENCE: Duration = Duration::from_secs(30);
const MIN_BYTES_A_SECOND: usize = 16 * 1024;
/// The room that is made for a body of which a part has come, in bytes; it grows with what comes.
const ROOM: usize = 64 * 1024;

/// The bytes of bodies held at the moment.
#[derive(Debug, Default)]
pub struct Budget {
    held: AtomicUsize,
}

impl Budget {
    fn share<'a>(&'a self, key: &'a CachedKey) -> Share<'a> {
        Share { budget: self, key, bytes: 0 }
    }

    /// A part for `bytes` of an answer, not held against its caller's share of bodies; `None` where there is no more.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Kept> {
        let kept = Kept { budget: Arc::clone(self), bytes };
        (self.held.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_HELD).then_some(kept)
    }
}

/// A part of the budget for an answer, given back when dropped.
pub struct Kept {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A part of the budget for a body, given back when dropped.
pub struct Share<'a> {
    budget: &'a Budget,
    key: &'a CachedKey,
    bytes: usize,
}

impl Share<'_> {
    /// Takes more.
    ///
    /// # Errors
    /// [`Code::ProviderBusy`] where there is no more.
    pub fn grow(&mut self, bytes: usize) -> Result<()> {
        let before = self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        let of_key = self.key.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if of_key + bytes > MAX_HELD_BY_KEY {
            return Err(Error::new(
                Code::ProviderBusy,
                "this agent key has as many request bodies under way as Keyward holds for one key; try again in a moment",
            ));
        }
        if before + bytes > MAX_HELD {
            return Err(Error::new(
                Code::ProviderBusy,
                "Keyward holds as many request bodies as its memory allows; try again in a moment",
            ));
        }
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.key.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A whole body, with the part of the budget it takes.
pub struct Held<'a> {
    /// The bytes as they came.
    pub bytes: Bytes,
    /// What it takes of the budget.
    pub share: Share<'a>,
}

/// Reads a body whole.
///
/// # Errors
/// [`Code::UnsupportedEncoding`], [`Code::BodyTooLarge`], [`Code::ProviderBusy`] past the budget, and
/// [`Code::InvalidBody`] where the caller breaks off, or takes longer than 30 s and a second for each 16 KiB.
pub async fn read<'a>(
    gateway: &'a Gateway,
    key: &'a CachedKey,
    head: &Parts,
    mut incoming: Incoming,
) -> Result<Held<'a>> {
    if let Some(encoding) = head.headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Error::new(
            Code::UnsupportedEncoding,
            "the body has a content-encoding; send it as it is, since `model` must be readable in it",
        ));
    }
    let declared = http_body::Body::size_hint(&incoming).upper();
    if declared.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let mut share = gateway.budget.share(key);
    let begun = Instant::now();
    let mut first = Bytes::new();
    let mut all: Option<BytesMut> = None;
    loop {
        let seconds = all.as_ref().map_or(first.len(), BytesMut::len) / MIN_BYTES_A_SECOND;
        let end = begun + PATIENCE + Duration::from_secs(seconds as u64);
        let frame = match tokio::time::timeout_at(end, incoming.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(Error::new(Code::InvalidBody, "the body broke off before its end").with_cause(error));
            }
            Ok(None) => break,
            Err(_) => {
                return Err(Error::new(
                    Code::InvalidBody,
                    "the body came slower than 16 KiB a second for more than 30 seconds; send it at once",
                ));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        let length = all.as_ref().map_or(first.len(), BytesMut::len) + data.len();
        if length > MAX_BODY {
            return Err(too_large());
        }
        share.grow(data.len())?;
        match &mut all {
            Some(all) => all.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                // What is only said to come is not made room for, but for a little.
                let room = declared.map_or(usize::MAX, |length| length as usize).min(ROOM.max(length * 2));
                let mut joined = BytesMut::with_capacity(room);
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&data);
                all = Some(joined);
            }
        }
    }
    Ok(Held { bytes: all.map_or(first, BytesMut::freeze), share })
}

fn too_large() -> Error {
    Error::new(Code::BodyTooLarge, format!("the body has more than {} MiB", MAX_BODY / 1024 / 1024))
}
