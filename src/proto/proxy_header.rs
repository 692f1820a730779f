//! The PROXY header, with which a balancer says whose connection it passes on (HAProxy's doc/proxy-protocol.txt):
//! versions 1 and 2 are read, 2 is written.
//!
//! Whether to believe it is the caller's decision, and to be made before a single octet is read: nothing here guesses
//! whether a header is there. A header is taken whole or not at all, and what is behind it stays where it is. Octets of
//! the header's sender get out of here as addresses, numbers, or names that were checked, never as they came.

mod v1;
mod v2;
mod write;

use core::net::SocketAddr;

pub use self::write::{introducing, local};

use super::{Input, TlsFacts};

/// Most octets that a header has: 16 and what version 2 may say behind them. Its own limit of 65535 is nobody's need.
pub const LEN_MAX: usize = v2::FIXED + v2::BLOCK_MAX;

/// Type of the TLV that carries [`Introduction::ttl`](super::Introduction::ttl), as one octet. It is the first of those
/// that everybody may use as he likes; with any other length it is somebody else's (Google's balancers have one).
const TTL: u8 = 0xe0;

/// What a header says. Of a balancer that speaks for itself (LOCAL, a health check): nothing at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The connection that is passed on. `None`: the balancer does not know it, or it was none of TCP, so that the
    /// socket's addresses stand.
    pub peers: Option<Peers>,
    /// TLS that the balancer has ended.
    pub tls: Option<TlsFacts>,
    /// Hops that are left, if a mailferry has sent it.
    pub ttl: Option<u8>,
}

/// Both ends of the connection that is passed on, IPv4 addresses as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Where it comes from.
    pub client: SocketAddr,
    /// Which address it came to.
    pub connected: SocketAddr,
}

impl Peers {
    fn new(client: SocketAddr, connected: SocketAddr) -> Self {
        Self { client: canonical(client), connected: canonical(connected) }
    }
}

/// Why octets are no header that may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// It begins like neither version.
    #[error("no PROXY header")]
    NotOne,
    /// A line of version 1 that is none.
    #[error("malformed PROXY header of version 1")]
    Line,
    /// A version, command, family or length of version 2 that is not defined.
    #[error("PROXY header of version 2 with an unknown command or family")]
    Unknown,
    /// Addresses or TLVs of version 2 that do not fit into its length, or not to each other.
    #[error("malformed PROXY header of version 2")]
    Block,
    /// The checksum of version 2 is wrong.
    #[error("PROXY header with a wrong checksum")]
    Checksum,
    /// More octets than anybody needs.
    #[error("PROXY header too long")]
    TooLong,
}

/// Takes a header from the front of the input. `None`: it is not complete, and nothing was taken; there are fewer than
/// [`LEN_MAX`] octets then.
///
/// # Errors
/// What is there is no header, or a malformed one, and no more octets will mend it. Nothing was taken.
pub fn read(input: &mut Input) -> Result<Option<Header>, BadHeader> {
    let octets = input.as_bytes();
    let found = match octets.first() {
        None => None,
        Some(b'P') => v1::read(octets)?,
        Some(_) => v2::read(octets)?,
    };
    let Some((header, len)) = found else { return Ok(None) };
    input.consume(len);
    Ok(Some(header))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// CRC32C (RFC 3720 §B.4) of these octets behind others of which it is known; 0 is that of none. Octet by octet and bit by
/// bit: a header is short, and there is one for a connection.
fn crc32c(behind: u32, octets: &[u8]) -> u32 {
    /// Castagnoli's polynomial, its bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !octets.iter().fold(!behind, |crc, octet| (0..8).fold(crc ^ u32::from(*octet), step))
}

/// Panics unless reading stands any octets: the same however they are cut, never half, never more than [`LEN_MAX`] held,
/// and a header that is written means what it meant. Also as what stands behind the addresses of a header that is right
/// otherwise, because no fuzzer guesses a checksum.
#[cfg(feature = "testkit")]
pub fn proxy_header_is_sound(data: &[u8]) {
    let family = if data.first().is_some_and(|octet| octet % 2 == 0) { 0x11 } else { 0x21 };
    for octets in [data, &write::sealed(family, data)] {
        let whole = read_cut(octets, octets.len());
        assert_eq!(whole, read_cut(octets, 1), "one octet at a time");
        assert_eq!(whole, read_cut(octets, 7), "in sevens");
        let Ok(Some((header, len))) = whole else { continue };
        assert!(len <= LEN_MAX.min(octets.len()), "{len} octets taken");
        let Header { peers: Some(peers), tls, ttl: Some(ttl) } = header.clone() else { continue };
        let (Peers { client, connected }, session) = (peers, "65400000-ff".into());
        let written = introducing(&super::Introduction { session, client, connected, tls, ttl });
        assert_eq!(read_cut(&written, written.len()), Ok(Some((header, written.len()))), "written and read");
    }
}

/// What is read when octets come in pieces of this size, and how many of them are taken.
#[cfg(any(test, feature = "testkit"))]
fn read_cut(octets: &[u8], size: usize) -> Result<Option<(Header, usize)>, BadHeader> {
    let (mut input, mut pushed) = (Input::new(), 0);
    for piece in octets.chunks(size.max(1)) {
        assert!(pushed < LEN_MAX, "{pushed} octets held");
        input.push(piece);
        pushed += piece.len();
        let read = read(&mut input);
        if let Ok(Some(header)) = read {
            return Ok(Some((header, pushed - input.len())));
        }
        assert_eq!(input.as_bytes(), octets.get(..pushed).unwrap_or_default(), "a header is half read");
        read?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
