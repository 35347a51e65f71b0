//! `/api/v1/mail`

use axum::{Json, extract::State as AxumState};

use super::{
    State,
    agent_keys::Empty,
    extract::{Caller, JsonBody},
    problem::{ApiResult, ProblemBody},
    webhooks::{DeliveryBody, told},
};
use crate::domain::mail;

/// Send a test e-mail
///
/// To the address of the member who asks, or whose management token does, and to no other. It needs a mail server
/// (`KEYWARD_SMTP_URL`). What became of it, Settings → Webhooks tells.
#[utoipa::path(post, path = "/api/v1/mail/test", tag = "Mail", request_body = Option<Empty>,
    responses((status = 200, body = DeliveryBody), (status = "default", body = ProblemBody)))]
pub async fn test(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    _: JsonBody<Empty>,
) -> ApiResult<Json<DeliveryBody>> {
    Ok(Json(told(mail::test(&state.core, &actor).await?)))
}
