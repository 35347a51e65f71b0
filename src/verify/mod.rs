//! Verification: tells nginx, Traefik, Caddy, Envoy or an agent's own server whether an agent key is good, and whose
//! it is.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::{
    auth,
    domain::{Core, key_cache::CachedKey, policies::RoutesFrom},
    error::{Code, Error, Result},
};

/// What is percent-encoded in a header's value: everything that is not printable ASCII, and `%` itself.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b',').add(b';');

// Made when Keyward is built, so that no answer looks them up.
const KEY_ID: HeaderName = HeaderName::from_static("x-keyward-key-id");
const KEY_NAME: HeaderName = HeaderName::from_static("x-keyward-key-name");
const CREATED_BY: HeaderName = HeaderName::from_static("x-keyward-created-by");

/// What an answer depends on beside its path.
const DECIDES: &str = "authorization, x-api-key, x-goog-api-key, api-key, x-forwarded-uri, x-original-uri";

/// What a verification is about. Its query is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The policy, percent-encoded; `None` where any good key will do.
    policy: Option<&'a str>,
    /// What stands behind `/verify`, with its slash.
    path: &'a str,
}

/// What a path asks, where it asks for a verification.
pub fn question(path: &str) -> Option<Question<'_>> {
    let is_whole = |rest: &str| rest.is_empty() || rest.starts_with('/');
    if let Some(rest) = path.strip_prefix("/auth/verify") {
        return is_whole(rest).then_some(Question { policy: None, path: rest });
    }
    let (name, rest) = path.strip_prefix("/auth/policies/")?.split_once('/')?;
    let rest = rest.strip_prefix("verify").filter(|rest| is_whole(rest))?;
    Some(Question { policy: Some(name), path: rest })
}

/// Answers 200 with whose key it is, 401 where it is bad, 403 where it has not what a policy asks, 503 where that cannot be
/// told.
pub async fn handle(
    core: &Arc<Core>,
    question: Question<'_>,
    headers: &HeaderMap,
    caller: IpAddr,
    request_id: &str,
) -> Response<Bytes> {
    let mut response = match answer(core, question, headers, caller).await {
        Ok((key, cache_seconds)) => good(&key, cache_seconds),
        Err(error) => bad(&error, request_id),
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("keyward-request-id", id);
    }
    response
}

/// The key, and how long that may be remembered, in seconds.
async fn answer(
    core: &Arc<Core>,
    question: Question<'_>,
    headers: &HeaderMap,
    caller: IpAddr,
) -> Result<(Arc<CachedKey>, i64)> {
    let key = auth::agent(core, headers, caller).await?;
    let Some(name) = question.policy else { return Ok((key, 0)) };
    let name = percent_decode_str(name).decode_utf8_lossy();
    let policy = core.catalog().policy(&name)?;
    let told = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let path = match policy.requires.routes_from {
        RoutesFrom::Path => Some(question.path),
        RoutesFrom::XForwardedUri => told("x-forwarded-uri"),
        RoutesFrom::XOriginalUri => told("x-original-uri"),
    };
    let path = path.map(|path| path.split(['?', '#']).next().unwrap_or_default()).filter(|path| !path.is_empty());
    policy.check(core, &key, path)?;
    let seconds = policy.cache_seconds(&key, core.clock.now_ms());
    Ok((key, seconds))
}

fn good(key: &CachedKey, cache_seconds: i64) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    if cache_seconds > 0
        && let Ok(value) = HeaderValue::from_str(&format!("private, max-age={cache_seconds}"))
    {
        response.headers_mut().insert(header::CACHE_CONTROL, value);
        response.headers_mut().insert(header::VARY, HeaderValue::from_static(DECIDES));
    }
    let told = [(KEY_ID, &*key.id), (KEY_NAME, key.name.as_str()), (CREATED_BY, key.created_by.as_str())];
    for (name, value) in told {
        let encoded = Cow::from(utf8_percent_encode(value, ENCODED));
        let value = HeaderValue::from_str(&encoded).unwrap_or(HeaderValue::from_static(""));
        response.headers_mut().insert(name, value);
    }
    response
}

/// Two different credentials are 401 here: nginx makes 500 of a 400.
fn bad(error: &Error, request_id: &str) -> Response<Bytes> {
    error.log(request_id);
    let status = match error.code {
        Code::ConflictingCredentials => StatusCode::UNAUTHORIZED,
        code => StatusCode::from_u16(code.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
    };
    let body = llm::WireFormat::OpenAi.error_body(status.as_u16(), error.code.as_str(), &error.detail);
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
