//! Who is calling: an agent with its key, or somebody who administers Keyward.

mod session;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method, header};
use vault::Token;

pub use self::session::{
    Cookie, check_same_origin, cookie_value, end_cookie, keep_to_https, session, session_token, set_cookie,
    start_cookie, unset_cookie,
};
use crate::{
    config::WebConfig,
    domain::{Core, actor::Actor, agent_key_check, key_cache::CachedKey, management_tokens, sessions::Caller},
    error::{Code, Error, Result},
};

/// The headers that may carry a credential, in the spelling of the providers' official clients.
pub const CREDENTIAL_HEADERS: [&str; 4] = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];

/// How the subprotocol begins that carries a browser's key where a WebSocket is opened, in the spelling of OpenAI's clients.
const SUBPROTOCOL_OF_KEY: &[u8] = b"openai-insecure-api-key.";

/// The one credential of a call, from whichever of the four headers; one that stands in several counts once.
///
/// # Errors
/// [`Code::ConflictingCredentials`] for two different ones, [`Code::InvalidApiKey`] for none.
pub fn credential(headers: &HeaderMap) -> Result<&[u8]> {
    only(in_headers(headers))
}

fn in_headers(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    CREDENTIAL_HEADERS.into_iter().flat_map(move |name| {
        headers.get_all(name).iter().map(move |value| match name {
            "authorization" => without_scheme(value.as_bytes()),
            _ => value.as_bytes().trim_ascii(),
        })
    })
}

fn only<'h>(values: impl Iterator<Item = &'h [u8]>) -> Result<&'h [u8]> {
    let mut found: Option<&[u8]> = None;
    for value in values {
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
    found.ok_or_else(|| {
        Error::new(
            Code::InvalidApiKey,
            "no agent key was sent; send it as Authorization: Bearer kw_…, or in x-api-key, x-goog-api-key or api-key \
             (never in the URL)",
        )
    })
}

/// The subprotocols that a caller offers for its WebSocket.
fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn key_in_subprotocol(protocol: &[u8]) -> Option<&[u8]> {
    let (start, key) = protocol.split_at_checked(SUBPROTOCOL_OF_KEY.len())?;
    start.eq_ignore_ascii_case(SUBPROTOCOL_OF_KEY).then_some(key)
}

/// The subprotocols that a caller offers, but for those that carry a key.
pub fn subprotocols_without_key(headers: &HeaderMap) -> Vec<u8> {
    let rest: Vec<_> =
        subprotocols(headers).filter(|one| !one.is_empty() && key_in_subprotocol(one).is_none()).collect();
    rest.join(&b", "[..])
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

/// The agent key of a call from an address. One that has not our form is refused without asking anything, unless secrets of
/// another product were imported.
///
/// # Errors
/// See [`credential`] and [`agent_key_check::authenticate`].
pub async fn agent(core: &Arc<Core>, headers: &HeaderMap, caller: IpAddr) -> Result<Arc<CachedKey>> {
    authenticate(core, credential(headers)?, Some(caller)).await
}

/// The agent key of a call that opens a WebSocket. Browsers, which can set no header there, send it as a subprotocol.
///
/// # Errors
/// As for [`agent`].
pub async fn socket_agent(core: &Arc<Core>, headers: &HeaderMap, caller: IpAddr) -> Result<Arc<CachedKey>> {
    let in_subprotocols = subprotocols(headers).filter_map(key_in_subprotocol);
    authenticate(core, only(in_headers(headers).chain(in_subprotocols))?, Some(caller)).await
}

/// The agent key that somebody else was sent; `None` where it is none, or no good at the moment.
///
/// # Errors
/// [`Code::StorageUnavailable`] where that cannot be told.
pub async fn introspect(core: &Arc<Core>, credential: &[u8]) -> Result<Option<Arc<CachedKey>>> {
    match authenticate(core, credential, None).await {
        Ok(key) => Ok(Some(key)),
        Err(error) if error.code.status() == 401 => Ok(None),
        Err(error) => Err(error),
    }
}

async fn authenticate(core: &Arc<Core>, credential: &[u8], caller: Option<IpAddr>) -> Result<Arc<CachedKey>> {
    let token = Token::parse(credential).or_else(|reason| {
        // Of another form: whether there are such secrets is known for as long as anything is.
        if vault::can_be_foreign(credential) {
            core.lease.check()?;
        }
        core.foreign_secrets.token(credential).ok_or_else(|| {
            tracing::debug!(reason = "malformed", %reason, "agent key refused");
            Error::new(Code::InvalidApiKey, format!("this is not an agent key of Keyward: {reason}"))
        })
    })?;
    agent_key_check::authenticate(core, &token, caller).await
}

/// Who calls the management API: with a bearer token, or else from the console, whose session it takes under the
/// console's rules.
///
/// # Errors
/// [`Code::Unauthenticated`]; [`Code::CrossSite`]; [`Code::SecondFactorRequired`]; [`Code::StorageUnavailable`] where it could not be told.
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
            if signed_in.needs_second_factor {
                let detail = "this installation asks for a second factor, and you have none: set it up on your account \
                              page first";
                return Err(Error::new(Code::SecondFactorRequired, detail));
            }
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

    #[test]
    fn a_key_in_a_subprotocol_is_read_and_left_out() {
        let offered = headers(&[
            ("sec-websocket-protocol", "realtime, openai-insecure-api-key.one ,openai-beta.realtime-v1"),
            ("sec-websocket-protocol", "OpenAI-Insecure-API-Key.two"),
        ]);
        let keys: Vec<_> = subprotocols(&offered).filter_map(key_in_subprotocol).collect();
        assert_eq!(keys, [b"one", b"two"]);
        assert_eq!(subprotocols_without_key(&offered), b"realtime, openai-beta.realtime-v1");
        assert_eq!(credential(&offered).expect_err("not for other calls").code, Code::InvalidApiKey);
    }
}
