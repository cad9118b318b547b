//! Which addresses may be called at the wish of others: those that anybody could call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A part of the address space, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    first: IpAddr,
    bits: u8,
}

/// Says which addresses may be called.
#[derive(Clone, Debug, Default)]
pub struct AddressGuard {
    allowed: Vec<Net>,
}

/// What IANA lists as not globally reachable, and what is for many at once
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>).
const PRIVATE_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// What of the global unicast addresses `2000::/3` is not for everybody
/// (<https://www.iana.org/assignments/iana-ipv6-special-registry>).
const PRIVATE_V6: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

// === impl AddressGuard ===

impl AddressGuard {
    /// One that lets these through beside the public ones.
    pub fn new(allowed: Vec<Net>) -> Self {
        Self { allowed }
    }

    /// Whether this address may be called.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = meant(address);
        is_public(address) || self.allowed.iter().any(|net| net.holds(address))
    }
}

// === impl Net ===

impl Net {
    /// Whether an address lies in it.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => within_v4(address, (first, self.bits)),
            (IpAddr::V6(first), IpAddr::V6(address)) => within_v6(address, (first, self.bits)),
            _ => false,
        }
    }
}

impl std::str::FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no network such as 10.0.0.0/8 or fd00::/8");
        let (first, bits) = match text.trim().split_once('/') {
            Some((first, bits)) => (first, Some(bits)),
            None => (text.trim(), None),
        };
        let first: IpAddr = first.parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| wrong())?,
            None => most,
        };
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { first, bits })
    }
}

/// The address that is reached in the end: an IPv4 address may be written, or tunneled, as one of IPv6.
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let parts = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // Mapped, and by the well-known prefix of NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !PRIVATE_V4.into_iter().any(|net| within_v4(v4, net)),
        IpAddr::V6(v6) => within_v6(v6, GLOBAL_V6) && !PRIVATE_V6.into_iter().any(|net| within_v6(v6, net)),
    }
}

fn within_v4(address: Ipv4Addr, (first, bits): (Ipv4Addr, u8)) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    u32::from(address) & mask == u32::from(first) & mask
}

fn within_v6(address: Ipv6Addr, (first, bits): (Ipv6Addr, u8)) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    u128::from(address) & mask == u128::from(first) & mask
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn permits(guard: &AddressGuard, address: &str) -> bool {
        guard.permits(address.parse().unwrap())
    }

    #[test]
    fn what_anybody_could_call_may_be_called() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(permits(&AddressGuard::default(), address), "{address}");
        }
    }

    #[test]
    fn what_is_private_may_not_however_it_is_written() {
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!permits(&AddressGuard::default(), address), "{address}");
        }
    }

    #[test]
    fn a_network_that_is_allowed_lets_its_own_through_and_no_other() {
        let nets = ["10.1.0.0/16", "fd00::/8", "192.168.0.7"];
        let guard = AddressGuard::new(nets.iter().map(|net| net.parse().unwrap()).collect());
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1", "192.168.0.7"] {
            assert!(permits(&guard, address), "{address}");
        }
        for address in ["10.2.0.0", "fc00::1", "192.168.0.8", "127.0.0.1"] {
            assert!(!permits(&guard, address), "{address}");
        }
        let all: Net = "0.0.0.0/0".parse().unwrap();
        assert!(all.holds("127.0.0.1".parse().unwrap()) && !all.holds("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0/8",
            "hooks.example",
            "10.0.0.0/-1",
        ] {
            assert!(text.parse::<Net>().is_err(), "{text}");
        }
    }
}
