//! `/api/v1/agent-keys/revoke-leaked`

use axum::{Json, extract::State as AxumState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    State,
    extract::JsonBody,
    problem::{ApiResult, ProblemBody},
};
use crate::{
    domain::{actor::Actor, leaks},
    request::From,
};

/// A key that somebody found.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LeakedKey)]
pub struct Leaked {
    /// The agent key itself: whoever has it may end it.
    key: String,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = LeakedKeyOutcome)]
pub struct Outcome {
    /// `revoked`, `already_ended`, or `unknown` for a key that is not of this Keyward, or was deleted.
    #[schema(example = "revoked")]
    result: &'static str,
}

/// Revoke a leaked agent key
///
/// Needs no authentication but the key itself. The key ends at once and for ever, with its open streams; of a key that was
/// rotated since, only the old secret. The audit log tells of it, with the caller's address.
#[utoipa::path(post, path = "/api/v1/agent-keys/revoke-leaked", tag = "Agent keys", request_body = Leaked, security(()),
    responses((status = 200, body = Outcome), (status = "default", body = ProblemBody)))]
pub async fn revoke(
    AxumState(state): AxumState<State>,
    From(caller): From,
    body: JsonBody<Leaked>,
) -> ApiResult<Json<Outcome>> {
    let key = zeroize::Zeroizing::new(body.value.key);
    let actor = Actor::nobody(&caller.address.to_string(), &caller.request_id);
    let outcome = leaks::revoke(&state.core, &actor, &key).await?;
    Ok(Json(Outcome { result: outcome.as_str() }))
}
