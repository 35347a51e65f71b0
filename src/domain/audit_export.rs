//! Audit events as JSON lines, the oldest first, for whoever keeps them elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use store::{
    Standing,
    audit::{Event, Place},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Core,
    audit_events::{self, EventQuery},
    clock::rfc3339,
};
use crate::error::{Error, Result};

/// The media type of the lines: JSON, one event a line.
pub const LINES: &str = "application/x-ndjson";
/// How many events are read at a time.
const BATCH: i64 = 500;

/// Goes through the events that match a query.
pub struct Export {
    query: EventQuery,
    after: Option<i64>,
}

impl Export {
    /// From the first event on.
    ///
    /// # Errors
    /// A parameter that is for pages.
    pub fn new(query: EventQuery) -> Result<Export> {
        for (name, given) in [("limit", query.limit.is_some()), ("cursor", query.cursor.is_some())] {
            if given {
                return Err(Error::parameter(name, "is for pages; an export has every event that matches"));
            }
        }
        if query.sort.as_deref().is_some_and(|sort| !sort.is_empty()) {
            return Err(Error::parameter("sort", "is for pages; an export has the oldest event first"));
        }
        Ok(Export { query, after: Some(0) })
    }

    /// The next lines, each with its end; `None` after the last ones.
    ///
    /// # Errors
    /// A refused parameter; a storage failure.
    pub async fn next(&mut self, core: &Core) -> Result<Option<String>> {
        let Some(after) = self.after else { return Ok(None) };
        let filter = audit_events::filter(&self.query, Place::After(after), BATCH)?;
        let events = store::audit::list(&mut core.store.read().await?, &filter).await?;
        // A short batch is the last one.
        self.after = events.last().filter(|_| events.len() as i64 == BATCH).map(|last| last.row.seq);
        Ok(Some(events.iter().map(line).collect()))
    }
}

/// The whole export, as it is read. A failure on the way breaks it off, so that half of it is not taken for the whole.
///
/// # Errors
/// As [`Export::new`] and [`Export::next`].
pub async fn stream(core: &Arc<Core>, query: EventQuery) -> Result<ReceiverStream<Result<Bytes>>> {
    let mut export = Export::new(query)?;
    let first = export.next(core).await?.unwrap_or_default();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let mut next: Result<_> = Ok(Some(first));
        while let Some(lines) = next.transpose() {
            let failed = lines.is_err();
            if let Err(error) = &lines {
                error.log("");
            }
            let sent = sender.send(lines.map(Bytes::from)).await;
            // The caller may leave on the way.
            if sent.is_err() || failed {
                return;
            }
            next = export.next(&core).await;
        }
    });
    Ok(ReceiverStream::new(receiver))
}

/// One event: as the management API shows it, and its MAC, which stands for it and all before it.
fn line(event: &Standing<Event>) -> String {
    let Standing { row: event, is_damaged } = event;
    let some = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
    let mut line = json!({
        "seq": event.seq,
        "at": rfc3339(event.at),
        "actor": { "kind": event.actor_kind, "id": some(&event.actor_id), "name": event.actor_name },
        "action": event.action,
        "target": { "kind": event.target_kind, "id": event.target_id, "name": event.target_name },
        "changes": serde_json::from_str::<Value>(&event.changes).unwrap_or_default(),
        "address": some(&event.address),
        "request_id": some(&event.request_id),
        "mac": event.mac,
    });
    if *is_damaged {
        line["integrity"] = Value::from("failed");
    }
    format!("{line}\n")
}
