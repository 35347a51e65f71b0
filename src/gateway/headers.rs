//! Which headers pass: of a call everything but credentials, hop-by-hop headers and what tells of the way here; of an
//! answer only what is known to be meant for the caller.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use vault::ProviderSecret;

use crate::{
    auth::{self, CREDENTIAL_HEADERS},
    egress::RequestHead,
    error::{Code, Error, Result},
};

/// How names begin that are stripped as well.
const STRIPPED_FAMILIES: [&str; 9] =
    ["proxy-", "x-forwarded-", "cf-", "x-original-", "x-rewrite-", "sec-", "x-keyward-", "keyward-", "x-auth-request-"];
/// How names begin that are returned as well.
const RETURNED_FAMILIES: [&str; 14] = [
    "x-ratelimit-",
    "ratelimit-",
    "anthropic-",
    "openai-",
    "x-goog-",
    "azureml-",
    "x-ms-",
    "x-mistral-",
    "mistral-",
    "x-groq-",
    "x-openrouter-",
    "x-together-",
    "fireworks-",
    "x-cohere-",
];

/// Refuses a call that would carry a Keyward token to a provider, or the secret of another form that it was made with: in another
/// header than the four, or in its URL.
///
/// # Errors
/// [`Code::ConflictingCredentials`].
pub fn check_no_token(headers: &HeaderMap, uri: &Uri) -> Result<()> {
    let own = auth::credential(headers).ok().filter(|own| vault::can_be_foreign(own)).map(memchr::memmem::Finder::new);
    let holds =
        |bytes: &[u8]| vault::contains_token(bytes) || own.as_ref().is_some_and(|own| own.find(bytes).is_some());
    for (name, value) in headers {
        if !CREDENTIAL_HEADERS.contains(&name.as_str()) && holds(value.as_bytes()) {
            return Err(leak(&format!("the header {name}")));
        }
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let decoded = || -> Vec<u8> { percent_encoding::percent_decode_str(path).collect() };
    if holds(path.as_bytes()) || (path.contains('%') && holds(&decoded())) {
        return Err(leak("the URL"));
    }
    Ok(())
}

fn leak(place: &str) -> Error {
    Error::new(
        Code::ConflictingCredentials,
        format!("{place} holds a Keyward key, which would reach the provider; send it as Authorization: Bearer only"),
    )
}

/// Writes the headers of a call that go to the provider; never the one that a service takes its credential in.
pub fn outgoing(
    headers: &HeaderMap,
    fixed: &[(&'static str, &'static str)],
    credential: Option<&str>,
    out: &mut RequestHead,
) {
    let hops = headers.get_all(header::CONNECTION);
    let is_hop = |name: &str| {
        let mut named = hops.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        named.any(|hop| hop.trim().eq_ignore_ascii_case(name))
    };
    // Byte by byte, an underscore being a hyphen to some servers.
    let is_same = |own: &str, name: &str| {
        let alike = |(own, byte): (u8, u8)| own == byte || (own == b'-' && byte == b'_');
        own.len() == name.len() && own.bytes().zip(name.bytes()).all(alike)
    };
    let is_credential = |name: &str| credential.is_some_and(|own| is_same(own, name));
    let goes = |name: &str| passes(name) && !is_hop(name) && !is_credential(name);
    for (name, value) in headers {
        if goes(name.as_str()) {
            out.header(name, value);
        }
    }
    for (name, value) in fixed {
        if !(headers.contains_key(*name) && goes(name)) {
            out.header(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
    }
}

fn passes(name: &str) -> bool {
    // Servers behind CGI and its heirs take an underscore for a hyphen.
    if name.contains('_') {
        return passes_as_spelt(&name.replace('_', "-"));
    }
    passes_as_spelt(name)
}

fn passes_as_spelt(name: &str) -> bool {
    !(CREDENTIAL_HEADERS.contains(&name)
        || is_stripped(name)
        || (name.starts_with("x-") && name.ends_with("-override")))
}

/// Headers of a call that never reach a provider. A `match`, since each header of each call is asked for: the compiler
/// tells most of them apart by their length.
fn is_stripped(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "content-encoding"
            | "accept-encoding"
            | "cookie"
            | "cookie2"
            | "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
            | "forwarded"
            | "via"
            | "x-real-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "true-client-ip"
            | "origin"
            | "referer"
            | "x-goog-user-project"
            | "x-request-id"
            | "x-amzn-trace-id"
            | "x-envoy-external-address"
            | "x-http-method"
            | "x-method"
            | "x-user"
            | "remote-user"
            | "x-remote-user"
            | "ocp-apim-subscription-key"
            | "x-amz-security-token"
            | "x-auth-token"
            | "x-access-token"
            | "helicone-auth"
    ) || is_of(name, &STRIPPED_FAMILIES)
}

/// Headers of an answer that pass, beside their families.
fn is_returned(name: &str) -> bool {
    matches!(
        name,
        "content-type"
            | "content-encoding"
            | "content-disposition"
            | "content-language"
            | "date"
            | "retry-after"
            | "retry-after-ms"
            | "x-should-retry"
            | "request-id"
            | "x-request-id"
            | "cache-control"
            | "apim-request-id"
            | "x-groq-region"
            | "x-typesense-request-id"
            | "warning"
    )
}

/// Whether a name begins like one of these families; most names do not even share the first letter.
fn is_of(name: &str, families: &[&str]) -> bool {
    let first = name.as_bytes().first();
    families.iter().any(|family| family.as_bytes().first() == first && name.starts_with(family))
}

/// The headers of an answer that go to the caller, of those which [`returns`] lets in: always with `nosniff`, and none
/// that repeats the key.
pub fn returned(mut headers: HeaderMap, secret: Option<&ProviderSecret>) -> HeaderMap {
    let leaks = |value: &HeaderValue| secret.is_some_and(|secret| secret.occurs_in(value.as_bytes()));
    if headers.values().any(leaks) {
        headers = headers
            .iter()
            .filter(|(_, value)| !leaks(value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
}

/// Whether a header of an answer may go to the caller, by its name in lower case.
pub fn returns(name: &str) -> bool {
    is_returned(name) || is_of(name, &RETURNED_FAMILIES)
}

/// Whether a header of a service's answer may go to the caller, by its name in lower case: all but what belongs to the
/// connection, to browsers, or to Keyward.
pub fn returns_of_service(name: &str) -> bool {
    // Those that steer a proxy in front of Keyward as well.
    const FAMILIES: [&str; 8] =
        ["proxy-", "access-control-", "keyward-", "x-keyward-", "sec-", "x-accel-", "x-sendfile", "x-lighttpd-"];
    let is_kept = matches!(
        name,
        "connection"
            | "keep-alive"
            | "transfer-encoding"
            | "content-length"
            | "trailer"
            | "te"
            | "upgrade"
            | "set-cookie"
            | "set-cookie2"
            | "location"
            | "server"
            | "via"
            | "alt-svc"
            | "strict-transport-security"
            | "authorization"
            | "x-api-key"
            | "clear-site-data"
            | "refresh"
    );
    !is_kept && !is_of(name, &FAMILIES)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn credentials_and_traces_of_the_way_here_stay_here() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "x-api-key",
            "x-goog-api-key",
            "api-key",
            "cookie",
            "proxy-authorization",
            "x-forwarded-for",
            "x-forwarded-host",
            "forwarded",
            "via",
            "cf-connecting-ip",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "origin",
            "referer",
            "sec-fetch-site",
            "expect",
            "x-keyward-x",
            "te",
            "upgrade",
            "x-goog-user-project",
            "x-auth-token",
            "ocp-apim-subscription-key",
            "transfer-encoding",
            "x-hop",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        headers.insert("connection", HeaderValue::from_static("close, X-Hop, anthropic-beta"));
        headers.insert("openai-organization", HeaderValue::from_static("org"));
        headers.insert("anthropic-beta", HeaderValue::from_static("b"));
        let mut out = RequestHead::new(&Method::GET, "/").expect("a path");
        outgoing(&headers, &[("anthropic-version", "2023-06-01")], None, &mut out);
        assert_eq!(out.lines(), "GET / HTTP/1.1\r\nopenai-organization: org\r\nanthropic-version: 2023-06-01\r\n");
    }

    #[test]
    fn answers_pass_by_a_list() {
        for name in
            ["content-type", "retry-after", "x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-limit"]
        {
            assert!(returns(name), "{name}");
        }
        for name in [
            "set-cookie",
            "location",
            "server",
            "authorization",
            "x-api-key",
            "connection",
            "content-length",
            "alt-svc",
        ] {
            assert!(!returns(name), "{name}");
        }
    }
}
