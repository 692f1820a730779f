//! Where an LDAP server is: `ldap://host:port` or `ldaps://host:port`, and nothing else of RFC 4516.

use std::fmt;
use std::net::Ipv6Addr;

/// RFC 4511 §5.
const LDAP_PORT: u16 = 389;
/// By custom; IANA's registry has it.
const LDAPS_PORT: u16 = 636;
/// Longest host name, in octets (RFC 1035 §2.3.4).
const MAX_HOST_LEN: usize = 253;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `ldaps://`: TLS from the first octet.
    pub tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// 389 or 636 where the URL says nothing.
    pub port: u16,
}

/// Why a text is not such a URL, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No `://`.
    #[error("no scheme: write ldap://host or ldaps://host")]
    NoScheme,
    /// `ldapi`: no host that could be verified, no TLS.
    #[error("ldapi:// is not supported: write ldap://localhost")]
    LocalSocket,
    /// Neither `ldap` nor `ldaps`.
    #[error("unknown scheme: write ldap://host or ldaps://host")]
    UnknownScheme,
    /// Nothing between `//` and the end.
    #[error("no host: write ldap://host or ldaps://host")]
    NoHost,
    /// An octet that no host name has.
    #[error("not a host name: letters, digits, - . and _, or an address; an IPv6 address stands in [ ]")]
    BadHost,
    /// Not an IPv6 address in the brackets.
    #[error("not an IPv6 address: write ldap://[2001:db8::1]:389")]
    BadAddress,
    /// Not a number from 1 to 65535.
    #[error("not a port: a number from 1 to 65535")]
    BadPort,
    /// Credentials in the URL.
    #[error("no user belongs into the URL: bind_dn and bind_password_file are keys of their own")]
    User,
    /// The rest of an RFC 4516 URL.
    #[error("nothing may follow the port: base, scope and filter are keys of their own")]
    Path,
}

impl Url {
    /// Parses `scheme://host[:port]`, with a `/` behind it at most.
    ///
    /// # Errors
    /// See [`UrlError`]; each says the remedy.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ldap" => false,
            "ldaps" => true,
            "ldapi" => return Err(UrlError::LocalSocket),
            _ => return Err(UrlError::UnknownScheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(UrlError::Path);
        }
        if rest.contains('@') {
            return Err(UrlError::User);
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => bracketed(rest)?,
            None => named(rest)?,
        };
        let port = match port {
            Some(digits) => parse_port(digits)?,
            None if tls => LDAPS_PORT,
            None => LDAP_PORT,
        };
        Ok(Self { tls, host, port })
    }

    /// Is the host an IPv6 address? TLS to one is not supported.
    pub fn is_ipv6(&self) -> bool {
        self.host.contains(':')
    }
}

/// As it is written in the configuration, the port always shown.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "ldaps" } else { "ldap" };
        if self.is_ipv6() {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

fn bracketed(rest: &str) -> Result<(String, Option<&str>), UrlError> {
    let (address, behind) = rest.split_once(']').ok_or(UrlError::BadAddress)?;
    let address: Ipv6Addr = address.parse().map_err(|_| UrlError::BadAddress)?;
    let port = match behind.strip_prefix(':') {
        None if behind.is_empty() => None,
        None => return Err(UrlError::BadPort),
        port => port,
    };
    Ok((address.to_string(), port))
}

fn named(rest: &str) -> Result<(String, Option<&str>), UrlError> {
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    // A second colon: an address whose brackets were forgotten.
    if port.is_some_and(|port| port.contains(':')) {
        return Err(UrlError::BadHost);
    }
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let lawful = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    if host.len() > MAX_HOST_LEN || !host.bytes().all(lawful) {
        return Err(UrlError::BadHost);
    }
    Ok((host.to_owned(), port))
}

fn parse_port(digits: &str) -> Result<u16, UrlError> {
    if !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(UrlError::BadPort);
    }
    digits.parse().ok().filter(|port| *port != 0).ok_or(UrlError::BadPort)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_scheme_host_and_port_and_are_shown_whole() {
        let cases = [
            ("ldap://a.example.net", false, "a.example.net", 389, "ldap://a.example.net:389"),
            ("ldaps://a", true, "a", 636, "ldaps://a:636"),
            ("LDAPS://a:1636/", true, "a", 1636, "ldaps://a:1636"),
            ("ldap://10.0.0.1:3389", false, "10.0.0.1", 3389, "ldap://10.0.0.1:3389"),
            ("ldap://[2001:DB8::1]", false, "2001:db8::1", 389, "ldap://[2001:db8::1]:389"),
            ("ldaps://[::1]:1", true, "::1", 1, "ldaps://[::1]:1"),
        ];
        for (text, tls, host, port, shown) in cases {
            let url = Url::parse(text).unwrap();
            assert_eq!(url, Url { tls, host: host.into(), port });
            assert_eq!(url.to_string(), shown);
            assert_eq!(Url::parse(shown), Ok(url));
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_remedy() {
        let cases = [
            ("ldap1.example.net", UrlError::NoScheme),
            ("ldap:host", UrlError::NoScheme),
            ("ldapi://%2frun%2fslapd", UrlError::LocalSocket),
            ("http://a", UrlError::UnknownScheme),
            ("ldap://", UrlError::NoHost),
            ("ldap:///dc=x", UrlError::Path),
            ("ldap://:389", UrlError::NoHost),
            ("ldap://a b", UrlError::BadHost),
            ("ldap://\u{fc}", UrlError::BadHost),
            ("ldap://::1", UrlError::BadHost),
            ("ldap://[::1", UrlError::BadAddress),
            ("ldap://[fe80::1%eth0]", UrlError::BadAddress),
            ("ldap://[::1]389", UrlError::BadPort),
            ("ldap://a:", UrlError::BadPort),
            ("ldap://a:0", UrlError::BadPort),
            ("ldap://a:65536", UrlError::BadPort),
            ("ldap://a:+1", UrlError::BadPort),
            ("ldap://cn=x:secret@a", UrlError::User),
            ("ldap://a/dc=example", UrlError::Path),
            ("ldap://a?uid", UrlError::Path),
        ];
        for (text, error) in cases {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
        let long = format!("ldap://{}", "a".repeat(MAX_HOST_LEN + 1));
        assert_eq!(Url::parse(&long), Err(UrlError::BadHost));
    }
}
