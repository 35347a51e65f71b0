//! `/api/v1/usage`

use axum::{Json, extract::State as AxumState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    State,
    extract::{Caller, Params},
    problem::{ApiResult, ProblemBody},
};
use crate::{
    domain::{clock, usage},
    error::Error,
};

/// The usage of a group.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageGroup)]
pub struct Body {
    /// The group: an id, a model's name, or the start of the hour or day.
    key: String,
    requests: i64,
    /// Calls answered with 400 or more, or cut short.
    errors: i64,
    input_tokens: i64,
    output_tokens: i64,
    /// What the tokens cost by the prices of their models, in millionths of the currency; null where no call had a price.
    cost_micros: Option<i64>,
}

/// All groups.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageReport)]
pub struct Report {
    items: Vec<Body>,
}

/// Which usage.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageParams {
    /// `agent_key` (the default), `general_key`, `provider`, `model`, `member`, `hour` or `day`.
    group_by: Option<String>,
    /// From this time, or date, on; 30 days ago where absent. Hours are counted whole.
    from: Option<String>,
    /// Up to this time, or date; now where absent.
    to: Option<String>,
}

/// Read usage
#[utoipa::path(get, path = "/api/v1/usage", tag = "Usage", params(UsageParams),
    responses((status = 200, body = Report), (status = "default", body = ProblemBody)))]
pub async fn read(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Params(params): Params<UsageParams>,
) -> ApiResult<Json<Report>> {
    let by = params.group_by.as_deref().unwrap_or("agent_key");
    let from = parse_time("from", params.from.as_deref())?;
    let to = parse_time("to", params.to.as_deref())?;
    let is_time = matches!(by, "hour" | "day");
    let groups = usage::grouped(&state.core, by, from, to).await?;
    let items = groups
        .into_iter()
        .map(|group| Body {
            key: match group.group_key.parse() {
                Ok(ms) if is_time => clock::rfc3339(ms),
                _ => group.group_key,
            },
            cost_micros: usage::cost_micros(group.counts),
            requests: group.counts.requests,
            errors: group.counts.errors,
            input_tokens: group.counts.input_tokens,
            output_tokens: group.counts.output_tokens,
        })
        .collect();
    Ok(Json(Report { items }))
}

fn parse_time(name: &str, text: Option<&str>) -> Result<Option<i64>, Error> {
    text.filter(|text| !text.is_empty())
        .map(|text| {
            clock::parse_time(text).ok_or_else(|| {
                Error::parameter(name, "must be a time like 2026-01-31T12:00:00Z, or a date like 2026-01-31")
            })
        })
        .transpose()
}
