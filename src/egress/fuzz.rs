//! Base URLs and addresses as nobody should enter them: whatever is taken leads to the origin that another reader of
//! the same text would go to, and to no address that may not be called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use llm::Kind;
use proptest::prelude::*;
use url::Url;

use super::{AddressPolicy, Target};

fn policy(allow_private: bool, allow_loopback: bool) -> AddressPolicy {
    AddressPolicy { allow_private, allow_loopback, own: Vec::new() }
}

/// Addresses in every spelling that readers of URLs know.
fn spelling() -> impl Strategy<Value = String> {
    let interesting = prop::sample::select(vec![
        [127, 0, 0, 1],
        [169, 254, 169, 254],
        [10, 0, 0, 1],
        [192, 168, 0, 1],
        [0, 0, 0, 0],
        [100, 64, 0, 1],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
        [93, 184, 216, 34],
    ]);
    let ip = prop_oneof![interesting, any::<[u8; 4]>()];
    (ip, 0..9u8).prop_map(|(ip, how)| {
        let [a, b, c, d] = ip;
        let number = u32::from_be_bytes(ip);
        match how {
            0 => format!("{a}.{b}.{c}.{d}"),
            1 => number.to_string(),
            2 => format!("0x{number:x}"),
            3 => format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
            4 => format!("{a}.{}", number & 0x00ff_ffff),
            5 => format!("[::ffff:{a}.{b}.{c}.{d}]"),
            6 => format!("[64:ff9b::{a}.{b}.{c}.{d}]"),
            7 => format!("[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]"),
            _ => format!("[::{a}.{b}.{c}.{d}]"),
        }
    })
}

/// The IPv4 address that a spelling reaches in the end.
fn reached(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else {
        let IpAddr::V4(v4) = ip else { return None };
        return Some(v4);
    };
    let octets = v6.octets();
    let at = |start: usize| Ipv4Addr::new(octets[start], octets[start + 1], octets[start + 2], octets[start + 3]);
    match v6.segments() {
        [0x2002, ..] => Some(at(2)),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(at(12)),
        _ if v6 == Ipv6Addr::UNSPECIFIED || v6 == Ipv6Addr::LOCALHOST => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => Some(at(12)),
        _ => None,
    }
}

fn never(ip: Ipv4Addr) -> bool {
    ip.is_link_local() || ip.is_multicast() || ip.is_broadcast() || ip.octets()[0] == 0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_address_in_any_spelling_is_judged_by_where_it_leads(host in spelling(), port in 1..u16::MAX, allow_private: bool) {
        let Ok(target) = Target::parse(&format!("https://{host}:{port}/v1"), Kind::OpenAi, &policy(allow_private, false))
        else {
            return Ok(());
        };
        let ip: IpAddr = target.host.parse().expect("an address");
        prop_assert!(!ip.is_loopback() && !ip.is_unspecified(), "{} is taken", ip);
        if let Some(v4) = reached(ip) {
            prop_assert!(!v4.is_loopback() && !never(v4), "{} is taken, which leads to {}", host, v4);
            prop_assert!(allow_private || !v4.is_private(), "{} is taken, which leads to {}", host, v4);
        }
    }

    #[test]
    fn an_address_that_a_name_resolves_to_is_judged_likewise(bytes: [u8; 16], is_v4: bool, allow_private: bool) {
        let ip = match is_v4 {
            true => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
            false => IpAddr::from(bytes),
        };
        if policy(allow_private, true).check(SocketAddr::new(ip, 443), false).is_ok() {
            prop_assert!(!ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast(), "{} is taken", ip);
            prop_assert!(!reached(ip).is_some_and(|v4| never(v4) || v4.is_loopback()), "{} is taken", ip);
        }
    }

    #[test]
    fn a_url_that_is_taken_goes_where_another_reader_would_go(
        text in "(https?|HTTPS|ftp|file)://[a-z0-9.@:\\[\\]%/\\\\?#_ \u{e4}\u{3002}\u{2025}-]{0,40}",
    ) {
        let Ok(target) = Target::parse(&text, Kind::OpenAiCompatible, &policy(true, true)) else { return Ok(()) };
        let url = Url::parse(&text).expect("what is taken is a URL");
        let bare = url.host_str().expect("it has a host").trim_matches(['[', ']']);
        prop_assert_eq!(&target.host, bare);
        prop_assert_eq!(Some(target.port), url.port_or_known_default());
        prop_assert_eq!(target.https, url.scheme() == "https");
        prop_assert!(url.username().is_empty() && url.password().is_none() && url.query().is_none());
        // The text itself says so too, for readers that take no WHATWG URLs.
        prop_assert!(!text.contains(['@', '\\', '?', '#']), "{} is taken", text);
        let path = &target.base_path;
        prop_assert!(!path.contains("//") && !path.contains("/../") && !path.to_lowercase().contains("%2f"), "{}", path);
    }

    #[test]
    fn any_text_is_judged_without_a_panic(text: String) {
        let _ = Target::parse(&text, Kind::OpenAi, &policy(true, true));
        let _ = Target::parse(&format!("https://{text}"), Kind::OpenAi, &policy(false, false));
    }
}
