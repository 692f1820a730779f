//! Version 2: a signature, addresses of a fixed form, then TLVs (type, length, value), of which few matter here.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::{BadHeader, Header, Peers, TTL, TlsFacts, crc32c};

/// What it begins with: no protocol of lines begins so.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Octets in front of the block: signature, version and command, family, length.
pub(super) const FIXED: usize = 16;

/// Most octets in the block, addresses and TLVs.
pub(super) const BLOCK_MAX: usize = 4096;

/// The version with each command: the balancer's own connection, and a client's.
pub(super) const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;

/// Families of addresses, all of streams. A datagram cannot have come to us.
const UNSPECIFIED: u8 = 0x00;
pub(super) const TCP4: u8 = 0x11;
pub(super) const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;

/// Types of TLVs. What is not among them, or not read here (ALPN, NOOP, NETNS), is skipped.
pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;
pub(super) const SSL: u8 = 0x20;
pub(super) const SSL_VERSION: u8 = 0x21;
pub(super) const SSL_CIPHER: u8 = 0x23;

/// In the first octet of [`SSL`]: the client used TLS.
pub(super) const CLIENT_SSL: u8 = 1;

/// Longest values, in octets: the protocol's own, and what a cipher suite's name needs.
pub(super) const AUTHORITY_MAX: usize = 255;
pub(super) const UNIQUE_ID_MAX: usize = 128;
const CIPHER_MAX: usize = 64;

/// The versions that a balancer can have ended. Another name for one gets into no log and to no node.
const VERSIONS: [&str; 5] = ["TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1", "SSLv3"];

/// For a version that was not said, or is none of [`VERSIONS`].
const SOME_VERSION: &str = "TLS";

