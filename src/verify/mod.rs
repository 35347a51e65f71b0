//! Verification: tells nginx, Traefik, Caddy, Envoy or an agent's own server whether an agent key is good, and whose
//! it is.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    auth,
    domain::{Core, key_cache::CachedKey},
    error::{Code, Error},
};

/// What is percent-encoded in a header's value: everything that is not printable ASCII, and `%` itself.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b',').add(b';');

// Made when Keyward is built, so that no answer looks them up.
const KEY_ID: HeaderName = HeaderName::from_static("x-keyward-key-id");
const KEY_NAME: HeaderName = HeaderName::from_static("x-keyward-key-name");
const CREATED_BY: HeaderName = HeaderName::from_static("x-keyward-created-by");

/// Whether this path asks for a verification. Its query is ignored.
pub fn claims(path: &str) -> bool {
    path.strip_prefix("/auth/verify").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers 200 with whose key it is, 401 where it is bad, 503 where that cannot be told.
pub async fn handle(core: &Arc<Core>, headers: &HeaderMap, caller: IpAddr, request_id: &str) -> Response<Bytes> {
    let mut response = match auth::agent(core, headers, caller).await {
        Ok(key) => good(&key),
        Err(error) => bad(&error, request_id),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("keyward-request-id", id);
    }
    response
}

fn good(key: &CachedKey) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
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
