//! The header that a node gets, of version 2. What is in it is what mailferry knows or believes, nothing that a stranger
//! says of himself, but for the server name of his TLS handshake.

use core::net::{IpAddr, Ipv6Addr};

use super::v2::{
    AUTHORITY, AUTHORITY_MAX, CLIENT_SSL, CRC32C, LOCAL, PROXY, SIGNATURE, SSL, SSL_CIPHER, SSL_VERSION, TCP4, TCP6,
    UNIQUE_ID, UNIQUE_ID_MAX,
};
use super::{Peers, TTL, crc32c};
use crate::proto::{Introduction, TlsFacts};

/// That no client's certificate was verified.
const NOT_VERIFIED: u32 = 1;

/// For a connection of our own, a probe.
pub fn local() -> Vec<u8> {
    head(LOCAL, 0, 0)
}

/// For a client's connection. At most about 600 octets. Where one address is of IPv4 and the other of IPv6, both are
/// written as IPv6, as HAProxy does.
pub fn introducing(introduction: &Introduction) -> Vec<u8> {
    let Introduction { session, client, connected, tls, ttl } = introduction;
    let Peers { client, connected } = Peers::new(*client, *connected);
    let mut block = Vec::new();
    let family = match (client.ip(), connected.ip()) {
        (IpAddr::V4(client), IpAddr::V4(connected)) => {
            block.extend_from_slice(&[client.octets(), connected.octets()].concat());
            TCP4
        }
        (client, connected) => {
            block.extend_from_slice(&[mapped(client).octets(), mapped(connected).octets()].concat());
            TCP6
        }
    };
    block.extend_from_slice(&client.port().to_be_bytes());
    block.extend_from_slice(&connected.port().to_be_bytes());
    if let Some(facts) = tls {
        if let Some(name) = facts.server_name.as_deref().filter(|name| name.len() <= AUTHORITY_MAX) {
            tlv(&mut block, AUTHORITY, name.as_bytes());
        }
        tlv(&mut block, SSL, &ssl(facts));
    }
    if session.len() <= UNIQUE_ID_MAX {
        tlv(&mut block, UNIQUE_ID, session.as_bytes());
    }
    tlv(&mut block, TTL, &[*ttl]);
    with_checksum(family, block)
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn ssl(facts: &TlsFacts) -> Vec<u8> {
    let mut value = vec![CLIENT_SSL];
    value.extend_from_slice(&NOT_VERIFIED.to_be_bytes());
    tlv(&mut value, SSL_VERSION, facts.version.as_bytes());
    if let Some(cipher) = &facts.cipher {
        tlv(&mut value, SSL_CIPHER, cipher.as_bytes());
    }
    value
}

/// The first 16 octets.
fn head(command: u8, family: u8, len: u16) -> Vec<u8> {
    let [high, low] = len.to_be_bytes();
    [&SIGNATURE[..], &[command, family, high, low]].concat()
}

/// Type, length, value. A value that does not fit is left out.
fn tlv(block: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let Ok(len) = u16::try_from(value.len()) else { return };
    block.push(kind);
    block.extend_from_slice(&len.to_be_bytes());
    block.extend_from_slice(value);
}

/// The whole header, with a checksum as its last TLV.
fn with_checksum(family: u8, mut block: Vec<u8>) -> Vec<u8> {
    tlv(&mut block, CRC32C, &[0; 4]);
    let mut header = head(PROXY, family, u16::try_from(block.len()).unwrap_or(u16::MAX));
    header.append(&mut block);
    let sum = crc32c(0, &header);
    header.truncate(header.len() - 4);
    header.extend_from_slice(&sum.to_be_bytes());
    header
}

/// A header with these octets behind its addresses, right in all else.
#[cfg(any(test, feature = "testkit"))]
pub(super) fn sealed(family: u8, tlvs: &[u8]) -> Vec<u8> {
    let addresses = [1; 36];
    let addresses = if family == TCP4 { addresses.get(..12) } else { addresses.get(..) };
    with_checksum(family, [addresses.unwrap_or_default(), tlvs].concat())
}
