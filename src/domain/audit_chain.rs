//! The proof that no audit event was changed, removed or put in: the chain walked from its first event to its last.

use std::{fmt, str::FromStr};

use store::chain;

use super::Core;
use crate::error::{Code, Error, Result};

/// How many events are read at a time.
const BATCH: i64 = 1000;

/// An event's number and its MAC, which covers all events before it: kept elsewhere, it proves later that they are all
/// still there. Written `SEQ:HEAD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The event's number.
    pub seq: i64,
    /// Its MAC.
    pub mac: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.mac)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Head, String> {
        let (seq, mac) = text.trim().split_once(':').unwrap_or_default();
        match seq.parse::<i64>() {
            Ok(seq) if seq > 0 && !mac.is_empty() => Ok(Head { seq, mac: mac.to_owned() }),
            _ => Err(String::from("is no head; it must be SEQ:HEAD, as `keyward audit head` prints it")),
        }
    }
}

/// Where the chain ends; `None` before the first event.
///
/// # Errors
/// A storage failure.
pub async fn head(core: &Core) -> Result<Option<Head>> {
    let head = chain::head(&mut core.store.read().await?).await?;
    Ok((head.seq > 0).then_some(Head { seq: head.seq, mac: head.head }))
}

/// Walks the chain from its first event to its end; gives the end. With a head that was kept elsewhere, also proves that
/// the chain still leads through it.
///
/// # Errors
/// [`Code::Damaged`], with the number of the first event that is not what it was; a storage failure.
pub async fn verify(core: &Core, kept: Option<&Head>) -> Result<Option<Head>> {
    // What is written meanwhile comes behind this end.
    let Some(end) = head(core).await? else { return empty(core, kept).await };
    if let Some(kept) = kept.filter(|kept| kept.seq > end.seq) {
        return Err(broken(format!(
            "the chain ends at event {}, before event {}, whose head was kept: events were removed from its end, or an \
             older database was put back",
            end.seq, kept.seq
        )));
    }
    let keyring = &core.store.keyring();
    let (mut seq, mut mac) = (0, String::new());
    while seq < end.seq {
        let events = chain::after(&mut core.store.read().await?, seq, BATCH.min(end.seq - seq)).await?;
        if events.is_empty() {
            return Err(missing(seq + 1));
        }
        for event in events {
            if event.seq != seq + 1 {
                return Err(missing(seq + 1));
            }
            if !chain::is_authentic(keyring, &mac, &event) {
                return Err(broken(format!("event {} is not what Keyward recorded", event.seq)));
            }
            (seq, mac) = (event.seq, event.mac);
            if let Some(kept) = kept.filter(|kept| kept.seq == seq && kept.mac != mac) {
                return Err(broken(format!(
                    "event {} is another one than the one whose head was kept: an older database was put back, and went \
                     on from there",
                    kept.seq
                )));
            }
        }
    }
    if mac != end.mac {
        return Err(broken(format!("event {seq} is the last one, and is not the one that the chain's end names")));
    }
    Ok(Some(end))
}

/// The verdict on a chain that says it is empty.
async fn empty(core: &Core, kept: Option<&Head>) -> Result<Option<Head>> {
    let mut db = core.store.read().await?;
    match kept {
        Some(kept) => Err(broken(format!("there is no event, and the head of event {} was kept", kept.seq))),
        None if store::chain::has_traces(&mut db).await? => Err(missing(1)),
        None => Ok(None),
    }
}

fn missing(seq: i64) -> Error {
    broken(format!("event {seq} is missing"))
}

fn broken(what: String) -> Error {
    Error::new(
        Code::Damaged,
        format!(
            "{what}; nothing from there on is proven: compare it with a backup or an export, and look for who can write to the database"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let head: Head = "12:v1.audit-000001-ab.QUJD".parse().expect("a head");
        assert_eq!((head.seq, head.to_string().as_str()), (12, "12:v1.audit-000001-ab.QUJD"));
        for wrong in ["", "12", ":x", "0:x", "-1:x", "12:", "x:y"] {
            assert!(wrong.parse::<Head>().is_err(), "{wrong}");
        }
    }
}
