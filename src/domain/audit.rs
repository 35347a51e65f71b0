//! What is recorded of a change.

use serde_json::{Map, Value, json};
use store::{Write, audit::NewEvent};

use super::actor::Actor;
use crate::error::Result;

/// The thing a change is made to.
#[derive(Debug, Clone, Copy)]
pub struct ChangeTarget<'a> {
    /// `general_key`, `agent_key`, `provider`, `model`, `member`, `management_token`.
    pub kind: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// Before and after, field by field.
#[derive(Debug, Default)]
pub struct Changes(Map<String, Value>);

impl Changes {
    /// Notes a field that changed; equal values are left out.
    pub fn field(mut self, name: &str, before: impl Into<Value>, after: impl Into<Value>) -> Changes {
        let (before, after) = (before.into(), after.into());
        if before != after {
            self.0.insert(name.to_owned(), json!({ "before": before, "after": after }));
        }
        self
    }

    /// Notes that a secret changed, and nothing about it.
    pub fn secret(mut self, name: &str) -> Changes {
        self.0.insert(name.to_owned(), json!("changed"));
        self
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Records a change in the transaction that makes it; call it last.
///
/// # Errors
/// A storage failure; the transaction is then to be dropped.
pub async fn record(
    tx: &mut Write,
    actor: &Actor,
    now: i64,
    action: &str,
    target: ChangeTarget<'_>,
    changes: Changes,
) -> Result<i64> {
    let seq = store::audit::record(
        tx,
        &NewEvent {
            at: now,
            actor_kind: actor.kind.as_str(),
            actor_id: &actor.id,
            actor_name: &actor.name,
            action,
            target_kind: target.kind,
            target_id: target.id,
            target_name: target.name,
            changes: Value::Object(changes.0).to_string(),
            address: &actor.address,
            request_id: &actor.request_id,
        },
    )
    .await?;
    tracing::info!(seq, action, actor = %actor.name, target = target.id, "changed");
    Ok(seq)
}
