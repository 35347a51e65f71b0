//! What is known of a request before anybody asks who sent it.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
};

use axum::extract::{FromRequestParts, Request};
use http::{Extensions, HeaderName, Version, header, request::Parts};

use crate::{config::WebConfig, domain::sessions::Caller};

/// The caller's address, put there by the listener.
#[derive(Clone, Copy)]
pub struct Peer(pub IpAddr);

/// That the caller's side of the line is encrypted, put there by the listener.
#[derive(Clone, Copy)]
pub struct OverHttps;

/// That a request came in at the console's own address, put there by the listener.
#[derive(Clone, Copy)]
pub struct AtAdminAddress;

/// The request's id, put there by the listener.
#[derive(Clone)]
pub struct RequestId(pub String);

/// Where a request came from, as far as the domain wants to know.
pub fn caller(extensions: &Extensions) -> Caller {
    let address = extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    Caller { address, request_id: request_id(extensions) }
}

/// The request's id.
pub fn request_id(extensions: &Extensions) -> String {
    extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// [`Caller`] as handlers take it.
pub struct From(pub Caller);

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<From, Infallible> {
        Ok(From(caller(&parts.extensions)))
    }
}

/// Refuses what two servers in a row could read as two different requests, or as one for somebody else: more than one
/// `Host`, `Origin` or `Sec-Fetch-Site`, a host that is none or not told, and any transfer coding but `chunked` alone.
///
/// # Errors
/// What is wrong, in words for whoever sent it.
pub fn check_unambiguous<B>(request: &http::Request<B>) -> Result<(), &'static str> {
    let headers = request.headers();
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let host = headers.get(header::HOST).map(|host| host.as_bytes());
    if authority.is_none() && host.is_none() && request.version() == Version::HTTP_11 {
        return Err("the request has no Host");
    }
    if !authority.into_iter().chain(host).all(is_host) {
        return Err("the request's Host is not a host and perhaps a port");
    }
    const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    for (name, refusal) in [
        (header::HOST, "the request has more than one Host"),
        (header::ORIGIN, "the request has more than one Origin"),
        (SEC_FETCH_SITE, "the request has more than one Sec-Fetch-Site"),
    ] {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(refusal);
        }
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err("the request has a transfer coding other than chunked"),
    }
}

/// Whether this holds only what a host name, an address and a port are made of; an empty one is a request for nobody.
fn is_host(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte))
}

/// Against DNS rebinding: whether the request was sent to a host name that is ours.
pub fn is_for_us(request: &Request, web: &WebConfig) -> bool {
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    web.serves(host)
}
