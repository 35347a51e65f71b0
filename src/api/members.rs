//! `/api/v1/members`

use axum::{
    Json,
    extract::{Path, State as AxumState},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use store::members::Member;
use utoipa::{IntoParams, ToSchema};

use super::{
    State,
    agent_keys::Empty,
    extract::{Caller, IfMatch, JsonBody, Params},
    problem::{ApiResult, ProblemBody},
    types::{List, Resource, not_null},
};
use crate::{
    domain::{
        clock::rfc3339,
        idempotency::Outcome,
        invitations::{self, Invited, Made},
        member_removal::{self, Keys},
        paging::ListQuery,
        roster::{self, Edit, Status},
        second_factor,
    },
    error::Error,
};

/// A member: a person who administers Keyward.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub struct Body {
    #[schema(example = "mb_01JD")]
    id: String,
    #[schema(example = "ada@example.com")]
    email: String,
    #[schema(example = "Ada Lovelace")]
    name: String,
    /// `owner`, `admin`, `operator`, `member` or `auditor`.
    #[schema(example = "operator")]
    role: String,
    /// `active`, or `invited` until a password is set.
    #[schema(example = "active")]
    status: &'static str,
    /// Whether signing in takes a code beside the password.
    second_factor: bool,
    created_at: String,
    updated_at: String,
    /// The link under which the invited sets a password, once. Only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation_url: Option<String>,
    /// When that link ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation_expires_at: Option<String>,
}

/// Somebody to invite.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMember)]
pub struct New {
    /// What they will sign in with; unique ignoring case.
    email: String,
    /// 1 to 64 characters; what stands before the `@` where absent.
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    /// `owner`, `admin`, `operator`, `member` (where absent) or `auditor`; none that may do more than you.
    #[serde(default, deserialize_with = "not_null")]
    role: Option<String>,
}

/// An edit of a member (RFC 7396): what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MemberEdit)]
pub struct Patch {
    #[serde(default, deserialize_with = "not_null")]
    email: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    #[serde(default, deserialize_with = "not_null")]
    role: Option<String>,
}

/// Which members.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MemberParams {
    /// Part of the name or the e-mail, in any case.
    search: Option<String>,
    /// `active` or `invited`.
    status: Option<String>,
    /// `email` (the default), `name` or `created_at`, behind `-` for descending order.
    sort: Option<String>,
    /// Rows a page, from 1 to 200; 50 where absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What becomes of the member's agent keys.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteParams {
    /// The id of the member who has them from now on.
    reassign_to: Option<String>,
    /// Deletes them.
    #[serde(default)]
    revoke: bool,
}

/// List members
#[utoipa::path(get, path = "/api/v1/members", tag = "Members", params(MemberParams),
    responses((status = 200, body = List<Body>), (status = "default", body = ProblemBody)))]
pub async fn list(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Params(params): Params<MemberParams>,
) -> ApiResult<Json<List<Body>>> {
    let MemberParams { search, status, sort, limit, cursor } = params;
    let query = ListQuery { search, sort, limit, cursor };
    let page = roster::list_standing(&state.core, &query, status.as_deref().unwrap_or_default()).await?;
    Ok(List::of(page.untouched(), render))
}

/// Invite a member
///
/// The answer holds a link, this once, under which the invited sets a password within 7 days.
#[utoipa::path(post, path = "/api/v1/members", tag = "Members", request_body = New,
    params(("Idempotency-Key" = Option<String>, Header, description = "Carries the request out once; a replay leaves the link out")),
    responses((status = 201, body = Body), (status = "default", body = ProblemBody)))]
pub async fn create(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    body: JsonBody<New>,
) -> ApiResult<Resource<Body>> {
    let idempotency = body.idempotency(&state, &actor)?;
    let New { email, name, role } = body.value;
    let invited = Invited { email, name, role };
    let (body, version) = match invitations::create(&state.core, &actor, invited, idempotency.as_ref()).await? {
        Outcome::Done(made) => with_link(&state, made),
        Outcome::Replay(id) => versioned(roster::get(&state.core, &id).await?),
    };
    let location = format!("/api/v1/members/{}", body.id);
    Ok(Resource::created(body, version, location).with_secret())
}

/// Read a member
#[utoipa::path(get, path = "/api/v1/members/{id}", tag = "Members", params(("id" = String, Path)),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn read(
    AxumState(state): AxumState<State>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> ApiResult<Resource<Body>> {
    let (body, version) = versioned(roster::get(&state.core, &id).await?);
    Ok(Resource::read(body, version))
}

/// Edit a member
///
/// Nobody gives a role that may do more than their own, and the last owner stays one.
#[utoipa::path(patch, path = "/api/v1/members/{id}", tag = "Members", request_body = Patch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn edit(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    body: JsonBody<Patch>,
) -> ApiResult<Resource<Body>> {
    let Patch { email, name, role } = body.value;
    let edit = Edit { email, name, role };
    let (body, version) = versioned(roster::edit(&state.core, &actor, &id, version, edit).await?);
    Ok(Resource::read(body, version))
}

/// Remove a member
///
/// Their sessions and management tokens end. Where they have agent keys, say what becomes of these.
#[utoipa::path(delete, path = "/api/v1/members/{id}", tag = "Members",
    params(("id" = String, Path), DeleteParams, ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub async fn delete(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    Params(params): Params<DeleteParams>,
) -> ApiResult<StatusCode> {
    let keys = match (params.reassign_to, params.revoke) {
        (Some(_), true) => return Err(Error::parameter("revoke", "must not stand beside reassign_to").into()),
        (Some(to), false) => Keys::Reassign(to),
        (None, true) => Keys::Revoke,
        (None, false) => Keys::None,
    };
    member_removal::remove(&state.core, &actor, &id, version, keys).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a new invitation link
///
/// For a member who has set no password yet; the link before it ends.
#[utoipa::path(post, path = "/api/v1/members/{id}/invitation", tag = "Members", request_body = Option<Empty>,
    params(("id" = String, Path)),
    responses((status = 200, body = Body), (status = "default", body = ProblemBody)))]
pub async fn invite(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    _: JsonBody<Empty>,
) -> ApiResult<Resource<Body>> {
    let (body, version) = with_link(&state, invitations::renew(&state.core, &actor, &id).await?);
    Ok(Resource::read(body, version).with_secret())
}

/// Remove a member's second factor
///
/// For who lost authenticator app and recovery codes: their password alone is then enough. One's own is turned off in the
/// console.
#[utoipa::path(delete, path = "/api/v1/members/{id}/second-factor", tag = "Members",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag that was read")),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub async fn remove_second_factor(
    AxumState(state): AxumState<State>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
) -> ApiResult<StatusCode> {
    second_factor::remove(&state.core, &actor, &id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn with_link(state: &State, made: Made) -> (Body, i64) {
    let (body, version) = versioned(made.member);
    let invitation_url = Some(format!("{}/invitation#token={}", state.web.base(), *made.token));
    (Body { invitation_url, invitation_expires_at: Some(rfc3339(made.expires_at)), ..body }, version)
}

fn versioned(member: Member) -> (Body, i64) {
    let version = member.version;
    (render(member), version)
}

fn render(member: Member) -> Body {
    Body {
        status: Status::of(&member).as_str(),
        second_factor: !member.second_factor.is_empty(),
        id: member.id,
        email: member.email,
        name: member.name,
        role: member.role,
        created_at: rfc3339(member.created_at),
        updated_at: rfc3339(member.updated_at),
        invitation_url: None,
        invitation_expires_at: None,
    }
}
