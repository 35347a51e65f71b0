//! The console's session: its cookie, and the rule that no other site may use it.

use http::{HeaderMap, HeaderValue, Method, header};

use crate::{
    config::WebConfig,
    domain::{
        Core, issuer_round_trip, second_step,
        sessions::{self, Caller, MAX_AGE_MS, SignedIn},
    },
    error::{Code, Error, Result},
};

/// Who is signed in, if anybody is.
///
/// # Errors
/// A storage failure.
pub async fn session(core: &Core, web: &WebConfig, headers: &HeaderMap, caller: &Caller) -> Result<Option<SignedIn>> {
    match session_token(web, headers) {
        Some(token) => sessions::authenticate(core, token, caller).await,
        None => Ok(None),
    }
}

/// The session's token, as the browser sent it.
pub fn session_token<'h>(web: &WebConfig, headers: &'h HeaderMap) -> Option<&'h str> {
    cookie_value(web, headers, Cookie::Session)
}

/// The `Set-Cookie` that starts a session.
pub fn start_cookie(web: &WebConfig, token: &str) -> String {
    set_cookie(web, Cookie::Session, token)
}

/// The `Set-Cookie` that ends one.
pub fn end_cookie(web: &WebConfig) -> String {
    unset_cookie(web, Cookie::Session)
}

/// A cookie of the console's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookie {
    /// Of a session.
    Session,
    /// Of a sign-in that waits for its code.
    SecondStep,
    /// Of a way to the issuer and back.
    RoundTrip,
}

impl Cookie {
    /// Browsers keep a cookie of the first name to https and to this very host; over plain http they would drop it.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Cookie::Session => ("__Host-keyward", "keyward"),
            Cookie::SecondStep => ("__Host-keyward-code", "keyward-code"),
            Cookie::RoundTrip => ("__Host-keyward-oidc", "keyward-oidc"),
        }
    }

    fn max_age_seconds(self) -> i64 {
        match self {
            Cookie::Session => MAX_AGE_MS / 1000,
            Cookie::SecondStep => second_step::MAX_AGE_MS / 1000,
            Cookie::RoundTrip => issuer_round_trip::MAX_AGE_MS / 1000,
        }
    }

    /// Whether it comes along where another site leads here: only what has to be there when the issuer sends a member
    /// back, and is worth nothing without what the issuer says.
    fn same_site(self) -> &'static str {
        match self {
            Cookie::Session | Cookie::SecondStep => "Strict",
            Cookie::RoundTrip => "Lax",
        }
    }

    fn name(self, web: &WebConfig) -> &'static str {
        let (secure, plain) = self.names();
        if is_https(web) { secure } else { plain }
    }
}

/// What the browser sent in a cookie. Two of the name are none: somebody put one there.
pub fn cookie_value<'h>(web: &WebConfig, headers: &'h HeaderMap, cookie: Cookie) -> Option<&'h str> {
    let name = cookie.name(web);
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(given, _)| *given == name)
        .map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}

/// The `Set-Cookie` that sets a cookie.
pub fn set_cookie(web: &WebConfig, cookie: Cookie, value: &str) -> String {
    text(web, cookie, value, cookie.max_age_seconds())
}

/// The `Set-Cookie` that takes it away.
pub fn unset_cookie(web: &WebConfig, cookie: Cookie) -> String {
    text(web, cookie, "", 0)
}

fn text(web: &WebConfig, cookie: Cookie, value: &str, max_age_seconds: i64) -> String {
    let secure = if is_https(web) { "; Secure" } else { "" };
    let (name, same_site) = (cookie.name(web), cookie.same_site());
    format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={max_age_seconds}{secure}")
}

/// Keeps cookies that are about to be set to https, where they leave by it although the public URL says otherwise.
pub fn keep_to_https(headers: &mut HeaderMap) {
    if let header::Entry::Occupied(mut cookies) = headers.entry(header::SET_COOKIE) {
        for cookie in cookies.iter_mut() {
            let secure =
                cookie.to_str().ok().filter(|text| !text.contains("; Secure")).map(|text| format!("{text}; Secure"));
            if let Some(secure) = secure.and_then(|text| HeaderValue::try_from(text).ok()) {
                *cookie = secure;
            }
        }
    }
}

