//! Who is calling: an agent with its key, or somebody who administers Keyward.

mod session;

use std::sync::Arc;

use http::{HeaderMap, Method, header};
use vault::Token;

pub use self::session::{check_same_origin, end_cookie, session, session_token, start_cookie};
use crate::{
    config::WebConfig,
    domain::{Core, actor::Actor, agent_keys, key_cache::CachedKey, management_tokens, sessions::Caller},
    error::{Code, Error, Result},
};

/// The headers that may carry a credential, in the spelling of the providers' official clients.
pub const CREDENTIAL_HEADERS: [&str; 4] = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];

/// The one credential of a call, from whichever of the four headers; one that stands in several counts once.
///
/// # Errors
/// [`Code::ConflictingCredentials`] for two different ones, [`Code::InvalidApiKey`] for none.
pub fn credential(headers: &HeaderMap) -> Result<&[u8]> {
    let mut found: Option<&[u8]> = None;
    for name in CREDENTIAL_HEADERS {
        for value in headers.get_all(name) {
            let value = match name {
                "authorization" => without_scheme(value.as_bytes()),
                _ => value.as_bytes().trim_ascii(),
            };
            match found {
                _ if value.is_empty() => {}
                Some(other) if other != value => {
                    return Err(Error::new(
                        Code::ConflictingCredentials,
                        "the call carries two different credentials; send the agent key in one header only",
                    ));
                }
                _ => found = Some(value),
            }
        }
    }
    found.ok_or_else(|| {
        Error::new(
            Code::InvalidApiKey,
            "no agent key was sent; send it as Authorization: Bearer kw_…, or in x-api-key, x-goog-api-key or api-key \
             (never in the URL)",
        )
    })
}

/// The credential of an Authorization header; another scheme than Bearer is left in and thus recognised as no key.
fn without_scheme(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    match value.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer ") => rest.trim_ascii(),
        _ if value.eq_ignore_ascii_case(b"bearer") => b"",
        _ => value,
    }
}

/// The agent key of a call. A malformed one is refused without asking anything.
///
/// # Errors
/// See [`credential`] and [`agent_keys::authenticate`].
pub async fn agent(core: &Arc<Core>, headers: &HeaderMap) -> Result<Arc<CachedKey>> {
    let token = Token::parse(credential(headers)?).map_err(|reason| {
        tracing::debug!(reason = "malformed", %reason, "agent key refused");
        Error::new(Code::InvalidApiKey, format!("this is not an agent key of Keyward: {reason}"))
    })?;
    agent_keys::authenticate(core, &token).await
}

/// Who calls the management API: with a bearer token, or else from the console, whose session it takes under the
/// console's rules.
///
/// # Errors
/// [`Code::Unauthenticated`]; [`Code::CrossSite`]; [`Code::StorageUnavailable`] where it could not be told.
pub async fn administrator(
    core: &Core,
    web: &WebConfig,
    method: &Method,
    headers: &HeaderMap,
    caller: &Caller,
) -> Result<Actor> {
    if headers.contains_key(header::AUTHORIZATION) {
        return manager(core, headers, caller).await;
    }
    match session(core, web, headers, caller).await? {
        Some(signed_in) => {
            check_same_origin(web, method, headers)?;
            Ok(signed_in.actor)
        }
        None => Err(Error::new(
            Code::Unauthenticated,
            "send a management token as Authorization: Bearer kwm_…, or sign in to the console; keyward bootstrap \
             --token-name makes the first token",
        )),
    }
}

/// Who calls with a bearer token.
async fn manager(core: &Core, headers: &HeaderMap, caller: &Caller) -> Result<Actor> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().map(http::HeaderValue::as_bytes).unwrap_or_default();
    if values.next().is_some() {
        return Err(Error::new(Code::ConflictingCredentials, "the call carries two Authorization headers"));
    }
    let token = Token::parse(without_scheme(value)).map_err(|reason| {
        Error::new(Code::Unauthenticated, format!("this is not a management token of Keyward: {reason}"))
    })?;
    management_tokens::authenticate(core, &token, &caller.address.to_string(), &caller.request_id).await
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn any_of_the_four_headers_will_do_and_the_same_key_twice_counts_once() {
        for pairs in [
            &[("authorization", "Bearer one")][..],
            &[("authorization", "bearer  one ")],
            &[("x-api-key", "one")],
            &[("x-goog-api-key", "one"), ("api-key", "one")],
            &[("authorization", "Bearer one"), ("x-api-key", "one")],
            &[("authorization", "Bearer"), ("api-key", "one")],
        ] {
            assert_eq!(credential(&headers(pairs)).expect("a credential"), b"one", "{pairs:?}");
        }
    }

    #[test]
    fn two_different_ones_conflict_wherever_they_stand() {
        for pairs in [
            &[("authorization", "Bearer one"), ("x-api-key", "two")][..],
            &[("authorization", "Bearer one"), ("authorization", "Bearer two")],
            &[("authorization", "Basic b25l"), ("api-key", "one")],
        ] {
            let error = credential(&headers(pairs)).expect_err("a conflict");
            assert_eq!(error.code, Code::ConflictingCredentials, "{pairs:?}");
        }
        assert_eq!(credential(&HeaderMap::new()).expect_err("none").code, Code::InvalidApiKey);
    }
}
