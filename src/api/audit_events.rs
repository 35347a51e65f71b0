//! `/api/v1/audit-events`

use axum::{
    body::Body as HttpBody,
    extract::State as AxumState,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use store::{Standing, audit::Event};
use utoipa::{IntoParams, ToSchema};

use super::{
    State,
    extract::{Caller, Params},
    problem::{ApiResult, ProblemBody},
    types::List,
};
use crate::domain::{
    audit_events::{self, EventQuery},
    audit_export::{self, LINES},
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
    /// `failed` where the event, or the one before it, was changed outside Keyward; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    integrity: Option<&'static str>,
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
    /// From when on: a time (RFC 3339), or a date, from its beginning in UTC.
    from: Option<String>,
    /// Until when: before a time, or to the end of a date.
    to: Option<String>,
    /// `-seq`, the only order.
    sort: Option<String>,
    /// Rows a page, from 1 to 200; 50 where absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List audit events, newest first
///
/// With `Accept: application/x-ndjson`, every event that matches, the oldest first, one a line, each with its MAC.
#[utoipa::path(get, path = "/api/v1/audit-events", tag = "Audit events", params(EventParams),
    responses((status = 200, content((List<Body> = "application/json"), (String = "application/x-ndjson"))), (status = "default", body = ProblemBody)))]
pub async fn list(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    headers: HeaderMap,
    Params(params): Params<EventParams>,
) -> ApiResult<Response> {
    let EventParams { search, action, actor_id, target_id, from, to, sort, limit, cursor } = params;
    let query =
        EventQuery { search, action, actor_id, target_id, from, to, sort, limit, cursor, ..EventQuery::default() };
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|accepted| accepted.contains(LINES));
    if headers.get_all(header::ACCEPT).iter().any(accepts) {
        let body = HttpBody::from_stream(audit_export::stream(&state.core, query).await?);
        return Ok(([(header::CONTENT_TYPE, LINES)], body).into_response());
    }
    Ok(List::of(audit_events::list(&state.core, &query).await?, render).into_response())
}

fn render(event: Standing<Event>) -> Body {
    let Standing { row: event, is_damaged } = event;
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
        integrity: is_damaged.then_some("failed"),
    }
}
