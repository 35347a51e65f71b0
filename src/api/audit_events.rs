//! `/api/v1/audit-events`

use axum::{Json, extract::State as AxumState};
use serde::{Deserialize, Serialize};
use store::audit::Event;
use utoipa::{IntoParams, ToSchema};

use super::{
    State,
    extract::{Caller, Params},
    problem::{ApiResult, ProblemBody},
    types::List,
};
use crate::domain::{
    audit_events::{self, EventQuery},
    clock::rfc3339,
};

/// Something that was done.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub struct Body {
    /// Its place in the one sequence of events.
    seq: i64,
    at: String,
    actor: Actor,
    /// What was done.
    #[schema(example = "general_key.create")]
    action: String,
    target: Target,
    /// Field by field before and after; secrets only as `"changed"`.
    #[schema(value_type = Object)]
    changes: serde_json::Value,
    /// The caller's address; null for commands on the machine.
    address: Option<String>,
    request_id: Option<String>,
}

/// Who did it.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditActor)]
pub struct Actor {
    /// `member`, `token`, `command`, or `nobody` for somebody who is not signed in.
    kind: String,
    id: Option<String>,
    name: String,
}

/// What it was done to.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditTarget)]
pub struct Target {
    kind: String,
    id: String,
    /// Its name at the time.
    name: String,
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventParams {
    /// Part of the target's or the actor's name, in any case.
    search: Option<String>,
    /// An action, for example `agent_key.delete`.
    action: Option<String>,
    /// Who did it, by id.
    actor_id: Option<String>,
    /// What it was done to, by id.
    target_id: Option<String>,
    /// `-seq`, the only order.
    sort: Option<String>,
    /// Rows a page, from 1 to 200; 50 where absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List audit events, newest first
#[utoipa::path(get, path = "/api/v1/audit-events", tag = "Audit events", params(EventParams),
    responses((status = 200, body = List<Body>), (status = "default", body = ProblemBody)))]
pub async fn list(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Params(params): Params<EventParams>,
) -> ApiResult<Json<List<Body>>> {
    let EventParams { search, action, actor_id, target_id, sort, limit, cursor } = params;
    let query = EventQuery { search, action, actor_id, target_id, sort, limit, cursor, ..EventQuery::default() };
    Ok(List::of(audit_events::list(&state.core, &query).await?, render))
}

fn render(event: Event) -> Body {
    let some = |text: String| (!text.is_empty()).then_some(text);
    Body {
        seq: event.seq,
        at: rfc3339(event.at),
        actor: Actor { kind: event.actor_kind, id: some(event.actor_id), name: event.actor_name },
        action: event.action,
        target: Target { kind: event.target_kind, id: event.target_id, name: event.target_name },
        changes: serde_json::from_str(&event.changes).unwrap_or_default(),
        address: some(event.address),
        request_id: some(event.request_id),
    }
}
