//! Version 1: one line of ASCII. Strict: one spelling of everything but IPv6 addresses, single blanks, and CRLF.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{BadHeader, Header, Peers};

/// What a line begins with.
const PREFIX: &[u8] = b"PROXY ";

/// Longest line with its CRLF, in octets.
const LINE_MAX: usize = 107;

/// The header at the front, and its length. `None`: its end is not there yet.
pub(super) fn read(octets: &[u8]) -> Result<Option<(Header, usize)>, BadHeader> {
    if !octets.starts_with(PREFIX) && !PREFIX.starts_with(octets) {
        return Err(BadHeader::NotOne);
    }
    let window = octets.get(..LINE_MAX).unwrap_or(octets);
    let is_full = window.len() == LINE_MAX;
    let end = window.iter().position(|octet| matches!(octet, b'\r' | b'\n'));
    let (line, ending) = window.split_at(end.unwrap_or(window.len()));
    match ending {
        [] | b"\r" if is_full => Err(BadHeader::TooLong),
        [] | b"\r" => Ok(None),
        [b'\r', b'\n', ..] => {
            let header = line.strip_prefix(PREFIX).and_then(parse).ok_or(BadHeader::Line)?;
            Ok(Some((header, line.len() + 2)))
        }
        _ => Err(BadHeader::Line),
    }
}

/// What follows the prefix.
fn parse(line: &[u8]) -> Option<Header> {
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        // Whatever follows must not be looked at.
        return Some(Header::default());
    }
    let words: Vec<&str> = std::str::from_utf8(line).ok()?.split(' ').collect();
    let &[family, client, connected, client_port, connected_port] = words.as_slice() else { return None };
    let address = match family {
        "TCP4" => address::<Ipv4Addr>,
        "TCP6" => address::<Ipv6Addr>,
        _ => return None,
    };
    let peers = Peers::new(address(client, client_port)?, address(connected, connected_port)?);
    Some(Header { peers: Some(peers), ..Header::default() })
}

/// Rust's own reader of addresses takes no leading zeros of IPv4, no zones, and no blanks.
fn address<A: FromStr + Into<IpAddr>>(ip: &str, port: &str) -> Option<SocketAddr> {
    let is_canonical = port == "0" || !port.starts_with(['0', '+']);
    let port = is_canonical.then(|| port.parse().ok())??;
    Some(SocketAddr::new(ip.parse::<A>().ok()?.into(), port))
}
