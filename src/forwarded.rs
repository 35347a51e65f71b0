//! Whom a request came from, where proxies stand in front: what these say is believed, what others say is not.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The proxies whose word counts.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// Who sent a request, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The address it came from.
    pub address: IpAddr,
    /// Whether it was encrypted where it left its sender.
    pub is_https: bool,
}

impl TrustedProxies {
    /// Those within these networks.
    pub fn new(networks: Vec<IpNet>) -> TrustedProxies {
        TrustedProxies(networks)
    }

    /// Who sent a request that came in from `peer`, over TLS or not.
    ///
    /// The address is the last one in `X-Forwarded-For` that is no proxy's of ours: each proxy appends whom it heard
    /// from, and whatever stands further left was written by who knows whom.
    pub fn origin(&self, peer: IpAddr, is_tls: bool, headers: &HeaderMap) -> Origin {
        let mut origin = Origin { address: peer.to_canonical(), is_https: is_tls };
        if !self.trusts(origin.address) {
            return origin;
        }
        if let Some(scheme) = items(headers, &PROTO).last() {
            origin.is_https = scheme.eq_ignore_ascii_case("https");
        }
        let hops: Vec<&str> = items(headers, &FOR).collect();
        for hop in hops.into_iter().rev() {
            // What cannot be read ends the trail at the proxy that passed it on.
            let Some(address) = address(hop) else { break };
            origin.address = address;
            if !self.trusts(address) {
                break;
            }
        }
        origin
    }

    /// Whether an address is one of theirs.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The items of a header that is a list, over all its lines.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| line.to_str().unwrap_or("?").split(',')).map(str::trim)
}

/// An address, which some proxies send with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn origin(peer: &str, pairs: &[(&'static str, &'static str)]) -> (String, bool) {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let origin = TrustedProxies::new(networks.to_vec()).origin(peer.parse().expect("an address"), false, &headers);
        (origin.address.to_string(), origin.is_https)
    }

    #[test]
    fn only_proxies_of_ours_are_believed() {
        let said = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")];
        assert_eq!(origin("203.0.113.9", &said), ("203.0.113.9".into(), false));
        assert_eq!(origin("10.1.2.3", &said), ("192.0.2.1".into(), true));
        assert_eq!(origin("::ffff:10.1.2.3", &said), ("192.0.2.1".into(), true));
        assert_eq!(origin("fd12::1", &said), ("192.0.2.1".into(), true));
        assert_eq!(origin("10.1.2.3", &[]), ("10.1.2.3".into(), false));
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_counts() {
        for (hops, address) in [
            ("192.0.2.66, 198.51.100.7", "198.51.100.7"),
            ("192.0.2.66, 198.51.100.7, 10.9.9.9", "198.51.100.7"),
            ("10.8.8.8, 10.9.9.9", "10.8.8.8"),
            ("198.51.100.7:5432", "198.51.100.7"),
            ("[2001:db8::7]:5432", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("192.0.2.66, unknown, 10.9.9.9", "10.9.9.9"),
            ("unknown", "10.1.2.3"),
            ("", "10.1.2.3"),
        ] {
            assert_eq!(origin("10.1.2.3", &[("x-forwarded-for", hops)]).0, address, "{hops}");
        }
        let lines = [("x-forwarded-for", "192.0.2.66"), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(origin("10.1.2.3", &lines).0, "198.51.100.7");
    }

    #[test]
    fn the_scheme_is_what_the_nearest_proxy_says() {
        for (said, is_https) in [("https", true), ("HTTPS", true), ("http", false), ("https, http", false), ("", false)]
        {
            assert_eq!(origin("10.1.2.3", &[("x-forwarded-proto", said)]).1, is_https, "{said}");
        }
    }
}
