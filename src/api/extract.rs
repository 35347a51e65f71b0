//! What handlers take from a request.

use std::convert::Infallible;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, MatchedPath, Query, RawPathParams, Request, State as AxumState},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{
    State, access,
    problem::{Problem, Refusal},
};
use crate::{
    auth,
    domain::{access::check, actor::Actor, idempotency::Idempotency},
    error::{Code, Error},
    request,
};

/// The largest body of the management API, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// Who calls, and may: every handler of the management API takes one, before anything else is read of the request.
pub struct Caller(pub Actor);

impl FromRequestParts<State> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Caller, Problem> {
        let caller = request::caller(&parts.extensions);
        let actor = auth::administrator(&state.core, &state.web, &parts.method, &parts.headers, &caller).await?;
        let path = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
        let permission = access::permission(&parts.method, &path)?;
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| Error::new(Code::NotFound, "there is nothing at this path"))?;
        let id = params.iter().find(|(name, _)| *name == "id").map(|(_, id)| id.to_owned());
        check(&state.core, &actor, permission, id.as_deref()).await?;
        Ok(Caller(actor))
    }
}

/// The version that `If-Match` asks for.
pub struct IfMatch(pub Option<i64>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IfMatch, Infallible> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(IfMatch(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(IfMatch(None));
        }
        // What is no ETag of ours matches nothing: no version is negative.
        let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
        Ok(IfMatch(Some(version.unwrap_or(-1))))
    }
}

/// A query, in which unknown parameters are refused.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Params(params)),
            Err(rejection) => {
                let text = rejection.body_text();
                let detail = without_values(text.split_once(": ").map_or(text.as_str(), |(_, detail)| detail));
                let name = quoted(&detail).unwrap_or_default().to_owned();
                let whole = format!("the query is refused: {detail}");
                Err(Problem(Error::refused(format!("?{name}"), detail, whole)))
            }
        }
    }
}

/// A JSON body of so many bytes at most, its bytes, and the idempotency key that came with it.
pub struct JsonBody<T, const MAX: usize = MAX_BODY> {
    /// What it says.
    pub value: T,
    bytes: Bytes,
    idempotency_key: Option<String>,
    route: String,
}

impl<T, const MAX: usize> JsonBody<T, MAX> {
    /// The idempotency of this request by `actor`, where it asks for it.
    ///
    /// # Errors
    /// A refused key.
    pub fn idempotency(&self, state: &State, actor: &Actor) -> Result<Option<Idempotency>, Error> {
        self.idempotency_key
            .as_deref()
            .map(|key| Idempotency::new(key, actor, &self.route, &self.bytes, &state.core.store.keyring()))
            .transpose()
    }
}

impl<T: DeserializeOwned, const MAX: usize> FromRequest<State> for JsonBody<T, MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &State) -> Result<JsonBody<T, MAX>, Problem> {
        let headers = request.headers().clone();
        let route = format!("{} {}", request.method(), request.uri().path());
        let bytes = axum::body::to_bytes(request.into_body(), MAX).await.map_err(|error| {
            let detail = format!("the body has more than {} MiB, or broke off", MAX / MAX_BODY);
            Problem(Error::new(Code::BodyTooLarge, detail).with_cause(error))
        })?;
        check_json_type(&headers, &bytes)?;
        let value = parse(&bytes)?;
        let idempotency_key = headers.get("idempotency-key").map(|key| key.to_str().unwrap_or_default().to_owned());
        Ok(JsonBody { value, bytes, idempotency_key, route })
    }
}

fn check_json_type(headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
    let is_json = match &content_type {
        None => true,
        Some(kind) => {
            let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            kind == b"application/json" || kind.ends_with(b"+json")
        }
    };
    if is_json || body.is_empty() {
        return Ok(());
    }
    Err(Problem(Error::new(
        Code::UnsupportedMediaType,
        "the body must be JSON, sent as content-type: application/json",
    )))
}

/// Parses a body; no body is an empty object.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    // Serde would take an array for the fields in their order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| not_json(&error))?;
        let detail = "must be a JSON object, and is an array";
        return Err(Problem(Error::refused(String::new(), detail.to_owned(), format!("the body {detail}"))));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(refused)?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(parsed)
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem(Error::new(Code::InvalidBody, format!("the body is not JSON: {error}")))
}

/// A body whose values are refused, with a pointer to the value.
fn refused(error: serde_path_to_error::Error<serde_json::Error>) -> Problem {
    if !error.inner().is_data() {
        return not_json(error.inner());
    }
    let text = error.inner().to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let detail = without_values(text);
    let path: String = error
        .path()
        .iter()
        .map(|segment| match segment {
            serde_path_to_error::Segment::Map { key } if is_field_name(key) => format!("/{key}"),
            serde_path_to_error::Segment::Seq { index } => format!("/{index}"),
            _ => String::new(),
        })
        .collect();
    let pointer = match quoted(&detail) {
        Some(name) if path.is_empty() && detail.contains("field") => format!("/{name}"),
        _ => path,
    };
    let whole = format!("the body is refused: {detail}");
    Problem(Error::refused(pointer, detail, whole))
}

/// The first part of a message in backticks: the field it is about.
fn quoted(message: &str) -> Option<&str> {
    message.split('`').nth(1).filter(|name| is_field_name(name))
}

/// Whether a text is plainly the name of a field, and no secret that was put in the wrong place.
fn is_field_name(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// A message of serde's without what the request held: it may be a secret in the wrong place.
fn without_values(message: &str) -> String {
    let (said, expected) = message.split_once(", expected ").map_or((message, None), |(said, rest)| (said, Some(rest)));
    let kept = match said.split_once(['`', '"']) {
        Some((before, rest)) if !rest.split(['`', '"']).next().is_some_and(is_field_name) => before.trim_end(),
        _ => said,
    };
    match expected {
        Some(expected) => format!("{kept}, expected {expected}"),
        None => kept.to_owned(),
    }
}

/// Against DNS rebinding: what a browser could reach without a token answers only under names that are ours. Logs what
/// was refused on the way out, once and with the request's id.
pub async fn check_host(AxumState(state): AxumState<State>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let bearer = request.headers().contains_key(header::AUTHORIZATION);
    if bearer || path == "/livez" || path == "/readyz" || request::is_for_us(&request, &state.web) {
        let request_id = request::request_id(request.extensions());
        let mut response = next.run(request).await;
        if let Some(Refusal(error)) = response.extensions_mut().remove::<Refusal>() {
            error.log(&request_id);
        }
        return response;
    }
    Problem(Error::new(
        Code::WrongHost,
        "this host name is not one of ours; use KEYWARD_PUBLIC_URL's, or add it to KEYWARD_ALLOWED_HOSTS",
    ))
    .into_response()
}
