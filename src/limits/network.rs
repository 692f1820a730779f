//! What counts as one client network: an IPv4 address or an IPv6 /64.
//!
//! A household or a server has a /64 of its own, and with it more addresses than anybody can count. Many have a /48, and
//! with it 65 536 networks: so some things are looked at for the whole /48 too.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that say whose it is.
const IPV6_PREFIX: u8 = 64;

/// Bits of an IPv6 address that say to whom it may belong with many others.
const IPV6_WIDE_PREFIX: u8 = 48;

/// A client's network, or the /48 that it is in. IPv4 written as IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of this address.
    pub fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => Self { base: IpAddr::V4(address), prefix: 32 },
            IpAddr::V6(address) => Self::v6(address, IPV6_PREFIX),
        }
    }

    fn v6(address: Ipv6Addr, prefix: u8) -> Self {
        let mask = u128::MAX << (u128::BITS - u32::from(prefix));
        Self { base: IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask)), prefix }
    }

    /// The IPv6 /48 that it is in. IPv4 has none: its addresses are few, and each may have thousands of clients.
    pub(super) fn wide(self) -> Option<Self> {
        match self.base {
            IpAddr::V6(address) if !self.is_wide() => Some(Self::v6(address, IPV6_WIDE_PREFIX)),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    /// Whether it is a /48.
    pub(super) fn is_wide(self) -> bool {
        self.base.is_ipv6() && self.prefix == IPV6_WIDE_PREFIX
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.base {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/{}", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_and_an_ipv6_64_are_one_network_each() {
        // Address, another one, whether they are of one network, how the first one's is written.
        for (one, other, same, written) in [
            ("192.0.2.1", "192.0.2.1", true, "192.0.2.1"),
            ("192.0.2.1", "192.0.2.2", false, "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1", true, "192.0.2.1"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false, "192.0.2.1"),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true, "2001:db8::/64"),
            ("2001:db8:0:1::1", "2001:db8::1", false, "2001:db8:0:1::/64"),
            // Not IPv4: these are the deprecated compatible addresses.
            ("::192.0.2.1", "192.0.2.1", false, "::/64"),
        ] {
            let of = |address: &str| Network::of(address.parse().unwrap());
            assert_eq!(of(one) == of(other), same, "{one} {other}");
            assert_eq!(of(one).to_string(), written);
        }
    }

    #[test]
    fn an_ipv6_network_is_in_a_48_and_an_ipv4_address_in_nothing() {
        let wide = |address: &str| Network::of(address.parse().unwrap()).wide();
        assert_eq!(wide("192.0.2.1"), None);
        assert_eq!(wide("2001:db8:1:2::3").unwrap().to_string(), "2001:db8:1::/48");
        assert_eq!(wide("2001:db8:1:2::3"), wide("2001:db8:1:ffff::"));
        assert_ne!(wide("2001:db8:1::"), wide("2001:db8:2::"));
        assert!(wide("2001:db8::").is_some_and(|it| it.is_wide() && it.wide().is_none()));
        assert_ne!(wide("2001:db8::"), Some(Network::of("2001:db8::".parse().unwrap())), "not the /64 of that name");
    }
}