fn is_https(web: &WebConfig) -> bool {
    web.console_url().scheme() == "https"
}

/// Refuses a request that may change something unless a page of ours sent it: browsers say so in `Sec-Fetch-Site`, or
/// else, over plain http, in `Origin`.
///
/// # Errors
/// [`Code::CrossSite`].
pub fn check_same_origin(web: &WebConfig, method: &Method, headers: &HeaderMap) -> Result<()> {
    if method.is_safe() {
        return Ok(());
    }
    let same = match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => headers
            .get(header::ORIGIN)
            .and_then(|origin| origin.to_str().ok())
            .is_some_and(|origin| is_ours(web, origin, headers)),
    };
    if same {
        return Ok(());
    }
    Err(Error::new(
        Code::CrossSite,
        "this did not come from a page of this console, or nobody can tell from where; nothing was changed",
    ))
}

/// Whether an origin is the console's, or the one that the request itself was sent to: the host check has seen to
/// it that this is one of ours.
fn is_ours(web: &WebConfig, origin: &str, headers: &HeaderMap) -> bool {
    let public = web.console_url().as_str().trim_end_matches('/');
    if origin.eq_ignore_ascii_case(public) {
        return true;
    }
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // The public name under the other scheme is whoever sits on the line.
    let is_public = public.split_once("://").is_some_and(|(_, name)| name.eq_ignore_ascii_case(authority));
    matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(host) && !is_public && web.serves(host)
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn web(public_url: &str) -> WebConfig {
        WebConfig {
            listen: ([127, 0, 0, 1], 8080).into(),
            public_url: Url::parse(public_url).expect("a URL"),
            admin: None,
            trusted_proxies: Vec::new(),
            tls: None,
            allowed_hosts: vec![String::from("keyward.internal")],
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_pages_of_ours_may_change_anything() {
        let web = web("https://keys.example.com");
        let check =
            |pairs: &[(&'static str, &'static str)]| check_same_origin(&web, &Method::POST, &headers(pairs)).is_ok();
        assert!(check(&[("sec-fetch-site", "same-origin")]));
        assert!(check(&[("origin", "https://keys.example.com")]));
        assert!(check(&[("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")]));
        assert!(check(&[("origin", "http://keyward.internal"), ("host", "keyward.internal")]));
        for refused in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "http://keys.example.com"), ("host", "keys.example.com")],
            &[("origin", "https://keys.example.com.evil.example")],
            &[("origin", "http://127.0.0.1:9999"), ("host", "127.0.0.1:8080")],
            &[("origin", "http://evil.example"), ("host", "evil.example")],
            &[("sec-fetch-site", "none"), ("origin", "https://keys.example.com")],
            &[("sec-fetch-site", "same-site"), ("origin", "https://keys.example.com")],
            &[("sec-fetch-site", "cross-site")],
        ] {
            assert!(!check(refused), "{refused:?}");
        }
        assert!(check_same_origin(&web, &Method::GET, &HeaderMap::new()).is_ok());
    }

    #[test]
    fn the_cookie_is_named_after_the_scheme_and_read_once() {
        let (http, https) = (web("http://localhost:8080"), web("https://keys.example.com"));
        assert!(
            start_cookie(&https, "t").starts_with("__Host-keyward=t; ")
                && start_cookie(&https, "t").contains("; Secure")
        );
        assert!(start_cookie(&http, "t").starts_with("keyward=t; ") && !start_cookie(&http, "t").contains("Secure"));
        let lax = |cookie| set_cookie(&https, cookie, "t").contains("; SameSite=Lax; ");
        assert!(lax(Cookie::RoundTrip) && !lax(Cookie::Session) && !lax(Cookie::SecondStep));
        assert_eq!(session_token(&http, &headers(&[("cookie", "a=b; keyward=t")])), Some("t"));
        assert_eq!(session_token(&https, &headers(&[("cookie", "keyward=t")])), None);
        assert_eq!(session_token(&http, &headers(&[("cookie", "keyward=t; keyward=u")])), None);
    }
}
