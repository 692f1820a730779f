//! What a client says of the client behind it, being a proxy: read from IMAP's ID or POP3's XCLIENT.
//!
//! What is malformed is left out, as if it had not been said. Whether the client is a proxy that we trust is decided
//! here once for both protocols.

use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use super::Claim;

/// One thing that a proxy may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// Where its client comes from.
    ClientAddress,
    /// Likewise.
    ClientPort,
    /// Where its client connected to.
    ConnectedAddress,
    /// Likewise.
    ConnectedPort,
    /// Hops that are left.
    Ttl,
}

/// What was said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    client: Endpoint,
    connected: Endpoint,
    ttl: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Endpoint {
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl Endpoint {
    /// A port alone says nothing; an address whose port is not known has port 0.
    fn socket_address(self) -> Option<SocketAddr> {
        self.address.map(|address| SocketAddr::new(address, self.port.unwrap_or(0)))
    }
}

impl Facts {
    /// Takes one down. The last lawful value counts.
    pub(super) fn note(&mut self, fact: Fact, value: &[u8]) {
        match fact {
            Fact::ClientAddress => self.client.address = text(value).or(self.client.address),
            Fact::ClientPort => self.client.port = number(value).or(self.client.port),
            Fact::ConnectedAddress => self.connected.address = text(value).or(self.connected.address),
            Fact::ConnectedPort => self.connected.port = number(value).or(self.connected.port),
            Fact::Ttl => self.ttl = number(value).or(self.ttl),
        }
    }

    /// What may be believed of it; `None` is nothing. Of a stranger, only how many hops are left (see [`Claim::ttl`]).
    pub(super) fn claim(self, is_trusted: bool) -> Option<Claim> {
        let addresses = |endpoint: Endpoint| endpoint.socket_address().filter(|_| is_trusted);
        let claim = Claim { client: addresses(self.client), connected: addresses(self.connected), ttl: self.ttl };
        (claim != Claim::default()).then_some(claim)
    }
}

fn text<T: FromStr>(value: &[u8]) -> Option<T> {
    str::from_utf8(value).ok()?.parse().ok()
}

/// Digits and nothing else; the library would let a plus sign through.
fn number<T: FromStr>(value: &[u8]) -> Option<T> {
    text(value).filter(|_| value.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(said: &[(Fact, &str)]) -> Facts {
        let mut facts = Facts::default();
        said.iter().for_each(|(fact, value)| facts.note(*fact, value.as_bytes()));
        facts
    }

    fn claim(client: Option<&str>, connected: Option<&str>, ttl: Option<u8>) -> Option<Claim> {
        let address = |text: &str| text.parse().unwrap();
        Some(Claim { client: client.map(address), connected: connected.map(address), ttl })
    }

    #[test]
    fn a_trusted_proxy_may_say_everything_and_a_stranger_only_the_hops() {
        use Fact::{ClientAddress, ClientPort, ConnectedAddress, ConnectedPort, Ttl};
        let all = facts(&[
            (ClientAddress, "192.0.2.7"),
            (ClientPort, "4711"),
            (ConnectedAddress, "2001:db8::1"),
            (ConnectedPort, "993"),
            (Ttl, "3"),
        ]);
        assert_eq!(all.clone().claim(true), claim(Some("192.0.2.7:4711"), Some("[2001:db8::1]:993"), Some(3)));
        assert_eq!(all.claim(false), claim(None, None, Some(3)));
        let addresses = facts(&[(ClientAddress, "192.0.2.7"), (ConnectedPort, "993")]);
        assert_eq!(addresses.clone().claim(true), claim(Some("192.0.2.7:0"), None, None));
        assert_eq!(addresses.claim(false), None);
        assert_eq!(Facts::default().claim(true), None);
    }

    #[test]
    fn what_is_malformed_was_not_said() {
        let addresses =
            ["", "x", "192.0.2", "192.0.2.256", "192.0.2.7 ", "[::1]", "::1%eth0", "192.0.2.7:1", "localhost"];
        for bad in addresses {
            assert_eq!(facts(&[(Fact::ClientAddress, bad)]).claim(true), None, "{bad:?}");
        }
        for bad in ["", "-1", "+1", " 1", "1 ", "65536", "99999999999999999999", "0x1", "\u{fc}"] {
            let said = facts(&[(Fact::ClientAddress, "::1"), (Fact::ClientPort, bad), (Fact::Ttl, bad)]);
            assert_eq!(said.claim(true), claim(Some("[::1]:0"), None, None), "{bad:?}");
        }
        assert_eq!(facts(&[(Fact::Ttl, "256")]).claim(true), None);
        assert_eq!(facts(&[(Fact::Ttl, "5"), (Fact::Ttl, "x")]).claim(false), claim(None, None, Some(5)));
    }
}
