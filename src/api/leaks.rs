//! `/api/v1/agent-keys/revoke-leaked`, and `/leaks` for those who look for leaked secrets by trade.

use std::time::Duration;

use axum::{
    Json,
    extract::{Request, State as AxumState},
    http::HeaderMap,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    State,
    extract::JsonBody,
    problem::{ApiResult, ProblemBody},
};
use crate::{
    domain::{actor::Actor, leak_reports, leaks},
    error::{Code, Error},
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

/// The largest report, in bytes.
const MAX_REPORT: usize = 8 * 1024 * 1024;
/// How long a report may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who signed a report, and how.
const SIGNED_BY: &str = "github-public-key-identifier";
const SIGNATURE: &str = "github-public-key-signature";

/// What became of a finding, in GitHub's words.
#[derive(Serialize)]
pub struct Verdict {
    token_raw: zeroize::Zeroizing<String>,
    token_type: String,
    label: &'static str,
}

/// Takes a signed report of GitHub's secret scanning, ends every secret of ours in it, and says which those were.
pub async fn report(
    AxumState(state): AxumState<State>,
    From(caller): From,
    request: Request,
) -> ApiResult<Json<Vec<Verdict>>> {
    let reports = state.core.leak_reports.as_ref().ok_or_else(|| {
        let detail = "no leak reports are taken here: KEYWARD_LEAK_REPORT_KEYS_URL is not set";
        Error::new(Code::NotFound, detail)
    })?;
    let (signed_by, signature) = (header(request.headers(), SIGNED_BY)?, header(request.headers(), SIGNATURE)?);
    let _place = reports.place()?;
    let read = tokio::time::timeout(PATIENCE, axum::body::to_bytes(request.into_body(), MAX_REPORT)).await;
    let late = |_| Error::new(Code::InvalidBody, "the report did not arrive within 10 s");
    let body = read.map_err(late)?.map_err(|error| {
        Error::new(Code::BodyTooLarge, "the report has more than 8 MiB, or broke off").with_cause(error)
    })?;
    reports.check(&state.core, &signed_by, &signature, &body).await?;
    let findings: Vec<leak_reports::Finding> = serde_json::from_slice(&body).map_err(|_| {
        Error::new(Code::InvalidBody, "the report must be an array of objects with token, type and url")
    })?;
    let actor =
        Actor { name: String::from("leak report"), ..Actor::nobody(&caller.address.to_string(), &caller.request_id) };
    let ours = leak_reports::take(&state.core, reports, &actor, &findings).await?;
    let verdicts = findings.into_iter().zip(ours).map(|(finding, is_ours)| Verdict {
        token_raw: finding.token,
        token_type: finding.kind,
        label: if is_ours { "true_positive" } else { "false_positive" },
    });
    Ok(Json(verdicts.collect()))
}

fn header(headers: &HeaderMap, name: &str) -> Result<String, Error> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    value.ok_or_else(|| Error::new(Code::Unauthenticated, format!("a leak report is signed: {name} is missing")))
}
