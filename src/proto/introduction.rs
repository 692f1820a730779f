//! Who the client is: what mailferry tells a node of it, or a proxy in front of mailferry told us.
//!
//! Whatever is in here was checked: it may be written to a node as it is. It must never hold an octet that a stranger
//! chose, but for the server name of the TLS handshake, which is a DNS name.

use core::net::SocketAddr;
use std::sync::Arc;

/// Hops that a login may take from proxy to proxy. Dovecot's number.
pub const TTL_MAX: u8 = 7;

/// Hops left with which a login must not be passed on.
pub const TTL_IS_OVER: u8 = 1;

/// A client, as a node is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The session's name in our log: 1 to 64 letters, digits and hyphens.
    pub session: Arc<str>,
    /// Where the client comes from.
    pub client: SocketAddr,
    /// Which of our addresses it connected to.
    pub connected: SocketAddr,
    /// What protects its connection to us; `None` is clear text.
    pub tls: Option<TlsFacts>,
    /// Hops that are left, this one counted: a node that gets 1 must refuse to pass the login on.
    pub ttl: u8,
}

impl Introduction {
    /// The server name that the client asked for, if a node can be told it: Dovecot refuses to hear of one that is longer
    /// or has other octets, and with it the login.
    pub(in crate::proto) fn server_name(&self) -> Option<&str> {
        let name = self.tls.as_ref()?.server_name.as_deref()?;
        let is_names = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
        let lawful = (1..=255).contains(&name.len()) && name.bytes().all(is_names) && !name.contains("..");
        lawful.then_some(name)
    }
}

/// What a client says of the client behind it, being a proxy itself. Parsed, and not yet believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Where that client comes from. Only of a trusted proxy.
    pub client: Option<SocketAddr>,
    /// Which address that client connected to. Only of a trusted proxy.
    pub connected: Option<SocketAddr>,
    /// Hops that are left. From anybody: who says it too small refuses himself only, and a circle of proxies that do
    /// not trust each other must end as well.
    pub ttl: Option<u8>,
}

/// What is known of the TLS between the client and us, or the balancer in front of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: Arc<str>,
    /// The cipher suite's name in OpenSSL's or IANA's spelling, where it is known.
    pub cipher: Option<Arc<str>>,
    /// The name that the client asked for (SNI), in lower case.
    pub server_name: Option<Arc<str>>,
}
