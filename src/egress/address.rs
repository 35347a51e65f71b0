//! Which addresses may be called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What this installation allows its providers to be.
#[derive(Debug, Clone)]
pub struct AddressPolicy {
    /// Plain http and private addresses (never link-local or metadata ones).
    pub allow_private: bool,
    /// Loopback, for base URLs that literally say so: while the public URL is loopback too.
    pub allow_loopback: bool,
    /// Keyward's own listeners, which are never called.
    pub own: Vec<SocketAddr>,
}

impl AddressPolicy {
    /// Judges an address; `loopback_named` is whether the base URL's host is literally loopback or `localhost`.
    ///
    /// # Errors
    /// Why the address may not be called.
    pub fn check(&self, address: SocketAddr, loopback_named: bool) -> Result<(), &'static str> {
        let ip = embedded_v4(address.ip());
        if self.is_own(ip, address.port()) {
            return Err("it is Keyward's own address");
        }
        match class(ip) {
            Class::Public => Ok(()),
            Class::Loopback if loopback_named && self.allow_loopback => Ok(()),
            Class::Loopback if loopback_named => {
                Err("loopback addresses are only allowed while KEYWARD_PUBLIC_URL is a loopback address too")
            }
            Class::Loopback => Err("the name resolves to a loopback address"),
            Class::Private if self.allow_private => Ok(()),
            Class::Private => Err("it is a private address; KEYWARD_ALLOW_PRIVATE_UPSTREAMS=true allows those"),
            Class::Never => Err("link-local, metadata, multicast and reserved addresses are never called"),
        }
    }

    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        self.own
            .iter()
            .any(|own| own.port() == port && (own.ip() == ip || (own.ip().is_unspecified() && ip.is_loopback())))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Class {
    Public,
    Private,
    Loopback,
    Never,
}

/// The IPv4 address inside a mapped, compatible, NAT64 or 6to4 IPv6 address; other addresses as they are.
fn embedded_v4(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let s = v6.segments();
    let low = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match s {
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b] if !(a == 0 && b <= 1) => low(a, b),
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => low(a, b),
        // The local translators' prefix: where in it the address is depends on the translator.
        [0x64, 0xff9b, 1, ..] => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        [0x2002, a, b, ..] => low(a, b),
        _ => ip,
    }
}

fn class(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(ip) => class_v4(ip),
        IpAddr::V6(ip) => class_v6(ip),
    }
}

/// By the registry of special-purpose IPv4 addresses (RFC 6890), and the metadata services of clouds.
fn class_v4(ip: Ipv4Addr) -> Class {
    match ip.octets() {
        [127, ..] => Class::Loopback,
        // Alibaba's and Oracle's metadata services stand inside ranges that are otherwise merely private.
        [100, 100, 100, 200] | [192, 0, 0, _] => Class::Never,
        [10, ..] | [192, 168, ..] => Class::Private,
        [172, second, ..] if (16..32).contains(&second) => Class::Private,
        [100, second, ..] if (64..128).contains(&second) => Class::Private,
        [0, ..] | [169, 254, ..] | [224..=255, ..] => Class::Never,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => Class::Never,
        [198, 18 | 19, ..] => Class::Never,
        _ => Class::Public,
    }
}

/// By the registry of special-purpose IPv6 addresses: what is not global unicast (2000::/3) is not public.
fn class_v6(ip: Ipv6Addr) -> Class {
    let s = ip.segments();
    match s {
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // The metadata service of AWS stands inside the unique local range.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Class::Never,
        [0xfc00..=0xfdff, ..] => Class::Private,
        [0x2001, 0xdb8, ..] | [0x2001, 0..=0x1ff, ..] | [0x3fff, 0..=0xfff, ..] => Class::Never,
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict() -> AddressPolicy {
        AddressPolicy { allow_private: false, allow_loopback: false, own: Vec::new() }
    }

    fn judged(policy: &AddressPolicy, ip: &str) -> bool {
        policy.check(SocketAddr::new(ip.parse().expect(ip), 443), true).is_ok()
    }

    #[test]
    fn only_public_addresses_pass_by_default() {
        for ip in ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(judged(&strict(), ip), "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "192.0.0.192",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1:a9fe:a9:fe00:808:808",
            "2002:7f00:1::",
            "fe80::1",
            "fd00:ec2::254",
            "fc00::1",
            "ff02::1",
            "::7f00:1",
            "2001:db8::1",
        ] {
            assert!(!judged(&strict(), ip), "{ip}");
        }
    }

    #[test]
    fn private_ones_pass_when_allowed_and_metadata_never() {
        let policy = AddressPolicy { allow_private: true, ..strict() };
        for ip in ["10.1.2.3", "192.168.1.1", "fc00::1", "100.64.0.1", "::ffff:10.0.0.1"] {
            assert!(judged(&policy, ip), "{ip}");
        }
        for ip in ["169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "127.0.0.1"] {
            assert!(!judged(&policy, ip), "{ip}");
        }
    }

    #[test]
    fn loopback_passes_only_where_the_url_says_so() {
        let policy = AddressPolicy { allow_loopback: true, ..strict() };
        let address: SocketAddr = "127.0.0.1:11434".parse().expect("an address");
        assert!(policy.check(address, true).is_ok());
        assert!(policy.check(address, false).is_err());
    }

    #[test]
    fn its_own_listeners_are_never_called() {
        let own = "0.0.0.0:8080".parse().expect("an address");
        let policy = AddressPolicy { allow_loopback: true, own: vec![own], ..strict() };
        assert!(policy.check("127.0.0.1:8080".parse().expect("an address"), true).is_err());
        assert!(policy.check("127.0.0.1:8081".parse().expect("an address"), true).is_ok());
    }
}
