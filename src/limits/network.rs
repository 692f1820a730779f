//! What counts as one client network: an IPv4 address or an IPv6 /64.
//!
//! A household or a server has a /64 of its own, and with it more addresses than anybody can count.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that say whose it is.
const IPV6_PREFIX: u32 = 64;

/// A client's network. IPv4 written as IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network(IpAddr);

impl Network {
    pub(super) fn of(client: IpAddr) -> Self {
        Self(match client.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (u128::BITS - IPV6_PREFIX))))
            }
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/{IPV6_PREFIX}"),
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
}