/// The header at the front, and its length. `None`: its end is not there yet.
pub(super) fn read(octets: &[u8]) -> Result<Option<(Header, usize)>, BadHeader> {
    if !octets.starts_with(&SIGNATURE) && !SIGNATURE.starts_with(octets) {
        return Err(BadHeader::NotOne);
    }
    let Some((&[.., command, family, high, low], rest)) = octets.split_first_chunk::<FIXED>() else { return Ok(None) };
    let addresses = match (command, family) {
        // Neither family nor TLVs mean anything.
        (LOCAL, _) | (PROXY, UNSPECIFIED) => 0,
        (PROXY, TCP4) => 12,
        (PROXY, TCP6) => 36,
        (PROXY, UNIX) => 216,
        _ => return Err(BadHeader::Unknown),
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > BLOCK_MAX {
        return Err(BadHeader::TooLong);
    }
    let Some(block) = rest.get(..len) else { return Ok(None) };
    let whole = octets.get(..FIXED + len).unwrap_or_default();
    if command == LOCAL {
        return Ok(Some((Header::default(), whole.len())));
    }
    let (addresses, tlvs) = block.split_at_checked(addresses).ok_or(BadHeader::Block)?;
    let peers = match family {
        TCP4 => Some(peers::<4, Ipv4Addr>(addresses).ok_or(BadHeader::Block)?),
        TCP6 => Some(peers::<16, Ipv6Addr>(addresses).ok_or(BadHeader::Block)?),
        _ => None,
    };
    let told = Told::read(whole, tlvs)?;
    let tls = told.tls.flatten().map(|facts| TlsFacts { server_name: told.server_name.flatten(), ..facts });
    Ok(Some((Header { peers, tls, ttl: told.ttl }, whole.len())))
}

/// Both addresses, then both ports.
fn peers<const N: usize, A: From<[u8; N]> + Into<core::net::IpAddr>>(mut octets: &[u8]) -> Option<Peers> {
    let (client, connected) = (take::<N>(&mut octets)?, take::<N>(&mut octets)?);
    let mut port = || take::<2>(&mut octets).map(u16::from_be_bytes);
    let (client_port, connected_port) = (port()?, port()?);
    let address = |ip, port| SocketAddr::new(A::from(ip).into(), port);
    Some(Peers::new(address(client, client_port), address(connected, connected_port)))
}

/// What the TLVs say. The outer `None`: there is no such TLV; what may be said once is not said twice.
#[derive(Default)]
struct Told {
    server_name: Option<Option<Arc<str>>>,
    tls: Option<Option<TlsFacts>>,
    ttl: Option<u8>,
    checksum: Option<()>,
}

impl Told {
    /// `tlvs` is the end of `whole`.
    fn read(whole: &[u8], mut tlvs: &[u8]) -> Result<Self, BadHeader> {
        let mut told = Self::default();
        while let Some((kind, value)) = tlv(&mut tlvs)? {
            let is_second = match kind {
                AUTHORITY if value.len() > AUTHORITY_MAX => return Err(BadHeader::Block),
                AUTHORITY => told.server_name.replace(server_name(value)).is_some(),
                SSL => told.tls.replace(tls(value)?).is_some(),
                CRC32C => {
                    check(whole, value, tlvs.len())?;
                    told.checksum.replace(()).is_some()
                }
                UNIQUE_ID if value.len() > UNIQUE_ID_MAX => return Err(BadHeader::Block),
                TTL => match *value {
                    [ttl] => told.ttl.replace(ttl).is_some(),
                    _ => false,
                },
                _ => false,
            };
            if is_second {
                return Err(BadHeader::Block);
            }
        }
        Ok(told)
    }
}

/// The checksum is over the whole header, itself taken as zeros. `behind`: octets that follow it.
fn check(whole: &[u8], value: &[u8], behind: usize) -> Result<(), BadHeader> {
    let told = <[u8; 4]>::try_from(value).map_err(|_| BadHeader::Block)?;
    let (rest, after) = whole.split_at_checked(whole.len() - behind).ok_or(BadHeader::Block)?;
    let before = rest.strip_suffix(&told).ok_or(BadHeader::Block)?;
    let sum = crc32c(crc32c(crc32c(0, before), &[0; 4]), after);
    if sum == u32::from_be_bytes(told) { Ok(()) } else { Err(BadHeader::Checksum) }
}

/// The facts, if the client used TLS. Whether it had a certificate is nobody's question here.
fn tls(mut value: &[u8]) -> Result<Option<TlsFacts>, BadHeader> {
    let [client] = take(&mut value).ok_or(BadHeader::Block)?;
    let _verify: [u8; 4] = take(&mut value).ok_or(BadHeader::Block)?;
    let mut facts = TlsFacts { version: SOME_VERSION.into(), cipher: None, server_name: None };
    while let Some((kind, value)) = tlv(&mut value)? {
        match kind {
            SSL_VERSION => {
                let known = VERSIONS.into_iter().find(|version| version.as_bytes() == value);
                facts.version = known.unwrap_or(SOME_VERSION).into();
            }
            SSL_CIPHER => facts.cipher = word(value, CIPHER_MAX, b"-_."),
            _ => {}
        }
    }
    Ok((client & CLIENT_SSL != 0).then_some(facts))
}

/// A DNS name, in lower case; nothing where it is none.
fn server_name(value: &[u8]) -> Option<Arc<str>> {
    word(&value.to_ascii_lowercase(), AUTHORITY_MAX, b"-_.")
}

/// Text of letters, digits and these others; nothing where it is none.
fn word(value: &[u8], max: usize, others: &[u8]) -> Option<Arc<str>> {
    let is_one = (1..=max).contains(&value.len())
        && value.iter().all(|octet| octet.is_ascii_alphanumeric() || others.contains(octet));
    let text = std::str::from_utf8(value).ok()?;
    is_one.then(|| text.into())
}

/// The next TLV, or nothing at the end.
fn tlv<'a>(octets: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, BadHeader> {
    if octets.is_empty() {
        return Ok(None);
    }
    let [kind, high, low] = take(octets).ok_or(BadHeader::Block)?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    let (value, rest) = octets.split_at_checked(len).ok_or(BadHeader::Block)?;
    *octets = rest;
    Ok(Some((kind, value)))
}

/// So many octets from the front.
fn take<const N: usize>(octets: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = octets.split_first_chunk::<N>()?;
    *octets = rest;
    Some(*taken)
}
