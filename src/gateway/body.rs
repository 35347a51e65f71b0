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

use super::Gateway;
use crate::error::{Code, Error, Result};

/// The largest body, in bytes.
pub const MAX_BODY: usize = 32 * 1024 * 1024;
/// The most bytes of bodies held at once, over all calls.
const MAX_HELD: usize = 256 * 1024 * 1024;
/// How long a caller may pause within its body.
const PAUSE: Duration = Duration::from_secs(30);

/// The bytes of bodies held at the moment.
#[derive(Debug, Default)]
pub struct Budget {
    held: AtomicUsize,
}

impl Budget {
    fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }
}

/// A part of the budget, given back when dropped.
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Takes more.
    ///
    /// # Errors
    /// [`Code::ProviderBusy`] where there is no more.
    pub fn grow(&mut self, bytes: usize) -> Result<()> {
        let before = self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > MAX_HELD {
            return Err(Error::new(
                Code::ProviderBusy,
                "Keyward holds as many request bodies as its memory allows; try again in a moment",
            ));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A whole body, with the part of the budget it takes.
pub struct Held {
    /// The bytes as they came.
    pub bytes: Bytes,
    /// What it takes of the budget.
    pub share: Share,
}

/// Reads a body whole.
///
/// # Errors
/// [`Code::UnsupportedEncoding`], [`Code::BodyTooLarge`], [`Code::ProviderBusy`] past the budget, and
/// [`Code::InvalidBody`] where the caller breaks off or pauses for more than 30 s.
pub async fn read(gateway: &Gateway, head: &Parts, mut incoming: Incoming) -> Result<Held> {
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
    let mut share = gateway.budget.share();
    let mut first = Bytes::new();
    let mut all: Option<BytesMut> = None;
    loop {
        let frame = match tokio::time::timeout(PAUSE, incoming.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(Error::new(Code::InvalidBody, "the body broke off before its end").with_cause(error));
            }
            Ok(None) => break,
            Err(_) => {
                return Err(Error::new(Code::InvalidBody, "the body paused for more than 30 seconds; send it at once"));
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
                let mut joined = BytesMut::with_capacity(declared.map_or(length * 2, |length| length as usize));
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
