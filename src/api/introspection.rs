//! `/oauth2/introspect`: token introspection (RFC 7662), for whoever was sent an agent key and asks whether it is good.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, State as AxumState},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::form_urlencoded;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    State,
    extract::Caller,
    problem::{ApiResult, Problem, ProblemBody},
};
use crate::{
    auth,
    domain::key_cache::CachedKey,
    error::{Code, Error},
};

/// The largest form, in bytes.
const MAX_FORM: usize = 64 * 1024;

/// What is asked about.
#[derive(Deserialize, ToSchema)]
#[schema(as = IntrospectionRequest)]
#[allow(
    dead_code,
    reason = "only described: the form is read by hand, so that a parameter that stands twice is refused"
)]
pub struct Question {
    /// The agent key.
    #[schema(format = Password)]
    token: String,
    /// Not needed: there is one type of token.
    token_type_hint: Option<String>,
}

/// Whether a token is good, and whose it is. Of one that is not, nothing is told but that.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = Introspection)]
pub struct Answer {
    /// Whether it is an agent key that may be used now.
    active: bool,
    /// The agent key's id.
    #[schema(example = "ak_01JD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Its name.
    #[schema(example = "ABC-Key")]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    /// The id of the member it belongs to.
    #[schema(example = "mb_01JD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// The name of whoever created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// Where Keyward is.
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    /// When this secret was made, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    /// When this secret ends, or the key with it, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
}

/// Introspect a token
///
/// RFC 7662, for the agent keys of this installation. Takes a management token with the scope `introspect`, as a bearer
/// token or as the password of HTTP Basic authentication, whatever the user name. Whatever is no agent key, or is
/// disabled, expired or deleted, is `{"active":false}`; 503 where that cannot be told.
#[utoipa::path(post, path = "/oauth2/introspect", tag = "Verification",
    request_body(content = Question, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Answer), (status = "default", body = ProblemBody)))]
pub async fn introspect(
    AxumState(state): AxumState<State>,
    Introspector(_): Introspector,
    form: TokenForm,
) -> ApiResult<Json<Answer>> {
    let found = auth::introspect(&state.core, form.token.as_bytes()).await?;
    Ok(Json(found.map(|key| told(&key, &state.web.base())).unwrap_or_default()))
}

fn told(key: &CachedKey, base: &str) -> Answer {
    Answer {
        active: true,
        client_id: Some(key.id.to_string()),
        client_name: Some(key.name.clone()),
        sub: Some(key.member_id.to_string()),
        username: Some(key.created_by.clone()),
        token_type: Some("Bearer"),
        iss: Some(base.to_owned()),
        iat: Some(key.issued_at / 1000),
        exp: Some(key.ends_at / 1000),
    }
}

/// Who asks. Clients of OAuth send their secret as the password of Basic authentication.
pub struct Introspector(#[allow(dead_code, reason = "what counts is that there is one")] Caller);

impl FromRequestParts<State> for Introspector {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Introspector, Problem> {
        if let Some(bearer) = basic_as_bearer(&parts.headers) {
            parts.headers.insert(header::AUTHORIZATION, bearer);
        }
        Caller::from_request_parts(parts, state).await.map(Introspector)
    }
}

fn basic_as_bearer(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (values.next(), values.next()) else { return None };
    let (scheme, rest) = only.as_bytes().split_at_checked(6)?;
    let encoded = scheme.eq_ignore_ascii_case(b"basic ").then(|| rest.trim_ascii())?;
    let pair = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", &pair[colon + 1..]].concat()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The form, of which only the token matters.
pub struct TokenForm {
    token: Zeroizing<String>,
}

impl FromRequest<State> for TokenForm {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &State) -> Result<TokenForm, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
        if !content_type.is_some_and(|kind| kind.starts_with(b"application/x-www-form-urlencoded")) {
            let what = "the body must be a form, sent as content-type: application/x-www-form-urlencoded";
            return Err(Problem(Error::new(Code::UnsupportedMediaType, what)));
        }
        let bytes: Bytes = axum::body::to_bytes(request.into_body(), MAX_FORM).await.map_err(|error| {
            Problem(Error::new(Code::BodyTooLarge, "the form has more than 64 KiB, or broke off").with_cause(error))
        })?;
        let mut tokens = form_urlencoded::parse(&bytes).filter(|(name, _)| name == "token");
        match (tokens.next(), tokens.next()) {
            (Some((_, token)), None) => Ok(TokenForm { token: Zeroizing::new(token.into_owned()) }),
            _ => Err(Problem(
                Error::new(
                    Code::InvalidBody,
                    "the form must have the parameter token, once: the agent key to tell about",
                )
                .with_extension("error", json!("invalid_request")),
            )),
        }
    }
}
