//! `/api/v1/agent-keys/import`

use axum::{Json, extract::State as AxumState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    State,
    agent_keys::{Body, default_limits, render},
    extract::{Caller, JsonBody},
    problem::{ApiResult, ProblemBody},
};
use crate::{
    domain::{agent_key_import, foreign_keys::Issuer},
    error::Error,
};

/// The largest list, in bytes: a thousand keys as LiteLLM exports them.
const MAX_LIST: usize = 8 * 1024 * 1024;

/// Keys that another product issued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AgentKeysImport)]
pub struct Import {
    /// Who issued them: `litellm`, `unkey`, or `sha256` for anybody else.
    #[schema(example = "litellm")]
    issuer: String,
    /// 1 to 1,000 keys as it exports them. Of LiteLLM what `/key/list?return_full_object=true` lists, or rows of its table;
    /// of Unkey rows of its table; else objects with `name` and `sha256` (64 hexadecimal digits, or base64), and, where there
    /// are any, `start` (the secret's first characters), `expires_at`, `disabled`, `description`, `tags`, `owner_id`, `limits`.
    #[schema(min_items = 1, max_items = 1000, value_type = Vec<Object>)]
    agent_keys: Vec<Value>,
    /// The member whose keys they are to be; whoever imports them where absent.
    owner_id: Option<String>,
    /// Says what would come of it, and writes nothing.
    #[serde(default)]
    trial: bool,
}

/// What came of it. `index` is a key's place in the list, from 0.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentKeysImported)]
pub struct Outcome {
    /// Those that are agent keys now, or would be.
    created: Vec<ImportedKey>,
    /// Those that are not: they are here already, have expired, or stand in the list twice.
    skipped: Vec<Remark>,
    /// What could not be taken over.
    notes: Vec<Remark>,
}

/// A key that was taken over.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportedAgentKey)]
pub struct ImportedKey {
    index: usize,
    agent_key: Body,
}

/// What there is to say of a key.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportRemark)]
pub struct Remark {
    index: usize,
    #[schema(example = "it is here already, as Search")]
    detail: String,
}

/// Import agent keys of another product
///
/// By the SHA-256 of their secrets, so that no agent needs a new one: it calls Keyward with the one it has. All that can be
/// taken over are, or none; sent again, those that are here already are skipped. Takes who may create agent keys for all.
#[utoipa::path(post, path = "/api/v1/agent-keys/import", tag = "Agent keys", request_body = Import,
    responses((status = 200, body = Outcome), (status = "default", body = ProblemBody)))]
pub async fn import(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<Import, MAX_LIST>,
) -> ApiResult<Json<Outcome>> {
    let Import { issuer, agent_keys, owner_id, trial } = body.value;
    let known = || {
        let names: Vec<_> = Issuer::ALL.iter().map(|issuer| issuer.as_str()).collect();
        Error::field("issuer", format!("must be one of {}", names.join(", ")))
    };
    let issuer = Issuer::parse(&issuer).ok_or_else(known)?;
    let imported = agent_key_import::import(&state.core, &actor, issuer, agent_keys, owner_id, trial).await?;
    let default = default_limits(&state).await;
    let now = state.core.clock.now_ms();
    let created = imported.created.into_iter();
    let remarks =
        |some: Vec<(usize, String)>| some.into_iter().map(|(index, detail)| Remark { index, detail }).collect();
    Ok(Json(Outcome {
        created: created
            .map(|(index, key)| ImportedKey { index, agent_key: render(key, default.as_ref(), now, None) })
            .collect(),
        skipped: remarks(imported.skipped),
        notes: remarks(imported.notes),
    }))
}
